//! The script that shows an envelope encryption.

use std::process::Command;

use crate::{programs::xks_proxy, project};

#[test]
fn the_envelope_script_goes_through() {
    let output = Command::new("bash")
        .arg(project().join("examples/stories/envelope"))
        .env("XKS_PROXY", xks_proxy())
        .env("KMS_DOUBLE", env!("CARGO_BIN_EXE_kms-double"))
        .env("TIMEOUT_MS", "30000")
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{}: {out}{err}", output.status);
    for part in [
        "(DisabledException)",
        "(KMSInvalidStateException) when calling the Decrypt operation: The external key store proxy rejected the \
         request because it could not find the external key.",
        "All went as it has to.",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert_eq!(out.matches("It is what it was.").count(), 4, "{out}");
}
