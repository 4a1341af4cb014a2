//! Cleaning up: what is deleted is ours, known to no record, and was never used.

use kms_double::kms::Caller;
use serde_json::{Value, json};
use xks_byok::{
    aws::KeyState,
    jobs::{Intent, JobError, JobState},
};

use super::site::{Site, TAG, alice};

const BOB: (&str, &str) = ("AKIABOBBOBBOBBOBBOB7", "TheSecretOfTheUserBob1234567890ABCDEFGHI");

/// What another client of the account does.
struct Bob<'a>(&'a Site, Caller);

impl<'a> Bob<'a> {
    fn new(site: &'a Site) -> Self {
        site.kms.add_access_key("bob", BOB.0, BOB.1).unwrap();
        site.wait(300);
        Self(site, site.kms.signed_in(BOB.0, BOB.1).unwrap())
    }

    async fn call(&self, operation: &str, body: Value) -> Value {
        let answer = self.0.kms.call(&self.1, operation, &body).await.unwrap();
        assert_eq!(answer.error_name(), None, "{:?}", answer.body);
        answer.body
    }

    /// A KMS key with these tags.
    async fn key(&self, tags: &[(&str, &str)]) -> String {
        let tags: Vec<_> = tags
            .iter()
            .map(|(key, value)| json!({ "TagKey": key, "TagValue": value }))
            .collect();
        let made = self.call("CreateKey", json!({ "Tags": tags })).await;
        made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
    }

    async fn state(&self, arn: &str) -> KeyState {
        let client = self.0.client().await;
        client.describe_key(arn).await.unwrap().key_state
    }
}

#[tokio::test]
async fn only_keys_of_ours_that_no_record_knows_and_that_were_never_used_are_deleted() {
    let site = Site::new().await;
    site.made().await;
    let account = site.key().await.account;
    let bob = Bob::new(&site);
    let orphan = bob.key(&[(TAG, "gone")]).await;
    let adopted = bob.key(&[(TAG, "gone too")]).await;
    let theirs = bob.key(&[("team", "payroll")]).await;
    let used = bob.key(&[(TAG, "gone")]).await;
    bob.call("Encrypt", json!({ "KeyId": used, "Plaintext": "YSBzZWNyZXQ=" }))
        .await;
    let jobs = site.jobs().await;
    // Another job has not ended, and may have made one.
    let open = jobs
        .start(&alice(), Intent::CloudKey(site.cloud_key), None)
        .await
        .unwrap();
    let of_open = bob.key(&[(TAG, &open.id.unwrap().to_string())]).await;

    let plan = jobs.preview_orphans(account).await.unwrap();
    let steps: Vec<_> = plan.steps.iter().map(|step| step.action.to_string()).collect();
    let mut expected = [&orphan, &adopted].map(|arn| format!("schedule the deletion of {arn} in 30 days"));
    expected.sort();
    let mut sorted = steps.clone();
    sorted.sort();
    assert_eq!(sorted, expected);
    assert!(
        plan.steps.iter().all(|step| step.reason.contains("never used")),
        "{plan:?}"
    );
    let warned = |arn: &str, why: &str| {
        plan.warnings
            .iter()
            .any(|text| text.contains(arn) && text.contains(why))
    };
    assert!(warned(&used, "it was used at"), "{plan:?}");
    assert!(warned(&of_open, "has not ended"), "{plan:?}");
    assert_eq!(plan.warnings.len(), 2, "{plan:?}");
    assert_eq!(
        site.kms.faults().calls().get("ScheduleKeyDeletion"),
        None,
        "it is only shown"
    );

    // What was shown is what is started.
    let later = bob.key(&[(TAG, "gone as well")]).await;
    let intent = Intent::Orphans(account);
    let outdated = jobs.start(&alice(), intent, Some(&plan.observed)).await;
    assert!(matches!(outdated, Err(JobError::Outdated)), "{outdated:?}");
    let untagged = json!({ "KeyId": later, "TagKeys": [TAG] });
    bob.call("UntagResource", untagged).await;
    let job = jobs.start(&alice(), intent, Some(&plan.observed)).await.unwrap();
    // Somebody takes one over meanwhile.
    bob.call("UntagResource", json!({ "KeyId": adopted, "TagKeys": [TAG] }))
        .await;
    let job = site.finish(&jobs, job.id.unwrap()).await;
    assert_eq!(job.state, JobState::Done, "{job:#?}");
    assert!(
        job.log
            .iter()
            .any(|entry| entry.text.contains(&adopted) && entry.text.contains("stays")),
        "{job:#?}"
    );
    assert_eq!(bob.state(&orphan).await, KeyState::PendingDeletion);
    let ours = site.key().await.kms_key.unwrap().to_string();
    for arn in [&adopted, &theirs, &used, &of_open, &later, &ours] {
        assert_eq!(bob.state(arn).await, KeyState::Enabled, "{arn}");
    }
    // Once more: the other job has ended, and has not looked for it.
    let plan = jobs.preview_orphans(account).await.unwrap();
    let [step] = &plan.steps[..] else { panic!("{plan:?}") };
    assert!(step.action.to_string().contains(&of_open), "{plan:?}");
}

/// The calls fail, and the process ends: it goes on.
#[tokio::test]
async fn cleaning_up_goes_on() {
    use kms_double::kms::Trouble;
    for trouble in [Trouble::LostBefore, Trouble::LostAfter, Trouble::Throttled] {
        let site = Site::new().await;
        let account = site.key().await.account;
        let bob = Bob::new(&site);
        let orphans = [bob.key(&[(TAG, "a")]).await, bob.key(&[(TAG, "b")]).await];
        let jobs = site.jobs().await;
        let job = jobs.start(&alice(), Intent::Orphans(account), None).await.unwrap();
        site.kms.faults().inject("ScheduleKeyDeletion", 1, trouble);
        site.store.end_at(3, true);
        tokio::select! {
            biased;
            () = site.store.ended() => {}
            _ = site.finish(&jobs, job.id.unwrap()) => panic!("it did not end"),
        }
        site.store.end_at(0, false);
        let another = site.jobs().await;
        let job = site.finish(&another, job.id.unwrap()).await;
        assert_eq!(job.state, JobState::Done, "{trouble:?}: {job:#?}");
        for arn in &orphans {
            assert_eq!(bob.state(arn).await, KeyState::PendingDeletion, "{trouble:?}");
        }
    }
}
