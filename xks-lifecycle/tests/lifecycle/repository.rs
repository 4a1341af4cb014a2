//! Commits: conflicts, references, counts, events.

use std::sync::Arc;

use pollster::block_on;
use xks_lifecycle::{
    ChangeError, Changes, CloudKeyId, CloudMaterial, CloudMaterialId, Description, Event, Key, KeySet, KeySetId,
    KeySource, KeyVersion, KeyVersionId, Material, MaterialState, Outcome, Repository, RepositoryError, Tenant,
    TenantId, VersionId,
    key_state::StoredState,
    store::{MemoryStore, Revision, StoreError},
};

use crate::support::{COUNT, TempDir, event, fill, shown};

fn filled() -> (
    Arc<MemoryStore>,
    Repository,
    xks_lifecycle::Snapshot,
    crate::support::Filled,
) {
    let directory = TempDir::new();
    let store = Arc::new(MemoryStore::new());
    let (repository, snapshot, filled) = fill(Arc::clone(&store) as _, &[directory.root("first")]);
    (store, repository, snapshot, filled)
}

#[test]
fn of_two_commands_one_wins_and_the_other_sees_what_changed() {
    let (_, repository, mut first, filled) = filled();
    let mut second = first.clone();
    let rename = |snapshot: &xks_lifecycle::Snapshot, description: &str| {
        let mut tenant = (**snapshot.tenant(filled.tenant).unwrap()).clone();
        tenant.description = Description::new("description", description).unwrap();
        Changes::new().update(tenant)
    };
    let (changes, other_changes) = (rename(&first, "one"), rename(&second, "two"));
    assert_eq!(
        block_on(repository.commit(&mut first, changes)).unwrap(),
        Revision::new(3)
    );
    let before = shown(&second);
    let error = block_on(repository.commit(&mut second, other_changes)).unwrap_err();
    let expected = (Revision::new(2), Revision::new(3));
    assert!(
        matches!(&error, RepositoryError::Store(StoreError::Conflict { expected: of, head }) if (*of, *head) == expected),
        "{error}"
    );
    assert_eq!(shown(&second), before);
    let seen = second.tenant(filled.tenant).unwrap().revision();
    assert!(block_on(repository.refresh(&mut second)).unwrap());
    assert!(!block_on(repository.refresh(&mut second)).unwrap());
    assert_eq!(shown(&second), shown(&first));
    let tenant = second.tenant(filled.tenant).unwrap();
    assert_eq!(
        (seen, tenant.revision(), tenant.description.as_str()),
        (Revision::new(2), Revision::new(3), "one")
    );
    assert_eq!(shown(&block_on(repository.load()).unwrap()), shown(&first));
}

#[test]
fn every_reference_has_its_target() {
    let (_, repository, mut snapshot, filled) = filled();
    let before = shown(&snapshot);
    let filled_tenant = (**snapshot.tenant(filled.tenant).unwrap()).clone();
    let mut refuse = |changes: Changes, message: &str| {
        let error = block_on(repository.commit(&mut snapshot, changes)).unwrap_err();
        assert!(matches!(error, RepositoryError::Change(_)));
        assert_eq!(error.to_string(), message);
    };
    let tenant = Tenant::new(TenantId::generate().unwrap(), "Other").unwrap();
    let set = |tenant| KeySet::new(KeySetId::generate().unwrap(), tenant, "Set", KeySource::Hsm).unwrap();
    let key = |id: &str, set| Key::new(id.parse().unwrap(), set, "Key").unwrap();
    let orphan = set(tenant.id);
    refuse(
        Changes::new().insert(orphan.clone()),
        &format!(
            "key-sets/{}: `tenant` names tenants/{}, which does not exist",
            orphan.id, tenant.id
        ),
    );
    refuse(
        Changes::new().insert(key("new", orphan.id)),
        &format!("keys/new: `key_set` names key-sets/{}, which does not exist", orphan.id),
    );
    refuse(
        Changes::new().insert(key("key-of-salaries", filled.key_set)),
        "keys/key-of-salaries exists already",
    );
    refuse(
        Changes::new().update(key("new", filled.key_set)),
        "there is no keys/new",
    );
    refuse(
        Changes::new().insert(tenant.clone()).insert(tenant.clone()),
        &format!("tenants/{} is changed twice", tenant.id),
    );
    refuse(
        Changes::new().update(filled_tenant).remove(filled.tenant),
        &format!("tenants/{} is changed twice", filled.tenant),
    );
    refuse(
        Changes::new().remove(filled.key_set),
        &format!("key-sets/{} is in use by keys/key-of-salaries", filled.key_set),
    );
    refuse(
        Changes::new().remove(filled.key_store),
        &format!(
            "key-stores/{} is in use by credentials/BETWEEN2TENAND3TENCHARACTERS",
            filled.key_store
        ),
    );
    refuse(
        Changes::new().remove(tenant.id),
        &format!("there is no tenants/{}", tenant.id),
    );
    assert_eq!(shown(&snapshot), before);
    // Together they are legal, and go together again.
    let changes = Changes::new().insert(orphan.clone()).insert(tenant.clone());
    block_on(repository.commit(&mut snapshot, changes)).unwrap();
    let error = block_on(repository.commit(&mut snapshot, Changes::new().remove(tenant.id))).unwrap_err();
    assert!(
        matches!(error, RepositoryError::Change(ChangeError::InUse { .. })),
        "{error}"
    );
    let both = || Changes::new().remove(tenant.id).remove(orphan.id);
    let error = block_on(repository.commit(&mut snapshot, both().remove(orphan.id))).unwrap_err();
    assert!(
        matches!(error, RepositoryError::Change(ChangeError::Twice(_))),
        "{error}"
    );
    block_on(repository.commit(&mut snapshot, both())).unwrap();
    assert!(snapshot.tenant(tenant.id).is_none() && snapshot.key_set(orphan.id).is_none());
    assert_eq!(shown(&block_on(repository.load()).unwrap()), shown(&snapshot));
}

