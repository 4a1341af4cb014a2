//! The layer before real backends: what KMS gets.

use std::sync::Arc;

use pollster::block_on;
use xks_backend_soft::SoftKey;
use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing,
    aad::{AadFraming, BoundAad},
    api::RequestMetadata,
    backend::{
        BackendErrorKind, DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, HealthStatus, KeyStatus,
    },
    testkit::conformance::{self, Fixture, Problem},
};
use xks_lifecycle::{
    ExternalKeyStore, KeySet, KeySetId, KeySource, KeyStoreId, Managed, Regions,
    commands::{Adopt, CreateKey, KeyEntry},
    key_state::{KeyCommand, VersionCommand},
};

use crate::commands::world::{World, alice};

/// A key store, and key sets of each source in it.
pub(crate) struct Store {
    pub(crate) world: World,
    pub(crate) id: KeyStoreId,
    pub(crate) managed: Arc<Managed>,
}

fn key_store(world: &World, prefix: &str) -> KeyStoreId {
    let (id, regions) = (KeyStoreId::generate().unwrap(), Regions::new(["eu-central-1"]).unwrap());
    let store = ExternalKeyStore::new(id, world.tenant, "Store", prefix.parse().unwrap(), regions).unwrap();
    block_on(world.commands.create(alice(), store)).unwrap();
    id
}

impl Store {
    pub(crate) fn new() -> Self {
        Self::over(World::new())
    }

    pub(crate) fn over(world: World) -> Self {
        let id = key_store(&world, "/store");
        for set in [world.hsm, world.vault, world.adopted] {
            let mut set: KeySet = world
                .commands
                .read(|snapshot| (**snapshot.key_set(set).unwrap()).clone());
            set.key_store = Some(id);
            block_on(world.commands.update(alice(), set, None)).unwrap();
        }
        let managed = Arc::new(Managed::new(&world.commands, id));
        Self { world, id, managed }
    }

    /// The same key store, of another process.
    pub(crate) fn of(&mut self, commands: xks_lifecycle::commands::Commands) {
        self.managed = Arc::new(Managed::new(&commands, self.id));
        self.world.commands = commands;
    }

    pub(crate) fn sets(&self) -> [KeySetId; 2] {
        [self.world.hsm, self.world.vault]
    }

    pub(crate) fn encrypt(&self, key: &KeyId) -> Result<Encrypted, BackendError> {
        encrypt(&*self.managed, key)
    }

    pub(crate) fn decrypt(&self, key: &KeyId, encrypted: &Encrypted) -> Result<(), BackendErrorKind> {
        self.decrypt_as(key, encrypted, Some(sent(encrypted)))
    }

    fn decrypt_as(&self, key: &KeyId, encrypted: &Encrypted, metadata: Option<&[u8]>) -> Result<(), BackendErrorKind> {
        decrypt_as(&*self.managed, key, encrypted, metadata)
    }

    pub(crate) fn status(&self, key: &KeyId) -> Result<KeyStatus, BackendErrorKind> {
        let request = GetKeyMetadataRequest::new(RequestMetadata::default());
        let metadata = block_on(KeyBackend::key_metadata(&*self.managed, key, &request));
        metadata.map(|metadata| metadata.status()).map_err(|error| error.kind())
    }
}

/// The metadata that KMS gets: behind the length of the AAD, the AAD and its own length.
fn sent(encrypted: &Encrypted) -> &[u8] {
    &encrypted.bound_aad().as_bytes()[2 + b"aad".len() + 1..]
}

pub(crate) fn encrypt(backend: &dyn KeyBackend, key: &KeyId) -> Result<Encrypted, BackendError> {
    let aad = BoundAad::new(AadFraming::Spec, Some(b"aad"), None).unwrap();
    let plaintext = Zeroizing::new(b"plaintext".to_vec());
    let mut request = EncryptRequest::new(RequestMetadata::default(), plaintext, aad);
    block_on(backend.encrypt(key, &mut request))
}

pub(crate) fn decrypt(backend: &dyn KeyBackend, key: &KeyId, encrypted: &Encrypted) -> Result<(), BackendErrorKind> {
    decrypt_as(backend, key, encrypted, Some(sent(encrypted)))
}

fn decrypt_as(
    backend: &dyn KeyBackend,
    key: &KeyId,
    encrypted: &Encrypted,
    metadata: Option<&[u8]>,
) -> Result<(), BackendErrorKind> {
    let metadata = metadata.map(|bytes| bytes.try_into().unwrap());
    let aad = BoundAad::new(AadFraming::Spec, Some(b"aad"), metadata).unwrap();
    let encrypted = Encrypted::new(encrypted.ciphertext().to_vec(), *encrypted.iv(), *encrypted.tag(), aad);
    let request = DecryptRequest::new(RequestMetadata::default(), encrypted);
    let plaintext = block_on(backend.decrypt(key, &request)).map_err(|error| error.kind())?;
    assert_eq!(*plaintext, b"plaintext");
    Ok(())
}

