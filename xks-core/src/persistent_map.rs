//! A persistent hash map: a clone shares all entries, and a change copies only the nodes between the root and
//! the entry. Its cost is that of one entry, however many there are, and readers of a clone see nothing of
//! it.
//!
//! It is a hash array mapped trie (P. Bagwell, 2001): each level of nodes consumes four bits of the key's
//! hash.

use std::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    iter, mem,
    sync::Arc,
};

/// Bits of the hash that one level consumes. More make lookups shorter and changes longer.
const BITS: u32 = 4;
/// Levels that have bits to consume. The level below lists the keys that have the same hash.
const LEVELS: u32 = u64::BITS / BITS;

#[derive(Clone)]
pub(crate) struct PersistentMap<K, V, S = RandomState> {
    root: Arc<Node<K, V>>,
    len: usize,
    hasher: S,
}

#[derive(Clone)]
struct Node<K, V> {
    /// Bit N is set where there is a child for hash bits of value N.
    present: u16,
    /// One for each set bit, in the order of the bits. In the level below all [`LEVELS`]: entries, in no
    /// order.
    children: Vec<Child<K, V>>,
}

#[derive(Clone)]
enum Child<K, V> {
    Entry(K, V),
    Node(Arc<Node<K, V>>),
}

impl<K, V, S: Default> Default for PersistentMap<K, V, S> {
    fn default() -> Self {
        Self {
            root: Arc::new(Node::empty()),
            len: 0,
            hasher: S::default(),
        }
    }
}

impl<K, V, S> PersistentMap<K, V, S> {
    /// Returns the number of entries.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Returns all entries, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let mut path = vec![self.root.children.iter()];
        iter::from_fn(move || {
            loop {
                match path.last_mut()?.next() {
                    Some(Child::Entry(key, value)) => return Some((key, value)),
                    Some(Child::Node(node)) => path.push(node.children.iter()),
                    None => drop(path.pop()),
                }
            }
        })
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> PersistentMap<K, V, S> {
    /// Returns the value of a key.
    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.get_key_value(key).map(|(_, value)| value)
    }

    /// Returns the entry of a key.
    pub(crate) fn get_key_value<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let mut node = &*self.root;
        for level in 0..=LEVELS {
            let place = node.place(level, hash, key).ok()?;
            match node.children.get(place)? {
                Child::Entry(known, value) => return (known.borrow() == key).then_some((known, value)),
                Child::Node(next) => node = next,
            }
        }
        None
    }
}

impl<K: Hash + Eq + Clone, V: Clone, S: BuildHasher> PersistentMap<K, V, S> {
    /// Adds an entry, and returns the value that the key had before.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let hash = self.hasher.hash_one(&key);
        let former = Arc::make_mut(&mut self.root).insert(0, hash, key, value, &self.hasher);
        self.len += usize::from(former.is_none());
        former
    }

    /// Removes an entry, and returns its value.
    pub(crate) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let removed = self.get(key)?.clone();
        Arc::make_mut(&mut self.root).remove(0, self.hasher.hash_one(key), key);
        self.len -= 1;
        Some(removed)
    }
}

impl<K, V> Node<K, V> {
    const fn empty() -> Self {
        Self {
            present: 0,
            children: Vec::new(),
        }
    }

    /// Finds the child that has the key, or below which it is; or else where that child has to be inserted.
    fn place<Q: Eq + ?Sized>(&self, level: u32, hash: u64, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        if level == LEVELS {
            let is_it = |child: &Child<K, V>| matches!(child, Child::Entry(known, _) if known.borrow() == key);
            return self.children.iter().position(is_it).ok_or(self.children.len());
        }
        let bit = bit(level, hash);
        let place = (self.present & (bit - 1)).count_ones() as usize;
        if self.present & bit == 0 { Err(place) } else { Ok(place) }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Node<K, V> {
    fn insert(&mut self, level: u32, hash: u64, key: K, value: V, hasher: &impl BuildHasher) -> Option<V> {
        let place = match self.place(level, hash, &key) {
            Ok(place) => place,
            Err(place) => {
                self.present |= bit(level, hash);
                self.children.reserve_exact(1); // twice the space would be half of the map's memory
                self.children.insert(place, Child::Entry(key, value));
                return None;
            }
        };
        let child = self.children.get_mut(place)?;
        match child {
            Child::Node(node) => Arc::make_mut(node).insert(level + 1, hash, key, value, hasher),
            Child::Entry(known, former) if *known == key => Some(mem::replace(former, value)),
            Child::Entry(known, other) => {
                let mut node = Self::empty();
                node.insert(
                    level + 1,
                    hasher.hash_one(&*known),
                    known.clone(),
                    other.clone(),
                    hasher,
                );
                node.insert(level + 1, hash, key, value, hasher);
                *child = Child::Node(Arc::new(node));
                None
            }
        }
    }

    /// Removes the entry of a key, which is there.
    fn remove<Q: Eq + ?Sized>(&mut self, level: u32, hash: u64, key: &Q)
    where
        K: Borrow<Q>,
    {
        let Ok(place) = self.place(level, hash, key) else {
            return;
        };
        if let Some(child) = self.children.get_mut(place)
            && let Child::Node(node) = child
        {
            let node = Arc::make_mut(node);
            node.remove(level + 1, hash, key);
            // An entry stands as near to the root as it can, so that a map that shrinks is as flat as a new
            // one.
            if let [entry @ Child::Entry(..)] = &*node.children {
                *child = entry.clone();
            }
        } else {
            self.present &= !bit(level, hash);
            self.children.remove(place);
        }
    }
}

/// The bit that stands for the hash in a node of a level; none in the level below all levels.
const fn bit(level: u32, hash: u64) -> u16 {
    if level < LEVELS {
        1 << (hash >> (level * BITS) & ((1 << BITS) - 1))
    } else {
        0
    }
}

impl<K: Hash + Eq + Clone, V: Clone, S: BuildHasher + Default> FromIterator<(K, V)> for PersistentMap<K, V, S> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<K: fmt::Debug, V: fmt::Debug, S> fmt::Debug for PersistentMap<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        hash::{BuildHasherDefault, DefaultHasher, Hasher},
    };

    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Hashes that differ in the bits of `MASK` alone: keys meet at every level, down to the list of equal
    /// hashes.
    #[derive(Default)]
    struct Masked<const MASK: u64>(DefaultHasher);

