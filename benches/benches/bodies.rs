//! Decoding of the bodies of all requests and encoding of their answers. A body is decoded out of a verified
//! request alone, and an answer encoded by the pipeline alone; so whole requests are sent, which get to one
//! of three stations:
//! * one whose body is not UTF-8 is not parsed (400);
//! * one for a key that is not there, or to a key manager that is down, was decoded (404, 500), so the
//!   difference is the decoding;
//! * one to a backend that has the answer ready is answered (200): its AAD is framed and the answer encoded,
//!   in place of the refusal's.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark may panic and print"
)]

use std::{sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group};
use xks_benches::{
    DATA_KEY, KEY, LARGEST, NoAudit, PREFIX, Signed, Size, answer, credential,
    measure::{consume, in_turn},
    now, ready, region,
};
use xks_core::{
    BackendError, KeyBackend, KeyId, KeyStore, KeyStores, Proxy, Request, Zeroizing, async_trait,
    backend::{
        DecryptRequest, EkmStatus, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health, HealthStatus, Iv,
        KeyMetadata, KeySpec, KeyStatus, KeyUsage, Tag,
    },
    testkit::Signer,
    timer::FixedSystemTime,
};

/// A key manager that does nothing for its answers.
struct Idle(HealthStatus);

#[async_trait]
impl KeyBackend for Idle {
    async fn key_metadata(&self, _: &KeyId, _: &GetKeyMetadataRequest<'_>) -> Result<KeyMetadata, BackendError> {
        let usages = [KeyUsage::Encrypt, KeyUsage::Decrypt];
        Ok(KeyMetadata::new(KeySpec::Aes256, usages, KeyStatus::Enabled))
    }

    async fn encrypt(&self, _: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        let (ciphertext, iv, tag) = (
            vec![0; request.plaintext().len()],
            Iv::from([0; 12]),
            Tag::from([0; 16]),
        );
        Ok(Encrypted::new(ciphertext, iv, tag, request.bind_aad(None)))
    }

    async fn decrypt(&self, _: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        Ok(Zeroizing::new(vec![0; request.ciphertext().len()]))
    }

    async fn health(&self) -> Result<Health, BackendError> {
        Ok(Health::new("idle", EkmStatus::new("idle", "idle", self.0)))
    }
}

fn proxy(health: HealthStatus) -> Proxy {
    let key_store = KeyStore::builder(PREFIX.parse().unwrap(), Arc::new(Idle(health)))
        .region(region())
        .credential(credential())
        .keys([KEY.parse().unwrap()])
        .build()
        .unwrap();
    let key_stores = KeyStores::new([key_store]).unwrap();
    Proxy::builder(key_stores)
        .audit(NoAudit)
        .timer(FixedSystemTime(now()))
        .build()
}

/// A request as long as another one, whose body is not UTF-8 from its first byte on.
struct Unreadable {
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Unreadable {
    fn instead_of(signed: &Signed) -> Self {
        let mut body = signed.body.clone().into_bytes();
        *body.first_mut().unwrap() = 0xff;
        let headers = [
            ("host", signed.header("host")),
            ("content-type", signed.header("content-type")),
        ];
        Self {
            path: signed.path.clone(),
            headers: Signer::new(credential(), region()).sign("POST", &signed.path, &headers, &body, now()),
            body,
        }
    }

    fn status(&self, proxy: &Proxy) -> u16 {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()));
        ready(proxy.handle(Request::new("POST", &self.path, &self.body).headers(headers))).status()
    }
}

fn bodies(criterion: &mut Criterion) {
    let (proxy, down) = (proxy(HealthStatus::Active), proxy(HealthStatus::Unavailable));
    let decrypt = |size| Signed::decrypt(size, &answer(&proxy, &Signed::encrypt(size, false)));
    let mut lines = Vec::new();
    for (operation, size, signed) in [
        ("encrypt", Some(DATA_KEY), Signed::encrypt(DATA_KEY, false)),
        ("encrypt", Some(LARGEST), Signed::encrypt(LARGEST, false)),
        ("decrypt", Some(DATA_KEY), decrypt(DATA_KEY)),
        ("decrypt", Some(LARGEST), decrypt(LARGEST)),
        ("metadata", None, Signed::metadata()),
        ("health", None, Signed::health()),
    ] {
        let size = size.map_or_else(String::new, |Size { plaintext, aad }| {
            format!(", {plaintext} bytes, AAD {aad}")
        });
        let (unreadable, stopped) = (
            Unreadable::instead_of(&signed),
            match operation {
                "health" => signed.clone(),
                _ => signed.clone().to(&format!("keys/absent/{operation}")),
            },
        );
        let stop = || answer(if operation == "health" { &down } else { &proxy }, &stopped);
        assert_eq!(unreadable.status(&proxy), 400);
        assert_eq!(stop().status(), if operation == "health" { 500 } else { 404 });
        assert_eq!(answer(&proxy, &signed).status(), 200);

        let mut group = criterion.benchmark_group(format!("body of {operation}{size}"));
        group.bench_function("not parsed", |bencher| bencher.iter(|| unreadable.status(&proxy)));
        group.bench_function("decoded", |bencher| bencher.iter(stop));
        group.bench_function("answered", |bencher| bencher.iter(|| answer(&proxy, &signed)));
        group.finish();
        let [before, decoded, answered] = in_turn([
            &mut || consume(unreadable.status(&proxy)),
            &mut || consume(stop()),
            &mut || consume(answer(&proxy, &signed)),
        ]);
        let more = |than: Duration, time: Duration| time.as_nanos().cast_signed() - than.as_nanos().cast_signed();
        lines.push(format!(
            "{operation}{size}: decoded in {} ns; an answer takes {} ns more than a refusal",
            more(before, decoded),
            more(decoded, answered),
        ));
    }
    println!("{}", lines.join("\n"));
}

criterion_group!(benches, bodies);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