/// What takes a key that the tests know, one that does one thing alone, or a backend that breaks.
const NOT_TRIED: [&str; 5] = [
    "software_agrees",
    "keys_that_only_encrypt",
    "keys_that_only_decrypt",
    "health_follows",
    "outages_tell_no_plaintext",
];

/// An adopted key can be in a key store of others: the layer serves it there, and no other backend does.
#[test]
fn keys_of_any_key_store_can_be_served() {
    let store = Store::new();
    let all = Managed::all(&store.world.commands);
    let inside = store.world.create(store.world.vault, "Inside").key.id;
    store.decrypt(&inside, &encrypt(&all, &inside).unwrap()).unwrap();
    let set = KeySet::new(
        KeySetId::generate().unwrap(),
        store.world.tenant,
        "Outside",
        KeySource::Vault,
    )
    .unwrap();
    let outside = set.id;
    block_on(store.world.commands.create(alice(), set)).unwrap();
    let outside = store.world.create(outside, "Outside").key.id;
    let not_found = store.encrypt(&outside).unwrap_err().kind();
    assert_eq!(not_found, BackendErrorKind::KeyNotFound);
    encrypt(&all, &outside).unwrap();
    store.world.change(&outside, KeyCommand::Disable).unwrap();
    assert_eq!(
        encrypt(&all, &outside).unwrap_err().kind(),
        BackendErrorKind::KeyDisabled
    );
}

/// The layer is a backend like any other, over keys in an HSM and over sealed ones.
#[test]
fn it_keeps_the_contract_of_a_backend() {
    for source in [KeySource::Hsm, KeySource::Vault] {
        let store = Store::new();
        let set = if source == KeySource::Hsm {
            store.world.hsm
        } else {
            store.world.vault
        };
        let create = |name| store.world.create(set, name).key.id;
        let (usable, other, disabled, switched) = (create("a"), create("b"), create("c"), create("d"));
        store.world.rotate(&usable).unwrap();
        store.world.change(&disabled, KeyCommand::Disable).unwrap();
        let managed = Arc::clone(&store.managed);
        let restarted = Arc::new(Managed::new(&store.world.another(), store.id));
        let id = switched.clone();
        let fixture = Fixture::new(managed, usable.as_str())
            .other(other.as_str())
            .disabled(disabled.as_str())
            .missing("missing")
            .restarted(restarted)
            .switch(switched.as_str(), move |is_enabled| {
                let command = if is_enabled {
                    KeyCommand::Enable
                } else {
                    KeyCommand::Disable
                };
                store.world.change(&id, command).unwrap();
            });
        let mut not_tried = Vec::new();
        for finding in conformance::check(fixture) {
            match finding.problem {
                Some(Problem::Broken(how)) => panic!("{source} {:?}: {how}", finding.contract),
                Some(Problem::NotTried(_)) => not_tried.push(finding.contract.name),
                None => {}
            }
        }
        assert_eq!(not_tried, NOT_TRIED, "{source}");
    }
}

fn version(entry: &KeyEntry, number: u32) -> &xks_lifecycle::KeyVersionId {
    let version = entry.versions.iter().find(|version| version.number == number);
    &version.unwrap().id
}

#[test]
fn what_a_version_has_encrypted_it_decrypts_until_it_may_not() {
    for set in Store::new().sets().iter().enumerate().map(|(place, _)| place) {
        let store = Store::new();
        let key = store.world.create(store.sets()[set], "Name");
        let id = &key.key.id;
        let first = store.encrypt(id).unwrap();
        let tag = [&[0x81][..], &key.versions[0].id.version.to_bytes()].concat();
        assert_eq!(sent(&first), [&tag[..], b"key_version=1"].concat());
        assert_eq!(KeyBackend::metadata_length(&*store.managed), sent(&first).len());

        let rotated = store.world.rotate(id).unwrap();
        let second = store.encrypt(id).unwrap();
        assert_eq!(
            (store.decrypt(id, &first), store.decrypt(id, &second)),
            (Ok(()), Ok(()))
        );
        // The tag is authenticated: under that of another version nothing is opened.
        let moved = [&[0x81][..], &version(&rotated, 2).version.to_bytes(), b"key_version=1"].concat();
        for metadata in [Some(&moved[..]), Some(&tag[..]), Some(b"key_version=1"), None] {
            assert_eq!(
                store.decrypt_as(id, &first, metadata),
                Err(BackendErrorKind::InvalidCiphertext)
            );
        }
        let change = |command| store.world.change_version(version(&rotated, 1), command).unwrap();
        change(VersionCommand::Revoke);
        assert_eq!(store.decrypt(id, &first), Err(BackendErrorKind::KeyDisabled));
        change(VersionCommand::Restore);
        assert_eq!(store.decrypt(id, &first), Ok(()));
        change(VersionCommand::Revoke);
        let typed_name = Some("Name".to_owned()); // it has encrypted
        change(VersionCommand::Destroy { typed_name });
        assert_eq!(store.decrypt(id, &first), Err(BackendErrorKind::KeyNotFound));
        assert_eq!(store.decrypt(id, &second), Ok(()));
    }
}