/// A key of the HSM that is under management, or wraps the data key, does not come under management again.
#[test]
fn a_key_of_a_backend_is_managed_once() {
    let directory = TempDir::new();
    let root_key: xks_core::KeyId = "root-key".parse().unwrap();
    let backend = xks_backend_soft::SoftBackend::new();
    let backend = backend.with_key(root_key.clone(), xks_backend_soft::SoftKey::generate().unwrap());
    let hsm = xks_lifecycle::seal::Root::backend("hsm", Arc::new(backend), root_key.clone()).unwrap();
    let roots = [directory.root("file"), hsm];
    let (repository, mut snapshot, filled) = fill(Arc::new(MemoryStore::new()), &roots);
    let label: xks_core::KeyId = "label-in-the-hsm".parse().unwrap();
    let version = |number: u32, label: &xks_core::KeyId| {
        let id = KeyVersionId::new(filled.key.clone(), VersionId::generate().unwrap());
        let material = Material::Backend {
            key: Some(label.clone()),
            token: None,
        };
        KeyVersion::new(id, number, material, crate::support::at(0)).unwrap()
    };
    let first = "versions/key-of-salaries/00000001";
    for (label, by) in [(&label, first), (&root_key, "roots/hsm")] {
        let changes = Changes::new().insert(version(3, label));
        let error = block_on(repository.commit(&mut snapshot, changes)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the backend's key `{label}` is in use by {by}")
        );
        assert_eq!(snapshot.user_of_backend_key(label).unwrap().to_string(), by);
    }
    let other: xks_core::KeyId = "other".parse().unwrap();
    let both = Changes::new().insert(version(3, &other)).insert(version(4, &other));
    assert!(block_on(repository.commit(&mut snapshot, both)).is_err());
    assert!(snapshot.user_of_backend_key(&other).is_none());
    // A version keeps its own, and gives it up when it is destroyed and gone in the HSM.
    let own = (**snapshot.versions(&filled.key).next().unwrap()).clone();
    block_on(repository.commit(&mut snapshot, Changes::new().update(own.clone()))).unwrap();
    block_on(repository.commit(&mut snapshot, Changes::new().update(own.destroyed()))).unwrap();
    assert_eq!(snapshot.user_of_backend_key(&label).unwrap().to_string(), first);
    block_on(repository.commit(&mut snapshot, Changes::new().update(own.without_material()))).unwrap();
    block_on(repository.commit(&mut snapshot, Changes::new().insert(version(3, &label)))).unwrap();
}

type Change<'a> = &'a dyn Fn(&mut CloudMaterial);

