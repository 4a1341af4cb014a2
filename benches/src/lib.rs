//! What the benchmarks share: signed requests at the sizes that are measured, a proxy over software keys that
//! takes them, how [long](measure) something takes, and [load] on a server.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::exhaustive_enums,
    clippy::exhaustive_structs,
    reason = "it belongs to the benchmarks, which may panic"
)]

mod allocations;
#[cfg(feature = "server")]
mod bare_hyper;
#[cfg(feature = "server")]
mod conditions;
#[cfg(feature = "server")]
pub mod load;
mod managed;
#[cfg(feature = "server")]
pub mod markdown;
mod material;
pub mod measure;
mod primitives;
mod row;
#[cfg(feature = "server")]
pub mod rows;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
mod setup;
#[cfg(feature = "server")]
mod token;

pub use self::{
    allocations::row_of_allocations,
    managed::SideBySide,
    primitives::{Pipeline, Primitive},
    row::Row,
};
#[cfg(feature = "server")]
pub use self::{
    bare_hyper::{BareHyper, Service, serve_if_asked},
    conditions::conditions,
    setup::{Keys, Setup, key, place},
    token::Token,
};

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use xks_backend_soft::{SoftBackend, SoftKey};
use xks_core::{
    Credential, KeyBackend, KeyId, KeyStore, KeyStores, Proxy, Request, Response, Zeroizing,
    aad::{AadFraming, BoundAad},
    api::RequestMetadata,
    audit::{AuditRecord, AuditSink},
    backend::EncryptRequest,
    key_store::Region,
    sigv4::{Claim, Rejection, Verified},
    testkit::Signer,
    timer::FixedSystemTime,
};

/// The Region that requests are signed for.
pub const REGION: &str = "us-east-1";
/// What requests are signed for as `host`.
pub const HOST: &str = "xks.example.com";
/// The key of the software backend.
pub const KEY: &str = "key-1";
/// The prefix of the key store.
pub const PREFIX: &str = "/bench-store";

/// What KMS says of a call that makes a data key.
const METADATA: &str = r#""requestMetadata":{"awsPrincipalArn":"arn:aws:iam::123456789012:user/Alice","kmsKeyArn":"arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab","kmsOperation":"GenerateDataKey","kmsRequestId":"4112f4d6-db54-4af4-ae30-c55a22a8dfae","kmsViaService":"s3"}"#;

/// Bytes of plaintext and of AAD.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Bytes of plaintext.
    pub plaintext: usize,
    /// Bytes of AAD.
    pub aad: usize,
}

/// What a data key has: by far the most calls are for one.
pub const DATA_KEY: Size = Size {
    plaintext: 32,
    aad: 200,
};
/// The most that the specification demands (ENC-2, ENC-3).
pub const LARGEST: Size = Size {
    plaintext: 4300,
    aad: 8192,
};

/// The moment at which all of this happens.
#[must_use]
pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

/// The access key id of the key store.
pub const ACCESS_KEY_ID: &str = "BETWEEN2TENAND3TENCHARACTERS";
/// Its secret.
pub const SECRET_ACCESS_KEY: &str = "PleaseReplaceThisWithSomeSecretOfLength43To64";
/// The service that KMS signs for.
pub const SERVICE: &str = "kms-xks-proxy";

/// The credential of the key store.
#[must_use]
pub fn credential() -> Credential {
    Credential::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY.to_owned()).expect("a legal credential")
}

/// The Region that requests are signed for, as a key store and a signer take it.
#[must_use]
pub fn region() -> Region {
    REGION.parse().expect("a legal Region")
}

/// What a future gives that waits for nothing.
pub fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits for something"),
    }
}

/// Takes no note: what a sink costs is its own affair.
#[derive(Debug)]
pub struct NoAudit;

impl AuditSink for NoAudit {
    fn record(&self, _: &AuditRecord<'_>) {}
}

/// A backend with a software key.
#[must_use]
pub fn backend() -> SoftBackend {
    let key: KeyId = KEY.parse().expect("a legal key id");
    SoftBackend::new().with_key(key, SoftKey::generate().expect("random bytes"))
}

/// A request to encrypt, as a backend gets it.
#[must_use]
pub fn encrypt_request(size: Size) -> EncryptRequest<'static> {
    let aad = BoundAad::new(AadFraming::Spec, Some(&vec![b'a'; size.aad]), None).expect("a legal AAD");
    let plaintext = Zeroizing::new(vec![b'p'; size.plaintext]);
    EncryptRequest::new(RequestMetadata::default(), plaintext, aad)
}

