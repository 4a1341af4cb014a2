//! What goes wrong with each operation: its kind, how often it was sent, and whether it was done.

use serde_json::json;
use tokio::task::JoinSet;
use xks_byok::aws::{AwsError, AwsErrorKind, CreateKeyRequest, Operation, PageRequest};
use xks_byok_aws::AwsConnector;
use xks_test_aws::{Simulator, suite};

use crate::{builder, clients, clients_in, simulator};

/// Calls all operations at the same time. Returns what is wrong with each, and how often it was sent.
///
/// The SDK has a budget of repetitions for each service and Region of a process. So each use has its Region.
async fn all(simulator: &Simulator, region: &str) -> Vec<(Operation, AwsError, u64)> {
    let (kms, iam) = clients_in(&builder(simulator.url()).build().unwrap(), region).await;
    let before: Vec<_> = Operation::ALL.iter().map(|it| simulator.calls(it.name())).collect();
    let mut calls = JoinSet::new();
    for (operation, before) in Operation::ALL.iter().zip(before) {
        let (kms, iam) = (kms.clone(), iam.clone());
        calls.spawn(async move {
            let result = suite::call(*operation, &*kms, &*iam).await;
            (*operation, result.unwrap_err(), before)
        });
    }
    let done = calls.join_all().await.into_iter();
    done.map(|(operation, error, before)| (operation, error, simulator.calls(operation.name()) - before))
        .collect()
}

/// A read is sent three times, everything else once: an answer that is lost may hide an effect.
#[tokio::test]
async fn each_trouble_has_its_kind_and_only_reads_are_repeated() {
    let simulator = simulator("faults");
    for (region, trouble, expected) in [
        ("eu-west-1", "LostBefore", AwsErrorKind::AnswerLost),
        ("eu-west-2", "LostAfter", AwsErrorKind::AnswerLost),
        ("eu-west-3", "Throttled", AwsErrorKind::Throttled),
        ("eu-north-1", "Internal", AwsErrorKind::Internal),
    ] {
        for operation in Operation::ALL {
            let attempts = AwsConnector::READ_ATTEMPTS;
            simulator.inject(operation.name(), attempts.into(), trouble);
        }
        for (operation, error, sent) in all(&simulator, region).await {
            assert_eq!(
                (error.operation, &error.kind),
                (operation, &expected),
                "{trouble} {error}"
            );
            let attempts = if operation.is_read() {
                AwsConnector::READ_ATTEMPTS.into()
            } else {
                1
            };
            assert_eq!(sent, attempts, "{operation} {trouble}");
            assert_eq!(
                error.request_id.is_some(),
                expected != AwsErrorKind::AnswerLost,
                "{error}"
            );
        }
        simulator.control(&json!({ "Clear": true }));
    }
}

#[tokio::test]
async fn a_read_survives_two_troubles() {
    let simulator = simulator("survives");
    let (kms, _) = clients(&builder(simulator.url()).build().unwrap()).await;
    simulator.inject("ListKeys", 2, "LostBefore");
    kms.list_keys(PageRequest::first()).await.unwrap();
}

#[tokio::test]
async fn a_denied_operation_names_the_statement_that_allows_it() {
    let simulator = simulator("denied");
    let names: Vec<_> = Operation::ALL.iter().map(|operation| operation.name()).collect();
    simulator.control(&json!({ "Deny": names }));
    for (operation, error, sent) in all(&simulator, "eu-south-1").await {
        assert_eq!((&error.kind, sent), (&AwsErrorKind::Denied, 1), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(operation.action()) && error.request_id.is_some(),
            "{text}"
        );
        for purpose in operation.purposes() {
            assert!(text.contains(purpose.sid()), "{text}");
        }
    }
}

/// One key, and the caller knows that there may be one: what it looks for is there.
#[tokio::test]
async fn a_key_whose_answer_was_lost_was_made_once() {
    let simulator = simulator("lost");
    let (kms, _) = clients(&builder(simulator.url()).build().unwrap()).await;
    let listed = async || kms.list_keys(PageRequest::first()).await.unwrap().items.len();
    for (trouble, made) in [("LostBefore", 0), ("LostAfter", 1)] {
        let before = listed().await;
        simulator.inject("CreateKey", 1, trouble);
        let error = kms.create_key(CreateKeyRequest::external()).await.unwrap_err();
        assert!(error.is_answer_lost() && error.is_effect_unknown(), "{error}");
        assert_eq!(listed().await - before, made, "{trouble}");
    }
}
