//! What happens between two steps of an import: the key manager goes away or is slow, the material ends, and
//! others change the KMS key.

use std::time::Duration;

use xks_byok::jobs::{Job, JobState, Jobs};
use xks_core::manage::ManageErrorKind;
use xks_lifecycle::{JobId, RotationStyle};

use super::site::{ALIAS, Imports, alice};

const HOUR: u64 = 3600;

async fn start(imports: &Imports, jobs: &Jobs) -> JobId {
    jobs.start(&alice(), imports.intent(), None).await.unwrap().id.unwrap()
}

async fn retried(imports: &Imports, jobs: &Jobs, id: JobId) -> Job {
    jobs.retry(&alice(), id).await.unwrap();
    imports.site.finish(jobs, id).await
}

/// There is one KMS key, which has the one key of the HSM, and works.
async fn assert_one(imports: &Imports, job: &Job, when: &str) {
    assert_eq!(job.state, JobState::Done, "{when}: {job:#?}");
    let materials = imports.materials().await;
    let [material] = materials.as_slice() else {
        panic!("{when}: {materials:?}")
    };
    assert_eq!(
        imports.site.hsm.labels(),
        [material.material.backend_key().unwrap().as_str()],
        "{when}: made twice"
    );
    let keys = imports.site.keys().await;
    let known = material.kms_key.as_ref().unwrap().to_string();
    assert!(keys.len() == 1 && keys[0].key_arn == known, "{when}: {keys:?}");
    let entries = imports.entries(&known).await;
    assert_eq!(entries.len(), 1, "{when}: {entries:?}");
    assert_eq!(
        entries[0].key_material_id,
        material.kms_material.map(|id| id.to_string()),
        "{when}"
    );
    let blob = imports.encrypt(ALIAS, b"secret").await;
    assert_eq!(imports.decrypt(&blob).await.unwrap(), b"secret", "{when}");
    let preview = imports.site.jobs().await.preview(imports.intent()).await.unwrap();
    assert!(preview.plan.is_done(), "{when}: {preview:#?}");
}

/// A job waits for its key manager, says why, and goes on when it is back. It is looked for before AWS is
/// asked for a wrapping key, of which there is one a second.
#[tokio::test]
async fn a_key_manager_that_is_away_between_making_and_wrapping_is_waited_for() {
    use ManageErrorKind::{Other, Throttled, Timeout, Unavailable};
    for (call, number, kind, asked) in [
        ("key", 1, Unavailable, 0),          // read back after it was made
        ("cmac", 1, Timeout, 0),             // its check value
        ("capabilities", 2, Unavailable, 0), // before it is wrapped
        ("wrap_key", 1, Throttled, 1),
        ("wrap_key", 1, Other, 1),
    ] {
        let when = format!("{call} {number}: {kind:?}");
        let imports = Imports::of_hsm(RotationStyle::NewKey).await;
        let (hsm, jobs) = (&imports.site.hsm, imports.site.jobs().await);
        let id = start(&imports, &jobs).await;
        hsm.goes_at(call, number, kind);
        let mut rests = 0;
        for _ in 0..100 {
            let ran = jobs.run_due().await;
            assert!(ran.failed.is_empty(), "{when}: {:?}", ran.failed);
            if hsm.is_away() {
                let job = jobs.get(id).await.unwrap();
                let JobState::Waiting { reason, .. } = &job.state else {
                    panic!("{when}: {job:#?}")
                };
                assert!(reason.contains("hsm"), "{when}: {reason}");
                rests += 1;
            }
            if rests == 12 {
                break;
            }
            imports.site.wait(60);
        }
        let calls = imports.site.kms.faults().calls();
        let made = |operation: &str| calls.get(operation).map_or(0, |calls| calls.made);
        assert_eq!((rests, made("GetParametersForImport")), (12, asked), "{when}");
        hsm.comes_back();
        let job = imports.site.finish(&jobs, id).await;
        assert_one(&imports, &job, &when).await;
        assert_eq!(job.calls["CreateKey"], 1, "{when}");
    }
}

/// A key that its key manager has lost is a question, not a new material.
#[tokio::test]
async fn a_key_that_the_key_manager_has_lost_is_asked_about() {
    let imports = Imports::of_hsm(RotationStyle::NewKey).await;
    let job = imports.done().await;
    assert_one(&imports, &job, "made").await;
    let material = imports.material(1).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    let key = material.material.backend_key().unwrap();
    xks_core::manage::KeyManager::destroy_key(&*imports.site.hsm.soft, key, deadline)
        .await
        .unwrap();
    let arn = material.kms_key.unwrap().to_string();
    let client = imports.site.client().await;
    client.delete_imported_key_material(&arn, None).await.unwrap();
    imports.site.wait(60);
    let job = imports.asked("hsm").await;
    assert!(imports.site.hsm.labels().is_empty(), "{job:#?}");
    assert_eq!(imports.material(1).await.check, material.check);
}

