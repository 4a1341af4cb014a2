//! The software keys against the contract of `KeyBackend`.

#![allow(clippy::expect_used, reason = "a test may panic")]

use std::sync::Arc;

use xks_backend_soft::{KeyVersion, SoftBackend, SoftKey};
use xks_core::{
    KeyId,
    backend::{KeyStatus, KeyUsage},
    testkit::conformance::Fixture,
};

const VALUE: [u8; 32] = *b"what every test of this may know";

fn id(id: &str) -> KeyId {
    id.parse().expect("the id is legal")
}

fn backend() -> Arc<SoftBackend> {
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

fn fixture() -> Fixture {
    let backend = backend();
    let of_operator = Arc::clone(&backend);
    let switch = move |on| {
        let status = if on { KeyStatus::Enabled } else { KeyStatus::Disabled };
        of_operator
            .set_status(&id("other"), status)
            .expect("there is such a key");
    };
    Fixture::new(backend, "known")
        .value(VALUE)
        .other("other")
        .encrypt_only("encrypts")
        .decrypt_only("decrypts")
        .disabled("disabled")
        .switch("other", switch)
        .restarted(self::backend())
}

// Memory does not fail, so there is no outage to be tried.
xks_core::testkit::conformance!(fixture(), all but health_follows, outages_tell_no_plaintext);
