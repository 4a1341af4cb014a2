//! The cost of one change of a key or a key store, and of a lookup, with ten of them, ten thousand and a
//! million: it should cost the same. Beside that the copy of a hash map with a million keys, which each
//! change would be without sharing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark may panic and print"
)]

use std::{collections::HashMap, sync::Arc, time::Duration};

use xks_backend_soft::SoftBackend;
use xks_benches::{
    Row, credential,
    measure::{consume, in_turn, is_wanted, ratio},
    region,
};
use xks_core::{KeyBackend, KeyId, KeyStore, KeyStores, key_store::UriPathPrefix};

fn main() {
    let counts = if is_wanted() {
        [10, 10_000, 1_000_000]
    } else {
        [10, 100, 1000]
    };
    let backend: Arc<dyn KeyBackend> = Arc::new(SoftBackend::new());
    let (changed_keys, found_keys) = keys(&backend, counts);
    let (changed_stores, found_stores) = stores(&backend, counts);
    let print = |what: &str, times: [Duration; 3]| {
        let [few, some, many] = times.map(|time| time.as_nanos());
        let most_to_least = ratio(times[2], times[0]);
        println!("  {what:<26} {few:>6} {some:>6} {many:>6} ns, {most_to_least:.2} times with the most");
    };
    println!("with {} of them, {} and {}", counts[0], counts[1], counts[2]);
    print("one key added or removed", changed_keys);
    print("one key store changed", changed_stores);
    print("a key looked up", found_keys);
    print("a key store looked up", found_stores);

    if is_wanted() {
        let map: HashMap<_, _> = ids(counts[2]).into_iter().map(|id| (id, ())).collect();
        let cheaper = ratio(fastest_of_three(|| map.clone()), changed_keys[2]);
        let what = "a change of one key of a million, times as cheap as a copy of the map";
        println!("{}", Row::at_least(what, 1000.0, cheaper));
    }
}

fn ids(count: usize) -> Vec<KeyId> {
    (0..count)
        .map(|number| KeyId::new(format!("key-{number:020}")).unwrap())
        .collect()
}

/// Numbers below `count`, far apart, each time others.
fn spread(count: usize) -> impl FnMut() -> usize {
    let mut state = 1_usize;
    move || {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        (state >> 20) % count
    }
}

fn store(prefix: &UriPathPrefix, backend: &Arc<dyn KeyBackend>, keys: impl IntoIterator<Item = KeyId>) -> KeyStore {
    let builder = KeyStore::builder(prefix.clone(), Arc::clone(backend))
        .region(region())
        .credential(credential());
    builder.keys(keys).build().unwrap()
}

/// A change, and a lookup, of one key among so many of a key store.
fn keys(backend: &Arc<dyn KeyBackend>, counts: [usize; 3]) -> ([Duration; 3], [Duration; 3]) {
    let prefix: UriPathPrefix = "/keys".parse().unwrap();
    let each = counts.map(|count| {
        let ids = ids(count);
        (
            KeyStores::new([store(&prefix, backend, ids.iter().cloned())]).unwrap(),
            ids,
        )
    });
    let mut changes = each.each_ref().map(|(key_stores, ids)| {
        let (prefix, mut next) = (&prefix, spread(ids.len()));
        move || {
            let id = &ids[next()];
            key_stores.update(prefix, |store| store.without_keys([id])).unwrap();
            key_stores.update(prefix, |store| store.keys([id.clone()])).unwrap();
        }
    });
    let [few, some, many] = &mut changes;
    let changed = in_turn([few, some, many]).map(|time| time / 2);
    let mut lookups = each.each_ref().map(|(key_stores, ids)| {
        let (store, mut next) = (key_stores.get("/keys").unwrap(), spread(ids.len()));
        move || consume(store.has_key(&ids[next()]))
    });
    let [few, some, many] = &mut lookups;
    (changed, in_turn([few, some, many]))
}

/// A change, and a lookup, of one key store among so many.
fn stores(backend: &Arc<dyn KeyBackend>, counts: [usize; 3]) -> ([Duration; 3], [Duration; 3]) {
    let shared = store(&"/shared".parse().unwrap(), backend, ids(1));
    let each = counts.map(|count| {
        let prefixes: Vec<UriPathPrefix> = (0..count).map(|number| format!("/{number}").parse().unwrap()).collect();
        let of_prefix = |prefix: &UriPathPrefix| {
            let builder = KeyStore::builder(prefix.clone(), Arc::clone(backend)).region(region());
            let builder = builder.credentials(shared.credentials().iter().cloned());
            builder.all_keys_of_backend().build().unwrap()
        };
        (KeyStores::new(prefixes.iter().map(of_prefix)).unwrap(), prefixes)
    });
    let mut changes = each.each_ref().map(|(key_stores, prefixes)| {
        let (mut next, mut is_blocked) = (spread(prefixes.len()), false);
        move || {
            is_blocked = !is_blocked;
            consume(
                key_stores
                    .update(&prefixes[next()], |store| store.blocked(is_blocked))
                    .unwrap(),
            );
        }
    });
    let [few, some, many] = &mut changes;
    let changed = in_turn([few, some, many]);
    let mut lookups = each.each_ref().map(|(key_stores, prefixes)| {
        let mut next = spread(prefixes.len());
        move || consume(key_stores.get(prefixes[next()].as_str()))
    });
    let [few, some, many] = &mut lookups;
    (changed, in_turn([few, some, many]))
}

/// For work that takes much longer than what `fastest` is for.
fn fastest_of_three<T>(mut work: impl FnMut() -> T) -> Duration {
    let run = |_| {
        let start = std::time::Instant::now();
        consume(work());
        start.elapsed()
    };
    (0..3).map(run).min().unwrap()
}
