//! Versions behind one external key id.

use pollster::block_on;
use xks_core::manage::ManageErrorKind;
use xks_lifecycle::{
    Material, Minima, Outcome, VersionState,
    commands::{Adopt, CreateKey, KeyEntry},
    key_state::{KeyCommand, KeyState, VersionCommand},
    view::Management,
};

use super::world::{Fault, World, alice};

fn states(entry: &KeyEntry) -> Vec<VersionState> {
    entry.versions.iter().map(|version| version.state).collect()
}

#[test]
fn a_rotated_key_encrypts_with_a_new_version_and_decrypts_with_the_others() {
    let world = World::new();
    for set in [world.hsm, world.vault] {
        let key = world.create(set, "Name");
        let id = &key.key.id;
        for _ in 0..2 {
            world.rotate(id).unwrap();
        }
        let rotated = world.commands.key(id).unwrap();
        let expected = [
            VersionState::DecryptOnly,
            VersionState::DecryptOnly,
            VersionState::Current,
        ];
        assert_eq!(states(&rotated), expected);
        let numbers: Vec<_> = rotated.versions.iter().map(|version| version.number).collect();
        assert_eq!(numbers, [1, 2, 3]);
        assert_eq!(rotated.versions[0].id, key.versions[0].id);
        assert_eq!(rotated.state, KeyState::Enabled);
        assert_eq!(world.another().key(id).unwrap(), rotated);
    }
    assert_eq!(world.manager.labels().len(), 3);
    let told = &world.told()[..8];
    let one = ["rotate begun", "rotate begun", "rotate done"];
    assert_eq!(told, [&["create begun", "create done"][..], &one, &one].concat());
}

#[test]
fn an_adopted_key_rotates_to_a_version_that_is_made_here() {
    let world = World::new();
    let id: xks_core::KeyId = "nshield-key".parse().unwrap();
    world
        .manager
        .soft
        .insert(id.clone(), xks_backend_soft::SoftKey::generate().unwrap());
    let adopt = Adopt::new(CreateKey::new(world.adopted, "Name").unwrap(), id.clone());
    block_on(world.commands.adopt(alice(), adopt)).unwrap();
    let rotated = world.rotate(&id).unwrap();
    assert_eq!(states(&rotated), [VersionState::DecryptOnly, VersionState::Current]);
    assert_eq!(rotated.versions[0].backend_key(), Some(&id));
    let label = rotated.versions[1].backend_key().unwrap().as_str();
    assert_eq!(label, format!("test.nshield-key.{}", rotated.versions[1].id.version));

    // Key stores that lead to the adopted key go on to do so when its first version is gone.
    let first = &rotated.versions[0].id;
    world.change_version(first, VersionCommand::Revoke).unwrap();
    let typed_name = Some("Name".to_owned());
    world
        .change_version(first, VersionCommand::Destroy { typed_name })
        .unwrap();
    let view = world.commands.view();
    let number = view.backend_number("hsm").unwrap();
    assert_eq!(view.manages(number, &id), Some(Management::Adopted));
    assert!(view.has_adopted(number));
}

/// Whatever is lost, one version is made, and the same command ends what it has begun.
#[test]
fn a_rotation_whose_answer_is_lost_is_ended_by_the_next() {
    for fault in [
        Fault::Before(ManageErrorKind::Unavailable),
        Fault::After(ManageErrorKind::Timeout),
    ] {
        for is_recovered in [false, true] {
            let world = World::new();
            let id = world.create(world.hsm, "Name").key.id;
            world.manager.fail(fault);
            let error = world.rotate(&id).unwrap_err();
            assert_eq!(error.outcome(), Outcome::Failed, "{error}");
            let left = world.commands.key(&id).unwrap();
            assert_eq!(states(&left), [VersionState::Current, VersionState::Pending]);
            if is_recovered {
                // It was not promoted yet.
                block_on(world.commands.recover(alice())).unwrap();
                let published = world.commands.key(&id).unwrap();
                assert_eq!(states(&published), [VersionState::Current, VersionState::Published]);
            }
            let rotated = world.rotate(&id).unwrap();
            assert_eq!(states(&rotated), [VersionState::DecryptOnly, VersionState::Current]);
            assert_eq!(rotated.versions[1].id, left.versions[1].id);
            assert_eq!(world.manager.labels().len(), 2);
        }
    }
}

