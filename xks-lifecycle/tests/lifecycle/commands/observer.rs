//! An observer of the state learns of each change before the command that made it returns.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, OnceLock},
};

use pollster::block_on;
use xks_core::KeyBackend;
use xks_lifecycle::{
    ExternalKeyStore, KeyStoreCredential, KeyStoreId, Regions, Touched,
    commands::{Commands, Observed, Observer},
    key_state::KeyCommand,
    store::Revision,
    view::View,
};

use super::world::{World, alice};

/// What an observer was told.
#[derive(Debug)]
struct Told {
    revision: Revision,
    touched: Option<Touched>,
    /// Each with whether it is there.
    key_stores: Vec<(KeyStoreId, bool)>,
}

#[derive(Default)]
struct Log {
    told: Mutex<Vec<Told>>,
    view: OnceLock<Arc<View>>,
}

impl Log {
    fn take(&self) -> Vec<Told> {
        std::mem::take(&mut self.told.lock().unwrap())
    }

    fn one(&self) -> Told {
        let [told] = <[Told; 1]>::try_from(self.take()).unwrap();
        told
    }
}

impl Observer for Log {
    fn changed(&self, state: &Observed<'_>) {
        let revision = state.snapshot().revision();
        if let Some(view) = self.view.get() {
            assert_eq!(view.revision(), revision, "requests see it first");
        }
        let there = |id: KeyStoreId| {
            assert!(state.managed(id).metadata_length() > 0);
            (id, state.snapshot().key_store(id).is_some())
        };
        self.told.lock().unwrap().push(Told {
            revision,
            touched: state.touched().cloned(),
            key_stores: state.key_stores().into_iter().map(there).collect(),
        });
    }
}

fn observed(world: &World) -> (Commands, Arc<Log>) {
    let log = Arc::new(Log::default());
    let commands = world.another().with_observer(Arc::clone(&log) as _);
    assert!(log.view.set(Arc::clone(commands.view())).is_ok());
    (commands, log)
}

fn key_store(world: &World) -> ExternalKeyStore {
    let (id, regions) = (KeyStoreId::generate().unwrap(), Regions::new(["eu-central-1"]).unwrap());
    ExternalKeyStore::new(id, world.tenant, "Store", "/store".parse().unwrap(), regions).unwrap()
}

#[test]
fn an_observer_is_told_the_whole_state_and_then_each_change_before_its_command_returns() {
    let world = World::new();
    let mut store = key_store(&world);
    block_on(world.commands.create(alice(), store.clone())).unwrap();
    let (commands, log) = observed(&world);
    let first = log.one();
    assert_eq!((first.revision, &first.touched), (commands.revision(), &None));
    assert_eq!(first.key_stores, [(store.id, true)]);

    store.is_blocked = true;
    let revision = block_on(commands.update(alice(), store.clone(), None)).unwrap();
    let blocked = log.one();
    assert_eq!(
        (blocked.revision, &blocked.key_stores),
        (revision, &vec![(store.id, true)])
    );
    block_on(commands.update(alice(), store.clone(), None)).unwrap();
    assert!(log.take().is_empty(), "nothing has changed");
    block_on(commands.remove::<ExternalKeyStore>(alice(), store.id, None)).unwrap();
    assert_eq!(log.one().key_stores, [(store.id, false)]);
}

#[test]
fn an_observer_is_told_what_others_have_committed() {
    let world = World::new();
    let (commands, log) = observed(&world);
    log.take();
    let store = key_store(&world);
    let id = world.create(world.vault, "Name").key.id;
    block_on(world.commands.create(alice(), store.clone())).unwrap();
    assert!(log.take().is_empty());
    // A command takes it in before its own change.
    block_on(commands.change_key(alice(), &id, None, KeyCommand::Disable)).unwrap();
    let [others, own] = <[Told; 2]>::try_from(log.take()).unwrap();
    let touched = others.touched.unwrap();
    assert_eq!(
        (&touched.keys, &touched.key_stores),
        (&BTreeSet::from([id.clone()]), &BTreeSet::from([store.id]))
    );
    assert_eq!((own.revision, own.key_stores), (others.revision.next(), Vec::new()));
    assert_eq!(own.touched.unwrap().keys, BTreeSet::from([id]));
}

/// Who serves key stores reads one again when its credentials change.
#[test]
fn a_credential_touches_its_key_store() {
    let world = World::new();
    let store = key_store(&world);
    block_on(world.commands.create(alice(), store.clone())).unwrap();
    let (commands, log) = observed(&world);
    log.take();
    let secret = xks_core::key_store::SecretAccessKey::new("s".repeat(43)).unwrap();
    let credential = KeyStoreCredential::new(store.id, "A".repeat(20).parse().unwrap(), secret, commands.now());
    let (repository, mut snapshot) = world.repository();
    let changes = xks_lifecycle::Changes::new().insert(credential.clone());
    block_on(repository.commit(&mut snapshot, changes)).unwrap();
    assert!(block_on(commands.refresh()).unwrap());
    let told = log.one();
    assert_eq!(told.key_stores, [(store.id, true)]);
    assert_eq!(
        told.touched.unwrap().credentials,
        BTreeSet::from([credential.access_key_id])
    );
}
