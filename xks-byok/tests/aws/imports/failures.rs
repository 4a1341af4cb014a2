//! Calls that fail, at each occurrence of each operation of an import and a rotation.

use std::time::Duration;

use kms_double::kms::{RequestQuotas, Trouble};
use xks_byok::jobs::JobState;
use xks_lifecycle::RotationStyle;

use super::site::{Imports, alice};

/// What jobs call, and how often the first times matter.
const CALLS: &[(&str, u64)] = &[
    ("DescribeKey", 2),
    ("GetKeyPolicy", 1),
    ("ListResourceTags", 1),
    ("ListKeyRotations", 1),
    ("CreateKey", 1),
    ("GetParametersForImport", 1),
    ("ImportKeyMaterial", 1),
    ("RotateKeyOnDemand", 1),
    ("CreateAlias", 1),
    ("UpdateAlias", 1),
    ("DisableKey", 1),
];

const TROUBLES: &[Trouble] = &[Trouble::LostBefore, Trouble::LostAfter, Trouble::Throttled];

#[tokio::test]
async fn a_rotation_gets_there_whichever_call_fails() {
    for style in [RotationStyle::NewKey, RotationStyle::InPlace] {
        let faults = CALLS.iter().flat_map(|(operation, occurrences)| {
            (1..=*occurrences)
                .flat_map(move |occurrence| TROUBLES.iter().map(move |trouble| (*operation, occurrence, *trouble)))
        });
        let faults: Vec<_> = faults.collect();
        // Fewer than AWS allows in place.
        for faults in faults.chunks(20) {
            let imports = Imports::new(style).await;
            if style == RotationStyle::NewKey {
                imports.want_import(|import| import.disable_former = true).await;
            }
            for (operation, occurrence, trouble) in faults {
                let jobs = imports.site.jobs().await;
                let id = jobs.start(&alice(), imports.intent(), None).await.unwrap().id.unwrap();
                imports.site.kms.faults().inject(operation, *occurrence, *trouble);
                let job = imports.site.finish(&jobs, id).await;
                let when = format!("{style:?}: {operation} {occurrence}: {trouble:?}");
                assert_eq!(job.state, JobState::Done, "{when}: {job:#?}");
                let newest = imports.materials().await.len();
                let keys = if style == RotationStyle::NewKey { newest } else { 1 };
                assert_eq!(imports.site.keys().await.len(), keys, "{when}");
                imports.site.kms.faults().clear();
                imports.rotate().await;
            }
            imports.done().await;
            imports.assert_whole(&format!("{style:?}: {faults:?}")).await;
        }
    }
}

/// Two replicas answer in turn, of which one is behind.
#[tokio::test]
async fn answers_that_flip_are_waited_for() {
    for style in [RotationStyle::NewKey, RotationStyle::InPlace] {
        for settle in [2, 20, 90] {
            let imports = Imports::with(style, |builder| builder.settle(Duration::from_secs(settle))).await;
            imports.done().await;
            imports.rotate().await;
            imports
                .site
                .kms
                .faults()
                .inject("ImportKeyMaterial", 1, Trouble::LostAfter);
            imports.done().await;
            imports
                .assert_whole(&format!("{style:?}, replicas {settle} s apart"))
                .await;
        }
    }
}

