//! What the integration tests share: a client that signs and calls a proxy, backends that fail in chosen
//! ways, and a sink that remembers.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod tagging;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use xks_backend_soft::{SoftBackend, SoftKey};
use xks_core::{
    Credential, KeyBackend, KeyId, KeyStore, KeyStores, Proxy, ProxyBuilder, Request,
    aad::AadFraming,
    audit::{AuditRecord, AuditSink, OwnedAuditRecord},
    backend::{KeyStatus, KeyUsage},
    key_store::KeyStoreBuilder,
    timer::FixedSystemTime,
};
use xks_test_client::{ACCESS_KEY_ID, HOST, REGION, SECRET_ACCESS_KEY, Signer};

/// When all of this happens.
pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_780_000_000)
}

pub(crate) fn id(text: &str) -> KeyId {
    text.parse().unwrap()
}

/// Keys of each kind, by the name of their kind, and one that belongs to no key store.
pub(crate) fn soft_backend() -> Arc<SoftBackend> {
    const BOTH: &[KeyUsage] = &[KeyUsage::Encrypt, KeyUsage::Decrypt];
    let backend = SoftBackend::new();
    for (name, usages, status) in [
        ("usable", BOTH, KeyStatus::Enabled),
        ("other", BOTH, KeyStatus::Enabled),
        ("encrypt-only", &BOTH[..1], KeyStatus::Enabled),
        ("decrypt-only", &BOTH[1..], KeyStatus::Enabled),
        ("neither", &[], KeyStatus::Enabled),
        ("disabled", BOTH, KeyStatus::Disabled),
        ("of-nobody", BOTH, KeyStatus::Enabled),
    ] {
        let key = SoftKey::generate()
            .unwrap()
            .with_usages(usages.iter().copied())
            .with_status(status);
        backend.insert(id(name), key);
    }
    Arc::new(backend)
}

/// A key store under `/tenant` with all keys but `of-nobody`, and a key `ghost` that the backend does not
/// know.
pub(crate) fn key_store(backend: Arc<dyn KeyBackend>) -> KeyStoreBuilder {
    KeyStore::builder("/tenant".parse().unwrap(), backend)
        .region(REGION.parse().unwrap())
        .credential(Credential::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY.to_owned()).unwrap())
        .keys(
            [
                "usable",
                "other",
                "encrypt-only",
                "decrypt-only",
                "neither",
                "disabled",
                "ghost",
            ]
            .map(id),
        )
}

pub(crate) fn proxy(key_store: KeyStoreBuilder) -> ProxyBuilder {
    Proxy::builder(KeyStores::new([key_store.build().unwrap()]).unwrap()).timer(FixedSystemTime(now()))
}

/// A client of one proxy.
pub(crate) struct Client {
    pub(crate) proxy: Proxy,
    pub(crate) signer: Signer,
}

impl Client {
    pub(crate) fn new(proxy: ProxyBuilder) -> Self {
        Self {
            proxy: proxy.build(),
            signer: Signer::at(now()),
        }
    }

    /// Over software keys, with this framing.
    pub(crate) fn soft(framing: AadFraming) -> Self {
        Self::new(proxy(key_store(soft_backend()).aad_framing(framing)))
    }

    /// POSTs a signed body to a path below `/tenant/kms/xks/v1/`.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(
            "POST",
            &format!("/tenant/kms/xks/v1/{path}"),
            body.to_string().as_bytes(),
        )
        .await
    }

    /// Sends a signed request.
    pub(crate) async fn send(&self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        let headers = self
            .signer
            .sign(method, HOST, path, &[("content-type", "application/json")], body);
        self.send_unsigned(method, path, &headers, body).await
    }

    /// Sends a request as it is, and checks what holds for every answer.
    pub(crate) async fn send_unsigned(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: &[u8],
    ) -> (u16, Value) {
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let response = self
            .proxy
            .handle(Request::new(method, path, body).headers(headers))
            .await;
        let answer: Value = serde_json::from_slice(response.body()).expect("every body is JSON");
        check_answer(response.status(), response.headers(), &answer);
        (response.status(), answer)
    }

    pub(crate) async fn encrypt(&self, key: &str, body: &Value) -> (u16, Value) {
        self.post(&format!("keys/{key}/encrypt"), body).await
    }

    pub(crate) async fn decrypt(&self, key: &str, body: &Value) -> (u16, Value) {
        self.post(&format!("keys/{key}/decrypt"), body).await
    }
}

