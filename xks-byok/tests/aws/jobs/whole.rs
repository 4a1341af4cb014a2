//! Whole jobs, without faults: made, changed, adopted, disabled, deleted.

use kms_double::kms::PrincipalKind;
use xks_byok::{
    aws::CreateKeyRequest,
    jobs::{Intent, JobError, JobState},
    plan::{Action, Then},
};
use xks_lifecycle::{DeletionDays, KeyPolicy, Outcome, WantedKey, WantedKeyStore};
use xks_test_aws::TestProxy;

use super::site::{ALIAS, Site, TAG, alice};

#[tokio::test]
async fn a_key_store_and_a_kms_key_are_made_as_they_are_wanted() {
    let site = Site::new().await;
    let jobs = site.jobs().await;
    let preview = jobs.preview(Intent::CloudKeyStore(site.cloud_key_store)).await.unwrap();
    let actions: Vec<_> = preview.plan.steps.iter().map(|step| step.action.to_string()).collect();
    assert_eq!(actions, ["create the key store payroll", "connect the key store"]);
    assert!(site.key_stores().await.is_empty(), "a preview does nothing");
    // A KMS key needs its key store.
    let preview = jobs.preview(Intent::CloudKey(site.cloud_key)).await.unwrap();
    assert!(matches!(&preview.plan.then, Then::Ask(question) if question.contains("key store")));
    site.made().await;
    site.assert_made("made").await;
    let key = site.key().await;
    assert!(!key.is_adopted);
    let arn = key.kms_key.unwrap().to_string();
    let client = site.client().await;
    let policy = client.get_key_policy(&arn, "default").await.unwrap();
    assert!(policy.contains("arn:aws:iam::111122223333:root"), "{policy}");
    let tags = client.list_resource_tags(&arn, Default::default()).await.unwrap().items;
    let tags: Vec<_> = tags
        .iter()
        .map(|tag| (tag.tag_key.as_str(), tag.tag_value.as_str()))
        .collect();
    let list = jobs.list().await.unwrap();
    let id = list[0].id.unwrap().to_string();
    assert!(
        tags.contains(&("team", "payroll")) && tags.contains(&(TAG, id.as_str())),
        "{tags:?}"
    );
    // Nothing is left to do.
    let preview = jobs.preview(Intent::CloudKey(site.cloud_key)).await.unwrap();
    assert!(preview.plan.is_done(), "{preview:?}");
    let calls = &list[0].calls;
    println!("calls to make a KMS key: {calls:?}");
    assert_eq!((calls["CreateKey"], calls["CreateAlias"]), (1, 1));
    assert!(calls.get("ListKeys").is_none(), "{calls:?}");
    let events = site.commands.events(0, 1000).await.unwrap();
    let of_jobs = events
        .iter()
        .filter(|(_, event)| event.object.as_str() == format!("jobs/{id}"));
    let of_jobs: Vec<_> = of_jobs
        .map(|(_, event)| (event.command.as_str(), event.outcome))
        .collect();
    assert_eq!(of_jobs, [("start", Outcome::Begun), ("end", Outcome::Done)]);
}

#[tokio::test]
async fn changes_are_made_in_place() {
    let site = Site::new().await;
    site.made().await;
    let admin = "arn:aws:iam::111122223333:role/admin";
    site.kms.add_principal(PrincipalKind::Role, "admin").unwrap();
    site.want_key(|key| {
        key.description = xks_lifecycle::Description::new("description", "Salaries").unwrap();
        key.wanted = WantedKey::Disabled;
        key.policy = KeyPolicy::People {
            administrators: vec![admin.parse().unwrap()],
            users: vec![],
        };
    })
    .await;
    let job = site.run(Intent::CloudKey(site.cloud_key)).await;
    assert_eq!(job.state, JobState::Done, "{job:#?}");
    assert_eq!(job.plans.len(), 1, "each plan was the rest of the first");
    let actions: Vec<_> = job.plans[0].steps.iter().map(|step| &step.action).collect();
    assert!(
        matches!(
            actions[..],
            [
                Action::UpdateDescription { .. },
                Action::PutPolicy { .. },
                Action::DisableKey
            ]
        ),
        "{actions:?}"
    );
    site.assert_made("changed").await;
    // A name and a credential change while the key store is connected; another state of it too.
    site.want_key_store(|store| store.name = "renamed".parse().unwrap())
        .await;
    let job = site.run(Intent::CloudKeyStore(site.cloud_key_store)).await;
    assert_eq!(job.plans[0].steps.len(), 1, "{job:#?}");
    site.disconnected_is_wanted().await;
    let job = site.run(Intent::CloudKeyStore(site.cloud_key_store)).await;
    assert_eq!(job.state, JobState::Done, "{job:#?}");
    let stores = site.key_stores().await;
    assert_eq!(
        (
            stores[0].custom_key_store_name.as_str(),
            stores[0].connection_state.as_str()
        ),
        ("renamed", "DISCONNECTED")
    );
}