/// The material of a KMS key: found by its cloud key in the order of the numbers, each of which there is
/// once, in a key of a backend that has nothing else; and never another.
#[test]
fn material_has_its_place_and_stays_what_it_is() {
    let (_, repository, mut snapshot, filled) = filled();
    let first = snapshot
        .cloud_materials()
        .find(|material| material.number == 1)
        .unwrap();
    let first = (**first).clone();
    let second = (**snapshot.materials_of(first.cloud_key).next_back().unwrap()).clone();
    assert_eq!((first.number, second.number), (1, 2));
    let label: xks_core::KeyId = "material-in-the-hsm".parse().unwrap();
    let user = snapshot.user_of_backend_key(&label).unwrap().to_string();
    assert_eq!(user, format!("cloud-materials/{}", second.id));
    let mut refused = |change: Change<'_>| {
        let mut changed = first.clone();
        change(&mut changed);
        let changes = if changed.id == first.id {
            Changes::new().update(changed)
        } else {
            Changes::new().insert(changed)
        };
        block_on(repository.commit(&mut snapshot, changes))
            .unwrap_err()
            .to_string()
    };
    let other = CloudMaterialId::generate().unwrap();
    assert_eq!(
        refused(&|material| material.id = other),
        format!(
            "cloud-materials/{other}: `number` is that of cloud-materials/{} already",
            first.id
        )
    );
    let taken = |material: &mut CloudMaterial| {
        let (key, token) = (Some(label.clone()), None);
        (material.id, material.number) = (other, 3);
        material.material = Material::Backend { key, token };
    };
    assert!(refused(&taken).contains(&user));
    let unknown = CloudKeyId::generate().unwrap();
    let dangling = refused(&|material| (material.id, material.number, material.cloud_key) = (other, 3, unknown));
    assert!(dangling.contains("`cloud_key` names"), "{dangling}");
    let final_fields: [(&str, Change<'_>); 6] = [
        ("cloud_key", &|material| material.cloud_key = unknown),
        ("number", &|material| material.number = 3),
        ("created", &|material| material.created = crate::support::at(0)),
        ("material", &|material| {
            let (key, token) = (None, None);
            material.material = Material::Backend { key, token };
        }),
        ("check", &|material| material.check = None),
        ("kms_material", &|material| material.kms_material = None),
    ];
    for (field, change) in final_fields {
        let error = refused(change);
        assert!(
            error.ends_with(&format!("`{field}` cannot be changed")),
            "{field}: {error}"
        );
    }
    // With another KMS key it gets another id.
    let mut moved = first.clone();
    moved.kms_key = Some("arn:aws:kms:eu-central-1:111122223333:key/9".parse().unwrap());
    moved.kms_material = None;
    block_on(repository.commit(&mut snapshot, Changes::new().update(moved.clone()))).unwrap();
    (moved.material, moved.destroyed) = (Material::Gone, Some(crate::support::at(2_000_000_000)));
    block_on(repository.commit(&mut snapshot, Changes::new().update(moved.clone()))).unwrap();
    moved.destroyed = None;
    assert!(block_on(repository.commit(&mut snapshot, Changes::new().update(moved))).is_err());
    let materials: Vec<_> = snapshot
        .materials_of(first.cloud_key)
        .map(|material| material.state())
        .collect();
    assert_eq!(materials, [MaterialState::Destroyed, MaterialState::Pending]);
    // The key set, the cloud key and the account are in use.
    let remove = Changes::new().remove(first.cloud_key);
    let error = block_on(repository.commit(&mut snapshot, remove))
        .unwrap_err()
        .to_string();
    assert!(error.contains("is in use by cloud-materials/"), "{error}");
    let remove = Changes::new().remove(filled.key_set);
    assert!(block_on(repository.commit(&mut snapshot, remove)).is_err());
    assert_eq!(shown(&block_on(repository.load()).unwrap()), shown(&snapshot));
}

/// What is destroyed or revoked stays so, and nothing moves to another owner.
#[test]
fn what_is_final_stays() {
    let (_, repository, mut snapshot, filled) = filled();
    let key = (**snapshot.key(&filled.key).unwrap()).clone();
    let version = (**snapshot.versions(&filled.key).next().unwrap()).clone();
    let credential = (**snapshot.credentials().next().unwrap()).clone();
    let mut destroyed = key.clone();
    destroyed.state = StoredState::Destroyed;
    let mut revoked = credential.clone();
    revoked.is_revoked = true;
    let changes = Changes::new()
        .update(destroyed)
        .update(version.destroyed())
        .update(revoked);
    block_on(repository.commit(&mut snapshot, changes)).unwrap();
    let before = shown(&snapshot);
    let other_set = KeySet::new(KeySetId::generate().unwrap(), filled.tenant, "Other", KeySource::Hsm).unwrap();
    let mut moved = (**snapshot.key(&filled.key).unwrap()).clone();
    moved.key_set = other_set.id;
    let mut set = (**snapshot.key_set(filled.key_set).unwrap()).clone();
    set.source = KeySource::Hsm;
    let mut numbered = version.destroyed();
    numbered.number = 9;
    for (changes, field) in [
        (Changes::new().update(key), "state"),
        (Changes::new().update(version), "state"),
        (Changes::new().update(numbered), "number"),
        (Changes::new().update(credential), "is_revoked"),
        (Changes::new().insert(other_set).update(moved), "key_set"),
        (Changes::new().update(set), "source"),
    ] {
        let error = block_on(repository.commit(&mut snapshot, changes)).unwrap_err();
        assert!(
            error.to_string().ends_with(&format!("`{field}` cannot be changed")),
            "{error}"
        );
    }
    assert_eq!(shown(&snapshot), before);
}

