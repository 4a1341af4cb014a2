//! The checks for every module and every vendor's quirks: the contract of `KeyBackend`, and what is
//! particular to PKCS#11. The token has four keys: `known`, whose value the test knows, `second`, and
//! `encrypts` and `decrypts`, which permit only that.

use std::{sync::Arc, time::Duration};

use xks_backend_pkcs11::{AppendedIv, IvSource, Pkcs11Backend, Quirks};
use xks_core::{
    KeyBackend as _,
    testkit::conformance::{self, Fixture, Problem},
};

use crate::support::{encrypt, run};

/// The value of the key `known`.
pub(crate) const VALUE: [u8; 32] = *b"what every test of this may know";

/// Runs all checks, then shuts the backend down.
pub(crate) fn check(backend: Pkcs11Backend, quirks: Quirks) {
    let backend = Arc::new(backend);
    let fixture = Fixture::new(Arc::clone(&backend) as _, "known")
        .value(VALUE)
        .other("second")
        .encrypt_only("encrypts")
        .decrypt_only("decrypts")
        .missing("absent")
        .iv_calls(1000)
        .patience(Duration::from_secs(200));
    let health = run(backend.health()).unwrap();
    // It takes IVs of 12 bytes only.
    let fixture = match health.vendor() {
        "Craton HSM Project" => fixture.short_ivs_only(),
        _ => fixture,
    };
    let mut not_tried = Vec::new();
    for finding in conformance::check(fixture) {
        match finding.problem {
            Some(Problem::Broken(how)) => panic!("{:?}: {how}; health: {:?}", finding.contract, backend.status()),
            Some(Problem::NotTried(_)) => not_tried.push(finding.contract.name),
            None => {}
        }
    }
    // A token cannot disable a key, and is not restarted here. The tests of the shim have the outages.
    let expected = [
        "ciphertexts_outlive_a_restart",
        "ivs_do_not_begin_anew",
        "disabled_keys_are_refused",
        "a_change_of_status_is_seen",
        "health_follows",
        "outages_tell_no_plaintext",
    ];
    assert_eq!(not_tried, expected);
    let length = match quirks.iv_source() {
        IvSource::Appended(AppendedIv::Bytes16) => 16,
        _ => 12,
    };
    let encrypted = run(encrypt(&*backend, "known", b"plaintext")).unwrap();
    assert_eq!(encrypted.iv().as_bytes().len(), length);
    let [member] = health.members() else {
        panic!("{health:?}")
    };
    assert!(member.model().contains("firmware"), "{member:?}");
    assert!(backend.shutdown(Duration::from_secs(10)), "calls did not return");
}
