//! A client of a proxy in the same process.

use std::{fmt, time::SystemTime};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

use super::Signer;
use crate::{
    Credential, Proxy, Request,
    key_store::{Region, UriPathPrefix},
};

/// Calls the key store of a [`Proxy`] as KMS does, without a server between them.
///
/// ```
/// use std::sync::Arc;
/// use xks_backend_soft::{SoftBackend, SoftKey};
/// use xks_core::{Credential, KeyStore, KeyStores, Proxy, testkit::Client};
///
/// # async fn doc() -> Result<(), Box<dyn std::error::Error>> {
/// # let secret = "PleaseReplaceThisWithSomeSecretOfLength43To64";
/// let credential = Credential::new("BETWEEN2TENAND3TENCHARACTERS", secret.to_owned())?;
/// let backend = SoftBackend::new().with_key("my-key".parse()?, SoftKey::generate()?);
/// let key_store = KeyStore::builder("/example".parse()?, Arc::new(backend))
///     .region("eu-central-1".parse()?)
///     .credential(credential.clone())
///     .all_keys_of_backend();
/// let proxy = Proxy::new(KeyStores::new([key_store.build()?])?);
///
/// let client = Client::new(&proxy, "/example".parse()?, credential, "eu-central-1".parse()?);
/// let encrypted = client.encrypt("my-key", b"plaintext", Some(b"aad")).await;
/// let decrypted = client.decrypt("my-key", &encrypted.json, Some(b"aad")).await;
/// assert_eq!(decrypted.bytes("plaintext").as_deref(), Some(&b"plaintext"[..]));
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(doc())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Client<'p> {
    proxy: &'p Proxy,
    prefix: UriPathPrefix,
    signer: Signer,
    clock: fn() -> SystemTime,
    request_metadata: Value,
}

/// The answer of a proxy.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body; `null` if it is not JSON, which is a defect of the proxy.
    pub json: Value,
}

impl Answer {
    /// Returns the `errorName`, if it is an error.
    #[must_use]
    pub fn error_name(&self) -> Option<&str> {
        self.json.get("errorName")?.as_str()
    }

    /// Returns a field that is Base64, decoded.
    #[must_use]
    pub fn bytes(&self, field: &str) -> Option<Vec<u8>> {
        BASE64_STANDARD.decode(self.json.get(field)?.as_str()?).ok()
    }
}

impl<'p> Client<'p> {
    /// Creates a client of the key store with this prefix.
    #[must_use]
    pub fn new(proxy: &'p Proxy, prefix: UriPathPrefix, credential: Credential, region: Region) -> Self {
        let key = format!("arn:aws:kms:{region}:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab");
        Self {
            proxy,
            prefix,
            signer: Signer::new(credential, region),
            clock: SystemTime::now,
            request_metadata: json!({
                "awsPrincipalArn": "arn:aws:iam::123456789012:user/Alice",
                "kmsKeyArn": key,
                "kmsOperation": "Encrypt",
                "kmsRequestId": "4112f4d6-db54-4af4-ae30-c55a22a8dfae",
            }),
        }
    }

    /// Signs at the time that this says, for a proxy with a clock of its own.
    #[must_use]
    pub fn clock(mut self, clock: fn() -> SystemTime) -> Self {
        self.clock = clock;
        self
    }

    /// Sends other requestMetadata with every call.
    #[must_use]
    pub fn request_metadata(mut self, metadata: Value) -> Self {
        self.request_metadata = metadata;
        self
    }

    /// `GetKeyMetadata`
    pub async fn metadata(&self, key: &str) -> Answer {
        self.post(&format!("keys/{key}/metadata"), json!({})).await
    }

    /// `Encrypt`, asking for the ciphertext data integrity value.
    pub async fn encrypt(&self, key: &str, plaintext: &[u8], aad: Option<&[u8]>) -> Answer {
        let mut fields = json!({
            "plaintext": BASE64_STANDARD.encode(plaintext),
            "encryptionAlgorithm": "AES_GCM",
            "ciphertextDataIntegrityValueAlgorithm": "SHA_256",
        });
        add_aad(&mut fields, aad);
        self.post(&format!("keys/{key}/encrypt"), fields).await
    }

    /// `Decrypt` of what an encryption answered.
    pub async fn decrypt(&self, key: &str, encrypted: &Value, aad: Option<&[u8]>) -> Answer {
        let mut fields = encrypted.clone();
        if let Value::Object(fields) = &mut fields {
            fields.remove("ciphertextDataIntegrityValue");
            fields.insert("encryptionAlgorithm".into(), "AES_GCM".into());
        }
        add_aad(&mut fields, aad);
        self.post(&format!("keys/{key}/decrypt"), fields).await
    }

    /// `GetHealthStatus`
    pub async fn health(&self) -> Answer {
        self.post("health", json!({})).await
    }

    /// Sends a signed POST of these fields and requestMetadata to a path below `[/<prefix>]/kms/xks/v1/`.
    pub async fn post(&self, path: &str, fields: Value) -> Answer {
        let mut body = Map::new();
        body.insert("requestMetadata".into(), self.request_metadata.clone());
        if let Value::Object(fields) = fields {
            body.extend(fields);
        }
        let target = format!("{}/{path}", self.prefix.xks_proxy_uri_path());
        self.send("POST", &target, Value::Object(body).to_string().as_bytes())
            .await
    }

    /// Sends any signed request.
    pub async fn send(&self, method: &str, target: &str, body: &[u8]) -> Answer {
        let headers = [("host", "xks.example.com"), ("content-type", "application/json")];
        let headers = self.signer.sign(method, target, &headers, body, (self.clock)());
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let response = self
            .proxy
            .handle(Request::new(method, target, body).headers(headers))
            .await;
        Answer {
            status: response.status(),
            json: serde_json::from_slice(response.body()).unwrap_or_default(),
        }
    }
}

fn add_aad(fields: &mut Value, aad: Option<&[u8]>) {
    if let (Value::Object(fields), Some(aad)) = (fields, aad) {
        let aad = BASE64_STANDARD.encode(aad);
        fields.insert("additionalAuthenticatedData".into(), aad.into());
    }
}

impl fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("prefix", &self.prefix)
            .field("signer", &self.signer)
            .finish_non_exhaustive()
    }
}