/// Whether it is enabled AWS shows only when the key store is connected.
#[tokio::test]
async fn a_key_of_a_disconnected_key_store_is_a_question() {
    let site = Site::new().await;
    site.made().await;
    site.disconnected_is_wanted().await;
    site.run(Intent::CloudKeyStore(site.cloud_key_store)).await;
    site.want_key(|key| key.wanted = WantedKey::Disabled).await;
    let job = site.run(Intent::CloudKey(site.cloud_key)).await;
    let JobState::Blocked { question } = &job.state else {
        panic!("{job:#?}")
    };
    assert!(question.contains("connect the key store"), "{question}");
    site.want_key_store(|store| store.wanted = WantedKeyStore::Connected)
        .await;
    site.run(Intent::CloudKeyStore(site.cloud_key_store)).await;
    let jobs = site.jobs().await;
    jobs.retry(&alice(), job.id.unwrap()).await.unwrap();
    let job = site.finish(&jobs, job.id.unwrap()).await;
    assert_eq!(job.state, JobState::Done, "{job:#?}");
    site.assert_made("connected again").await;
}

#[tokio::test]
async fn what_is_there_is_adopted() {
    let site = Site::new().await;
    // Somebody has made both by hand.
    site.made().await;
    let arn = site.key().await.kms_key.unwrap();
    site.want_key(|key| key.kms_key = None).await;
    site.want_key_store(|store| store.custom_key_store_id = None).await;
    let job = site.run(Intent::CloudKeyStore(site.cloud_key_store)).await;
    assert!(matches!(job.plans[0].steps[0].action, Action::Adopt { .. }), "{job:#?}");
    let job = site.run(Intent::CloudKey(site.cloud_key)).await;
    assert_eq!(job.state, JobState::Done, "{job:#?}");
    let key = site.key().await;
    assert_eq!((key.kms_key, key.is_adopted), (Some(arn), true));
    site.assert_made("adopted").await;
}

/// A KMS key without alias is found by the external key, which AWS says is in use.
#[tokio::test]
async fn a_kms_key_that_others_have_made_for_the_external_key_is_found() {
    let site = Site::new().await;
    site.connected().await;
    let store = site.key_stores().await[0].custom_key_store_id.clone();
    let request = CreateKeyRequest::external_key_store(store, TestProxy::KEYS[0]);
    let theirs = site.client().await.create_key(request).await.unwrap();
    let job = site.run(Intent::CloudKey(site.cloud_key)).await;
    assert_eq!(job.state, JobState::Done, "{job:#?}");
    let key = site.key().await;
    assert_eq!((key.kms_key.unwrap().to_string(), key.is_adopted), (theirs.arn, true));
    site.assert_made("found").await;
}

#[tokio::test]
async fn an_alias_of_another_key_is_left_alone() {
    let site = Site::new().await;
    site.connected().await;
    let client = site.client().await;
    let other = client.create_key(CreateKeyRequest::external()).await.unwrap();
    client.create_alias(ALIAS, &other.key_id).await.unwrap();
    let job = site.run(Intent::CloudKey(site.cloud_key)).await;
    let JobState::Blocked { question } = &job.state else {
        panic!("{job:#?}")
    };
    assert!(
        question.contains(ALIAS) && question.contains(&other.key_id),
        "{question}"
    );
    assert_eq!(site.keys().await.len(), 1, "no KMS key was made");
    // With another alias it goes on.
    site.want_key(|key| key.alias = "alias/other".parse().unwrap()).await;
    let jobs = site.jobs().await;
    jobs.retry(&alice(), job.id.unwrap()).await.unwrap();
    let job = site.finish(&jobs, job.id.unwrap()).await;
    assert_eq!(job.state, JobState::Done, "{job:#?}");
}

