//! The stories: scripts that show whole paths, with the AWS CLI.

use std::process::Command;

use crate::{programs::xks_proxy, project};

/// Runs a story that has to go through, and returns what it printed.
fn tell(story: &str) -> String {
    let output = Command::new("bash")
        .arg(project().join("examples/stories").join(story))
        .env("XKS_PROXY", xks_proxy())
        .env("KMS_DOUBLE", env!("CARGO_BIN_EXE_kms-double"))
        .env("TIMEOUT_MS", "30000")
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{story}: {}: {out}{err}", output.status);
    assert!(out.ends_with("All went as it has to.\n"), "{story}: {out}{err}");
    out.into_owned()
}

#[test]
fn the_envelope_story_goes_through() {
    let told = tell("envelope");
    for part in [
        "(DisabledException)",
        "(KMSInvalidStateException) when calling the Decrypt operation: The external key store proxy rejected the \
         request because it could not find the external key.",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(told.matches("report.txt is what it was.").count(), 4, "{told}");
}

/// Two nodes make key store and KMS key in AWS; keys are disabled, rotated and expired, felt by who uses KMS.
#[test]
fn the_story_of_keys_of_ones_own_goes_through() {
    let told = tell("hyok");
    for part in [
        "state          disabled",
        "payroll\tCONNECTED",
        "requests, none failed",
        "salaries of 2027\nproduction\n",
        "state          deactivated",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(told.matches("report.txt is what it was.").count(), 5, "{told}");
    // Disabled through both nodes, blocked, and expired.
    assert_eq!(told.matches("answered with status 400 by a: ").count(), 1, "{told}");
    assert_eq!(told.matches("(KMSInvalidStateException)").count(), 3, "{told}");
    // Jobs: key store, KMS key, credential, and what another node has gone on with.
    assert_eq!(told.matches("state       done").count(), 4, "{told}");
}

/// Material of an HSM is imported, removed, uploaded again, and rotated; a KMS key of others is adopted.
#[test]
fn the_story_of_imported_material_goes_through() {
    let told = tell("byok");
    for part in ["PENDING DELETE", "NOT AVAILABLE", "made by hand"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(told.matches("state       done").count(), 7, "{told}");
    assert_eq!(told.matches(".txt is what it was.").count(), 5, "{told}");
    assert_eq!(told.matches("(KMSInvalidStateException)").count(), 1, "{told}");
    assert_eq!(told.matches("(DisabledException)").count(), 1, "{told}");
}

/// A KMS key that awaits material is filled, rotated, and synchronised afterwards.
#[test]
fn the_story_of_key_groups_goes_through() {
    let told = tell("key-groups");
    for part in ["PendingImport", "PendingDeletion"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(told.matches("state       done").count(), 6, "{told}");
    assert_eq!(told.matches(".txt is what it was.").count(), 3, "{told}");
    assert_eq!(told.matches("(DisabledException)").count(), 1, "{told}");
}

/// A key that others have made comes under management, and what it has encrypted stays readable.
#[test]
fn the_story_of_an_adopted_key_goes_through() {
    let told = tell("nshield");
    for part in [
        "2147483648",
        "store-root is the root \"hsm\" of [store]",
        "backend-key-taken",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(told.matches("before.txt is what it was.").count(), 5, "{told}");
    assert_eq!(told.matches("(XksKeyNotFoundException)").count(), 2, "{told}");
}

/// What one node disables both refuse, and a node that stops is not missed.
#[test]
fn the_story_of_several_nodes_goes_through() {
    let told = tell("nodes");
    for part in ["state          disabled", "requests, none failed", "is CONNECTED"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    // Each says that both nodes were asked.
    assert_eq!(told.matches("answered with status 200 by a: ").count(), 5, "{told}");
    assert_eq!(told.matches("answered with status 400 by a: ").count(), 1, "{told}");
    // Read by both, and again when one node has been killed.
    assert_eq!(told.matches("report.txt is what it was.").count(), 5, "{told}");
    assert_eq!(told.matches("(KMSInvalidStateException)").count(), 2, "{told}");
}
