//! The software keys against the contract of `KeyBackend`.

#![allow(clippy::expect_used, reason = "a test may panic")]

use std::sync::Arc;

use xks_backend_soft::{KeyVersion, SoftBackend, SoftKey};
use xks_core::{KeyBackend, KeyId, KeyStatus, KeyUsage, testkit::conformance::Fixture};

const VALUE: [u8; 32] = *b"what every test of this may know";

fn backend() -> Arc<dyn KeyBackend> {
    let id = |id: &str| -> KeyId { id.parse().expect("the id is legal") };
    let generate = || SoftKey::generate().expect("there are random bytes");
    let known = SoftKey::new(KeyVersion::new(1, VALUE).expect("the version is legal"));
    let backend = SoftBackend::new()
        .with_key(id("known"), known)
        .with_key(id("other"), generate())
        .with_key(id("encrypts"), generate().with_usages([KeyUsage::Encrypt]))
        .with_key(id("decrypts"), generate().with_usages([KeyUsage::Decrypt]))
        .with_key(id("disabled"), generate().with_status(KeyStatus::Disabled));
    Arc::new(backend)
}

xks_core::conformance!(
    Fixture::new(backend(), "known")
        .value(VALUE)
        .other("other")
        .encrypt_only("encrypts")
        .decrypt_only("decrypts")
        .disabled("disabled")
        .restarted(backend())
);
