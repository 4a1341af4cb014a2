//! A map that is copied on write, in small parts: a change copies the part that has its key, whatever the
//! map's size, and who has an older copy goes on reading that.

use std::{
    collections::{BTreeMap, hash_map::RandomState},
    hash::BuildHasher as _,
    sync::Arc,
};

use xks_core::KeyId;

use super::entry::KeyView;

/// Parts of parts: with a million keys a part has some 250 of them.
const FAN: usize = 64;

/// In the order of their hashes, which is how they are found.
type Part = Arc<[(u32, KeyView)]>;
type Parts = Arc<[Part; FAN]>;

/// The keys of a view, by their external key ids.
#[derive(Clone)]
pub(super) struct Shards {
    hasher: RandomState,
    parts: [Parts; FAN],
}

impl Default for Shards {
    fn default() -> Self {
        let empty: Part = Arc::new([]);
        let parts: Parts = Arc::new(std::array::from_fn(|_| Arc::clone(&empty)));
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

impl Shards {
    fn place(&self, id: &str) -> Place {
        let hash = self.hasher.hash_one(id);
        Place {
            outer: (hash >> 58) as usize,
            inner: (hash >> 52) as usize % FAN,
            hash: hash as u32,
        }
    }

    /// Finds a key. Allocates nothing.
    pub(super) fn get(&self, id: &str) -> Option<&KeyView> {
        let place = self.place(id);
        let part = self.parts.get(place.outer)?.get(place.inner)?;
        let first = part.partition_point(|(hash, _)| *hash < place.hash);
        let same = part.get(first..)?.iter().take_while(|(hash, _)| *hash == place.hash);
        same.map(|(_, key)| key).find(|key| key.id.as_str() == id)
    }

    /// Puts keys in the places of those with their ids.
    pub(super) fn put(&mut self, keys: impl Iterator<Item = KeyView>) {
        let mut by_part: BTreeMap<(usize, usize), Vec<(u32, KeyView)>> = BTreeMap::new();
        for key in keys {
            let place = self.place(key.id.as_str());
            let part = by_part.entry((place.outer, place.inner)).or_default();
            part.push((place.hash, key));
        }
        for ((outer, inner), mut changed) in by_part {
            let Some(part) = self
                .parts
                .get_mut(outer)
                .and_then(|parts| Arc::make_mut(parts).get_mut(inner))
            else {
                continue; // both are below FAN
            };
            changed.sort_unstable_by(|a, b| a.1.id.cmp(&b.1.id));
            let is_changed = |id: &KeyId| changed.binary_search_by(|(_, key)| key.id.cmp(id)).is_ok();
            let kept: Vec<_> = part.iter().filter(|(_, key)| !is_changed(&key.id)).cloned().collect();
            let mut all: Vec<_> = kept.into_iter().chain(changed).collect();
            all.sort_unstable_by_key(|(hash, _)| *hash);
            *part = all.into();
        }
    }

    /// All keys, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &KeyView> {
        let parts = self.parts.iter().flat_map(|parts| parts.iter());
        parts.flat_map(|part| part.iter().map(|(_, key)| key))
    }

    /// Returns how many keys there are.
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

    fn key(number: usize, set: u32) -> KeyView {
        KeyView::for_test(format!("key-{number}").parse().unwrap(), set)
    }

    fn found(shards: &Shards, number: usize) -> Option<u32> {
        shards.get(&format!("key-{number}")).map(|key| key.set)
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
        for number in 0..20_100 {
            let expected = if number < 19_990 { 1 } else { 2 };
            assert_eq!(found(&shards, number), Some(expected), "{number}");
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
        let all: Part = (0..3)
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
        let parts = |shards: &Shards| -> Vec<_> {
            let parts = shards.parts.iter().flat_map(|parts| parts.iter());
            parts.map(|part| part.as_ptr()).collect()
        };
        let copied = parts(&before).into_iter().zip(parts(&shards)).filter(|(a, b)| a != b);
        assert_eq!(copied.count(), 1);
    }
}
