//! Calls that fail, at each occurrence of each operation: not done, done with its answer lost, throttled.

use std::time::Duration;

use kms_double::kms::{RequestQuotas, Trouble};
use xks_byok::jobs::{Intent, Job, JobState};

use super::site::{Site, alice};

/// What the jobs call, and how often the first times matter.
const CALLS: &[(&str, u64)] = &[
    ("DescribeCustomKeyStores", 3),
    ("CreateCustomKeyStore", 1),
    ("ConnectCustomKeyStore", 1),
    ("DescribeKey", 4),
    ("GetKeyPolicy", 2),
    ("ListResourceTags", 2),
    ("CreateKey", 1),
    ("CreateAlias", 1),
    ("DisableKey", 1),
];

async fn both(site: &Site, when: &str) -> [Job; 2] {
    let store = site.run(Intent::CloudKeyStore(site.cloud_key_store)).await;
    assert_eq!(store.state, JobState::Done, "{when}: {store:#?}");
    let key = site.run(Intent::CloudKey(site.cloud_key)).await;
    assert_eq!(key.state, JobState::Done, "{when}: {key:#?}");
    [store, key]
}

#[tokio::test]
async fn a_job_gets_there_whichever_call_fails() {
    for (operation, occurrences) in CALLS {
        for trouble in [
            Trouble::LostBefore,
            Trouble::LostAfter,
            Trouble::Throttled,
            Trouble::Internal,
            Trouble::DependencyTimeout,
        ] {
            for occurrence in 1..=*occurrences {
                let site = Site::new().await;
                site.want_key(|key| key.wanted = xks_lifecycle::WantedKey::Disabled)
                    .await;
                let when = format!("{operation} {occurrence}: {trouble:?}");
                // The number of the account is known, and no start is in between.
                let jobs = site.jobs().await;
                jobs.preview(Intent::CloudKeyStore(site.cloud_key_store)).await.unwrap();
                let ids = start_both(&site).await;
                site.kms.faults().inject(operation, occurrence, trouble);
                for id in ids {
                    let job = site.finish(&jobs, id).await;
                    let is_there = matches!(&job.state, JobState::Blocked { .. });
                    if is_there {
                        jobs.retry(&alice(), id).await.unwrap(); // it began before its key store was there
                    }
                    let job = site.finish(&jobs, id).await;
                    assert_eq!(job.state, JobState::Done, "{when}: {job:#?}");
                }
                site.assert_made(&when).await;
            }
        }
    }
}

async fn start_both(site: &Site) -> [xks_lifecycle::JobId; 2] {
    let jobs = site.jobs().await;
    let store = jobs
        .start(&alice(), Intent::CloudKeyStore(site.cloud_key_store), None)
        .await
        .unwrap();
    let key = jobs
        .start(&alice(), Intent::CloudKey(site.cloud_key), None)
        .await
        .unwrap();
    [store.id.unwrap(), key.id.unwrap()]
}

/// It waits for the settle time, searches among the keys that it does not know, and makes no second one.
#[tokio::test]
async fn a_key_whose_answer_was_lost_is_found_by_its_tag() {
    for trouble in [Trouble::LostAfter, Trouble::LostBefore] {
        let site = Site::new().await;
        site.connected().await;
        site.kms.faults().inject("CreateKey", 1, trouble);
        let begun = site.kms.clock().now();
        let job = site.run(Intent::CloudKey(site.cloud_key)).await;
        assert_eq!(job.state, JobState::Done, "{job:#?}");
        let took = site.kms.clock().now() - begun;
        let text = format!("{:?}", job.log);
        if trouble == Trouble::LostAfter {
            assert!(text.contains("whose answer was lost"), "{text}");
            assert_eq!(job.calls["CreateKey"], 1);
        } else {
            assert!(text.contains("no KMS key was made"), "{text}");
            assert!(took >= 300.0, "made again after {took} s");
            assert_eq!(job.calls["CreateKey"], 2);
        }
        assert!(!site.key().await.is_adopted);
        site.assert_made("found").await;
    }
}

/// Two replicas answer in turn, of which one is behind.
#[tokio::test]
async fn answers_that_flip_are_waited_for() {
    for settle in [2, 20, 90] {
        let site = Site::with(|builder| builder.settle(Duration::from_secs(settle))).await;
        both(&site, &format!("replicas {settle} s apart")).await;
        site.assert_made(&format!("replicas {settle} s apart")).await;
        // A lost answer beside it.
        let site = Site::with(|builder| builder.settle(Duration::from_secs(settle))).await;
        site.connected().await;
        site.kms.faults().inject("CreateKey", 1, Trouble::LostAfter);
        let job = site.run(Intent::CloudKey(site.cloud_key)).await;
        assert_eq!(job.state, JobState::Done, "{job:#?}");
        site.assert_made("lost, and seen late").await;
    }
}

#[tokio::test]
async fn a_denied_call_names_the_statement_that_allows_it() {
    let site = Site::new().await;
    site.connected().await;
    site.kms.faults().deny("CreateKey");
    let job = site.run(Intent::CloudKey(site.cloud_key)).await;
    let JobState::Blocked { question } = &job.state else {
        panic!("{job:#?}")
    };
    assert!(
        question.contains("kms:CreateKey") && question.contains("ExternalKeyStore"),
        "{question}"
    );
    site.kms.faults().allow("CreateKey");
    let jobs = site.jobs().await;
    jobs.retry(&alice(), job.id.unwrap()).await.unwrap();
    let job = site.finish(&jobs, job.id.unwrap()).await;
    assert_eq!(job.state, JobState::Done, "{job:#?}");
    site.assert_made("allowed").await;
}

/// AWS's own quotas are not run into.
#[tokio::test]
async fn jobs_keep_the_quotas() {
    let site = Site::with(|builder| builder.request_quotas(RequestQuotas::aws())).await;
    both(&site, "with quotas").await;
    let throttled: u64 = site.kms.faults().calls().values().map(|calls| calls.throttled).sum();
    assert_eq!(throttled, 0);
}
