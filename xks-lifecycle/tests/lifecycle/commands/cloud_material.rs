//! Material for KMS keys: added, made, wrapped and destroyed, whatever a key manager does meanwhile.

use std::sync::{Arc, LazyLock, atomic::Ordering};

use aws_lc_rs::{
    cmac,
    encoding::{AsDer as _, PublicKeyX509Der},
    key_wrap::{AES_256, AesKek, KeyWrapPadded as _},
    rsa::{KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey},
};
use pollster::block_on;
use xks_core::manage::{CreationToken, KeyManager as _, ManageErrorKind, NewKey, WrappingAlgorithm, WrappingKey};
use xks_lifecycle::{
    CloudAccount, CloudAccountId, CloudKey, CloudKeyId, CloudKeyOrigin, CloudMaterial, CommandError, Import, KeySet,
    KeySetId, Material, MaterialCheck, MaterialState, Outcome, RotationStyle, WantedKey, WantedMaterial,
    commands::{Adopt, CreateKey},
    view::Management,
};

use super::{
    hooked::Hooked,
    world::{Fault, World, alice},
};
use crate::support::at;

/// What AWS KMS has.
static AWS: LazyLock<PrivateDecryptingKey> =
    LazyLock::new(|| PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap());

fn wrapping_key(algorithm: WrappingAlgorithm) -> WrappingKey {
    let der: PublicKeyX509Der<'_> = AWS.public_key().as_der().unwrap();
    WrappingKey::from_spki_der(der.as_ref(), algorithm).unwrap()
}

/// Opens what was wrapped, as AWS KMS does.
fn open(algorithm: WrappingAlgorithm, wrapped: &[u8]) -> Vec<u8> {
    let key = OaepPrivateDecryptingKey::new(AWS.clone()).unwrap();
    let oaep = |algorithm, ciphertext: &[u8]| {
        let mut buffer = vec![0; key.min_output_size()];
        key.decrypt(algorithm, ciphertext, &mut buffer, None).unwrap().to_vec()
    };
    match algorithm {
        WrappingAlgorithm::RsaOaepSha256 => oaep(&OAEP_SHA256_MGF1SHA256, wrapped),
        WrappingAlgorithm::RsaOaepSha1 => oaep(&OAEP_SHA1_MGF1SHA1, wrapped),
        _ => {
            let (ephemeral, padded) = wrapped.split_at(256);
            let kek = AesKek::new(&AES_256, &oaep(&OAEP_SHA256_MGF1SHA256, ephemeral)).unwrap();
            kek.unwrap_with_padding(padded, &mut [0; 40]).unwrap().to_vec()
        }
    }
}

fn check_of(material: &[u8], cloud_key: CloudKeyId) -> MaterialCheck {
    let key = cmac::Key::new(cmac::AES_256, material).unwrap();
    let code = |message: &[u8]| cmac::sign(&key, message).unwrap().as_ref().try_into().unwrap();
    MaterialCheck::new(code(&[0; 16]), code(&MaterialCheck::message(cloud_key)))
}

/// A new cloud key whose material is imported, and its account.
fn new_cloud_key(world: &World, set: KeySetId) -> CloudKey {
    let region = "eu-central-1".parse().unwrap();
    let account = CloudAccount::new(CloudAccountId::generate().unwrap(), world.tenant, "Main", region).unwrap();
    let (id, alias) = (CloudKeyId::generate().unwrap(), "alias/imported".parse().unwrap());
    let origin = CloudKeyOrigin::External(Import::new(RotationStyle::NewKey));
    let key = CloudKey::new(id, set, &account, alias, origin).unwrap();
    block_on(world.commands.create(alice(), account)).unwrap();
    key
}

/// One that is there, without material.
pub(crate) fn cloud_key(world: &World, set: KeySetId) -> CloudKeyId {
    let key = new_cloud_key(world, set);
    let id = key.id;
    block_on(world.commands.create(alice(), key)).unwrap();
    id
}

fn add(world: &World, key: CloudKeyId) -> CloudMaterial {
    block_on(world.commands.add_material(alice(), key)).unwrap()
}