/// The token of AWS is good for a day, and the key manager answers after it: another one is asked for, and no
/// second KMS key or material is made.
#[tokio::test]
async fn a_token_that_has_run_out_is_asked_for_again() {
    for style in [RotationStyle::NewKey, RotationStyle::InPlace] {
        let imports = Imports::of_hsm(style).await;
        imports.site.hsm.is_slow(Duration::from_secs(25 * HOUR));
        let job = imports.run().await;
        assert_one(&imports, &job, "token").await;
        let log = format!("{:?}", job.log);
        assert!(log.contains("ExpiredImportTokenException"), "{log}");
        assert_eq!((job.calls["GetParametersForImport"], job.calls["CreateKey"]), (2, 1));
    }
}

/// It is not imported, and no KMS key is made for it. With a later end the job goes on.
#[tokio::test]
async fn material_that_ends_before_its_import_is_asked_about() {
    let later = async |imports: &Imports| {
        let end = imports.site.commands.now().plus_days(30);
        imports.want_import(|import| import.expires = Some(end)).await;
    };
    for style in [RotationStyle::NewKey, RotationStyle::InPlace] {
        // While its job has not begun.
        let imports = Imports::of_hsm(style).await;
        let end = imports.site.commands.now().plus_days(1);
        imports.want_import(|import| import.expires = Some(end)).await;
        let jobs = imports.site.jobs().await;
        let id = start(&imports, &jobs).await;
        imports.site.wait(25 * HOUR);
        let job = imports.site.finish(&jobs, id).await;
        let question = "the end of the material has passed: set a later end, or none";
        assert_eq!(
            job.state,
            JobState::Blocked {
                question: question.to_owned()
            },
            "{job:#?}"
        );
        assert_eq!(
            (imports.site.keys().await, imports.site.hsm.labels()),
            (Vec::new(), Vec::new())
        );
        later(&imports).await;
        assert_one(&imports, &retried(&imports, &jobs, id).await, "queued").await;
        // While it is wrapped.
        let imports = Imports::of_hsm(style).await;
        let end = imports.site.commands.now().plus_days(1);
        imports.want_import(|import| import.expires = Some(end)).await;
        imports.site.hsm.is_slow(Duration::from_secs(25 * HOUR));
        let jobs = imports.site.jobs().await;
        let id = start(&imports, &jobs).await;
        let job = imports.site.finish(&jobs, id).await;
        assert_eq!(
            job.state,
            JobState::Blocked {
                question: question.to_owned()
            },
            "{job:#?}"
        );
        later(&imports).await;
        assert_one(&imports, &retried(&imports, &jobs, id).await, "wrapped").await;
    }
}

/// Others disable the KMS key, or schedule its deletion, between two steps: the job brings it back and goes
/// on. One that is gone for good is a question.
#[tokio::test]
async fn a_key_that_others_disable_or_delete_between_two_steps_is_brought_back() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum By {
        Disabled,
        Scheduled,
        Deleted,
    }
    for (style, denied, by) in [
        (RotationStyle::NewKey, "CreateAlias", By::Disabled),
        (RotationStyle::NewKey, "CreateAlias", By::Scheduled),
        (RotationStyle::NewKey, "GetParametersForImport", By::Scheduled),
        (RotationStyle::NewKey, "ImportKeyMaterial", By::Deleted),
        (RotationStyle::InPlace, "RotateKeyOnDemand", By::Disabled),
        (RotationStyle::InPlace, "RotateKeyOnDemand", By::Scheduled),
    ] {
        let when = format!("{style:?}: {denied}: {by:?}");
        let imports = Imports::new(style).await;
        if style == RotationStyle::InPlace {
            imports.done().await;
            imports.rotate().await;
        }
        imports.site.kms.faults().deny(denied);
        let job = imports.asked(denied).await;
        let id = job.id.unwrap();
        let arn = imports.site.keys().await[0].key_arn.clone();
        let client = imports.site.client().await;
        match by {
            By::Disabled => client.disable_key(&arn).await.unwrap(),
            By::Scheduled | By::Deleted => {
                client.schedule_key_deletion(&arn, 7).await.unwrap();
            }
        }
        imports.site.wait(if by == By::Deleted { 8 * 24 * HOUR } else { 60 });
        imports.site.kms.faults().allow(denied);
        let jobs = imports.site.jobs().await;
        let job = retried(&imports, &jobs, id).await;
        if by == By::Deleted {
            assert!(
                matches!(&job.state, JobState::Blocked { question } if question.contains("was deleted in AWS")),
                "{when}: {job:#?}"
            );
            assert_eq!(imports.site.keys().await, [], "{when}");
            continue;
        }
        assert_eq!(job.state, JobState::Done, "{when}: {job:#?}");
        imports.assert_whole(&when).await;
    }
}
