//! Keys in an HSM, from their creation to their end: SoftHSM2, with the state in SQLite.

use std::{path::Path, sync::Arc, time::Duration};

use pollster::block_on;
use xks_backend_pkcs11::{Config, Pin, Pkcs11Backend, Quirks, SlotSelector};
use xks_lifecycle::{
    KeySet, KeySetId, KeySource, Minima, Name, Repository, Tenant, TenantId, VersionState, WaitingDays,
    commands::{Backends, Commands, CreateKey, Deployment},
    key_state::{KeyCommand, KeyState, VersionCommand},
    store::SqliteStore,
};
use xks_pkcs11_fixture::{Function, Permission, Shim, When, own_process, softhsm_path};

use crate::{
    DAY, alice,
    support::{TempDir, at},
};

const PIN: &str = "1234";

/// Opens the token `main` of a module.
fn open(module: &Path) -> Arc<Pkcs11Backend> {
    let config = Config::new(module)
        .slot(SlotSelector::TokenLabel("main".into()))
        .pin(Pin::new(PIN))
        .quirks(Quirks::SOFTHSM)
        .deadline(Duration::from_secs(30));
    Arc::new(Pkcs11Backend::open(config).unwrap())
}

/// Of many keys that are made by one command, each takes three calls at most beside its making: the token is
/// searched before and after all of them.
#[test]
fn many_keys_are_made_in_an_hsm_with_few_calls() {
    const KEYS: usize = 40;
    own_process("softhsm::many_keys_are_made_in_an_hsm_with_few_calls", |hsm| {
        hsm.token("main", PIN);
        let shim = Shim::load();
        let backend = open(shim.path());
        let directory = TempDir::new();
        let store = Arc::new(SqliteStore::open(&directory.database()).unwrap());
        let (repository, snapshot) = block_on(Repository::create(store, &[directory.root("first")], at(0))).unwrap();
        let backends = Backends::new().with(Name::new("name", "hsm").unwrap(), backend.clone(), backend);
        let commands = Commands::new(repository, snapshot, backends, Deployment::new("prod").unwrap());
        let tenant = Tenant::new(TenantId::generate().unwrap(), "Tenant").unwrap();
        let set = KeySet::new(KeySetId::generate().unwrap(), tenant.id, "Set", KeySource::Hsm).unwrap();
        let spec = CreateKey::new(set.id, "Name").unwrap();
        block_on(commands.create(alice(), tenant)).unwrap();
        block_on(commands.create(alice(), set)).unwrap();

        let calls = || {
            let counters = shim.counters();
            let made = counters.of(Function::C_GenerateKey);
            (made, counters.calls.values().sum::<u64>() - made)
        };
        let (made_before, calls_before) = calls();
        for created in block_on(commands.create_keys(alice(), &vec![spec; KEYS])) {
            assert_eq!(created.unwrap().state, KeyState::Enabled);
        }
        let (made, calls) = calls();
        let (made, calls) = (made - made_before, calls - calls_before);
        assert!(
            made == KEYS as u64 && calls <= 3 * made,
            "{made} keys, {calls} other calls"
        );
        assert_eq!(hsm.keys("main").len(), KEYS);
    });
}

