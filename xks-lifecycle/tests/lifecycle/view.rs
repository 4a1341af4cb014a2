//! What requests see of keys, beside what the state says.

use pollster::block_on;
use proptest::prelude::*;
use xks_backend_soft::SoftKey;
use xks_core::{
    KeyId,
    backend::{BackendErrorKind, CiphertextMetadata, KeyStatus, KeyUsage},
    manage::ManageErrorKind,
};
use xks_lifecycle::{
    Changes, Event, ExternalKeyStore, KeySet, KeyStoreId, KeyVersion, Minima, Outcome, Regions, VersionId,
    VersionState,
    commands::{Adopt, Commands, CreateKey, KeyEntry},
    key_state::{Conditions, KeyCommand, Standing, VersionCommand, view},
    seal::Root,
    view::{Management, Place, Tag},
};

use crate::commands::world::{Fault, World, alice};

fn metadata(bytes: &[u8]) -> CiphertextMetadata {
    bytes.try_into().unwrap()
}

/// The metadata of a ciphertext of a version: its tag, and what the backend adds.
fn tagged(version: VersionId) -> CiphertextMetadata {
    metadata(&[&[0x81][..], &version.to_bytes(), b"key_version=1"].concat())
}

/// Checks every key of a view against the state that the commands answer with.
fn check(commands: &Commands) {
    let now = commands.now();
    let seen = commands.view();
    let keys = commands.keys(None, None, usize::MAX);
    assert_eq!((seen.len(), seen.revision()), (keys.len(), commands.revision()));
    let totals = seen.totals(now);
    for (state, count) in totals.keys() {
        assert_eq!(
            keys.iter().filter(|entry| entry.state == state).count(),
            count,
            "{state:?}"
        );
    }
    let versions = keys.iter().flat_map(|entry| &entry.versions);
    let is_held = |version: &&KeyVersion| version.state != VersionState::Destroyed;
    assert_eq!(versions.filter(is_held).count(), totals.versions);
    for entry in &keys {
        let id = &entry.key.id;
        let set = commands.read(|snapshot| (**snapshot.key_set(entry.key.key_set).unwrap()).clone());
        let is_blocked = commands.read(|snapshot| {
            let key_store = set.key_store.and_then(|id| snapshot.key_store(id));
            key_store.is_some_and(|key_store| key_store.is_blocked)
        });
        let expected = |standing| {
            let mut conditions = Conditions::new(entry.state, set.keeps_decryption);
            (conditions.is_blocked, conditions.standing) = (is_blocked, standing);
            view(&conditions)
        };
        let current = entry
            .versions
            .iter()
            .find(|version| version.state == VersionState::Current);
        let standing = current.map_or(Standing::Nothing, |version| Standing::of(version, entry.key.minima));
        let status = seen.describe(id, now).map(|described| described.status);
        assert_eq!(status, expected(standing).status, "{entry:?}");
        match seen.to_encrypt(id, now) {
            Err(kind) => assert_eq!(Err(kind), expected(standing).encrypt, "{entry:?}"),
            Ok(served) => {
                assert_eq!(expected(standing).encrypt, Ok(()));
                let current = current.unwrap();
                assert_eq!(served.version, current.id.version);
                assert_eq!(
                    served.tag.as_bytes(),
                    &tagged(current.id.version).as_bytes()[..Tag::LENGTH]
                );
                check_key(entry, current.id.version, served.backend_key());
            }
        }
        for version in &entry.versions {
            let of_version = expected(Standing::of(version, entry.key.minima));
            match seen.to_decrypt(id, Some(&tagged(version.id.version)), now) {
                Err(kind) => assert_eq!(Err(kind), of_version.decrypt, "{entry:?} {version:?}"),
                Ok(served) => {
                    assert_eq!(of_version.decrypt, Ok(()), "{entry:?} {version:?}");
                    assert_eq!(
                        (served.version, served.tag.as_bytes().len()),
                        (version.id.version, Tag::LENGTH)
                    );
                    check_key(entry, version.id.version, served.backend_key());
                }
            }
        }
        let unknown = seen.to_decrypt(id, Some(&tagged(VersionId::from_bytes([9; 4]))), now);
        let decrypts = expected(Standing::Decrypt).decrypt;
        assert_eq!(
            unknown.unwrap_err(),
            decrypts.err().unwrap_or(BackendErrorKind::InvalidCiphertext)
        );
    }
}

