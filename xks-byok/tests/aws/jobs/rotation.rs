//! Access keys of accounts, rotated by jobs: by a person, by schedule, and over the end of a process.

use std::pin::pin;

use xks_byok::jobs::{Intent, JobState};
use xks_core::Zeroizing;
use xks_lifecycle::{
    AwsSecret, CloudAccessKey, CloudAccount, CloudAccountId, CloudCredential, Schedule, ScheduleId,
    schedule::{PeriodDays, Timing},
};

use super::site::{Site, alice};

const FIRST: &str = "AKIAFIRSTFIRSTFIRST7";

async fn account(site: &Site) -> CloudAccount {
    site.commands.refresh().await.unwrap();
    let id = site.key().await.account;
    site.commands.read(|state| (**state.cloud_account(id).unwrap()).clone())
}

/// The account has an access key of a user.
async fn with_access_key(site: &Site) -> CloudAccountId {
    let secret = "TheFirstSecretOfTheUserAlice1234567890AB";
    site.kms.add_access_key("alice", FIRST, secret).unwrap();
    let mut account = account(site).await;
    account.credential = CloudCredential::AccessKey(CloudAccessKey {
        id: FIRST.parse().unwrap(),
        secret: AwsSecret::new(Zeroizing::new(secret.to_owned())).unwrap(),
    });
    let id = account.id;
    site.commands.update(&alice(), account, None).await.unwrap();
    id
}

/// The access key of the account, which must be the only one of its user, and work.
async fn only_key(site: &Site, when: &str) -> String {
    let account = account(site).await;
    assert!(account.next.is_none(), "{when}: {account:?}");
    let CloudCredential::AccessKey(key) = account.credential else {
        panic!("{when}")
    };
    let signed_in = site.kms.signed_in(key.id.as_str(), key.secret.expose());
    assert!(signed_in.is_ok(), "{when}: {signed_in:?}");
    let jobs = site.jobs().await;
    let found = jobs.principals(account.id).await.unwrap();
    assert!(found.users.iter().any(|user| user.name == "alice"), "{when}");
    assert!(
        site.kms
            .signed_in(FIRST, "TheFirstSecretOfTheUserAlice1234567890AB")
            .is_err(),
        "{when}"
    );
    key.id.to_string()
}

#[tokio::test]
async fn an_access_key_is_rotated_by_a_person() {
    let site = Site::new().await;
    let id = with_access_key(&site).await;
    let job = site.run(Intent::CloudAccount(id)).await;
    assert_eq!(job.state, JobState::Done, "{job:#?}");
    assert_ne!(only_key(&site, "rotated").await, FIRST);
    assert!(!format!("{job:?}").contains("TheFirstSecret"));
    // Calls go on with the new one.
    site.made().await;
}

/// Once for each time of the schedule, whichever node starts it.
#[tokio::test]
async fn an_access_key_is_rotated_by_schedule() {
    let site = Site::new().await;
    let id = with_access_key(&site).await;
    let tenant = account(&site).await.tenant;
    let timing = Timing::EveryDays(PeriodDays::new(30).unwrap());
    let schedule = Schedule::new(ScheduleId::generate().unwrap(), tenant, "Monthly", timing).unwrap();
    let mut account = account(&site).await;
    account.schedule = Some(schedule.id);
    site.commands.create(&alice(), schedule).await.unwrap();
    site.commands.update(&alice(), account, None).await.unwrap();
    let nodes = [site.jobs().await, site.jobs().await];
    for _ in 0..3 {
        let ran = nodes[0].run_due().await;
        assert!(ran.failed.is_empty() && ran.jobs.is_empty(), "{ran:?}");
        site.wait(30 * 24 * 3600);
        for _ in 0..60 {
            for node in &nodes {
                let ran = node.run_due().await;
                assert!(ran.failed.is_empty(), "{ran:?}");
            }
            site.wait(20);
        }
    }
    let jobs = nodes[1].list().await.unwrap();
    assert_eq!(jobs.len(), 3, "{jobs:#?}");
    for job in jobs {
        assert_eq!(
            (&job.state, job.intent),
            (&JobState::Done, Intent::CloudAccount(id)),
            "{job:#?}"
        );
    }
    only_key(&site, "by schedule").await;
}

#[tokio::test]
async fn a_rotation_goes_on_in_another_process() {
    for is_made in [false, true] {
        for write in 1..=30 {
            let site = Site::new().await;
            let id = with_access_key(&site).await;
            let jobs = site.jobs().await;
            let job = jobs
                .start(&alice(), Intent::CloudAccount(id), None)
                .await
                .unwrap()
                .id
                .unwrap();
            site.store.end_at(write, is_made);
            let when = format!("ended at write {write}, made: {is_made}");
            let has_ended = tokio::select! {
                biased;
                () = site.store.ended() => true,
                job = site.finish(&jobs, job) => {
                    assert_eq!(job.state, JobState::Done, "{when}: {job:#?}");
                    false
                }
            };
            site.store.end_at(0, false);
            let another = site.jobs().await;
            let job = site.finish(&another, job).await;
            assert_eq!(job.state, JobState::Done, "{when}: {job:#?}");
            assert_ne!(only_key(&site, &when).await, FIRST, "{when}");
            if !has_ended {
                break;
            }
        }
    }
}

/// It came between the list of access keys and the call, which AWS refuses: it is a question, and stays.
#[tokio::test]
async fn an_access_key_that_somebody_else_makes_meanwhile_is_not_touched() {
    for write in 1..=30 {
        let site = Site::new().await;
        let id = with_access_key(&site).await;
        let jobs = site.jobs().await;
        let job = jobs.start(&alice(), Intent::CloudAccount(id), None).await.unwrap();
        // Somebody makes it while the write is not answered.
        site.store.end_at(write, true);
        let mut running = pin!(site.finish(&jobs, job.id.unwrap()));
        tokio::select! {
            biased;
            () = site.store.ended() => {}
            _ = &mut running => panic!("no access key of ours was made"),
        }
        let has_asked = site.kms.faults().calls().contains_key("CreateAccessKey");
        if has_asked {
            return;
        }
        let (theirs, secret) = ("AKIATHEIRSTHEIRS7777", "TheSecretOfSomebodyElse1234567890ABCDEF");
        site.kms.add_access_key("alice", theirs, secret).unwrap();
        site.store.go_on();
        let job = running.await;
        let JobState::Blocked { question } = &job.state else {
            panic!("{job:#?}")
        };
        assert!(question.contains(theirs), "{question}");
        assert!(site.kms.signed_in(theirs, secret).is_ok(), "write {write}");
    }
    panic!("it does not end");
}