/// Section 8: each error has its status, a name of the table, and a short printable message.
pub(crate) fn check_answer(status: u16, headers: &[(&str, &str)], answer: &Value) {
    assert!(headers.contains(&("content-type", "application/json")), "TRN-1");
    assert!(answer.is_object());
    assert_eq!(headers.contains(&("allow", "POST")), status == 405, "TRN-4");
    if status == 200 || status == 405 {
        return assert!(answer.get("errorName").is_none());
    }
    let name = answer["errorName"].as_str().expect("an error has a name");
    let name = xks_core::api::ErrorName::ALL
        .into_iter()
        .find(|known| known.as_str() == name)
        .expect("one of the twelve");
    assert_eq!(name.status(), status);
    let message = answer["errorMessage"].as_str().unwrap();
    assert!(message.len() < 512 && message.bytes().all(|byte| (0x20..=0x7e).contains(&byte)));
}

pub(crate) fn error_of(answer: &(u16, Value)) -> &str {
    answer.1["errorName"].as_str().unwrap_or("none")
}

pub(crate) fn request_metadata() -> Value {
    json!({
        "awsPrincipalArn": "arn:aws:iam::123456789012:user/Alice",
        "kmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        "kmsOperation": "Encrypt",
        "kmsRequestId": "4112f4d6-db54-4af4-ae30-c55a22a8dfae",
        "kmsViaService": "ebs",
    })
}

pub(crate) fn metadata_body() -> Value {
    json!({ "requestMetadata": request_metadata() })
}

pub(crate) fn base64(bytes: &[u8]) -> Value {
    use ::base64::{Engine as _, prelude::BASE64_STANDARD};
    json!(BASE64_STANDARD.encode(bytes))
}

pub(crate) fn from_base64(text: &Value) -> Vec<u8> {
    use ::base64::{Engine as _, prelude::BASE64_STANDARD};
    BASE64_STANDARD.decode(text.as_str().unwrap()).unwrap()
}

pub(crate) fn encrypt_body(plaintext: &[u8], aad: Option<&[u8]>, with_integrity_value: bool) -> Value {
    let mut body = json!({
        "requestMetadata": request_metadata(),
        "plaintext": base64(plaintext),
        "encryptionAlgorithm": "AES_GCM",
    });
    if let Some(aad) = aad {
        body["additionalAuthenticatedData"] = base64(aad);
    }
    if with_integrity_value {
        body["ciphertextDataIntegrityValueAlgorithm"] = json!("SHA_256");
    }
    body
}

/// A request to decrypt what encrypt answered.
pub(crate) fn decrypt_body(encrypted: &Value, aad: Option<&[u8]>) -> Value {
    let mut body = json!({ "requestMetadata": request_metadata(), "encryptionAlgorithm": "AES_GCM" });
    for field in [
        "ciphertext",
        "initializationVector",
        "authenticationTag",
        "ciphertextMetadata",
    ] {
        if let Some(value) = encrypted.get(field) {
            body[field] = value.clone();
        }
    }
    if let Some(aad) = aad {
        body["additionalAuthenticatedData"] = base64(aad);
    }
    body
}

/// Remembers every audit record.
#[derive(Clone, Default)]
pub(crate) struct Remember(Arc<Mutex<Vec<OwnedAuditRecord>>>);

impl Remember {
    pub(crate) fn take_records(&self) -> Vec<OwnedAuditRecord> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Each as one line.
    pub(crate) fn take(&self) -> Vec<String> {
        let records = self.take_records();
        records.iter().map(|record| format!("{:?}", record.record())).collect()
    }
}

impl AuditSink for Remember {
    fn record(&self, record: &AuditRecord<'_>) {
        self.0.lock().unwrap().push(record.to_owned());
    }
}