/// An HSM that is gone in the middle of a creation, of a rotation, and of a destruction: what it has done, or
/// still does, is found by its token and finished, and nothing is there twice.
#[test]
fn an_hsm_that_is_gone_in_the_middle_leaves_no_orphan() {
    own_process("softhsm::an_hsm_that_is_gone_in_the_middle_leaves_no_orphan", |hsm| {
        const CKR_DEVICE_ERROR: u64 = 0x30;
        hsm.token("main", PIN);
        let shim = Shim::load();
        let backend = open(shim.path());
        let directory = TempDir::new();
        let store = Arc::new(SqliteStore::open(&directory.database()).unwrap());
        let (repository, snapshot) = block_on(Repository::create(store, &[directory.root("first")], at(0))).unwrap();
        let backends = Backends::new().with(Name::new("name", "hsm").unwrap(), backend.clone(), backend);
        let commands = Commands::new(repository, snapshot, backends, Deployment::new("prod").unwrap())
            .with_manager_timeout(Duration::from_secs(5));
        let tenant = Tenant::new(TenantId::generate().unwrap(), "Tenant").unwrap();
        let set = KeySet::new(KeySetId::generate().unwrap(), tenant.id, "Set", KeySource::Hsm).unwrap();
        let spec = || CreateKey::new(set.id, "Name").unwrap();
        block_on(commands.create(alice(), tenant)).unwrap();
        block_on(commands.create(alice(), set.clone())).unwrap();
        let recover = || {
            let recovered = block_on(commands.recover(alice())).unwrap();
            assert!(recovered.failed.is_empty(), "{recovered:?}");
            recovered
        };

        // It answers too late, and makes the key nevertheless.
        shim.hang(Function::C_GenerateKey, When::once());
        block_on(commands.create_key(alice(), spec())).unwrap_err();
        let late = commands.keys(None, None, 10)[0].clone();
        assert_eq!(
            (late.state, late.versions[0].state),
            (KeyState::PreActive, VersionState::Pending)
        );
        shim.release();
        shim.clear();
        assert_eq!(recover().made, [late.versions[0].id.clone()]);
        assert_eq!(hsm.keys("main").len(), 1);

        // It makes none while it is away; the rotation goes on when it is back.
        let id = &late.key.id;
        block_on(commands.change_key(alice(), id, None, KeyCommand::Activate)).unwrap();
        shim.fail(Function::C_GenerateKey, CKR_DEVICE_ERROR, When::always());
        block_on(commands.rotate(alice(), id, None)).unwrap_err();
        assert_eq!(commands.key(id).unwrap().versions[1].state, VersionState::Pending);
        shim.clear();
        assert_eq!(recover().made.len(), 1);
        block_on(commands.rotate(alice(), id, None)).unwrap();
        let labels = |versions: &[xks_lifecycle::KeyVersion]| -> Vec<String> {
            versions
                .iter()
                .map(|version| version.backend_key().unwrap().to_string())
                .collect()
        };
        let mut expected = labels(&commands.key(id).unwrap().versions);
        let mut found: Vec<_> = hsm.keys("main").into_iter().map(|key| key.label).collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!((found.len(), &found), (2, &expected));

        // It has destroyed a version, or not, and does not say so.
        let first = commands.key(id).unwrap().versions[0].id.clone();
        block_on(commands.change_version(alice(), &first, None, VersionCommand::Revoke)).unwrap();
        shim.fail(Function::C_DestroyObject, CKR_DEVICE_ERROR, When::always());
        let destroy = VersionCommand::Destroy { typed_name: None };
        block_on(commands.change_version(alice(), &first, None, destroy)).unwrap_err();
        assert_eq!(hsm.keys("main").len(), 2);
        shim.clear();
        assert_eq!(recover().removed, [first]);
        let left: Vec<_> = hsm.keys("main").into_iter().map(|key| key.label).collect();
        assert_eq!(left, labels(&commands.key(id).unwrap().versions[1..]));
        assert!(block_on(commands.orphans()).unwrap().is_empty());
    });
}

#[test]
fn a_key_is_made_rotated_and_destroyed_in_an_hsm() {
    own_process("softhsm::a_key_is_made_rotated_and_destroyed_in_an_hsm", |hsm| {
        hsm.token("main", PIN);
        let backend = open(&softhsm_path());
        let directory = TempDir::new();
        let store = Arc::new(SqliteStore::open(&directory.database()).unwrap());
        let root = directory.root("first");
        let (repository, snapshot) = block_on(Repository::create(store, &[root], at(0))).unwrap();
        let backends = Backends::new().with(Name::new("name", "hsm").unwrap(), backend.clone(), backend);
        let clock = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let now = Arc::clone(&clock);
        let commands = Commands::new(repository, snapshot, backends, Deployment::new("prod").unwrap())
            .with_clock(move || at(now.load(std::sync::atomic::Ordering::Relaxed)));

        let tenant = Tenant::new(TenantId::generate().unwrap(), "Tenant").unwrap();
        let mut set = KeySet::new(KeySetId::generate().unwrap(), tenant.id, "Set", KeySource::Hsm).unwrap();
        set.waiting = WaitingDays::new(7).unwrap();
        let spec = CreateKey::new(set.id, "Name").unwrap();
        block_on(commands.create(alice(), tenant)).unwrap();
        block_on(commands.create(alice(), set.clone())).unwrap();
        block_on(commands.verify_backend(alice(), set.id)).unwrap();

        let created = block_on(commands.create_key(alice(), spec)).unwrap();
        assert_eq!(created.state, KeyState::Enabled);
        let id = &created.key.id;
        let [key] = &hsm.keys("main")[..] else {
            panic!("one key")
        };
        assert_eq!(key.label, format!("prod.{id}.{}", created.versions[0].id.version));
        assert!(key.private);
        assert!(key.permissions.contains(&Permission::Encrypt) && key.permissions.contains(&Permission::Decrypt));
        let rotated = block_on(commands.rotate(alice(), id, Some(created.revision))).unwrap();
        assert_eq!(rotated.versions[1].state, VersionState::Current);
        assert_eq!(hsm.keys("main").len(), 2);

        let minima = KeyCommand::SetMinima(Minima::new(2, 2, 2).unwrap());
        block_on(commands.change_key(alice(), id, None, minima)).unwrap();
        let destroy = VersionCommand::Destroy { typed_name: None };
        block_on(commands.change_version(alice(), &created.versions[0].id, None, destroy)).unwrap();
        assert_eq!(hsm.keys("main").len(), 1);
        block_on(commands.change_key(alice(), id, None, KeyCommand::ScheduleDeletion(None))).unwrap();
        clock.store(8 * DAY, std::sync::atomic::Ordering::Relaxed);
        let destroy = KeyCommand::Destroy { typed_name: None };
        let destroyed = block_on(commands.change_key(alice(), id, None, destroy)).unwrap();
        assert_eq!(destroyed.state, KeyState::Destroyed);
        assert!(hsm.keys("main").is_empty());
    });
}