fn check_key(entry: &KeyEntry, version: VersionId, served: Option<&KeyId>) {
    let version = entry.versions.iter().find(|known| known.id.version == version).unwrap();
    assert_eq!(served, version.backend_key());
}

#[derive(Clone, Debug)]
enum Action {
    Create(usize),
    Rotate(usize),
    Key(usize, KeyCommand),
    Version(usize, usize, VersionCommand),
    Wait(u64),
    Block(bool),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let key = || 0_usize..3;
    let key_command = prop_oneof![
        3 => Just(KeyCommand::Disable),
        5 => Just(KeyCommand::Enable),
        2 => Just(KeyCommand::Deactivate),
        2 => Just(KeyCommand::SetExpiry(None)),
        1 => Just(KeyCommand::ScheduleDeletion(None)),
        1 => Just(KeyCommand::CancelDeletion),
        1 => Just(KeyCommand::Destroy { typed_name: None }),
        2 => [1_u32..4, 1_u32..4].prop_map(|mut minima| {
            minima.sort_unstable();
            KeyCommand::SetMinima(Minima::new(minima[1], minima[0], minima[0]).unwrap())
        }),
    ];
    let version_command = prop_oneof![
        Just(VersionCommand::Promote),
        Just(VersionCommand::Revoke),
        Just(VersionCommand::Restore),
        Just(VersionCommand::Destroy { typed_name: None }),
    ];
    let action = prop_oneof![
        2 => (0_usize..2).prop_map(Action::Create),
        4 => key().prop_map(Action::Rotate),
        8 => (key(), key_command).prop_map(|(key, command)| Action::Key(key, command)),
        4 => (key(), 0_usize..3, version_command)
            .prop_map(|(key, version, command)| Action::Version(key, version, command)),
        1 => (0_u64..9).prop_map(Action::Wait),
        1 => any::<bool>().prop_map(Action::Block),
    ];
    proptest::collection::vec(action, 1..30)
}

fn in_a_key_store(world: &World) -> ExternalKeyStore {
    let (id, regions) = (KeyStoreId::generate().unwrap(), Regions::new(["eu-central-1"]).unwrap());
    let store = ExternalKeyStore::new(id, world.tenant, "Store", "/store".parse().unwrap(), regions).unwrap();
    block_on(world.commands.create(alice(), store.clone())).unwrap();
    let mut set: KeySet = world
        .commands
        .read(|snapshot| (**snapshot.key_set(world.hsm).unwrap()).clone());
    (set.key_store, set.keeps_decryption) = (Some(id), false);
    block_on(world.commands.update(alice(), set, None)).unwrap();
    store
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Commands that are refused change nothing, and another node sees the same when it has refreshed.
    #[test]
    fn requests_see_what_the_state_says(actions in actions()) {
        let world = World::new();
        let mut store = in_a_key_store(&world);
        let other = world.another();
        let mut keys = vec![world.create(world.hsm, "in the HSM").key.id, world.create(world.vault, "sealed").key.id];
        for action in actions {
            match action {
                Action::Create(set) => keys.push(world.create([world.hsm, world.vault][set], "Name").key.id),
                Action::Rotate(key) => drop(keys.get(key).map(|id| world.rotate(id))),
                Action::Key(key, command) => drop(keys.get(key).map(|id| world.change(id, command))),
                Action::Version(key, version, command) => {
                    let entry = keys.get(key).map(|id| world.commands.key(id).unwrap());
                    let version = entry.as_ref().and_then(|entry| entry.versions.get(version));
                    drop(version.map(|version| world.change_version(&version.id, command)));
                }
                Action::Wait(days) => world.wait(days),
                Action::Block(is_blocked) => {
                    store.is_blocked = is_blocked;
                    block_on(world.commands.update(alice(), store.clone(), None)).unwrap();
                }
            }
            check(&world.commands);
        }
        block_on(other.refresh()).unwrap();
        check(&other);
        check(&world.another());
    }
}

