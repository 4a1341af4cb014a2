//! Whole jobs about imported material, without faults.

use xks_byok::{
    aws::CreateKeyRequest,
    jobs::{Intent, JobState, Jobs},
    plan::{Status, availability},
};
use xks_lifecycle::{DeletionDays, RotationStyle, WantedKey, WantedMaterial};

use super::site::{ALIAS, Imports, alice};

const DAY: u64 = 24 * 3600;

#[tokio::test]
async fn new_keys_take_the_alias_and_the_former_ones_decrypt() {
    let imports = Imports::new(RotationStyle::NewKey).await;
    imports.done().await;
    imports.assert_whole("made").await;
    let first = imports.encrypt(ALIAS, b"first").await;
    imports.rotate().await;
    let job = imports.done().await;
    assert_eq!(job.plans.len(), 1, "each plan was the rest of the first: {job:#?}");
    println!("calls of a rotation: {:?}", job.calls);
    assert_eq!((job.calls["GetParametersForImport"], job.calls["CreateKey"]), (1, 1));
    imports.assert_whole("rotated").await;
    let second = imports.encrypt(ALIAS, b"second").await;
    assert_eq!(imports.decrypt(&first).await.unwrap(), b"first");
    // The former key is left as it is, unless it is to be disabled.
    assert_eq!(imports.state(1).await, "Enabled");
    imports.want_import(|import| import.disable_former = true).await;
    imports.rotate().await;
    imports.done().await;
    imports.assert_whole("rotated again").await;
    assert_eq!(
        (imports.state(1).await, imports.state(2).await),
        ("Enabled".into(), "Disabled".into())
    );
    assert!(imports.decrypt(&second).await.unwrap_err().contains("Disabled"));
    // A job about it leaves it disabled, until it is wanted enabled.
    let former = Intent::CloudMaterial(imports.material(2).await.id);
    assert_eq!(imports.site.run(former).await.state, JobState::Done);
    assert_eq!(imports.state(2).await, "Disabled");
    imports.want_former(2, WantedKey::Enabled).await;
    assert_eq!(imports.site.run(former).await.state, JobState::Done);
    assert_eq!(imports.decrypt(&second).await.unwrap(), b"second");
}

/// As often as AWS allows, with one KMS key.
#[tokio::test]
async fn in_place_one_key_takes_all_materials() {
    let imports = Imports::new(RotationStyle::InPlace).await;
    imports.done().await;
    let first = imports.encrypt(ALIAS, b"first").await;
    let jobs = imports.site.jobs_with(|settings| settings.reads = 1).await;
    for number in 2..=26 {
        imports.rotate().await;
        let id = jobs.start(&alice(), imports.intent(), None).await.unwrap().id.unwrap();
        let job = imports.site.finish(&jobs, id).await;
        assert_eq!(job.state, JobState::Done, "{job:#?}");
        assert_eq!(job.calls["GetParametersForImport"], 1);
        let warnings = &job.plans[0].warnings;
        assert_eq!(warnings.is_empty(), number <= 21, "{number}: {warnings:?}");
    }
    imports.assert_whole("rotated 25 times").await;
    assert_eq!(imports.site.keys().await.len(), 1);
    assert_eq!(imports.decrypt(&first).await.unwrap(), b"first");
    imports.rotate().await;
    let job = imports.asked("25 times").await;
    assert_eq!(job.calls.get("GetParametersForImport"), None, "foreseen");
}

#[tokio::test]
async fn material_is_removed_from_the_cloud_and_uploaded_again() {
    for style in [RotationStyle::NewKey, RotationStyle::InPlace] {
        let imports = Imports::new(style).await;
        imports.done().await;
        let blob = imports.encrypt(ALIAS, b"secret").await;
        imports.rotate().await;
        imports.done().await;
        let id = imports.want_material(1, WantedMaterial::Removed).await;
        // In place it shares the KMS key, and its job is that of the cloud key.
        let job = imports.site.run(Intent::CloudMaterial(id)).await;
        assert_eq!(job.state, JobState::Done, "{job:#?}");
        assert_eq!(job.intent == imports.intent(), style == RotationStyle::InPlace);
        let arn = imports.material(1).await.kms_key.unwrap().to_string();
        let shown = availability(Some(&imports.describe(&arn).await), &imports.entries(&arn).await);
        assert_eq!(shown.status, Status::NotAvailable);
        assert!(imports.decrypt(&blob).await.is_err());
        imports.want_material(1, WantedMaterial::Imported).await;
        let job = imports.site.run(Intent::CloudMaterial(id)).await;
        assert_eq!(job.state, JobState::Done, "{job:#?}");
        assert_eq!(imports.decrypt(&blob).await.unwrap(), b"secret");
        imports.assert_whole("uploaded again").await;
    }
}