fn made(world: &World, key: CloudKeyId) -> CloudMaterial {
    block_on(world.commands.make_material(alice(), add(world, key).id)).unwrap()
}

/// As a job notes it that has imported it.
pub(crate) fn imported(world: &World, material: &CloudMaterial) -> CloudMaterial {
    let mut material = material.clone();
    material.kms_key = Some("arn:aws:kms:eu-central-1:111122223333:key/1".parse().unwrap());
    material.kms_material = Some(format!("{:064x}", material.number).parse().unwrap());
    material.imported = Some(world.commands.now());
    block_on(world.commands.update_material(alice(), material.clone(), None)).unwrap();
    material
}

#[test]
fn material_of_either_source_leaves_wrapped_and_is_known_by_its_codes() {
    let world = World::new();
    for set in [world.hsm, world.vault] {
        let key = cloud_key(&world, set);
        let added = add(&world, key);
        assert_eq!((added.number, added.state()), (1, MaterialState::Pending));
        let wrap = |algorithm| {
            block_on(
                world
                    .commands
                    .wrap_material(alice(), added.id, &wrapping_key(algorithm)),
            )
        };
        let early = wrap(WrappingAlgorithm::RsaOaepSha256).unwrap_err();
        assert_eq!(early.outcome(), Outcome::Refused, "{early}");
        let material = block_on(world.commands.make_material(alice(), added.id)).unwrap();
        assert_eq!(material.state(), MaterialState::Made);
        // The same command again finds it made.
        let again = block_on(world.commands.make_material(alice(), added.id)).unwrap();
        assert_eq!(again, material);
        let wrappings = block_on(world.commands.wrappings_of(material.id)).unwrap();
        assert_eq!(wrappings, WrappingAlgorithm::ALL);
        for algorithm in wrappings {
            let opened = open(algorithm, &wrap(algorithm).unwrap());
            assert_eq!(material.check, Some(check_of(&opened, key)), "{algorithm}");
            if let Material::Vault(bytes) = &material.material {
                assert_eq!(opened, bytes[..]);
            }
        }
        // Another process knows it, and each wrapping is an event that names the wrapping key.
        let (_, snapshot) = world.repository();
        assert_eq!(**snapshot.cloud_material(material.id).unwrap(), material);
        let events = world.events();
        let wraps: Vec<_> = events.iter().filter(|event| event.command.as_str() == "wrap").collect();
        let done = wraps.iter().filter(|event| event.outcome == Outcome::Done);
        assert!(done.clone().count() >= 3, "{wraps:?}");
        for event in done {
            let reason = event.reason.as_ref().unwrap().as_str();
            assert!(reason.contains("under RSA_2048 with SHA-256 "), "{reason}");
        }
    }
}

/// It is no key of a key store, under its label or its id; and what serves key stores is not imported.
#[test]
fn a_key_for_imports_serves_nothing_else() {
    let world = World::new();
    let key = cloud_key(&world, world.hsm);
    let added = add(&world, key);
    let view = world.commands.view();
    let number = view.backend_number("hsm").unwrap();
    let label: xks_core::KeyId = format!("test.material.{}", added.id).parse().unwrap();
    // On every node, from the moment in which it is to be made.
    let other = world.another();
    assert_eq!(view.manages(number, &label), Some(Management::Made));
    assert_eq!(other.view().manages(number, &label), Some(Management::Made));
    assert_eq!(view.manages(number + 1, &label), None);
    let material = block_on(world.commands.make_material(alice(), added.id)).unwrap();
    assert_eq!(material.material.backend_key(), Some(&label));
    block_on(other.refresh()).unwrap();
    for view in [view, other.view()] {
        assert_eq!(view.manages(number, &label), Some(Management::Made));
    }
    let adopt = Adopt::new(CreateKey::new(world.adopted, "Name").unwrap(), label.clone());
    let error = block_on(world.commands.adopt(alice(), adopt)).unwrap_err();
    assert!(matches!(error, CommandError::Unfit { .. }), "{error}");
    block_on(world.commands.destroy_material(alice(), added.id)).unwrap();
    assert_eq!(view.manages(number, &label), None);
    block_on(other.refresh()).unwrap();
    assert_eq!(other.view().manages(number, &label), None);
    // A key of a key store at the place of material is not wrapped.
    let next = add(&world, key);
    let label: xks_core::KeyId = format!("test.material.{}", next.id).parse().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let for_xks = NewKey::for_xks(CreationToken::from([8; 16]), label);
    block_on(world.manager.create_key(&for_xks, deadline)).unwrap();
    let error = block_on(world.commands.make_material(alice(), next.id)).unwrap_err();
    assert!(matches!(error, CommandError::Manager { .. }), "{error}");
    let state = world
        .commands
        .read(|state| state.cloud_material(next.id).unwrap().state());
    assert_eq!(state, MaterialState::Pending);
}

