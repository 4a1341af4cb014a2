//! The process ends at each write of a job, before or after it is made, or stands still after it; another one
//! goes on.

use std::pin::pin;

use xks_byok::jobs::{Intent, JobState};

use super::site::{Site, alice};

/// Runs a job that ends at this write; another process ends it. Returns how many writes there are.
async fn run(site: &Site, intent: Intent, write: u64, is_made: bool) -> u64 {
    let jobs = site.jobs().await;
    let id = jobs.start(&alice(), intent, None).await.unwrap().id.unwrap();
    site.store.end_at(write, is_made);
    tokio::select! {
        biased;
        () = site.store.ended() => {}
        job = site.finish(&jobs, id) => {
            assert_eq!(job.state, JobState::Done, "{job:#?}");
            return site.store.writes();
        }
    }
    drop(jobs);
    site.store.end_at(0, false);
    let another = site.jobs().await;
    let job = site.finish(&another, id).await;
    assert_eq!(
        job.state,
        JobState::Done,
        "ended at write {write}, made: {is_made}: {job:#?}"
    );
    0
}

/// One of each is there, wherever the first process ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_goes_on_from_each_write() {
    let whole = Site::new().await;
    let of_store = run(&whole, Intent::CloudKeyStore(whole.cloud_key_store), 0, false).await;
    let of_key = run(&whole, Intent::CloudKey(whole.cloud_key), 0, false).await;
    println!("writes to make a key store: {of_store}, a KMS key: {of_key}");
    assert!(of_store > 5 && of_key > 5);
    for is_made in [false, true] {
        for write in 1..=of_store {
            let site = Site::new().await;
            run(&site, Intent::CloudKeyStore(site.cloud_key_store), write, is_made).await;
            assert_eq!(
                site.key_stores().await.len(),
                1,
                "ended at write {write}, made: {is_made}"
            );
        }
        for write in 1..=of_key {
            let site = Site::new().await;
            site.connected().await;
            run(&site, Intent::CloudKey(site.cloud_key), write, is_made).await;
            site.assert_made(&format!("ended at write {write}, made: {is_made}"))
                .await;
        }
    }
}

/// It stands still for longer than a step may take, and finds that another one has the job.
#[tokio::test]
async fn a_process_that_stood_still_makes_nothing() {
    for write in 1..=100 {
        let site = Site::new().await;
        site.connected().await;
        let jobs = site.jobs().await;
        let id = jobs
            .start(&alice(), Intent::CloudKey(site.cloud_key), None)
            .await
            .unwrap()
            .id
            .unwrap();
        site.store.end_at(write, true);
        let mut first = pin!(site.finish(&jobs, id));
        tokio::select! {
            biased;
            () = site.store.ended() => {}
            job = &mut first => {
                assert_eq!(job.state, JobState::Done, "{job:#?}");
                assert!(write > 5);
                return;
            }
        }
        site.wait(600);
        let another = site.jobs().await;
        let job = site.finish(&another, id).await;
        let when = format!("stood still after write {write}");
        assert_eq!(job.state, JobState::Done, "{when}: {job:#?}");
        site.store.go_on();
        let job = first.await;
        assert_eq!(job.state, JobState::Done, "{when}: {job:#?}");
        assert_eq!(site.kms.faults().calls()["CreateKey"].made, 1, "{when}");
        site.assert_made(&when).await;
    }
    panic!("it does not end");
}
