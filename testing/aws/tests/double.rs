//! The double in the process behind the traits.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, UNIX_EPOCH};

use kms_double::kms::{Kms, Trouble};
use xks_byok::aws::{AccessKey, AwsCredentials, AwsErrorKind, Connector as _, Operation, PageRequest};
use xks_lifecycle::Timestamp;
use xks_test_aws::{AwsDouble, TestProxy, suite};

const REGION: &str = "us-east-1";

fn double() -> AwsDouble {
    let kms = Kms::builder()
        .allow_http()
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap();
    AwsDouble::new(REGION, kms).unwrap()
}

fn now(double: &AwsDouble) -> Timestamp {
    let now = double.region(REGION).unwrap().clock().now();
    (UNIX_EPOCH + Duration::from_secs_f64(now)).into()
}

#[tokio::test]
async fn each_operation_does_what_it_says() {
    let double = double();
    let proxy = TestProxy::start(REGION).await;
    suite::every_operation(&double, &AwsCredentials::Chain, REGION, &proxy, now(&double)).await;
    let calls = double.region(REGION).unwrap().faults().calls();
    for operation in Operation::ALL {
        assert!(calls.contains_key(operation.name()), "{operation} was not called");
    }
}

#[tokio::test]
async fn what_goes_wrong_has_its_kind() {
    let double = double();
    let kms = double.kms(&AwsCredentials::Chain, REGION).await.unwrap();
    let faults = double.region(REGION).unwrap().faults();
    for (trouble, expected) in [
        (Trouble::LostBefore, AwsErrorKind::AnswerLost),
        (Trouble::LostAfter, AwsErrorKind::AnswerLost),
        (Trouble::Throttled, AwsErrorKind::Throttled),
        (Trouble::Internal, AwsErrorKind::Internal),
        (Trouble::DependencyTimeout, AwsErrorKind::DependencyTimeout),
    ] {
        faults.inject("ListKeys", 1, trouble);
        let error = kms.list_keys(PageRequest::first()).await.unwrap_err();
        assert_eq!((error.operation, &error.kind), (Operation::ListKeys, &expected));
    }
    faults.deny("ListKeys");
    let error = kms.list_keys(PageRequest::first()).await.unwrap_err();
    assert_eq!(error.kind, AwsErrorKind::Denied);
    assert!(error.request_id.is_some());
}

#[tokio::test]
async fn access_keys_are_verified() {
    let double = double();
    let who = async |id: &str, secret: &str| {
        let credentials = AwsCredentials::AccessKey(AccessKey::new(id, secret));
        let iam = double.iam(&credentials, REGION).await.unwrap();
        iam.get_caller_identity().await.map_err(|error| error.kind)
    };
    let home = double.region(REGION).unwrap();
    home.add_access_key("alice", "AKIAALICE", "right").unwrap();
    assert_eq!(who("AKIAALICE", "right").await.unwrap().user_name(), Some("alice"));
    assert_eq!(who("AKIAALICE", "wrong").await, Err(AwsErrorKind::InvalidSignature));
    assert_eq!(who("AKIABOB", "right").await, Err(AwsErrorKind::UnrecognizedClient));
    assert!(double.kms(&AwsCredentials::Chain, "eu-west-1").await.is_err());
}