/// Metadata that is equal to the constant of earlier ciphertexts is theirs, whatever it looks like.
#[test]
fn ciphertexts_from_before_a_key_was_managed_are_found_by_their_constant() {
    let looks_tagged = [0x81; 20];
    for constant in [
        None,
        Some(&b"version=1"[..]),
        Some(&[0x81, 1, 2, 3, 4]),
        Some(&looks_tagged),
    ] {
        let world = World::new();
        let id: KeyId = "nshield-key".parse().unwrap();
        world.manager.soft.insert(id.clone(), SoftKey::generate().unwrap());
        let mut adopt = Adopt::new(CreateKey::new(world.adopted, "Name").unwrap(), id.clone());
        adopt.legacy_metadata = constant.map(metadata);
        let adopted = block_on(world.commands.adopt(alice(), adopt)).unwrap();
        world.rotate(&id).unwrap();
        let (view, now) = (world.commands.view(), world.commands.now());
        let legacy = view.to_decrypt(&id, constant.map(metadata).as_ref(), now).unwrap();
        assert_eq!(
            (legacy.version, legacy.tag.as_bytes()),
            (adopted.entry.versions[0].id.version, &[][..])
        );
        assert_eq!((legacy.place(), legacy.backend_key()), (Place::Backend(0), Some(&id)));
        // The constant may have been another one before, or none: what has no tag is from then.
        for other in [None, Some(&b"version=2"[..]), Some(&[0x81, 1, 2, 3])] {
            let other = view.to_decrypt(&id, other.map(metadata).as_ref(), now).unwrap();
            assert_eq!((other.version, other.tag.as_bytes()), (legacy.version, &[][..]));
        }
        // What looks like a tag, and is neither the constant nor a version's, is of a version that is not
        // known.
        for other in [&[0x81, 1, 2, 3, 4, 5][..], &[0x81; 19]] {
            let other = view.to_decrypt(&id, Some(&metadata(other)), now);
            assert_eq!(other.unwrap_err(), BackendErrorKind::InvalidCiphertext);
        }
        // A key that was made under management has no earlier ciphertexts.
        let made = world.create(world.hsm, "Made").key.id;
        for other in [None, constant] {
            let other = view.to_decrypt(&made, other.map(metadata).as_ref(), now);
            assert_eq!(other.unwrap_err(), BackendErrorKind::InvalidCiphertext);
        }
    }
}

/// A version that was made here has no ciphertexts without a tag.
#[test]
fn only_adopted_versions_decrypt_without_a_tag() {
    let world = World::new();
    let id = world.create(world.hsm, "Name").key.id;
    let untagged = world.commands.view().to_decrypt(&id, None, world.commands.now());
    assert_eq!(untagged.unwrap_err(), BackendErrorKind::InvalidCiphertext);
}

#[test]
fn a_key_does_what_its_usages_say() {
    let world = World::new();
    let id = world.create(world.vault, "Name").key.id;
    let (view, now) = (world.commands.view(), world.commands.now());
    let both = &[KeyUsage::Encrypt, KeyUsage::Decrypt][..];
    let described = view.describe(&id, now).unwrap();
    assert_eq!((described.status, described.usages), (KeyStatus::Enabled, both));
    assert_eq!(view.to_encrypt(&id, now).unwrap().place(), Place::Vault);
    let missing = "missing".parse().unwrap();
    assert_eq!(view.describe(&missing, now).unwrap_err(), BackendErrorKind::KeyNotFound);
    // As a later command may set them.
    let (repository, mut snapshot) = world.repository();
    let mut key = (**snapshot.key(&id).unwrap()).clone();
    key.usages = [KeyUsage::Encrypt].into();
    block_on(repository.commit(&mut snapshot, Changes::new().update(key))).unwrap();
    block_on(world.commands.refresh()).unwrap();
    let view = world.commands.view();
    let tag = view.to_encrypt(&id, now).unwrap().version;
    assert_eq!(
        view.to_decrypt(&id, Some(&tagged(tag)), now).unwrap_err(),
        BackendErrorKind::KeyUsage
    );
}