/// In the middle of a rotation: it is blocked, which is one event, tried again by itself, less and less
/// often, and goes on when the permission is there. A person may try it at once.
#[tokio::test]
async fn a_permission_that_is_missing_is_asked_for() {
    const PAUSES: &[u64] = &[60, 120, 240, 480, 900, 900, 900];
    for (style, operations) in [
        (
            RotationStyle::NewKey,
            &[
                "CreateKey",
                "GetParametersForImport",
                "ImportKeyMaterial",
                "UpdateAlias",
            ][..],
        ),
        (RotationStyle::InPlace, &["RotateKeyOnDemand"]),
    ] {
        let imports = Imports::new(style).await;
        imports.done().await;
        for operation in operations {
            imports.rotate().await;
            imports.site.kms.faults().deny(operation);
            let job = imports.asked(&format!("kms:{operation}")).await;
            assert!(
                matches!(&job.state, JobState::Blocked { question } if question.contains("statement Import")
                || question.contains("or Import")),
                "{job:#?}"
            );
            let (jobs, id) = (imports.site.jobs().await, job.id.unwrap());
            let calls = || imports.site.kms.faults().calls()[*operation].made;
            let (now, before) = (|| (imports.site.kms.clock().now() * 1000.0) as u64, calls());
            let events = async || {
                let events = imports.site.commands.events(0, 10_000).await.unwrap().into_iter();
                let of_job = format!("jobs/{id}");
                events.filter(|(_, event)| event.object.to_string() == of_job).count()
            };
            let (log, recorded) = (job.log.clone(), events().await);
            // Of one of them a person does not wait for that.
            let is_retried = *operation == "GetParametersForImport";
            let mut last = now();
            for (count, pause) in PAUSES.iter().enumerate().take_while(|_| !is_retried) {
                imports.site.wait(pause - 2);
                jobs.run_due().await;
                assert_eq!(calls(), before + count as u64, "{operation}, {pause} s");
                imports.site.wait(3);
                let (job, is_open) = (jobs.get(id).await.unwrap(), jobs.tally().unwrap().open["blocked"]);
                assert!(job.due().unwrap().abs_diff(last + pause * 1000) < 1000, "{job:#?}");
                assert_eq!((job.state.as_str(), is_open), ("blocked", 1));
                assert_eq!((&job.log, events().await), (&log, recorded), "it is said once");
                jobs.run_due().await;
                assert_eq!(calls(), before + count as u64 + 1, "{operation}, {pause} s");
                last = now();
            }
            imports.site.kms.faults().allow(operation);
            if is_retried {
                jobs.retry(&alice(), id).await.unwrap();
            } else {
                imports.site.wait(900);
                jobs.run_due().await;
            }
            let ended = imports.site.finish(&jobs, id).await;
            assert_eq!((&ended.state, &ended.denied), (&JobState::Done, &None));
            imports.assert_whole(operation).await;
        }
    }
}

/// What a cancelled job has made is found by the next one, and not made again.
#[tokio::test]
async fn a_key_of_a_cancelled_job_is_found() {
    let imports = Imports::new(RotationStyle::NewKey).await;
    let jobs = imports.site.jobs().await;
    let id = jobs.start(&alice(), imports.intent(), None).await.unwrap().id.unwrap();
    imports.site.kms.faults().inject("CreateKey", 1, Trouble::LostAfter);
    jobs.run_due().await;
    assert_eq!(imports.site.keys().await.len(), 1);
    jobs.cancel(&alice(), id).await.unwrap();
    // Though no record has its ARN yet, it is not left over.
    let key = imports.cloud_key().await;
    let found = jobs.region(key.account, &key.region).await.unwrap();
    assert_eq!((found.keys.len(), jobs.orphans(&found)), (1, Vec::new()));
    let job = imports.done().await;
    assert_eq!(job.calls.get("CreateKey"), None, "{job:#?}");
    imports.assert_whole("found").await;
}

/// Of two jobs that were started in the same instant one makes the KMS key.
#[tokio::test]
async fn two_jobs_of_one_instant_make_one_key() {
    let imports = Imports::new(RotationStyle::NewKey).await;
    let (one, other) = (imports.site.jobs().await, imports.site.jobs().await);
    let (alice, intent) = (alice(), imports.intent());
    let (first, second) = tokio::join!(one.start(&alice, intent, None), other.start(&alice, intent, None));
    let started: Vec<_> = [first, second].into_iter().flatten().collect();
    for job in started {
        let ended = imports.site.finish(&one, job.id.unwrap()).await;
        assert_eq!(ended.state, JobState::Done, "{ended:#?}");
    }
    imports.assert_whole("two jobs").await;
}

/// AWS's own quotas are not run into, of which one is a wrapping key a second.
#[tokio::test]
async fn imports_keep_the_quotas() {
    let imports = Imports::with(RotationStyle::InPlace, |builder| {
        builder.request_quotas(RequestQuotas::aws())
    })
    .await;
    imports.done().await;
    for _ in 0..3 {
        imports.rotate().await;
        imports.done().await;
    }
    let throttled: u64 = imports
        .site
        .kms
        .faults()
        .calls()
        .values()
        .map(|calls| calls.throttled)
        .sum();
    assert_eq!(throttled, 0);
}
