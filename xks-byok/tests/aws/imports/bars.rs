//! What is promised in numbers: rotations run at AWS's quotas, and not against them, on any number of nodes.
//!
//! Time is simulated: it goes on when every task waits. So AWS's quotas are the real ones, of which the
//! scarcest is a wrapping key a second, and the processors of the machine do not matter.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::future::join_all;
use kms_double::kms::{Clock, RequestQuotas};
use tokio::time::Instant;
use xks_byok::{
    aws::{CreateKeyRequest, Operation, Origin, PageRequest},
    jobs::{Intent, JobState, Jobs, Settings},
};
use xks_core::timer::{Sleep, Timer};
use xks_lifecycle::{
    CloudKey, CloudKeyId, CloudKeyOrigin, Import, RotationStyle,
    commands::{Actor, Commands},
};

use super::site::{Imports, alice};

/// The clock of the runtime, which stands still while anything runs; that of the double follows.
#[derive(Clone)]
struct Simulated {
    clock: Clock,
    began: Instant,
    at: f64,
}

impl Simulated {
    fn new(clock: &Clock) -> Self {
        let (began, at) = (Instant::now(), clock.now());
        let clock = clock.clone();
        Self { clock, began, at }
    }

    fn now(&self) -> f64 {
        self.at + self.began.elapsed().as_secs_f64()
    }
}

impl Timer for Simulated {
    fn system_time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs_f64(self.now())
    }

    fn sleep(&self, duration: Duration) -> Option<Sleep> {
        let simulated = self.clone();
        Some(Box::pin(async move {
            tokio::time::sleep(duration).await;
            let behind = simulated.now() - simulated.clock.now();
            if behind > 0.0 {
                simulated.clock.advance(Duration::from_secs_f64(behind));
            }
        }))
    }
}

/// Keys of AWS, each to be followed by one with material of ours.
async fn keys(imports: &Imports, count: usize) -> Vec<CloudKeyId> {
    let (site, client) = (&imports.site, imports.site.client().await);
    let template = imports.cloud_key().await;
    let mut keys = Vec::new();
    for number in 0..count {
        let mut request = CreateKeyRequest::external();
        request.origin = Origin::AwsKms;
        let theirs = client.create_key(request).await.unwrap();
        let alias = format!("alias/key-{number}");
        client.create_alias(&alias, &theirs.key_id).await.unwrap();
        let (account, id) = (template.account, CloudKeyId::generate().unwrap());
        let account = site
            .commands
            .read(|state| (**state.cloud_account(account).unwrap()).clone());
        let origin = CloudKeyOrigin::External(Import::new(RotationStyle::NewKey));
        let mut key = CloudKey::new(id, template.key_set, &account, alias.parse().unwrap(), origin).unwrap();
        (key.kms_key, key.is_adopted) = (Some(theirs.arn.parse().unwrap()), true);
        site.commands.create(&alice(), key).await.unwrap();
        site.commands.add_material(&alice(), id).await.unwrap();
        keys.push(id);
        site.kms.clock().advance(Duration::from_millis(250)); // its quotas
    }
    keys
}

/// Works until all jobs have ended.
async fn work(jobs: &Jobs, timer: &Simulated, number: usize) {
    timer.sleep(Duration::from_millis(100 * number as u64)).unwrap().await;
    loop {
        let ran = jobs.run_due().await;
        assert!(ran.failed.is_empty(), "{:?}", ran.failed);
        let list = jobs.list().await.unwrap();
        let stopped = list
            .iter()
            .find(|job| !job.state.is_ended() && job.state.due().is_none());
        assert!(stopped.is_none(), "{stopped:#?}");
        if list.iter().all(|job| job.state.is_ended()) {
            return;
        }
        timer.sleep(ran.next_in(Duration::from_secs(2))).unwrap().await;
    }
}

/// Returns what was measured.
async fn measure(rotations: usize, nodes: usize) -> String {
    let change = |builder: kms_double::kms::Builder| builder.request_quotas(RequestQuotas::aws());
    let imports = Imports::without_material(RotationStyle::NewKey, change).await;
    let keys = keys(&imports, rotations).await;
    let site = &imports.site;
    let timer = Simulated::new(site.kms.clock());
    let node = async |commands: Arc<Commands>| {
        let (aws, timer) = (Arc::new(site.aws.clone()), Arc::new(timer.clone()));
        Jobs::new(commands, aws, timer, Actor::new("jobs").unwrap(), Settings::default()).unwrap()
    };
    let mut all = Vec::new();
    for _ in 0..nodes {
        all.push(node(site.process().await).await);
    }
    for key in &keys {
        all[0].start(&alice(), Intent::CloudKey(*key), None).await.unwrap();
    }
    let calls =
        |of: fn(kms_double::kms::Calls) -> u64| site.kms.faults().calls().into_values().map(of).sum::<u64>() as f64;
    let (made, throttled) = (calls(|calls| calls.made), calls(|calls| calls.throttled));
    let begun = timer.now();
    join_all(all.iter().enumerate().map(|(number, jobs)| work(jobs, &timer, number))).await;
    let took = timer.now() - begun;
    let (made, throttled) = (
        calls(|calls| calls.made) - made,
        calls(|calls| calls.throttled) - throttled,
    );
    let list = all[0].list().await.unwrap();
    assert!(list.iter().all(|job| job.state == JobState::Done), "{list:#?}");
    let imported = list.iter().flat_map(|job| &job.log);
    let imported = imported.filter(|entry| entry.text.starts_with("done: wrap material"));
    let imported: Vec<_> = imported.map(|entry| entry.time).collect();
    let between = imported.iter().max().unwrap() - imported.iter().min().unwrap();
    let quota = f64::from(Operation::GetParametersForImport.quota().unwrap());
    let share = (rotations - 1) as f64 / quota / (between as f64 / 1000.0);
    let measured = format!(
        "{rotations} rotations, {nodes} nodes: {share:.3} of the imports that AWS's quota allows; {throttled} of {made} \
         calls throttled ({:.2} %); {took:.1} s in all",
        100.0 * throttled / made
    );
    // One KMS key for each, and no wrapping key that was not used.
    let all = PageRequest::first().limit(1000);
    let keys = site.client().await.list_keys(all).await.unwrap().items;
    assert_eq!(keys.len(), 2 * rotations);
    let parameters = site.kms.faults().calls()["GetParametersForImport"];
    assert_eq!((parameters.made - parameters.throttled) as usize, rotations);
    assert!(throttled <= 0.02 * made, "{throttled} of {made}");
    assert!(share >= 0.95, "{measured}");
    measured
}

#[tokio::test(start_paused = true)]
async fn rotations_run_at_the_quota_of_aws() {
    println!("{}", measure(20, 3).await);
}

/// `cargo test -p xks-byok --test aws imports::bars -- --ignored --nocapture`
#[tokio::test(start_paused = true)]
#[ignore = "takes a minute: two hundred rotations, on one node and on three"]
async fn two_hundred_rotations_run_at_the_quota_of_aws() {
    for nodes in [1, 3] {
        println!("{}", measure(200, nodes).await);
    }
}