#[test]
fn a_making_whose_answer_is_lost_makes_one_key() {
    for fault in [
        Fault::Before(ManageErrorKind::Unavailable),
        Fault::Before(ManageErrorKind::Full),
        Fault::After(ManageErrorKind::Timeout),
        Fault::After(ManageErrorKind::Other),
    ] {
        for by_recovery in [false, true] {
            let world = World::new();
            let key = cloud_key(&world, world.hsm);
            let added = add(&world, key);
            world.manager.fail(fault);
            block_on(world.commands.make_material(alice(), added.id)).unwrap_err();
            // A rotation that is begun again is the same.
            assert_eq!(add(&world, key).id, added.id);
            let next = world.another();
            if by_recovery {
                let recovered = block_on(next.recover(alice())).unwrap();
                assert_eq!(recovered.materials.made, [added.id]);
            } else {
                block_on(next.make_material(alice(), added.id)).unwrap();
            }
            assert_eq!(world.manager.labels(), [format!("test.material.{}", added.id)]);
            let nothing = block_on(next.recover(alice())).unwrap().materials;
            assert!(nothing.made.is_empty() && nothing.failed.is_empty(), "{nothing:?}");
        }
    }
}

#[test]
fn a_key_manager_that_cannot_wrap_makes_nothing_and_one_that_makes_other_keys_is_found() {
    let world = World::new();
    let key = cloud_key(&world, world.hsm);
    let added = add(&world, key);
    world.manager.wraps_nothing.store(true, Ordering::Relaxed);
    let error = block_on(world.commands.make_material(alice(), added.id)).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused);
    assert!(
        error.to_string().contains("choose a key set of another backend"),
        "{error}"
    );
    assert!(world.manager.labels().is_empty());
    world.manager.wraps_nothing.store(false, Ordering::Relaxed);
    world.manager.is_tight.store(true, Ordering::Relaxed);
    let error = block_on(world.commands.make_material(alice(), added.id)).unwrap_err();
    assert!(error.to_string().contains("cannot be wrapped"), "{error}");
    world.manager.is_tight.store(false, Ordering::Relaxed);
    let material = block_on(world.commands.make_material(alice(), added.id)).unwrap();
    // Somebody puts another key in its place.
    let label = material.material.backend_key().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    block_on(world.manager.soft.destroy_key(label, deadline)).unwrap();
    let other = NewKey::for_import(CreationToken::from([8; 16]), label.clone());
    block_on(world.manager.soft.create_key(&other, deadline)).unwrap();
    let wrapping_key = wrapping_key(WrappingAlgorithm::RsaOaepSha256);
    let error = block_on(world.commands.wrap_material(alice(), material.id, &wrapping_key)).unwrap_err();
    assert!(error.to_string().contains("has other material"), "{error}");
}

