//! Where credentials come from, and what is said of those that do not work.

use std::{env, process::Command};

use xks_byok::aws::{AccessKey, AwsCredentials, AwsErrorKind, Connector as _, PageRequest};

use crate::{ID, REGION, SECRET, alice, builder, simulator};

#[tokio::test]
async fn credentials_that_aws_refuses_have_their_kind() {
    let simulator = simulator("refused");
    let connector = builder(simulator.url()).build().unwrap();
    for (id, secret, expected) in [
        (ID, "another secret", AwsErrorKind::InvalidSignature),
        ("AKIANONENONENONENONE", SECRET, AwsErrorKind::UnrecognizedClient),
    ] {
        let credentials = AwsCredentials::AccessKey(AccessKey::new(id, secret));
        let kms = connector.kms(&credentials, REGION).await.unwrap();
        let error = kms.list_keys(PageRequest::first()).await.unwrap_err();
        assert_eq!(error.kind, expected, "{error}");
        let iam = connector.iam(&credentials, REGION).await.unwrap();
        let error = iam.get_caller_identity().await.unwrap_err();
        assert!(error.kind == expected && error.is_bad_credential(), "{error}");
        assert!(!error.to_string().contains(secret), "{error}");
    }
}

/// The Region is a part of the host name that signed requests go to.
#[tokio::test]
async fn a_region_cannot_lead_elsewhere() {
    let connector = builder("http://localhost").build().unwrap();
    for region in [
        "",
        "eu-central-1.example.com",
        "x/",
        "x@example.com",
        "EU-CENTRAL-1",
        "a b",
    ] {
        let error = connector.kms(&alice(), region).await.err().unwrap();
        assert_eq!(error.kind, AwsErrorKind::InvalidRequest, "{region}");
    }
}

/// Says in which part of this test a process is: the environment is a process's.
const PART: &str = "XKS_TEST_CHAIN";
const URL: &str = "XKS_TEST_URL";

/// The chain's credentials are those of the environment, or there are none.
#[tokio::test]
async fn the_chain_is_that_of_the_sdk() {
    let Some(part) = env::var_os(PART) else {
        return parts();
    };
    let connector = builder(&env::var(URL).unwrap()).build().unwrap();
    let iam = connector.iam(&AwsCredentials::Chain, REGION).await.unwrap();
    let result = iam.get_caller_identity().await;
    if part == "none" {
        let error = result.unwrap_err();
        assert_eq!(error.kind, AwsErrorKind::NoCredentials, "{error}");
    } else {
        assert_eq!(result.unwrap().user_name(), Some("alice"));
    }
}

/// This test once more, in a process for each part.
fn parts() {
    let simulator = simulator("chain");
    for part in ["none", "environment"] {
        let mut process = Command::new(env::current_exe().unwrap());
        process.args(["--exact", "credentials::the_chain_is_that_of_the_sdk"]);
        process.env_clear().env(PART, part).env(URL, simulator.url());
        process
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("HOME", "/nonexistent");
        if part == "environment" {
            process
                .env("AWS_ACCESS_KEY_ID", ID)
                .env("AWS_SECRET_ACCESS_KEY", SECRET);
        }
        let output = process.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{part}: {text}");
    }
}
