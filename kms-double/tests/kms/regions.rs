//! Keys in several Regions: replicas, the import into each, rotation, deletion, and another primary.

use std::time::Duration;

use kms_double::kms::{Clock, ExceptionName as Name, Kms, RequestQuotas, api::*};

use crate::{
    importing::{DAY, Importing, material},
    site::{alice, name},
};

const HOME: &str = "us-east-1";
const THERE: &str = "eu-west-1";
const FAR: &str = "ap-southeast-2";

/// A primary key, of this origin, and the Regions beside it.
async fn primary(origin: &str) -> [Importing; 3] {
    let clock = Clock::stopped_at(1_796_000_000.0);
    let kms = Kms::builder().clock(clock.clone()).build().unwrap();
    let mut request = CreateKeyRequest::external();
    request.origin = Some(origin.into());
    request.multi_region = Some(true);
    let made = kms.create_key(&alice(), request).await.unwrap().key_metadata;
    let home = Importing {
        kms,
        clock,
        key_id: made.key_id,
    };
    let (there, far) = (home.in_region(THERE), home.in_region(FAR));
    [home, there, far]
}

/// Returns the state of the new key.
async fn replicate(site: &Importing, region: &str) -> Result<KeyState, Name> {
    let request = ReplicateKeyRequest::new(&site.key_id, region);
    let replicated = site.kms.replicate_key(&alice(), request).await;
    let state = replicated.map(|replicated| replicated.replica_key_metadata.key_state);
    state.map_err(|error| error.name())
}

async fn material_states(site: &Importing) -> Vec<(KeyMaterialState, ImportState)> {
    let all = site.all_material().await;
    all.iter()
        .map(|entry| (entry.key_material_state, entry.import_state.unwrap()))
        .collect()
}

#[tokio::test]
async fn a_replica_has_the_key_id_and_waits_for_the_same_material() {
    let [home, there, far] = primary("EXTERNAL").await;
    assert!(
        home.key_id.starts_with("mrk-") && home.key_id.len() == 36,
        "{}",
        home.key_id
    );
    assert_eq!(
        replicate(&home, THERE).await,
        Err(Name::InvalidState),
        "without material"
    );
    let id = home.import(&material(1), |_| ()).await.unwrap();
    assert_eq!(replicate(&home, THERE).await, Ok(KeyState::Creating));
    assert_eq!(replicate(&home, THERE).await, Err(Name::AlreadyExists));
    assert_eq!(replicate(&home, HOME).await, Err(Name::AlreadyExists));
    assert_eq!(replicate(&home, "Mars").await, Err(Name::Validation));
    assert_eq!(name(far.kms.describe_key(&alice(), far.id()).await), Name::NotFound);

    let (primary, replica) = (home.described().await, there.described().await);
    assert_eq!(replica.key_state, KeyState::PendingImport);
    assert_eq!(replica.arn, primary.arn.replace(HOME, THERE));
    let (of_primary, of_replica) = (
        primary.multi_region_configuration.unwrap(),
        replica.multi_region_configuration.unwrap(),
    );
    assert_eq!(of_primary.multi_region_key_type, MultiRegionKeyType::Primary);
    assert_eq!(of_replica.multi_region_key_type, MultiRegionKeyType::Replica);
    assert_eq!(
        (&of_replica.primary_key.arn, &*of_replica.primary_key.region),
        (&primary.arn, HOME)
    );
    assert_eq!(of_primary.replica_keys, of_replica.replica_keys);
    assert_eq!(
        (&of_primary.replica_keys[0].arn, of_primary.replica_keys.len()),
        (&replica.arn, 1)
    );

    // A token is good for its key alone, though both have one id.
    let request = home.request(&material(1)).await;
    assert_eq!(name(there.import_request(request).await), Name::InvalidImportToken);
    assert_eq!(
        name(there.import(&material(2), |_| ()).await),
        Name::IncorrectKeyMaterial
    );
    assert_eq!(name(there.import_new(&material(2)).await), Name::UnsupportedOperation);
    assert_eq!(there.import(&material(1), |_| ()).await.unwrap(), id);
    let blob = home.encrypt(b"plain").await.unwrap().ciphertext_blob;
    assert_eq!(&*there.decrypt(&blob).await.unwrap().plaintext, b"plain");
    assert_eq!(
        replicate(&there, FAR).await,
        Err(Name::UnsupportedOperation),
        "from a replica"
    );
    // Each has its own.
    there.delete(None).await.unwrap();
    assert_eq!(
        (home.state().await, there.state().await),
        (KeyState::Enabled, KeyState::PendingImport)
    );
}