#[test]
fn material_that_is_used_is_not_destroyed_and_keeps_its_cloud_key() {
    let world = World::new();
    let commands = &world.commands;
    let key = cloud_key(&world, world.hsm);
    let first = imported(&world, &made(&world, key));
    let second = made(&world, key);
    assert_eq!((first.number, second.number), (1, 2));
    let destroy = |material: &CloudMaterial| block_on(commands.destroy_material(alice(), material.id));
    // The second one may be in AWS too: it has a KMS key, and the answer to its import may be lost.
    let arn = "arn:aws:kms:eu-central-1:111122223333:key/2".parse().unwrap();
    block_on(commands.note_kms_key(alice(), second.id, &arn)).unwrap();
    for material in [&first, &second] {
        let error = destroy(material).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cloud-materials/{} is in use by cloud-keys/{key}", material.id)
        );
    }
    let remove_set = || {
        block_on(commands.remove::<KeySet>(alice(), world.hsm, None))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        remove_set(),
        format!("key-sets/{} is in use by cloud-keys/{key}", world.hsm)
    );
    // Removed from AWS, or in a KMS key that goes.
    let mut removed = first.clone();
    removed.wanted = WantedMaterial::Removed;
    block_on(commands.update_material(alice(), removed, None)).unwrap();
    let second = imported(&world, &second);
    let mut deleted: CloudKey = commands.read(|state| (**state.cloud_key(key).unwrap()).clone());
    deleted.wanted = WantedKey::Deleted(xks_lifecycle::DeletionDays::DEFAULT);
    block_on(commands.update(alice(), deleted, None)).unwrap();
    let remove_key = || block_on(commands.remove::<CloudKey>(alice(), key, None));
    let error = remove_key().unwrap_err().to_string();
    assert!(error.contains("is in use by cloud-materials/"), "{error}");
    // What the key manager does not do, the next start does.
    for (material, fault) in [
        (&first, Fault::Before(ManageErrorKind::Unavailable)),
        (&second, Fault::After(ManageErrorKind::Timeout)),
    ] {
        world.manager.fail(fault);
        destroy(material).unwrap_err();
        let known = commands.read(|state| (**state.cloud_material(material.id).unwrap()).clone());
        assert_eq!(known.state(), MaterialState::Destroyed);
        assert!(known.material.backend_key().is_some() && remove_key().is_err());
        let next = world.another();
        assert_eq!(
            block_on(next.recover(alice())).unwrap().materials.removed,
            [material.id]
        );
        block_on(commands.refresh()).unwrap();
        assert_eq!(destroy(material).unwrap().material, Material::Gone);
    }
    assert!(world.manager.labels().is_empty());
    assert!(
        block_on(commands.add_material(alice(), key)).is_err(),
        "its cloud key is to be deleted"
    );
    remove_key().unwrap();
    assert_eq!(commands.read(|state| state.cloud_materials().count()), 0);
    block_on(commands.remove::<KeySet>(alice(), world.hsm, None)).unwrap();
    assert!(world.repository().1.cloud_materials().next().is_none());
}

/// Material that was never made is destroyed too, though the key manager may be about to make it.
#[test]
fn material_that_is_to_be_made_is_destroyed_with_what_was_made_meanwhile() {
    for set_of in [|world: &World| world.hsm, |world: &World| world.vault] {
        let world = World::new();
        let key = cloud_key(&world, set_of(&world));
        let added = add(&world, key);
        world.manager.fail(Fault::After(ManageErrorKind::Timeout));
        drop(block_on(world.commands.make_material(alice(), added.id)));
        let gone = block_on(world.commands.destroy_material(alice(), added.id)).unwrap();
        assert_eq!(
            (gone.state(), &gone.material),
            (MaterialState::Destroyed, &Material::Gone)
        );
        assert!(world.manager.labels().is_empty());
        assert!(block_on(world.commands.make_material(alice(), added.id)).is_err());
        assert_eq!(add(&world, key).number, 2, "no number is given twice");
    }
}

#[test]
fn of_two_processes_that_rotate_at_once_one_adds_material() {
    let store = Arc::new(Hooked::default());
    let world = World::over(Arc::clone(&store) as _);
    let key = cloud_key(&world, world.vault);
    let other = world.another();
    store.before_commit(move || drop(block_on(other.add_material(alice(), key)).unwrap()));
    let added = add(&world, key);
    let known: Vec<_> = world
        .commands
        .read(|state| state.materials_of(key).map(|one| one.id).collect());
    assert_eq!(known, [added.id]);
}

