//! Keys under management on each module, from their making to their end: what they are made with, and that
//! they serve.

use std::{
    fs,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use xks_backend_pkcs11::Pkcs11Backend;
use xks_core::{
    KeyId,
    aad::{AadFraming, BoundAad},
    backend::{BackendErrorKind, Encrypted},
    manage::KeyManager as _,
};
use xks_lifecycle::{
    ExternalKeyStore, KeySet, KeySetId, KeySource, KeyStoreId, KeyVersion, Managed, Material, Minima, Name, Regions,
    Repository, Tenant, TenantId, Timestamp, WaitingDays, backup,
    commands::{Actor, Backends, Commands, CreateKey, Deployment, MadeFor},
    key_state::{KeyCommand, KeyState, VersionCommand},
    seal::Root,
    store::MemoryStore,
};

use crate::{
    module::Module,
    operator::Operator,
    support::{assert_fails, decrypt, encrypt, id, open, run},
    token::{Token, on_a_thread, with_token},
};

#[test]
#[ignore = "needs scripts/modules"]
fn craton() {
    with_token(Module::Craton, "lifecycle::craton", |token| {
        on_a_thread(|| from_the_making_to_the_end(token));
    });
}

#[test]
#[ignore = "needs scripts/modules"]
fn kryoptic() {
    with_token(Module::Kryoptic, "lifecycle::kryoptic", |token| {
        on_a_thread(|| from_the_making_to_the_end(token));
    });
}

#[test]
#[ignore = "needs scripts/modules"]
fn softoken() {
    with_token(Module::Softoken, "lifecycle::softoken", |token| {
        on_a_thread(|| from_the_making_to_the_end(token));
    });
}

const START: u64 = 1_800_000_000;

/// Commands on a state in memory, whose keys and whose root are in the token.
struct Site {
    commands: Commands,
    alice: Actor,
    clock: Arc<AtomicU64>,
}

impl Site {
    fn new(repository: Repository, snapshot: xks_lifecycle::Snapshot, backend: &Arc<Pkcs11Backend>) -> Self {
        let clock = Arc::new(AtomicU64::new(START));
        let now = Arc::clone(&clock);
        let name = Name::new("name", "hsm").unwrap();
        let backends = Backends::new().with(name, Arc::clone(backend) as _, Arc::clone(backend) as _);
        let commands = Commands::new(repository, snapshot, backends, Deployment::new("prod").unwrap())
            .with_clock(move || at(now.load(Ordering::Relaxed)));
        let alice = Actor::new("alice").unwrap();
        Self { commands, alice, clock }
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds("time", seconds).unwrap()
}

fn labels(backend: &Pkcs11Backend) -> Vec<String> {
    let later = Instant::now() + Duration::from_secs(60);
    let page = run(backend.keys(None, NonZeroUsize::new(100).unwrap(), later)).unwrap();
    page.keys.into_iter().map(|key| key.label).collect()
}

/// As KMS sends it again: with its whole metadata, behind the length of the AAD, the AAD, and its own length.
fn sent(encrypted: &Encrypted) -> Encrypted {
    let metadata = &encrypted.bound_aad().as_bytes()[2 + b"the aad".len() + 1..];
    let aad = BoundAad::new(AadFraming::Spec, Some(b"the aad"), Some(metadata.try_into().unwrap())).unwrap();
    Encrypted::new(encrypted.ciphertext().to_vec(), *encrypted.iv(), *encrypted.tag(), aad)
}

fn from_the_making_to_the_end(token: &Token) {
    let backend = Arc::new(open(token.config()));
    let before = labels(&backend);
    let roots = [Root::backend("hsm", Arc::clone(&backend) as _, id("second")).unwrap()];
    let made = Repository::create(Arc::new(MemoryStore::new()), &roots, at(START));
    let (repository, snapshot) = run(made).unwrap();
    let site = Site::new(repository, snapshot, &backend);
    let tenant = Tenant::new(TenantId::generate().unwrap(), "Tenant").unwrap();
    let (store, regions) = (KeyStoreId::generate().unwrap(), Regions::new(["eu-central-1"]).unwrap());
    let key_store = ExternalKeyStore::new(store, tenant.id, "Store", "/store".parse().unwrap(), regions).unwrap();
    let mut set = KeySet::new(KeySetId::generate().unwrap(), tenant.id, "Set", KeySource::Hsm).unwrap();
    set.waiting = WaitingDays::new(7).unwrap();
    set.key_store = Some(store);
    let spec = CreateKey::new(set.id, "Name").unwrap();
    run(site.commands.create(&site.alice, tenant)).unwrap();
    run(site.commands.create(&site.alice, key_store)).unwrap();
    run(site.commands.create(&site.alice, set)).unwrap();

    let created = run(site.commands.create_key(&site.alice, spec)).unwrap();
    assert_eq!(created.state, KeyState::Enabled);
    let key = created.key.id.clone();
    let first = &created.versions[0];
    assert_attributes(token, first);
    let managed = Managed::new(&site.commands, store);
    let serves = |managed: &Managed| run(encrypt(managed, key.as_str(), b"plaintext")).unwrap();
    let opens = |managed: &Managed, encrypted: &Encrypted| {
        run(decrypt(managed, key.as_str(), &sent(encrypted))).map(|plaintext| assert_eq!(plaintext, b"plaintext"))
    };
    let of_first = serves(&managed);
    opens(&managed, &of_first).unwrap();

    // Rotated after a backup, which is restored: the token tells of the version that is lost.
    let saved = run(site.commands.backup(&site.alice)).unwrap();
    let rotated = run(site.commands.rotate(&site.alice, &key, None)).unwrap();
    assert_attributes(token, &rotated.versions[1]);
    let of_second = serves(&managed);
    for encrypted in [&of_first, &of_second] {
        opens(&managed, encrypted).unwrap();
    }
    let file = token.folder.join("state.backup");
    saved.write(&file).unwrap();
    let restored = backup::restore(&file, Arc::new(MemoryStore::new()), &roots, &site.alice, at(START));
    let (repository, snapshot) = run(restored).unwrap();
    fs::remove_file(&file).unwrap();
    let lost = Site::new(repository, snapshot, &backend);
    let orphans = run(lost.commands.orphans()).unwrap();
    let orphans: Vec<_> = orphans
        .into_iter()
        .map(|orphan| (orphan.made_for, orphan.is_of_known_key))
        .collect();
    assert_eq!(orphans, [(MadeFor::Version(rotated.versions[1].id.clone()), true)]);
    let managed_again = Managed::new(&lost.commands, store);
    opens(&managed_again, &of_first).unwrap();
    assert_fails(opens(&managed_again, &of_second), BackendErrorKind::Timeout);
    drop((managed_again, lost));

    // One version ends, and then the key.
    let minima = KeyCommand::SetMinima(Minima::new(2, 2, 2).unwrap());
    run(site.commands.change_key(&site.alice, &key, None, minima)).unwrap();
    let typed_name = || Some("Name".to_owned());
    let destroy = VersionCommand::Destroy {
        typed_name: typed_name(),
    };
    run(site.commands.change_version(&site.alice, &first.id, None, destroy)).unwrap();
    assert_eq!(labels(&backend).len(), before.len() + 1);
    assert_fails(opens(&managed, &of_first), BackendErrorKind::KeyNotFound);
    opens(&managed, &of_second).unwrap();
    run(site
        .commands
        .change_key(&site.alice, &key, None, KeyCommand::ScheduleDeletion(None)))
    .unwrap();
    site.clock.store(START + 8 * 24 * 60 * 60, Ordering::Relaxed);
    let destroy = KeyCommand::Destroy {
        typed_name: typed_name(),
    };
    let destroyed = run(site.commands.change_key(&site.alice, &key, None, destroy)).unwrap();
    assert_eq!(destroyed.state, KeyState::Destroyed);
    assert_eq!(labels(&backend), before);
    drop((managed, site, roots));
    let backend = Arc::into_inner(backend).expect("nobody else has it");
    assert!(backend.shutdown(Duration::from_secs(10)), "calls did not return");
}

/// What a version's key was made with, as another session of the module reads it.
fn assert_attributes(token: &Token, version: &KeyVersion) {
    let Material::Backend {
        key: Some(key),
        token: Some(created_by),
    } = &version.material
    else {
        panic!("{version:?}")
    };
    let key: &KeyId = key;
    let expected = [
        (AttributeType::Class, Attribute::Class(ObjectClass::SECRET_KEY)),
        (AttributeType::KeyType, Attribute::KeyType(KeyType::AES)),
        (AttributeType::ValueLen, Attribute::ValueLen(32.into())),
        (AttributeType::Label, Attribute::Label(key.as_str().into())),
        (
            AttributeType::Id,
            Attribute::Id([&b"xks key "[..], created_by.as_bytes()].concat()),
        ),
        (AttributeType::Token, Attribute::Token(true)),
        (AttributeType::Private, Attribute::Private(true)),
        (AttributeType::Sensitive, Attribute::Sensitive(true)),
        (AttributeType::Extractable, Attribute::Extractable(false)),
        (AttributeType::Encrypt, Attribute::Encrypt(true)),
        (AttributeType::Decrypt, Attribute::Decrypt(true)),
        (AttributeType::Sign, Attribute::Sign(false)),
        (AttributeType::Verify, Attribute::Verify(false)),
        (AttributeType::Wrap, Attribute::Wrap(false)),
        (AttributeType::Unwrap, Attribute::Unwrap(false)),
        (AttributeType::Derive, Attribute::Derive(false)),
    ];
    let operator = Operator::log_in(token);
    let handle = operator.key(key.as_str());
    // The token states these itself: craton has none of them, and softoken calls no stored key local.
    let of_the_token = [
        (AttributeType::AlwaysSensitive, Attribute::AlwaysSensitive(true)),
        (AttributeType::NeverExtractable, Attribute::NeverExtractable(true)),
        (AttributeType::Local, Attribute::Local(true)),
    ];
    let is_stated = |(kind, _): &(AttributeType, Attribute)| match token.module {
        Module::Craton => false,
        Module::Softoken => *kind != AttributeType::Local,
        Module::Kryoptic => true,
    };
    for (kind, expected) in expected.into_iter().chain(of_the_token.into_iter().filter(is_stated)) {
        let found = operator.session.get_attributes(handle, &[kind]).unwrap();
        assert_eq!(found, [expected], "{:?}: {kind}", token.module);
    }
    operator.session.close().unwrap();
}