#[tokio::test]
async fn new_material_goes_into_every_region_before_the_primary_rotates() {
    use ImportState::{Imported, PendingImport};
    use KeyMaterialState::{Current, NonCurrent, PendingMultiRegionImportAndRotation as Everywhere, PendingRotation};
    let [home, there, far] = primary("EXTERNAL").await;
    home.import(&material(1), |_| ()).await.unwrap();
    for site in [&there, &far] {
        replicate(&home, site.kms.region()).await.unwrap();
        site.import(&material(1), |_| ()).await.unwrap();
    }
    home.import_new(&material(2)).await.unwrap();
    assert_eq!(
        material_states(&home).await,
        [(Current, Imported), (Everywhere, Imported)]
    );
    assert_eq!(
        material_states(&there).await,
        [(Current, Imported), (Everywhere, PendingImport)]
    );
    assert_eq!(there.state().await, KeyState::Enabled, "it is not associated for good");
    assert_eq!(name(home.rotate().await), Name::InvalidState);
    there.import(&material(2), |_| ()).await.unwrap();
    assert_eq!(name(home.rotate().await), Name::InvalidState, "one Region is missing");
    let in_a_day = |request: &mut ImportKeyMaterialRequest, clock: &Clock| {
        request.expiration_model = Some(ExpirationModel::KeyMaterialExpires);
        request.valid_to = Some(clock.now() + DAY.as_secs_f64());
    };
    far.import(&material(2), |request| in_a_day(request, &far.clock))
        .await
        .unwrap();
    assert_eq!(material_states(&home).await[1], (PendingRotation, Imported));
    far.clock.advance(DAY);
    assert_eq!(
        material_states(&home).await[1],
        (Everywhere, Imported),
        "it has expired in one Region"
    );
    assert_eq!(material_states(&far).await[1], (Everywhere, PendingImport));
    far.import(&material(2), |_| ()).await.unwrap();
    assert_eq!(name(there.rotate().await), Name::UnsupportedOperation, "a replica");
    home.rotate().await.unwrap();
    for site in [&home, &there, &far] {
        assert_eq!(
            material_states(site).await,
            [(NonCurrent, Imported), (Current, Imported)]
        );
    }
    let blob = far.encrypt(b"plain").await.unwrap().ciphertext_blob;
    assert_eq!(&*home.decrypt(&blob).await.unwrap().plaintext, b"plain");

    // What waits goes from all Regions with the primary's, and from one alone with a replica's.
    let third = home.import_new(&material(3)).await.unwrap();
    there.import(&material(3), |_| ()).await.unwrap();
    there.delete(Some(&third)).await.unwrap();
    assert_eq!(material_states(&there).await[2], (Everywhere, PendingImport));
    assert_eq!(material_states(&home).await[2], (Everywhere, Imported));
    home.delete(Some(&third)).await.unwrap();
    for site in [&home, &there, &far] {
        assert_eq!(material_states(site).await.len(), 2);
    }
    // A new replica needs all that belongs to the key for good.
    let late = home.in_region("eu-north-1");
    replicate(&home, "eu-north-1").await.unwrap();
    late.import(&material(2), |_| ()).await.unwrap();
    assert_eq!(late.state().await, KeyState::PendingImport);
    late.import(&material(1), |_| ()).await.unwrap();
    assert_eq!(late.state().await, KeyState::Enabled);
}

#[tokio::test]
async fn a_primary_is_deleted_after_its_replicas() {
    let [home, there, _] = primary("AWS_KMS").await;
    replicate(&home, THERE).await.unwrap();
    let blob = home.encrypt(b"plain").await.unwrap().ciphertext_blob;
    assert_eq!(&*there.decrypt(&blob).await.unwrap().plaintext, b"plain");
    home.rotate().await.unwrap();
    let (ids, ids_there) = (home.all_material().await, there.all_material().await);
    assert_eq!((ids.len(), &ids[1].key_material_id), (2, &ids_there[1].key_material_id));

    let schedule = async |site: &Importing, days| {
        let mut request = ScheduleKeyDeletionRequest::new(&site.key_id);
        request.pending_window_in_days = Some(days);
        site.kms.schedule_key_deletion(&alice(), request).await.unwrap()
    };
    let scheduled = schedule(&home, 8).await;
    assert_eq!(
        (scheduled.key_state, scheduled.deletion_date),
        (KeyState::PendingReplicaDeletion, None)
    );
    let described = home.described().await;
    assert_eq!(
        (described.deletion_date, described.pending_deletion_window_in_days),
        (None, Some(8))
    );
    assert_eq!(name(home.encrypt(b"plain").await), Name::InvalidState);
    assert_eq!(replicate(&home, FAR).await, Err(Name::InvalidState));
    home.clock.advance(DAY * 400);
    assert_eq!(home.state().await, KeyState::PendingReplicaDeletion, "it waits");

    let until = schedule(&there, 7).await.deletion_date.unwrap();
    home.clock.advance(DAY * 8);
    assert_eq!(name(there.kms.describe_key(&alice(), there.id()).await), Name::NotFound);
    let described = home.described().await;
    assert_eq!(described.key_state, KeyState::PendingDeletion);
    assert_eq!(
        described.deletion_date,
        Some(until + 8.0 * DAY.as_secs_f64()),
        "from the replica's end on"
    );
    home.clock.advance(DAY * 7);
    assert_eq!(name(home.kms.describe_key(&alice(), home.id()).await), Name::NotFound);
}