/// A layer that serves keys of a backend by other ways learns which of them are managed, by whatever name
/// the backend knows them, from the first moment on and until they are gone.
#[test]
fn a_view_knows_the_keys_of_backends_that_are_under_management() {
    let world = World::new();
    let view = world.commands.view();
    let number = view.backend_number("hsm").unwrap();
    assert_eq!(view.backend_number("other"), None);
    let manages = |key: &KeyId| {
        let user = world.commands.read(|snapshot| snapshot.user_of_backend_key(key));
        let managed = view.manages(number, key);
        assert_eq!(
            (managed.is_some(), view.manages(number + 1, key)),
            (user.is_some(), None),
            "{key}"
        );
        managed
    };
    let backend_key = |entry: &KeyEntry| entry.versions.last().unwrap().backend_key().unwrap().clone();
    // Its second version has a label that is cut, since the id is long.
    let (long, unmanaged) = ("k".repeat(128).parse::<KeyId>().unwrap(), "unmanaged".parse().unwrap());
    for id in [&long, &unmanaged] {
        world.manager.soft.insert(id.clone(), SoftKey::generate().unwrap());
        assert_eq!(manages(id), None);
    }
    let adopt = Adopt::new(CreateKey::new(world.adopted, "Adopted").unwrap(), long.clone());
    block_on(world.commands.adopt(alice(), adopt)).unwrap();
    let rotated = backend_key(&world.rotate(&long).unwrap());
    assert_eq!(
        (manages(&long), manages(&rotated)),
        (Some(Management::Adopted), Some(Management::Made))
    );
    let made = world.create(world.hsm, "Made");
    assert_eq!(
        (manages(&backend_key(&made)), manages(&made.key.id)),
        (Some(Management::Made), None)
    );
    assert_eq!(manages(&unmanaged), None);
    let vault = world.create(world.vault, "Vault");
    assert_eq!(manages(&vault.key.id), None);

    // One that is being made is there before its answer is.
    world.manager.fail(Fault::After(ManageErrorKind::Timeout));
    let lost = CreateKey::new(world.hsm, "Lost").unwrap();
    block_on(world.commands.create_key(alice(), lost)).unwrap_err();
    let known = [&long, &unmanaged, &rotated, &backend_key(&made)].map(ToString::to_string);
    let mut labels = world.manager.labels();
    labels.retain(|label| !known.contains(label));
    assert_eq!(
        view.manages(number, &labels[0].parse().unwrap()),
        Some(Management::Made)
    );

    // What is gone is no longer under management.
    let doomed = world.doomed(world.hsm, "Doomed");
    let key = backend_key(&doomed);
    assert_eq!(manages(&key), Some(Management::Made));
    world
        .change(&doomed.key.id, KeyCommand::Destroy { typed_name: None })
        .unwrap();
    assert_eq!(manages(&key), None);

    // A caller that may use a root's key can open the store.
    let (repository, mut snapshot) = world.repository();
    let root = Root::backend("second", world.manager.soft.clone(), unmanaged.clone()).unwrap();
    let event = Event::new(world.commands.now(), "alice", "put-root", "roots/second", Outcome::Done).unwrap();
    block_on(repository.put_root(&mut snapshot, &root, event)).unwrap();
    block_on(world.commands.refresh()).unwrap();
    assert_eq!(view.manages(number, &unmanaged), Some(Management::Made));
    assert_eq!(view.manages(number + 1, &unmanaged), Some(Management::Made));
}
