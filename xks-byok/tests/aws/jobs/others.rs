//! What others do meanwhile: in AWS, and on other nodes.

use std::{pin::pin, sync::Arc};

use xks_byok::{
    apply::{Target, apply},
    aws::{CreateKeyRequest, UpdateCustomKeyStoreRequest},
    caller::Caller,
    jobs::{Intent, JobState},
    observe::observe,
    plan::{Context, Desired, plan},
    quota::Quotas,
};

use super::site::{Site, TAG, TestTimer, alice};

/// Each step is done twice: the second time it is refused, or changes nothing.
#[tokio::test]
async fn each_step_can_be_done_twice() {
    let site = Site::new().await;
    site.connected().await;
    site.want_key(|key| key.wanted = xks_lifecycle::WantedKey::Disabled)
        .await;
    let quotas = Arc::new(Quotas::new(
        Arc::clone(&site.commands),
        Arc::new(TestTimer::new(&site.kms)),
    ));
    let caller = Caller::new(site.client().await, quotas, "account/region");
    let mut arn: Option<String> = None;
    for _ in 0..20 {
        let now = site.commands.now();
        let desired = site
            .commands
            .read(|state| Desired::key(state, site.cloud_key, now))
            .unwrap();
        let Desired::Key(mut key) = desired else { panic!() };
        key.arn.clone_from(&arn);
        let desired = Desired::Key(key);
        let observed = observe(&caller, &desired).await.unwrap();
        let mut context = Context::default();
        context.operation = "twice".to_owned();
        let plan = plan(&desired, &observed, &context);
        let Some(step) = plan.steps.first() else {
            assert!(plan.is_done(), "{plan:?}");
            assert_eq!(site.keys().await.len(), 1);
            return;
        };
        let mut target = Target::default();
        target.id.clone_from(&arn);
        target.operation_tag = TAG.to_owned();
        let first = apply(&caller, &step.action, &target).await.unwrap();
        if let xks_byok::apply::Effect::Key(key) = &first {
            arn = Some(key.arn.clone());
            target.id.clone_from(&arn);
        }
        let _second = apply(&caller, &step.action, &target).await;
    }
    panic!("it does not end");
}

/// Somebody else changes the key store between two steps: the job stores another plan beside the first.
#[tokio::test]
async fn a_change_by_somebody_else_gives_another_plan() {
    let site = Site::new().await;
    site.made().await;
    site.disconnected_is_wanted().await;
    let jobs = site.jobs().await;
    let intent = Intent::CloudKeyStore(site.cloud_key_store);
    let job = jobs.start(&alice(), intent, None).await.unwrap();
    assert_eq!(job.plan().unwrap().steps.len(), 1);
    // Before it begins, somebody disconnects it and gives it another name.
    let client = site.client().await;
    let id = site.key_stores().await[0].custom_key_store_id.clone();
    client.disconnect_custom_key_store(&id).await.unwrap();
    let mut update = UpdateCustomKeyStoreRequest::new(&id);
    update.new_custom_key_store_name = Some("theirs".to_owned());
    client.update_custom_key_store(update).await.unwrap();
    let job = site.finish(&jobs, job.id.unwrap()).await;
    assert_eq!(job.state, JobState::Done, "{job:#?}");
    assert_eq!(job.plans.len(), 2, "{job:#?}");
    assert!(job.plans[1].replaces.is_some());
    assert_eq!(site.key_stores().await[0].custom_key_store_name, "payroll");
}

/// A KMS key that others delete is not made again: AWS would not.
#[tokio::test]
async fn a_key_store_that_others_have_deleted_is_a_question() {
    let site = Site::new().await;
    site.connected().await;
    let client = site.client().await;
    let id = site.key_stores().await[0].custom_key_store_id.clone();
    client.disconnect_custom_key_store(&id).await.unwrap();
    client.delete_custom_key_store(&id).await.unwrap();
    let job = site.run(Intent::CloudKeyStore(site.cloud_key_store)).await;
    let JobState::Blocked { question } = &job.state else {
        panic!("{job:#?}")
    };
    assert!(question.contains(&id), "{question}");
    assert!(site.key_stores().await.is_empty());
}

/// Three nodes on one state: one has the job, and nothing is made twice.
#[tokio::test]
async fn nodes_share_jobs() {
    let site = Site::new().await;
    site.connected().await;
    let nodes = [site.jobs().await, site.jobs().await, site.jobs().await];
    let id = nodes[0]
        .start(&alice(), Intent::CloudKey(site.cloud_key), None)
        .await
        .unwrap()
        .id
        .unwrap();
    for _ in 0..20 {
        let [one, two, three] = &nodes;
        let ran = tokio::join!(one.run_due(), two.run_due(), three.run_due());
        for ran in [&ran.0, &ran.1, &ran.2] {
            assert!(ran.failed.is_empty(), "{ran:?}");
        }
        if nodes[1].get(id).await.unwrap().state == JobState::Done {
            break;
        }
        site.wait(10);
    }
    assert_eq!(nodes[2].get(id).await.unwrap().state, JobState::Done);
    site.assert_made("by three nodes").await;
}

/// Keys of others in the account are looked at by a search only, and never changed.
#[tokio::test]
async fn keys_of_others_are_left_alone() {
    let site = Site::new().await;
    let client = site.client().await;
    let mut theirs = Vec::new();
    for _ in 0..3 {
        theirs.push(client.create_key(CreateKeyRequest::external()).await.unwrap());
    }
    site.connected().await;
    site.kms
        .faults()
        .inject("CreateKey", 1, kms_double::kms::Trouble::LostAfter);
    let job = site.run(Intent::CloudKey(site.cloud_key)).await;
    assert_eq!(job.state, JobState::Done, "{job:#?}");
    for key in theirs {
        assert_eq!(client.describe_key(&key.key_id).await.unwrap(), key);
    }
}

/// One run takes both, although the second is started when the first is under way.
#[tokio::test]
async fn a_job_that_is_started_while_another_is_under_way_is_taken() {
    let site = Site::new().await;
    let jobs = site.jobs().await;
    let first = Intent::CloudKeyStore(site.cloud_key_store);
    let first = jobs.start(&alice(), first, None).await.unwrap().id.unwrap();
    let mut running = pin!(jobs.run_due());
    while jobs.get(first).await.unwrap().state == JobState::Planned {
        tokio::select! {
            biased;
            ran = &mut running => panic!("{ran:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    let second = Intent::CloudKey(site.cloud_key);
    let second = jobs.start(&alice(), second, None).await.unwrap().id.unwrap();
    let ran = running.await;
    let mut worked: Vec<_> = ran.jobs.iter().filter_map(|job| job.id).collect();
    worked.sort();
    let mut both = [first, second];
    both.sort();
    assert_eq!(worked, both, "{ran:?}");
}