    impl<const MASK: u64> Hasher for Masked<MASK> {
        fn finish(&self) -> u64 {
            self.0.finish() & MASK
        }

        fn write(&mut self, bytes: &[u8]) {
            self.0.write(bytes);
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Change {
        Insert(u8, u32),
        Remove(u8),
        Keep,
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let change = prop_oneof![
            20 => (any::<u8>(), any::<u32>()).prop_map(|(key, value)| Change::Insert(key, value)),
            15 => any::<u8>().prop_map(Change::Remove),
            1 => Just(Change::Keep),
        ];
        vec(change, 0..400)
    }

    type Versions<S> = Vec<(PersistentMap<u8, u32, S>, HashMap<u8, u32>)>;

    /// Does the same to a map and to one of the standard library; returns both, and those that were kept on
    /// the way.
    fn apply<S: BuildHasher + Default + Clone>(changes: &[Change]) -> Versions<S> {
        let (mut versions, mut map, mut model) = (Vec::new(), PersistentMap::default(), HashMap::new());
        for change in changes {
            match *change {
                Change::Insert(key, value) => assert_eq!(map.insert(key, value), model.insert(key, value)),
                Change::Remove(key) => assert_eq!(map.remove(&key), model.remove(&key)),
                Change::Keep => versions.push((map.clone(), model.clone())),
            }
        }
        versions.push((map, model));
        versions
    }

    fn check<S: BuildHasher + Default + Clone>(changes: &[Change]) {
        for (map, model) in apply::<S>(changes) {
            assert_eq!(map.len(), model.len());
            for key in 0..=u8::MAX {
                assert_eq!(map.get(&key), model.get(&key), "{key}");
            }
            let listed: Vec<_> = map.iter().collect();
            assert_eq!(listed.len(), model.len(), "each entry is listed once");
            assert!(listed.iter().all(|(key, value)| model.get(key) == Some(value)));
            assert!(is_compact(&map.root, 0), "no node has a single entry, but the root");
        }
    }

    fn is_compact<K, V>(node: &Node<K, V>, level: u32) -> bool {
        let is_single = matches!(&*node.children, [] | [Child::Entry(..)]);
        let below = |child: &Child<K, V>| match child {
            Child::Node(node) => is_compact(node, level + 1),
            Child::Entry(..) => true,
        };
        (level == 0 || !is_single) && node.children.iter().all(below)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_does_what_a_hash_map_does_and_old_versions_stay(changes in changes()) {
            check::<RandomState>(&changes);
        }

        #[test]
        fn keys_of_similar_and_of_equal_hashes_are_kept_apart(changes in changes()) {
            check::<BuildHasherDefault<Masked<0>>>(&changes);
            check::<BuildHasherDefault<Masked<0b11>>>(&changes);
            check::<BuildHasherDefault<Masked<{ 0b111 << 61 }>>>(&changes);
        }
    }

    #[test]
    fn a_change_copies_the_way_to_its_entry_and_shares_the_rest() {
        let before: PersistentMap<u32, Arc<u32>> = (0..100_000).map(|n| (n, Arc::new(n))).collect();
        let mut after = before.clone();
        let count =
            |map: &PersistentMap<_, Arc<u32>>| map.iter().map(|(_, value)| Arc::strong_count(value)).sum::<usize>();
        let shared = count(&before);
        assert_eq!(shared, before.len(), "a clone copies nothing");
        after.remove(&4711);
        let copied = count(&before) - shared;
        assert!(copied < 16 * 16, "{copied} of {} values were copied", before.len());
        assert_eq!((before.len(), after.len()), (100_000, 99_999));
        assert!(before.get(&4711).is_some() && after.get(&4711).is_none());
    }
}