#[tokio::test]
async fn a_replica_becomes_the_primary() {
    let [home, there, far] = primary("AWS_KMS").await;
    for region in [THERE, FAR] {
        replicate(&home, region).await.unwrap();
    }
    let update = async |site: &Importing, region| {
        let request = UpdatePrimaryRegionRequest::new(&site.key_id, region);
        site.kms.update_primary_region(&alice(), request).await
    };
    assert_eq!(
        name(update(&there, FAR).await),
        Name::UnsupportedOperation,
        "called at a replica"
    );
    there.kms.disable_key(&alice(), there.id()).await.unwrap();
    assert_eq!(name(update(&home, THERE).await), Name::InvalidState);
    there.kms.enable_key(&alice(), there.id()).await.unwrap();
    update(&home, THERE).await.unwrap();
    for site in [&home, &there, &far] {
        let regions = site.described().await.multi_region_configuration.unwrap();
        assert_eq!(regions.primary_key.region, THERE);
        let replicas: Vec<_> = regions.replica_keys.iter().map(|key| &*key.region).collect();
        assert_eq!(replicas, [FAR, HOME]);
    }
    there.rotate().await.unwrap();
    assert_eq!(home.all_material().await.len(), 2);
}

#[tokio::test]
async fn regions_have_keys_and_quotas_of_their_own_and_users_in_common() {
    let folder = crate::support::Folder::new();
    let file = folder.path("state");
    let clock = Clock::stopped_at(1_796_000_000.0);
    let builder = || {
        let builder = Kms::builder().clock(clock.clone()).state_file(&file);
        builder
            .request_quotas(RequestQuotas::aws())
            .settle(Duration::from_secs(2))
    };
    let kms = builder().build().unwrap();
    let there = kms.in_region(THERE).unwrap();
    let mut request = CreateKeyRequest::default();
    request.multi_region = Some(true);
    let made = kms.create_key(&alice(), request).await.unwrap().key_metadata;
    clock.advance(Duration::from_secs(2));
    // Two CreateKeys each, of the five a second.
    for region in [THERE, FAR] {
        let request = ReplicateKeyRequest::new(&made.key_id, region);
        kms.replicate_key(&alice(), request).await.unwrap();
    }
    let mut created = 0;
    while there.create_key(&alice(), CreateKeyRequest::default()).await.is_ok() {
        created += 1;
    }
    assert_eq!(created, 3);
    // Creating for the time to settle.
    let describe = KeyIdRequest::new(&made.key_id);
    let states = async || {
        let mut states = Vec::new();
        for _ in 0..4 {
            let described = there.describe_key(&alice(), describe.clone()).await;
            states.push(
                described
                    .map(|described| described.key_metadata.key_state)
                    .map_err(|error| error.name()),
            );
        }
        states
    };
    let before = states().await;
    assert!(
        before.contains(&Ok(KeyState::Creating)) && before.contains(&Err(Name::NotFound)),
        "{before:?}"
    );
    let disabled = (
        there.disable_key(&alice(), describe.clone()).await,
        there.disable_key(&alice(), describe.clone()).await,
    );
    assert!([name(disabled.0), name(disabled.1)].contains(&Name::InvalidState));
    clock.advance(Duration::from_secs(2));
    assert_eq!(states().await, [Ok(KeyState::Enabled); 4]);

    // A Region that is away does nothing, and the others go on.
    kms.faults().away(THERE);
    assert_eq!(
        name(there.describe_key(&alice(), describe.clone()).await),
        Name::AnswerLost
    );
    kms.describe_key(&alice(), describe.clone()).await.unwrap();
    let update = UpdatePrimaryRegionRequest::new(&made.key_id, THERE);
    assert_eq!(
        name(kms.update_primary_region(&alice(), update).await),
        Name::DependencyTimeout
    );
    kms.faults().back(THERE);
    kms.faults().deny("CreateKey");
    let request = ReplicateKeyRequest::new(&made.key_id, "eu-north-1");
    assert_eq!(name(kms.replicate_key(&alice(), request).await), Name::AccessDenied);
    kms.faults().clear();

    there
        .add_principal(kms_double::kms::PrincipalKind::User, "Carol")
        .unwrap();
    drop((kms, there));
    clock.advance(Duration::from_secs(2));
    let kms = builder().build().unwrap();
    let users = kms.call(&alice(), "ListUsers", &serde_json::json!({})).await.unwrap();
    assert!(users.body.to_string().contains("Carol"), "{}", users.body);
    for region in [HOME, THERE, FAR] {
        let there = kms.in_region(region).unwrap();
        let described = there
            .describe_key(&alice(), describe.clone())
            .await
            .unwrap()
            .key_metadata;
        assert!(described.arn.contains(region));
        let keys = there
            .list_keys(&alice(), ListKeysRequest::default())
            .await
            .unwrap()
            .keys;
        assert_eq!(keys.len(), if region == THERE { 4 } else { 1 });
    }
}