#[test]
fn counts_are_reserved_once_and_to_the_limit() {
    let (store, repository, snapshot, filled) = filled();
    let reserve = |count, limit| block_on(repository.reserve(&filled.vault, count, limit));
    assert_eq!(reserve(5, 1 << 32).unwrap(), COUNT..COUNT + 5);
    assert_eq!(reserve(1, COUNT + 6).unwrap(), COUNT + 5..COUNT + 6);
    for (count, limit) in [(1, COUNT + 6), (u64::MAX, u64::MAX), (1, 0)] {
        let error = reserve(count, limit).unwrap_err();
        assert!(matches!(error, RepositoryError::Exhausted { .. }), "{error}");
    }
    // From several threads at once, nothing is given twice.
    let mut all: Vec<_> = std::thread::scope(|scope| {
        let one = || (0..50).map(|_| reserve(3, 1 << 32).unwrap()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    all.sort_by_key(|range| range.start);
    let starts: Vec<_> = all.iter().map(|range| range.start).collect();
    let expected: Vec<_> = (0..200).map(|number| COUNT + 6 + 3 * number).collect();
    assert_eq!(starts, expected);
    assert!(all.iter().all(|range| range.end == range.start + 3));
    assert_eq!(snapshot.revision(), block_on(repository.load()).unwrap().revision());
    drop(store);
}

#[test]
fn events_are_kept_with_what_came_of_the_command() {
    let (_, repository, mut snapshot, filled) = filled();
    let refused = Event::new(
        crate::support::at(5),
        "bob",
        "destroy",
        "keys/key-of-salaries",
        Outcome::Refused,
    );
    block_on(repository.record(vec![refused.unwrap()])).unwrap();
    let tenant = (**snapshot.tenant(filled.tenant).unwrap()).clone();
    let changes = Changes::new().update(tenant).event(event("rename", "tenants/a"));
    block_on(repository.commit(&mut snapshot, changes)).unwrap();
    let events = block_on(repository.events(0, 10)).unwrap();
    let shown: Vec<_> = events
        .iter()
        .map(|(_, event)| (event.command.as_str(), event.outcome, event.revision))
        .collect();
    assert_eq!(
        shown,
        [
            ("create", Outcome::Done, Some(Revision::new(2))),
            ("destroy", Outcome::Refused, None),
            ("rename", Outcome::Done, Some(Revision::new(3))),
        ]
    );
}

/// Who follows learns of the commit of another.
#[test]
fn a_follower_refreshes() {
    let (store, repository, mut snapshot, filled) = filled();
    let mut old = snapshot.clone();
    let revision = old.revision();
    let tenant = (**snapshot.tenant(filled.tenant).unwrap()).clone();
    std::thread::scope(|scope| {
        let follower = scope.spawn(|| {
            let next = block_on(repository.follow(revision)).unwrap();
            block_on(repository.refresh(&mut old)).unwrap();
            (next, old.revision())
        });
        block_on(repository.commit(&mut snapshot, Changes::new().update(tenant))).unwrap();
        assert_eq!(follower.join().unwrap(), (revision.next(), revision.next()));
    });
    drop(store);
}

#[test]
fn nothing_prints_secrets() {
    let (_, repository, snapshot, filled) = filled();
    let credential = snapshot.credentials().next().unwrap();
    let version = snapshot.versions(&filled.key).nth(1).unwrap();
    for text in [
        format!("{repository:?} {snapshot:?} {credential:?} {version:?}"),
        serde_json::to_string(&**credential).unwrap(),
        serde_json::to_string(&**version).unwrap(),
    ] {
        assert!(
            !text.contains(crate::support::SECRET) && !text.contains("88, 113, 87, 118"),
            "{text}"
        );
    }
    assert!(serde_json::to_string(&**version).unwrap().contains("00000002"));
}
