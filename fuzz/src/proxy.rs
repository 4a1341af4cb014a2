//! The proxy that the targets talk to: one key store, a clock that stands still, software keys.

use std::{
    pin::pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, Waker},
    time::{Duration, UNIX_EPOCH},
};

use xks_backend_soft::{KeyVersion, SoftBackend, SoftKey};
use xks_core::{AuditRecord, AuditSink, Credential, KeyId, KeyStore, KeyStores, Proxy, Request, Response};

pub const ACCESS_KEY_ID: &str = "FUZZFUZZFUZZFUZZFUZZ";
pub const SECRET: &str = "NotASecretNotASecretNotASecretNotASecretNotA";
pub const REGION: &str = "eu-central-1";
pub const HOST: &str = "xks.example.com";
/// What time it is.
pub const DATE: &str = "20260101T000000Z";
const NOW: Duration = Duration::from_secs(1_767_225_600);

/// The four operations.
pub const PATHS: [&str; 4] = [
    "/fuzz/kms/xks/v1/keys/key-1/metadata",
    "/fuzz/kms/xks/v1/keys/key-1/encrypt",
    "/fuzz/kms/xks/v1/keys/key-1/decrypt",
    "/fuzz/kms/xks/v1/health",
];

static PROXY: LazyLock<Proxy> = LazyLock::new(|| {
    let credential = Credential::new(ACCESS_KEY_ID, SECRET.to_owned()).expect("the credential is legal");
    let key_id: KeyId = "key-1".parse().expect("the key id is legal");
    let version = |number, byte| KeyVersion::new(number, [byte; 32]).expect("the version is legal");
    let key = SoftKey::new(version(1, 1))
        .with_version(version(2, 2))
        .expect("the versions differ");
    let backend = SoftBackend::new().with_key(key_id.clone(), key);
    let key_store = KeyStore::builder("/fuzz".parse().expect("the prefix is legal"), Arc::new(backend))
        .region(REGION)
        .credential(credential)
        .keys([key_id])
        .build()
        .expect("the key store is whole");
    Proxy::builder(KeyStores::new([key_store]).expect("one key store is in nobody's way"))
        .clock(|| UNIX_EPOCH + NOW)
        .audit(Formatting)
        .build()
});

/// The proxy's answer. Its backend never waits, so neither does it.
pub fn answer(request: Request<'_>) -> Response {
    let answer = pin!(PROXY.handle(request));
    match answer.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(response) => response,
        Poll::Pending => panic!("the proxy waits for something"),
    }
}

/// Formats every record, as a log would.
struct Formatting;

impl AuditSink for Formatting {
    fn record(&self, record: &AuditRecord<'_>) {
        std::hint::black_box(format!("{record:?}"));
    }
}