#[test]
fn what_a_job_notes_of_aws_leaves_the_rest_as_it_is() {
    let world = World::new();
    let material = made(&world, cloud_key(&world, world.vault));
    let mut other = imported(&world, &material);
    other.check = None;
    other.number = 7;
    other.material = Material::Gone;
    other.valid_to = Some(world.commands.now().plus_days(365));
    block_on(world.commands.update_material(alice(), other.clone(), None)).unwrap();
    let known = world
        .commands
        .read(|state| (**state.cloud_material(material.id).unwrap()).clone());
    assert_eq!(
        (known.check, known.number, &known.material),
        (material.check, 1, &material.material)
    );
    assert_eq!(
        (known.valid_to, known.kms_material),
        (other.valid_to, other.kms_material)
    );
    other.kms_material = None;
    let error = block_on(world.commands.update_material(alice(), other, None)).unwrap_err();
    assert!(
        error.to_string().ends_with("`kms_material` cannot be changed"),
        "{error}"
    );
}

/// A cloud key and its first material come in one commit, or not at all.
#[test]
fn a_cloud_key_is_made_with_its_first_material() {
    let store = Arc::new(Hooked::default());
    let world = World::over(Arc::clone(&store) as _);
    for set in [world.hsm, world.vault] {
        let mut key = new_cloud_key(&world, set);
        key.alias = format!("alias/{set}").parse().unwrap();
        let before = world.commands.revision();
        let revision = block_on(world.commands.create_import(alice(), key.clone())).unwrap();
        assert_eq!(revision, before.next());
        let told = world.told();
        assert!(
            told.ends_with(&["create done".to_owned(), "add-material done".to_owned()]),
            "{told:?}"
        );
        let first = add(&world, key.id);
        assert_eq!((first.number, first.state()), (1, MaterialState::Pending));
        assert_eq!(world.commands.revision(), revision, "it was there");
        // The same alias again: neither comes.
        let mut second = key.clone();
        second.id = CloudKeyId::generate().unwrap();
        block_on(world.commands.create_import(alice(), second.clone())).unwrap_err();
        let is_there = world
            .commands
            .read(|state| state.cloud_key(second.id).is_some() || state.materials_of(second.id).next().is_some());
        assert!(!is_there);
    }
}

/// The end of its material is in the future when it is set, and when material is added.
#[test]
fn an_end_that_has_passed_is_refused() {
    let world = World::new();
    let commands = &world.commands;
    let mut key = new_cloud_key(&world, world.vault);
    let end = |key: &mut CloudKey, seconds: i64| {
        let CloudKeyOrigin::External(import) = &mut key.origin else {
            panic!()
        };
        let now = commands.now().seconds();
        import.expires = Some(at(now.checked_add_signed(seconds).unwrap()));
    };
    let refused = |done: Result<_, CommandError>| {
        let error = done.unwrap_err();
        assert_eq!(
            (error.outcome(), &*error.to_string()),
            (Outcome::Refused, "`expires` must be in the future")
        );
    };
    for seconds in [0, -1] {
        end(&mut key, seconds);
        refused(block_on(commands.create(alice(), key.clone())));
        refused(block_on(commands.create_import(alice(), key.clone())));
    }
    end(&mut key, 1);
    block_on(commands.create_import(alice(), key.clone())).unwrap();
    let first = made(&world, key.id);
    imported(&world, &first);
    world.wait(1);
    // A rotation would lead to material that AWS does not take.
    let error = block_on(commands.add_material(alice(), key.id)).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused);
    assert!(error.to_string().contains("set a later end"), "{error}");
    // What else there is of it can be changed.
    key.wanted = WantedKey::Disabled;
    block_on(commands.update(alice(), key.clone(), None)).unwrap();
    end(&mut key, -1);
    refused(block_on(commands.update(alice(), key.clone(), None)));
    end(&mut key, 60);
    block_on(commands.update(alice(), key.clone(), None)).unwrap();
    assert_eq!(add(&world, key.id).number, 2);
}
