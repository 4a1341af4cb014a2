//! The proxy that the targets talk to: five key stores, a clock that stands still, software keys.

use std::{
    pin::pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use xks_backend_soft::{KeyVersion, SoftBackend, SoftKey};
use xks_core::{
    Credential, KeyId, KeyStore, KeyStores, Proxy, Request, Response,
    api::ErrorName,
    audit::{AuditRecord, AuditSink},
    backend::{KeyStatus, KeyUsage},
    timer::FixedSystemTime,
};

use crate::{exchange::Exchange, judge::Verdict};

/// A key store.
#[derive(Debug)]
pub struct Tenant {
    pub prefix: &'static str,
    /// Access key ids and secrets.
    pub credentials: &'static [(&'static str, &'static str)],
    pub regions: &'static [&'static str],
}

/// Prefixes that are parts of each other, look like the API's own words, or are as long as may be.
pub static TENANTS: [Tenant; 5] = [
    Tenant {
        prefix: "/fuzz",
        credentials: &[
            ("FUZZFUZZFUZZFUZZFUZZ", "NotASecretNotASecretNotASecretNotASecretNotA"),
            (
                "FUZZTWOFUZZTWOFUZZTWOFUZZTWO22",
                "Another+Secret/Another+Secret/Another+Secret/Another+Secret/5678",
            ),
        ],
        regions: &["eu-central-1", "us-gov-west-1"],
    },
    Tenant {
        prefix: "",
        credentials: &[("ROOTROOTROOTROOTROOT", "RootSecretRootSecretRootSecretRootSecretRoot")],
        regions: &["eu-central-1"],
    },
    Tenant {
        prefix: "/fuzz/nested",
        credentials: &[("NESTEDNESTEDNESTEDNE", "NestSecretNestSecretNestSecretNestSecretNest")],
        regions: &["us-east-1"],
    },
    Tenant {
        prefix: "/kms/xks/v1",
        credentials: &[("KMSXKSKMSXKSKMSXKSKM", "KmsxSecretKmsxSecretKmsxSecretKmsxSecretKmsx")],
        regions: &["us-east-1"],
    },
    Tenant {
        prefix: "/117-characters-are-the-most-that-a-prefix-may-have/117-characters-are-the-most-that-a-prefix-may-have/117-characters",
        credentials: &[("LONGLONGLONGLONGLONG", "LongSecretLongSecretLongSecretLongSecretLong")],
        regions: &["us-east-1"],
    },
];

pub const HOST: &str = "xks.example.com";
/// What time it is.
pub const DATE: &str = "20260101T000000Z";
/// The versions of each key, and the byte that its material is made of.
pub const VERSIONS: [(u32, u8); 2] = [(1, 1), (2, 2)];

pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

static PROXY: LazyLock<Proxy> = LazyLock::new(|| {
    let version = |(number, byte)| KeyVersion::new(number, [byte; 32]).expect("the version is legal");
    let key = || {
        let [first, second] = VERSIONS.map(version);
        SoftKey::new(first).with_version(second).expect("the versions differ")
    };
    let id = |text: &str| text.parse::<KeyId>().expect("the key id is legal");
    let backend = Arc::new(
        SoftBackend::new()
            .with_key(id("key-1"), key())
            .with_key(id("encrypts"), key().with_usages([KeyUsage::Encrypt]))
            .with_key(id("decrypts"), key().with_usages([KeyUsage::Decrypt]))
            .with_key(id("disabled"), key().with_status(KeyStatus::Disabled))
            .with_key(id("unlisted"), key()),
    );
    let key_stores = TENANTS.iter().map(|tenant| {
        let mut store = KeyStore::builder(tenant.prefix.parse().expect("the prefix is legal"), backend.clone())
            .keys(["key-1", "encrypts", "decrypts", "disabled"].map(id));
        for region in tenant.regions {
            store = store.region(region.parse().expect("the Region is legal"));
        }
        for (id, secret) in tenant.credentials {
            store = store.credential(Credential::new(id, (*secret).to_owned()).expect("the credential is legal"));
        }
        store.build().expect("the key store is whole")
    });
    Proxy::builder(KeyStores::new(key_stores).expect("no key store is in another's way"))
        .timer(FixedSystemTime(now()))
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

/// The answer to an exchange: what it comes to, and its body.
pub fn answer_to(exchange: &Exchange) -> (Verdict, Value) {
    check(&answer(exchange.request()))
}

/// A request that is right in every way but perhaps for its body, and its answer.
pub fn answer_signed(target: &str, body: &[u8]) -> (Verdict, Value) {
    let head = format!("POST {target}\nhost: {HOST}\nx-amz-date: {DATE}\nauthorization: @\n\n");
    answer_to(&Exchange::parse(&[head.as_bytes(), body].concat()))
}

/// What holds for every answer: its status and name are of the specification's table, and its body says why.
fn check(response: &Response) -> (Verdict, Value) {
    let body: Value = serde_json::from_slice(response.body()).expect("every body is JSON");
    assert!(body.is_object());
    assert!(response.headers().contains(&("content-type", "application/json")));
    if response.status() == 200 {
        assert_eq!(body.get("errorName"), None);
        return (Verdict::OK, body);
    }
    let message = body["errorMessage"].as_str().expect("a failure has a message");
    assert!(
        message.len() < 512 && message.bytes().all(|byte| matches!(byte, 0x20..=0x7e)),
        "{message:?}"
    );
    if response.status() == 405 {
        assert!(response.headers().contains(&("allow", "POST")));
        return (Verdict::USE_POST, body);
    }
    let names = ErrorName::ALL.into_iter();
    let name = names.clone().find(|name| body["errorName"] == name.as_str());
    let verdict = Verdict::error(name.expect("the name is one of the specification's"));
    assert_eq!(verdict.0, response.status(), "{body}");
    (verdict, body)
}

/// Formats every record, as a log would.
struct Formatting;

impl AuditSink for Formatting {
    fn record(&self, record: &AuditRecord<'_>) {
        std::hint::black_box(format!("{record:?}"));
    }
}