/// AWS keeps material for at most 365 days.
#[tokio::test]
async fn material_is_kept_beyond_a_year() {
    for style in [RotationStyle::NewKey, RotationStyle::InPlace] {
        let imports = Imports::new(style).await;
        let now = imports.site.commands.now();
        imports
            .want_import(|import| import.expires = Some(now.plus_days(800)))
            .await;
        imports.done().await;
        let blob = imports.encrypt(ALIAS, b"secret").await;
        imports.rotate().await;
        imports.done().await;
        let ends = async || imports.material(2).await.valid_to.unwrap();
        assert!(ends().await > now.plus_days(364) && ends().await <= now.plus_days(365));
        // A job begins by itself, once on all nodes.
        imports.site.wait(340 * DAY);
        let nodes = [imports.site.jobs().await, imports.site.jobs().await];
        let before = nodes[0].list().await.unwrap().len();
        for round in 0.. {
            let node: &Jobs = &nodes[round % 2];
            let ran = node.run_due().await;
            assert!(ran.failed.is_empty() && round < 300, "{ran:?}");
            if ends().await > now.plus_days(700) && node.list().await.unwrap().iter().all(|job| job.state.is_ended()) {
                break;
            }
            imports.site.wait(20);
        }
        // In place both materials belong to one KMS key, and one job brings both.
        let jobs = nodes[0].list().await.unwrap();
        assert_eq!(jobs.len() - before, if style == RotationStyle::InPlace { 1 } else { 2 });
        assert!(imports.material(1).await.valid_to.unwrap() > now.plus_days(700));
        // Nothing ran for longer than AWS keeps it: it is gone there, and comes back.
        imports.site.wait(370 * DAY);
        assert_eq!(imports.state(2).await, "PendingImport");
        let jobs = imports.site.jobs().await;
        let id = jobs.start(&alice(), imports.intent(), None).await.unwrap().id.unwrap();
        imports.site.wait(DAY);
        assert_eq!(imports.site.finish(&jobs, id).await.state, JobState::Done);
        assert_eq!(ends().await, now.plus_days(800));
        if style == RotationStyle::InPlace {
            assert_eq!(imports.decrypt(&blob).await.unwrap(), b"secret");
        }
        // At its end it stays away.
        imports.site.wait(95 * DAY);
        assert_eq!(imports.state(2).await, "PendingImport");
        let job = imports.done().await;
        assert!(job.plans[0].warnings[0].contains("set a later end"), "{job:#?}");
        assert_eq!(imports.state(2).await, "PendingImport");
    }
}

#[tokio::test]
async fn a_deletion_is_cancelled_and_comes_back_disabled() {
    let imports = Imports::new(RotationStyle::NewKey).await;
    imports.done().await;
    let days = DeletionDays::new(7).unwrap();
    imports.want(|key| key.wanted = WantedKey::Deleted(days)).await;
    imports.done().await;
    assert_eq!(imports.state(1).await, "PendingDeletion");
    imports.want(|key| key.wanted = WantedKey::Disabled).await;
    imports.done().await;
    assert_eq!(imports.state(1).await, "Disabled");
    imports.want(|key| key.wanted = WantedKey::Enabled).await;
    imports.done().await;
    imports.assert_whole("enabled").await;
    // Deleted for good, it is not made again but for another material.
    imports.want(|key| key.wanted = WantedKey::Deleted(days)).await;
    imports.done().await;
    imports.site.wait(8 * DAY);
    imports.done().await;
    imports.want(|key| key.wanted = WantedKey::Enabled).await;
    imports.asked("was deleted in AWS").await;
    imports.rotate().await;
    let jobs = imports.site.jobs().await;
    let id = jobs.list().await.unwrap()[0].id.unwrap();
    jobs.retry(&alice(), id).await.unwrap();
    assert_eq!(imports.site.finish(&jobs, id).await.state, JobState::Done);
    assert_eq!(imports.state(2).await, "Enabled");
    // A former key is deleted too, if that is asked for.
    imports.rotate().await;
    imports.done().await;
    let former = imports.want_former(2, WantedKey::Deleted(days)).await;
    assert_eq!(
        imports.site.run(Intent::CloudMaterial(former)).await.state,
        JobState::Done
    );
    assert_eq!(
        (imports.state(2).await, imports.state(3).await),
        ("PendingDeletion".into(), "Enabled".into())
    );
}

/// A key that awaits its material is filled by the first rotation, and followed by the next.
#[tokio::test]
async fn keys_of_others_are_filled_or_followed() {
    for origin in ["EXTERNAL", "AWS_KMS"] {
        let imports = Imports::without_material(RotationStyle::NewKey, |builder| builder).await;
        let client = imports.site.client().await;
        let mut request = CreateKeyRequest::external();
        request.origin = origin.into();
        let theirs = client.create_key(request).await.unwrap();
        let arn = theirs.arn.parse().unwrap();
        imports
            .want(|key| (key.kms_key, key.is_adopted) = (Some(arn), true))
            .await;
        imports.done().await;
        assert_eq!(
            imports.site.aliases().await[ALIAS].as_ref(),
            Some(&theirs.key_id),
            "adopted"
        );
        imports.rotate().await;
        imports.done().await;
        let is_filled = imports.material(1).await.kms_key.unwrap().to_string() == theirs.arn;
        assert_eq!(is_filled, origin == "EXTERNAL");
        assert_eq!(imports.cloud_key().await.is_adopted, is_filled);
        assert_eq!(imports.describe(ALIAS).await.key_state.as_str(), "Enabled");
        imports.rotate().await;
        imports.done().await;
        assert_ne!(imports.describe(ALIAS).await.arn, theirs.arn);
        assert_eq!(imports.site.keys().await.len(), if is_filled { 2 } else { 3 });
    }
}

/// What is wanted otherwise is shown with both sides, and changed by a job alone.
#[tokio::test]
async fn drift_is_shown_and_mended_when_asked() {
    let imports = Imports::new(RotationStyle::NewKey).await;
    imports.done().await;
    let arn = imports.cloud_key().await.kms_key.unwrap().to_string();
    let client = imports.site.client().await;
    client.update_key_description(&arn, "theirs").await.unwrap();
    client.disable_key(&arn).await.unwrap();
    imports.site.wait(60);
    let preview = imports.site.jobs().await.preview(imports.intent()).await.unwrap();
    let drift: Vec<_> = preview.plan.drift.iter().map(ToString::to_string).collect();
    assert_eq!(
        drift,
        [
            "state: wanted Enabled, found Disabled",
            "description: wanted , found theirs"
        ]
    );
    assert_eq!(imports.describe(&arn).await.description, "theirs");
    imports.done().await;
    imports.assert_whole("mended").await;
}
