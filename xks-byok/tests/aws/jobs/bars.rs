//! What is promised in numbers: planning, refreshing a Region, quotas on three nodes.

use std::{sync::Arc, time::Duration};

use kms_double::kms::RequestQuotas;
use xks_byok::{
    aws::{ConnectionState, CreateKeyRequest, CustomKeyStore, KeyMetadata, KeyState, Operation, Origin},
    caller::Caller,
    observe::{Observed, ObservedKey, region},
    plan::{Context, Desired, DesiredKey, lint, plan},
    quota::Quotas,
};

use super::site::{Site, TestTimer};

/// Ten thousand keys of which each needs something.
#[test]
fn ten_thousand_keys_are_planned_within_a_second() {
    const KEYS: usize = 10_000;
    let pairs: Vec<_> = (0..KEYS)
        .map(|number| {
            let mut wanted = DesiredKey::new(format!("alias/key-{number}"), format!("external-{number}"));
            wanted.custom_key_store_id = Some("cks-1".to_owned());
            wanted.policy = Some(r#"{"Version":"2012-10-17","Statement":[{"Action":["a","b"]}]}"#.to_owned());
            wanted.tags.insert("team".to_owned(), "payroll".to_owned());
            let arn = format!("arn:aws:kms:eu-central-1:111122223333:key/{number}");
            let mut metadata = KeyMetadata::new(number.to_string(), &arn, Origin::ExternalKeyStore, KeyState::Disabled);
            metadata.custom_key_store_id.clone_from(&wanted.custom_key_store_id);
            metadata.xks_key_id = Some(wanted.xks_key_id.clone());
            let mut found = ObservedKey::default();
            found.key_store = Some(CustomKeyStore::new("cks-1", "one", ConnectionState::Connected));
            found.policy = Some(r#"{"Statement":{"Action":["b","c"]},"Version":"2012-10-17"}"#.to_owned());
            if number % 2 == 0 {
                wanted.arn = Some(arn);
                found.metadata = Some(metadata);
            }
            (Desired::Key(wanted), Observed::from(found))
        })
        .collect();
    let mut context = Context::default();
    context.operation = "operation".to_owned();
    let begun = processor_time();
    let plans: Vec<_> = pairs
        .iter()
        .map(|(wanted, found)| plan(wanted, found, &context))
        .collect();
    let took = processor_time() - begun;
    println!("{KEYS} plans: {} ms of processor time", took.as_millis());
    for (plan, (wanted, found)) in plans.iter().zip(&pairs) {
        assert!(plan.steps.len() >= 2, "{plan:?}");
        assert_eq!(lint(plan, wanted, found, &context), [""; 0], "{plan:?}");
    }
    assert!(took <= Duration::from_secs(1), "{took:?}");
}

/// The processor time of this thread.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// By the clock of the double, whose quotas refuse what comes too early.
#[tokio::test]
async fn a_region_is_read_at_the_pace_of_its_scarcest_quota() {
    const KEYS: u64 = 10_000;
    let site = Site::new().await;
    let client = site.client().await;
    for _ in 0..KEYS {
        client.create_key(CreateKeyRequest::external()).await.unwrap();
    }
    site.kms.faults().clear();
    let timer = Arc::new(TestTimer::new(&site.kms));
    let quotas = Arc::new(Quotas::new(Arc::clone(&site.commands), timer));
    let caller = Caller::new(client, quotas, "account/region");
    let begun = site.kms.clock().now();
    let found = region(&caller).await.unwrap();
    let took = site.kms.clock().now() - begun;
    assert_eq!(found.keys.len() as u64, KEYS);
    let calls = caller.take_calls();
    let least = |(operation, count): (&Operation, &u64)| *count as f64 / f64::from(operation.quota().unwrap());
    let least = calls.iter().map(least).fold(0.0, f64::max);
    println!(
        "{KEYS} keys: {took:.1} s, {:.3} x the scarcest quota; calls: {calls:?}",
        took / least
    );
    assert!(took <= 1.1 * least, "{took} s for {least} s");
}

/// Three nodes take their turns, and AWS throttles none of their calls.
#[tokio::test]
async fn three_nodes_share_a_quota() {
    const CALLS: u32 = 20;
    let site = Site::with(|builder| builder.request_quotas(RequestQuotas::aws())).await;
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let timer = Arc::new(TestTimer::new(&site.kms));
        let quotas = Arc::new(Quotas::new(site.process().await, timer));
        nodes.push(Caller::new(site.client().await, quotas, "account/region"));
    }
    let begun = site.kms.clock().now();
    for _ in 0..CALLS {
        for node in &nodes {
            let create = || node.kms().create_key(CreateKeyRequest::external());
            node.call(Operation::CreateKey, create).await.unwrap();
        }
    }
    let took = site.kms.clock().now() - begun;
    let least = f64::from(3 * CALLS - 1) / f64::from(Operation::CreateKey.quota().unwrap());
    println!(
        "{} calls of three nodes: {took:.1} s, {:.3} x the quota",
        3 * CALLS,
        took / least
    );
    assert!((least * 0.999..=least * 1.05).contains(&took), "{took} s for {least} s");
    assert_eq!(site.kms.faults().calls()["CreateKey"].throttled, 0);
}
