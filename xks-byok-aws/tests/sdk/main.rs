//! The AWS SDK behind our traits, against the AWS APIs of kms-double over HTTP, and against servers that
//! break off. Jobs over it, in processes that are killed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod broken;
mod credentials;
mod faults;
mod jobs;
mod operations;

use std::{path::PathBuf, sync::Arc};

use xks_byok::aws::{AccessKey, AwsCredentials, Connector as _, Iam, Kms};
use xks_byok_aws::{AwsConnector, Builder};
use xks_test_aws::Simulator;

const REGION: &str = "us-east-1";
const ID: &str = "AKIAALICEALICEALICE7";
const SECRET: &str = "the secret of alice";

fn builder(url: &str) -> Builder {
    AwsConnector::builder().endpoint_url(url).without_environment_proxy()
}

fn alice() -> AwsCredentials {
    AwsCredentials::AccessKey(AccessKey::new(ID, SECRET))
}

/// A simulator that verifies signatures; it knows alice.
fn simulator(name: &str) -> Simulator {
    let file = file(name, &format!("alice,{ID},{SECRET}\n"));
    Simulator::start(&["--verify-callers", file.to_str().unwrap()])
}

/// A file of this test alone.
fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("sdk-{}-{name}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

async fn clients(connector: &AwsConnector) -> (Arc<dyn Kms>, Arc<dyn Iam>) {
    clients_in(connector, REGION).await
}

async fn clients_in(connector: &AwsConnector, region: &str) -> (Arc<dyn Kms>, Arc<dyn Iam>) {
    let kms = connector.kms(&alice(), region).await.unwrap();
    (kms, connector.iam(&alice(), region).await.unwrap())
}
