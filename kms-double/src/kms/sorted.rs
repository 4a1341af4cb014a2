//! A list in the order of its names that is cheap to copy: a change copies a part of it, and shares the rest
//! with what it was copied from. So each change of the state can be made on a copy, with 100 000 keys too.

use std::{collections::HashSet, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most items of a part. A change copies one part, and a copy of the list has a pointer for each.
const MOST: usize = 128;

/// What has a name that no other item of its list has.
pub(crate) trait Named {
    fn name(&self) -> &str;

    /// Whether a text can be the name of an item.
    fn is_name(text: &str) -> bool {
        !text.is_empty()
    }
}

#[derive(Debug)]
pub(crate) struct Sorted<T> {
    /// None of them is empty.
    parts: Vec<Arc<Vec<Arc<T>>>>,
    len: usize,
}

/// What one list has that another has not.
#[derive(Debug)]
pub(crate) struct Difference<T> {
    /// New ones, and those that have changed.
    pub(crate) put: Vec<Arc<T>>,
    /// The names of those that are gone.
    pub(crate) removed: Vec<String>,
}

impl<T: Named> Sorted<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<T>> {
        let part = self.parts.get(self.part_of(name))?;
        let index = part.binary_search_by(|item| item.name().cmp(name)).ok()?;
        part.get(index)
    }

    /// Takes in an item, in the place of the one that has its name.
    pub(crate) fn put(&mut self, item: T) {
        let item = Arc::new(item);
        let index = self.part_of(item.name());
        let Some(part) = self.parts.get_mut(index) else {
            self.parts.push(Arc::new(vec![item]));
            self.len = 1;
            return;
        };
        let part = Arc::make_mut(part);
        match part.binary_search_by(|other| other.name().cmp(item.name())) {
            Ok(place) => {
                if let Some(place) = part.get_mut(place) {
                    *place = item;
                }
            }
            Err(place) => {
                part.insert(place, item);
                self.len += 1;
            }
        }
        if part.len() > MOST {
            let rest = part.split_off(MOST / 2);
            self.parts.insert(index + 1, Arc::new(rest));
        }
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Arc<T>> {
        let index = self.part_of(name);
        let part = self.parts.get_mut(index)?;
        let place = part.binary_search_by(|item| item.name().cmp(name)).ok()?;
        let part = Arc::make_mut(part);
        let removed = part.remove(place);
        self.len -= 1;
        if part.is_empty() {
            self.parts.remove(index);
        }
        Some(removed)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    /// The items from a name on, whether it is there or not.
    pub(crate) fn from(&self, name: &str) -> impl Iterator<Item = &Arc<T>> {
        let index = self.part_of(name);
        let place = self
            .parts
            .get(index)
            .map_or(0, |part| part.partition_point(|item| item.name() < name));
        let parts = self.parts.iter().skip(index);
        parts.flat_map(|part| part.iter()).skip(place)
    }

    /// The items whose names begin so.
    pub(crate) fn beginning_with<'a>(&'a self, start: &'a str) -> impl Iterator<Item = &'a Arc<T>> {
        self.from(start).take_while(move |item| item.name().starts_with(start))
    }

    /// The difference from a former list. What both share is not looked at.
    pub(crate) fn since(&self, former: &Self) -> Difference<T> {
        let is_new = |item: &&Arc<T>| former.get(item.name()).is_none_or(|other| !Arc::ptr_eq(item, other));
        let is_gone = |item: &&Arc<T>| self.get(item.name()).is_none();
        Difference {
            put: self.not_shared(former).filter(is_new).cloned().collect(),
            removed: former
                .not_shared(self)
                .filter(is_gone)
                .map(|item| item.name().to_owned())
                .collect(),
        }
    }

    /// The items of the parts that the other has not.
    fn not_shared(&self, other: &Self) -> impl Iterator<Item = &Arc<T>> {
        let shared: HashSet<_> = other.parts.iter().map(Arc::as_ptr).collect();
        let parts = self
            .parts
            .iter()
            .filter(move |part| !shared.contains(&Arc::as_ptr(part)));
        parts.flat_map(|part| part.iter())
    }

    /// The part that a name belongs to: the last one that begins before it.
    fn part_of(&self, name: &str) -> usize {
        let begins_before = |part: &Arc<Vec<Arc<T>>>| part.first().is_some_and(|first| first.name() <= name);
        self.parts.partition_point(begins_before).saturating_sub(1)
    }
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self {
            parts: Vec::new(),
            len: 0,
        }
    }
}

impl<T> Clone for Sorted<T> {
    fn clone(&self) -> Self {
        Self {
            parts: self.parts.clone(),
            len: self.len,
        }
    }
}

impl<T: Named> FromIterator<T> for Sorted<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut sorted = Self::default();
        for item in items {
            sorted.put(item);
        }
        sorted
    }
}