/// A refusal says that nothing was made only of a version that was never asked for before.
#[test]
fn a_refused_rotation_leaves_a_tombstone_unless_it_was_begun_before() {
    let world = World::new();
    let id = world.create(world.hsm, "Name").key.id;
    world.manager.fail(Fault::Before(ManageErrorKind::Full));
    world.rotate(&id).unwrap_err();
    let left = world.commands.key(&id).unwrap();
    assert_eq!(
        (left.state, states(&left)),
        (KeyState::Enabled, vec![VersionState::Current, VersionState::Destroyed])
    );
    assert_eq!(left.versions[1].material, Material::Gone);

    world.manager.fail(Fault::After(ManageErrorKind::Timeout));
    world.rotate(&id).unwrap_err();
    world.manager.fail(Fault::Before(ManageErrorKind::AccessDenied));
    world.rotate(&id).unwrap_err();
    let left = world.commands.key(&id).unwrap();
    assert_eq!(states(&left)[2], VersionState::Pending);
    let rotated = world.rotate(&id).unwrap();
    assert_eq!(states(&rotated)[2], VersionState::Current);
    assert_eq!((rotated.versions[2].number, world.manager.labels().len()), (3, 2));
}

#[test]
fn a_version_is_added_and_promoted_apart() {
    let world = World::new();
    let id = world.create(world.hsm, "Name").key.id;
    let added = block_on(world.commands.add_version(alice(), &id, None)).unwrap();
    assert_eq!(states(&added), [VersionState::Current, VersionState::Published]);
    let promoted = world
        .change_version(&added.versions[1].id, VersionCommand::Promote)
        .unwrap();
    assert_eq!(states(&promoted), [VersionState::DecryptOnly, VersionState::Current]);
    let back = world
        .change_version(&added.versions[0].id, VersionCommand::Promote)
        .unwrap();
    assert_eq!(states(&back), [VersionState::Current, VersionState::DecryptOnly]);
}

#[test]
fn a_version_is_revoked_restored_and_destroyed() {
    let world = World::new();
    let key = world.create(world.hsm, "Name");
    let (id, first) = (&key.key.id, &key.versions[0].id);
    let error = world.change_version(first, VersionCommand::Revoke).unwrap_err();
    assert!(error.to_string().contains("promote another one first"), "{error}");
    world.rotate(id).unwrap();
    world.change_version(first, VersionCommand::Revoke).unwrap();
    let restored = world.change_version(first, VersionCommand::Restore).unwrap();
    assert_eq!(states(&restored), [VersionState::DecryptOnly, VersionState::Current]);
    block_on(world.repository().0.reserve(first, 3, 1 << 32)).unwrap();
    let destroy = |typed: Option<&str>| {
        let typed_name = typed.map(str::to_owned);
        world.change_version(first, VersionCommand::Destroy { typed_name })
    };
    let error = destroy(Some("Name")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("version 1 is kept: revoke it, or raise `min_kept` (1)"),
        "{error}"
    );
    let minima = KeyCommand::SetMinima(Minima::new(2, 2, 2).unwrap());
    world.change(id, minima).unwrap();
    let error = world.change_version(first, VersionCommand::Promote).unwrap_err();
    let message = "version 1 is below the least that may encrypt (2)";
    assert_eq!(error.to_string(), message);
    let error = destroy(None).unwrap_err();
    assert!(error.to_string().contains("up to 3 ciphertexts"), "{error}");
    assert_eq!(world.manager.labels().len(), 2);
    let destroyed = destroy(Some("Name")).unwrap();
    assert_eq!(states(&destroyed), [VersionState::Destroyed, VersionState::Current]);
    assert_eq!(
        (&destroyed.versions[0].material, world.manager.labels().len()),
        (&Material::Gone, 1)
    );
    assert_eq!(&destroyed.versions[0].id, first, "its id stays");
    // The second is the version that encrypts, and the minima do not reach it.
    let error = world
        .change(id, KeyCommand::SetMinima(Minima::new(3, 2, 2).unwrap()))
        .unwrap_err();
    assert_eq!(error.to_string(), "`min_encrypt` must be a number from 1 to 2");
}
