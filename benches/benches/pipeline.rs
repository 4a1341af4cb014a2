//! The way of a request in process: signature verification beside AWS's own signer, and whole operations over software
//! keys. The ratio at the end is taken in the same run, so it means the same on every machine.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark may panic and print"
)]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use criterion::{Criterion, criterion_group};
use tokio::runtime::{Builder, Runtime};
use xks_backend_soft::{SoftBackend, SoftKey};
use xks_core::{AuditRecord, AuditSink, Credential, KeyStore, KeyStores, Proxy, Request, sigv4};

#[path = "../../xks-core/tests/support/signer.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod signer;

use signer::{ACCESS_KEY_ID, HOST, REGION, SECRET_ACCESS_KEY, Signer};

const METADATA: &str = r#""requestMetadata":{"awsPrincipalArn":"arn:aws:iam::123456789012:user/Alice","kmsKeyArn":"arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab","kmsOperation":"GenerateDataKey","kmsRequestId":"4112f4d6-db54-4af4-ae30-c55a22a8dfae","kmsViaService":"s3"}"#;

/// Takes no note: what a sink costs is its own affair.
struct NoAudit;

impl AuditSink for NoAudit {
    fn record(&self, _: &AuditRecord<'_>) {}
}

fn key_store() -> KeyStore {
    let backend = SoftBackend::new().with_key("key-1".parse().unwrap(), SoftKey::generate().unwrap());
    KeyStore::builder("/bench-store".parse().unwrap(), Arc::new(backend))
        .region(REGION)
        .credential(Credential::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY.to_owned()).unwrap())
        .all_keys_of_backend()
        .build()
        .unwrap()
}

/// A signed request that owns its parts.
struct Signed {
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Signed {
    fn new(signer: &Signer, operation: &str, fields: &str) -> Self {
        let path = format!("/bench-store/kms/xks/v1/{operation}");
        let body = format!("{{{METADATA}{fields}}}");
        let content_type = [("content-type", "application/json")];
        let headers = signer.sign("POST", HOST, &path, &content_type, body.as_bytes());
        Self { path, headers, body }
    }

    fn request(&self) -> Request<'_> {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()));
        Request::new("POST", &self.path, self.body.as_bytes()).headers(headers)
    }
}

/// A data key's size: 32 bytes, with 200 bytes of AAD.
fn encrypt(signer: &Signer, with_integrity_value: bool) -> Signed {
    let algorithm = if with_integrity_value {
        r#","ciphertextDataIntegrityValueAlgorithm":"SHA_256""#
    } else {
        ""
    };
    let fields = format!(
        r#","plaintext":"{}=","encryptionAlgorithm":"AES_GCM","additionalAuthenticatedData":"{}="{algorithm}"#,
        "A".repeat(43),
        "A".repeat(267),
    );
    Signed::new(signer, "keys/key-1/encrypt", &fields)
}

fn pipeline(criterion: &mut Criterion) {
    let now = SystemTime::now();
    let signer = Signer::at(now);
    let runtime: Runtime = Builder::new_current_thread().build().unwrap();
    let proxy = Proxy::builder(KeyStores::new([key_store()]).unwrap())
        .audit(NoAudit)
        .clock(move || now)
        .build();
    for (name, signed, expected) in [
        ("encrypt, 32 bytes, AAD 200", encrypt(&signer, false), 200),
        ("encrypt with integrity value", encrypt(&signer, true), 200),
        ("get key metadata", Signed::new(&signer, "keys/key-1/metadata", ""), 200),
        ("get health status", Signed::new(&signer, "health", ""), 200),
        ("path that is none", Signed::new(&signer, "nowhere", ""), 404),
    ] {
        let call = || runtime.block_on(proxy.handle(signed.request()));
        assert_eq!(call().status(), expected);
        criterion.bench_function(name, |bencher| bencher.iter(call));
    }

    let (store, signed) = (key_store(), encrypt(&signer, true));
    let verify = || sigv4::verify(&signed.request(), &store, now).unwrap();
    let sign = || encrypt(&signer, true);
    criterion.bench_function("verify a signature", |bencher| bencher.iter(verify));
    criterion.bench_function("sign it again with aws-sigv4", |bencher| bencher.iter(sign));
    let (verify, sign) = (fastest(verify), fastest(sign));
    println!(
        "verifying takes {verify:?}, signing again {sign:?}: {:.1} times as long",
        sign.as_secs_f64() / verify.as_secs_f64()
    );
}

/// The best of many runs, which other work on the machine disturbs least.
fn fastest<T>(mut work: impl FnMut() -> T) -> Duration {
    let mut run = || {
        let start = Instant::now();
        for _ in 0..100 {
            black_box(work());
        }
        start.elapsed() / 100
    };
    (0..100).map(|_| run()).min().unwrap_or_default()
}

criterion_group!(benches, pipeline);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
