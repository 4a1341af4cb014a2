//! A map that is copied on write, in small parts: a change copies the part that has its key, whatever the
//! map's size, and who has an older copy goes on reading that.

use std::{
    collections::{BTreeMap, hash_map::RandomState},
    hash::BuildHasher as _,
    sync::Arc,
};

use xks_core::KeyId;

/// What a map holds: it is found by its id.
pub(super) trait Keyed: Clone {
    fn id(&self) -> &KeyId;
}

/// Parts of parts: with a million keys a part has some 250 of them.
const FAN: usize = 64;

/// In the order of their hashes, which is how they are found.
type Part<T> = Arc<[(u32, T)]>;
type Parts<T> = Arc<[Part<T>; FAN]>;

/// What a view has of something, by its id.
#[derive(Clone)]
pub(super) struct Shards<T> {
    hasher: RandomState,
    parts: [Parts<T>; FAN],
}

impl<T> Default for Shards<T> {
    fn default() -> Self {
        let empty: Part<T> = Arc::new([]);
        let parts: Parts<T> = Arc::new(std::array::from_fn(|_| Arc::clone(&empty)));
        Self {
            hasher: RandomState::new(),
            parts: std::array::from_fn(|_| Arc::clone(&parts)),
        }
    }
}

/// Where a key is: in which part of which part, and behind which hash there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    outer: usize,
    inner: usize,
    hash: u32,
}

impl<T: Keyed> Shards<T> {
    fn place(&self, id: &str) -> Place {
        let hash = self.hasher.hash_one(id);
        Place {
            outer: (hash >> 58) as usize,
            inner: (hash >> 52) as usize % FAN,
            hash: hash as u32,
        }
    }

    /// Finds what has an id. Allocates nothing.
    pub(super) fn get(&self, id: &str) -> Option<&T> {
        let place = self.place(id);
        let part = self.parts.get(place.outer)?.get(place.inner)?;
        let first = part.partition_point(|(hash, _)| *hash < place.hash);
        let same = part.get(first..)?.iter().take_while(|(hash, _)| *hash == place.hash);
        same.map(|(_, value)| value).find(|value| value.id().as_str() == id)
    }

    /// Puts values in the places of those with their ids.
    pub(super) fn put(&mut self, values: impl IntoIterator<Item = T>) {
        self.change(values.into_iter().map(|value| (value.id().clone(), Some(value))));
    }

    /// Takes out what has these ids.
    pub(super) fn remove(&mut self, ids: impl IntoIterator<Item = KeyId>) {
        self.change(ids.into_iter().map(|id| (id, None)));
    }

    /// Makes changes, and copies the parts that have them, each once.
    fn change(&mut self, changes: impl Iterator<Item = (KeyId, Option<T>)>) {
        type Changed<T> = Vec<(KeyId, Option<(u32, T)>)>;
        let mut by_part: BTreeMap<(usize, usize), Changed<T>> = BTreeMap::new();
        for (id, value) in changes {
            let place = self.place(id.as_str());
            let part = by_part.entry((place.outer, place.inner)).or_default();
            part.push((id, value.map(|value| (place.hash, value))));
        }
        for ((outer, inner), changed) in by_part {
            let changed: BTreeMap<_, _> = changed.into_iter().collect(); // the last change of an id counts
            let Some(part) = self
                .parts
                .get_mut(outer)
                .and_then(|parts| Arc::make_mut(parts).get_mut(inner))
            else {
                continue; // both are below FAN
            };
            let kept = part.iter().filter(|(_, value)| !changed.contains_key(value.id()));
            let mut all: Vec<_> = kept.cloned().collect();
            all.extend(changed.into_values().flatten());
            all.sort_unstable_by_key(|(hash, _)| *hash);
            *part = all.into();
        }
    }

    /// All values, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let parts = self.parts.iter().flat_map(|parts| parts.iter());
        parts.flat_map(|part| part.iter().map(|(_, value)| value))
    }

    /// Returns how many there are.
    pub(super) fn len(&self) -> usize {
        self.parts
            .iter()
            .flat_map(|parts| parts.iter())
            .map(|part| part.len())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Value(KeyId, u32);

    impl Keyed for Value {
        fn id(&self) -> &KeyId {
            &self.0
        }
    }

    fn key(number: usize, value: u32) -> Value {
        Value(format!("key-{number}").parse().unwrap(), value)
    }

    fn found(shards: &Shards<Value>, number: usize) -> Option<u32> {
        shards.get(&format!("key-{number}")).map(|value| value.1)
    }

    #[test]
    fn every_key_is_found_and_no_other() {
        let mut shards = Shards::default();
        shards.put((0..20_000).map(|number| key(number, 1)));
        // One after the other, and some of them again.
        for number in 19_990..20_100 {
            shards.put(std::iter::once(key(number, 2)));
        }
        assert_eq!(shards.len(), 20_100);
        shards.remove((0..20_100).step_by(10).map(|number| key(number, 0).0));
        assert_eq!(shards.len(), 18_090);
        for number in 0..20_100 {
            let expected = if number < 19_990 { 1 } else { 2 };
            let expected = (number % 10 != 0).then_some(expected);
            assert_eq!(found(&shards, number), expected, "{number}");
        }
        for number in 20_100..30_000 {
            assert_eq!(found(&shards, number), None);
        }
    }

    #[test]
    fn keys_whose_hashes_are_the_same_are_told_apart() {
        let mut shards = Shards::default();
        shards.put((0..3).map(|number| key(number, number as u32)));
        // As if all had one hash: in one part, in any order.
        let all: Part<Value> = (0..3)
            .rev()
            .map(|number| (shards.place("key-1").hash, key(number, number as u32)))
            .collect();
        let place = shards.place("key-1");
        Arc::make_mut(&mut shards.parts[place.outer])[place.inner] = all;
        assert_eq!(found(&shards, 1), Some(1));
    }

    #[test]
    fn who_has_a_copy_keeps_it_and_a_change_copies_one_part() {
        let mut shards = Shards::default();
        shards.put((0..10_000).map(|number| key(number, 1)));
        let before = shards.clone();
        shards.put(std::iter::once(key(5_000, 2)));
        assert_eq!((found(&before, 5_000), found(&shards, 5_000)), (Some(1), Some(2)));
        let parts = |shards: &Shards<Value>| -> Vec<_> {
            let parts = shards.parts.iter().flat_map(|parts| parts.iter());
            parts.map(|part| part.as_ptr()).collect()
        };
        let copied = parts(&before).into_iter().zip(parts(&shards)).filter(|(a, b)| a != b);
        assert_eq!(copied.count(), 1);
    }
}