#[test]
fn a_key_answers_as_its_state_says() {
    for set in [0, 1] {
        let store = Store::new();
        let id = &store.world.create(store.sets()[set], "Name").key.id;
        let first = store.encrypt(id).unwrap();
        let answers = || {
            let encrypted = store.encrypt(id).map(drop).map_err(|error| error.kind());
            (store.status(id), encrypted, store.decrypt(id, &first))
        };
        let disabled = Err(BackendErrorKind::KeyDisabled);
        assert_eq!(answers(), (Ok(KeyStatus::Enabled), Ok(()), Ok(())));
        store.world.change(id, KeyCommand::Disable).unwrap();
        assert_eq!(answers(), (Ok(KeyStatus::Disabled), disabled, disabled));
        store.world.change(id, KeyCommand::Enable).unwrap();
        store.world.change(id, KeyCommand::Deactivate).unwrap();
        assert_eq!(answers(), (Ok(KeyStatus::Disabled), disabled, Ok(())));
        store.world.change(id, KeyCommand::ScheduleDeletion(None)).unwrap();
        assert_eq!(answers(), (Ok(KeyStatus::Disabled), disabled, disabled));
        store.world.wait(7);
        let typed_name = Some("Name".to_owned()); // it has encrypted
        store.world.change(id, KeyCommand::Destroy { typed_name }).unwrap();
        let gone = BackendErrorKind::KeyNotFound;
        assert_eq!(answers(), (Err(gone), Err(gone), Err(gone)));
    }
}

/// A key manager that has lost a key, or disabled it, is believed.
#[test]
fn what_the_backend_says_of_a_key_counts_too() {
    let store = Store::new();
    let key = store.world.create(store.world.hsm, "Name");
    let label = key.versions[0].backend_key().unwrap();
    store.world.manager.soft.set_status(label, KeyStatus::Disabled).unwrap();
    assert_eq!(store.status(&key.key.id), Ok(KeyStatus::Disabled));
    store.world.manager.soft.remove(label);
    assert_eq!(store.status(&key.key.id), Err(BackendErrorKind::KeyNotFound));
}

#[test]
fn what_a_key_has_encrypted_before_it_was_managed_is_decrypted() {
    let store = Store::new();
    let id: KeyId = "nshield-key".parse().unwrap();
    store
        .world
        .manager
        .soft
        .insert(id.clone(), SoftKey::generate().unwrap());
    let earlier = encrypt(&*store.world.manager.soft, &id).unwrap();
    let mut adopt = Adopt::new(CreateKey::new(store.world.adopted, "Name").unwrap(), id.clone());
    adopt.legacy_metadata = earlier.bound_aad().metadata().copied();
    block_on(store.world.commands.adopt(alice(), adopt)).unwrap();
    let since = store.encrypt(&id).unwrap();
    assert_ne!(sent(&since), sent(&earlier));
    store.world.rotate(&id).unwrap();
    let rotated = store.encrypt(&id).unwrap();
    for encrypted in [&earlier, &since, &rotated] {
        assert_eq!(store.decrypt(&id, encrypted), Ok(()));
    }
}

#[test]
fn a_key_store_has_the_keys_of_its_own_key_sets() {
    let store = Store::new();
    let id = &store.world.create(store.world.vault, "Name").key.id;
    let first = store.encrypt(id).unwrap();
    let other = Managed::new(&store.world.commands, key_store(&store.world, "/other"));
    assert_eq!(encrypt(&other, id).unwrap_err().kind(), BackendErrorKind::KeyNotFound);
    assert_eq!(store.decrypt(id, &first), Ok(()));
    let set = KeySet::new(
        KeySetId::generate().unwrap(),
        store.world.tenant,
        "Free",
        KeySource::Vault,
    )
    .unwrap();
    let free = set.id;
    block_on(store.world.commands.create(alice(), set)).unwrap();
    let id = &store.world.create(free, "Name").key.id;
    assert_eq!(store.encrypt(id).unwrap_err().kind(), BackendErrorKind::KeyNotFound);
    // A store that is blocked serves nothing, and its health is as before.
    let mut blocked: ExternalKeyStore =
        (store.world.commands).read(|snapshot| (**snapshot.key_store(store.id).unwrap()).clone());
    blocked.is_blocked = true;
    block_on(store.world.commands.update(alice(), blocked, None)).unwrap();
    assert_eq!(
        store.status(&store.world.create(store.world.hsm, "Other").key.id),
        Ok(KeyStatus::Disabled)
    );
    let health = block_on(KeyBackend::health(&*store.managed)).unwrap();
    let members: Vec<_> = health
        .members()
        .iter()
        .map(|member| (member.id(), member.status()))
        .collect();
    assert_eq!(
        members,
        [("soft", HealthStatus::Active), ("vault", HealthStatus::Active)]
    );
}