#[tokio::test]
async fn a_deletion_warns_of_the_pair_and_can_be_cancelled() {
    let site = Site::new().await;
    site.made().await;
    let arn = site.key().await.kms_key.unwrap().to_string();
    let intent = Intent::CloudKey(site.cloud_key);
    site.want_key(|key| key.wanted = WantedKey::Deleted(DeletionDays::new(7).unwrap()))
        .await;
    let preview = site.jobs().await.preview(intent).await.unwrap();
    assert!(
        preview.plan.warnings[0].contains("no KMS key again for the same external key"),
        "{preview:?}"
    );
    assert_eq!(site.run(intent).await.state, JobState::Done);
    let state = async || {
        site.client()
            .await
            .describe_key(&arn)
            .await
            .unwrap()
            .key_state
            .to_string()
    };
    assert_eq!(state().await, "PendingDeletion");
    // It comes back disabled, and is enabled since that is wanted.
    site.want_key(|key| key.wanted = WantedKey::Enabled).await;
    let job = site.run(intent).await;
    let actions: Vec<_> = job.plans[0].steps.iter().map(|step| &step.action).collect();
    assert_eq!(actions, [&Action::CancelDeletion, &Action::EnableKey]);
    assert_eq!(state().await, "Enabled");
    // Gone for good: there is no second one.
    site.want_key(|key| key.wanted = WantedKey::Deleted(DeletionDays::new(7).unwrap()))
        .await;
    assert_eq!(site.run(intent).await.state, JobState::Done);
    site.wait(8 * 24 * 3600);
    site.want_key(|key| key.wanted = WantedKey::Enabled).await;
    let JobState::Blocked { question } = site.run(intent).await.state else {
        panic!()
    };
    assert!(question.contains("no KMS key again"), "{question}");
    // The key store can go now.
    site.want_key_store(|store| store.wanted = WantedKeyStore::Deleted)
        .await;
    let job = site.run(Intent::CloudKeyStore(site.cloud_key_store)).await;
    assert_eq!(job.state, JobState::Done, "{job:#?}");
    assert!(site.key_stores().await.is_empty());
}

#[tokio::test]
async fn a_job_is_refused_that_was_shown_another_plan_and_ended_by_a_person() {
    let site = Site::new().await;
    let jobs = site.jobs().await;
    let intent = Intent::CloudKeyStore(site.cloud_key_store);
    let shown = jobs.preview(intent).await.unwrap().observed;
    site.connected().await;
    let error = jobs.start(&alice(), intent, Some(&shown)).await.unwrap_err();
    assert!(matches!(error, JobError::Outdated), "{error}");
    let job = jobs.start(&alice(), intent, None).await.unwrap();
    let error = jobs.start(&alice(), intent, None).await.unwrap_err();
    assert!(matches!(error, JobError::UnderWay(_)), "{error}");
    let cancelled = jobs.cancel(&alice(), job.id.unwrap()).await.unwrap();
    assert_eq!(cancelled.state, JobState::Cancelled);
    assert!(jobs.run_due().await.jobs.is_empty());
    let again = jobs.retry(&alice(), job.id.unwrap()).await.unwrap_err();
    assert!(matches!(again, JobError::Ended(_)), "{again}");
    // Ended jobs are pruned.
    let few = site.jobs_with(|settings| settings.kept = 1).await;
    few.run_due().await;
    assert_eq!(few.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_in_a_region_is_shown_with_what_is_left_over() {
    let site = Site::new().await;
    site.made().await;
    let jobs = site.jobs().await;
    let key = site.key().await;
    let found = jobs.region(key.account, &key.region).await.unwrap();
    let arn = key.kms_key.unwrap().to_string();
    let shown = found.keys.values().next().unwrap();
    assert_eq!((found.keys.len(), found.key_stores.len()), (1, 1));
    assert_eq!((&shown.metadata.arn, &*shown.aliases), (&arn, &[ALIAS.to_owned()][..]));
    assert!(jobs.orphans(&found).is_empty());
    // Its last use, of which AWS knows nothing yet, and the counts neither.
    let last = jobs.last_use(site.cloud_key).await.unwrap();
    assert_eq!((last.latest(), last.kms_request_id), (None, None));
    // Its record goes, and it stays.
    site.commands
        .remove::<xks_lifecycle::CloudKey>(&alice(), site.cloud_key, None)
        .await
        .unwrap();
    let jobs = site.jobs().await;
    let found = jobs.region(key.account, &key.region).await.unwrap();
    assert_eq!(jobs.orphans(&found), [found.keys.keys().next().unwrap().clone()]);
    let principals = jobs.principals(key.account).await.unwrap();
    assert!(
        principals.users.iter().any(|user| user.name == "chain"),
        "{principals:?}"
    );
}