impl<T: Named + Serialize> Serialize for Sorted<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de, T: Named + Deserialize<'de>> Deserialize<'de> for Sorted<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<T>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Item(String, u32);

    impl Named for Item {
        fn name(&self) -> &str {
            &self.0
        }
    }

    /// A sequence without a pattern.
    fn numbers() -> impl Iterator<Item = u64> {
        std::iter::successors(Some(0x9e37_79b9_u64), |last| {
            Some(
                last.wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407),
            )
        })
        .map(|number| number >> 33)
    }

    #[test]
    fn it_is_as_a_map_is() {
        let (mut sorted, mut map) = (Sorted::default(), BTreeMap::new());
        for (step, number) in numbers().take(20_000).enumerate() {
            let name = format!("{:04}", number % 3000);
            if number % 7 < 2 {
                let removed = sorted.remove(&name).map(|item: Arc<Item>| item.1);
                assert_eq!(removed, map.remove(&name));
            } else {
                sorted.put(Item(name.clone(), step as u32));
                map.insert(name.clone(), step as u32);
            }
            assert_eq!(sorted.get(&name).map(|item| item.1), map.get(&name).copied());
            assert_eq!(sorted.len(), map.len());
            if step % 1000 == 0 {
                let all: Vec<_> = sorted.iter().map(|item| (item.0.clone(), item.1)).collect();
                assert_eq!(all, map.clone().into_iter().collect::<Vec<_>>());
                let rest: Vec<_> = sorted.from(&name).map(|item| item.1).collect();
                assert_eq!(rest, map.range(name..).map(|(_, value)| *value).collect::<Vec<_>>());
                let tens = sorted.beginning_with("00").map(|item| item.1).collect::<Vec<_>>();
                assert_eq!(
                    tens,
                    map.range("00".to_owned().."01".to_owned())
                        .map(|(_, value)| *value)
                        .collect::<Vec<_>>()
                );
            }
        }
        assert!(sorted.parts.iter().all(|part| (1..=MOST).contains(&part.len())));
    }

    #[test]
    fn a_copy_shares_all_but_what_has_changed() {
        let names = numbers()
            .map(|number| format!("{:06}", number % 1_000_000))
            .take(10_000);
        let former: Sorted<_> = names.map(|name| Item(name, 0)).collect();
        let mut copy = former.clone();
        let (first, last) = (
            former.iter().next().unwrap().0.clone(),
            former.iter().last().unwrap().0.clone(),
        );
        copy.put(Item(first.clone(), 1));
        copy.put(Item("new".into(), 0));
        copy.remove(&last);
        assert!(copy.not_shared(&former).count() <= 2 * MOST);
        let difference = copy.since(&former);
        let put: Vec<_> = difference.put.iter().map(|item| item.0.clone()).collect();
        assert_eq!((put, difference.removed), (vec![first, "new".into()], vec![last]));
        let none = former.since(&former.clone());
        assert!(none.put.is_empty() && none.removed.is_empty());
        assert_eq!(Sorted::<Item>::default().since(&former).removed.len(), former.len());
    }
}