/// A key store over it.
#[must_use]
pub fn key_store() -> KeyStore {
    key_store_over(backend())
}

/// A key store over a backend.
#[must_use]
pub fn key_store_over(backend: impl KeyBackend) -> KeyStore {
    KeyStore::builder(PREFIX.parse().expect("a legal prefix"), Arc::new(backend))
        .region(region())
        .credential(credential())
        .all_keys_of_backend()
        .build()
        .expect("a whole key store")
}

/// A proxy over it, without a log.
#[must_use]
pub fn proxy() -> Proxy {
    proxy_over(backend())
}

/// A proxy over a backend, without a log.
#[must_use]
pub fn proxy_over(backend: impl KeyBackend) -> Proxy {
    let key_stores = KeyStores::new([key_store_over(backend)]).expect("one key store");
    Proxy::builder(key_stores)
        .audit(NoAudit)
        .timer(FixedSystemTime(now()))
        .build()
}

/// What the proxy says to it.
#[must_use]
pub fn answer(proxy: &Proxy, signed: &Signed) -> Response {
    ready(proxy.handle(signed.request()))
}

/// What the proxy does to a signature: finds the credential, and verifies by it.
///
/// # Errors
/// Why it is not authentic.
pub fn verify<'a>(request: &Request<'a>, store: &KeyStore) -> Result<Verified<'a>, Rejection> {
    let claim = Claim::of(request)?;
    let credential = ready(store.find_credential(claim.access_key_id()).wait()).expect("a list does not fail");
    claim.verify(credential.ok_or(Rejection::UnknownAccessKeyId)?, store, now())
}

/// A signed request that owns its parts.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The path.
    pub path: String,
    /// All headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Signed {
    /// A POST to a path below the key store's, with requestMetadata and these fields.
    #[must_use]
    pub fn new(operation: &str, fields: &str) -> Self {
        Self {
            path: String::new(),
            headers: Vec::new(),
            body: format!("{{{METADATA}{fields}}}"),
        }
        .to(operation)
    }

    /// The same body to another path.
    #[must_use]
    pub fn to(self, operation: &str) -> Self {
        let path = format!("{PREFIX}/kms/xks/v1/{operation}");
        Self { path, ..self }.signed()
    }

    /// A header that there is once.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).expect("a header that was sent")
    }

    fn signed(mut self) -> Self {
        let headers = [("host", HOST), ("content-type", "application/json")];
        let signer = Signer::new(credential(), region());
        self.headers = signer.sign("POST", &self.path, &headers, self.body.as_bytes(), now());
        self
    }

    /// As the proxy gets it.
    #[must_use]
    pub fn request(&self) -> Request<'_> {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()));
        Request::new("POST", &self.path, self.body.as_bytes()).headers(headers)
    }

    /// Encrypt.
    #[must_use]
    pub fn encrypt(size: Size, with_integrity_value: bool) -> Self {
        let algorithm = match with_integrity_value {
            true => r#","ciphertextDataIntegrityValueAlgorithm":"SHA_256""#,
            false => "",
        };
        let encode = |length| BASE64_STANDARD.encode(vec![b'a'; length]);
        let (plaintext, aad) = (encode(size.plaintext), encode(size.aad));
        let fields = format!(
            r#","plaintext":"{plaintext}","encryptionAlgorithm":"AES_GCM","additionalAuthenticatedData":"{aad}"{algorithm}"#
        );
        Self::new(&format!("keys/{KEY}/encrypt"), &fields)
    }

    /// Decrypt, of what an encryption of that size answered.
    #[must_use]
    pub fn decrypt(size: Size, encrypted: &Response) -> Self {
        let encrypted = String::from_utf8_lossy(encrypted.body());
        let encrypted = encrypted.trim_start_matches('{').trim_end_matches('}');
        let aad = BASE64_STANDARD.encode(vec![b'a'; size.aad]);
        let fields = format!(r#",{encrypted},"encryptionAlgorithm":"AES_GCM","additionalAuthenticatedData":"{aad}""#);
        Self::new(&format!("keys/{KEY}/decrypt"), &fields)
    }

    /// GetKeyMetadata.
    #[must_use]
    pub fn metadata() -> Self {
        Self::new(&format!("keys/{KEY}/metadata"), "")
    }

    /// GetHealthStatus.
    #[must_use]
    pub fn health() -> Self {
        Self::new("health", "")
    }

    /// The same with a body that was changed after it was signed.
    #[must_use]
    pub fn forged(mut self) -> Self {
        self.body.push(' ');
        self
    }
}
