//! A caller of the proxy: builds requests, and checks every answer.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::Method;
use kms_double::wire::{Answer, CallError, Connection, Endpoint, Http, Raw};
use serde_json::{Value, json};

use crate::{
    rules::{Failure, Operation, Subject},
    settings::{LIMITED, REGION, STORES},
    shared::Shared,
    vault::Kept,
    witness::Sealed,
};

pub(crate) const MOST_PLAINTEXT: usize = 4300;
pub(crate) const MOST_AAD: usize = 8192;

/// Why there is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// An error with this name, which goes with its status.
    Error(String),
    Lost(String),
    /// The answer is wrong, and was counted as that.
    Wrong,
}

pub(crate) struct Caller {
    pub(crate) shared: Arc<Shared>,
    pub(crate) rng: fastrand::Rng,
    pub(crate) http: Http,
    /// HTTP/1.1: its own, to the proxy of this number.
    connection: Option<(usize, Connection)>,
}

impl Caller {
    pub(crate) fn new(shared: Arc<Shared>, seed: u64, http: Http) -> Self {
        Self {
            shared,
            rng: fastrand::Rng::with_seed(seed),
            http,
            connection: None,
        }
    }

    /// The next request goes over another connection.
    pub(crate) fn hang_up(&mut self) {
        self.connection = None;
    }

    pub(crate) fn endpoint(&self, store: usize) -> Result<Endpoint, Mishap> {
        let served = self.shared.served();
        let endpoint = served.door(store, self.http).cloned();
        endpoint.map_err(|error| Mishap::Lost(error.to_string()))
    }

    /// Sends a request over this client's connection.
    pub(crate) async fn send(&mut self, endpoint: &Endpoint, request: &Raw) -> Result<Answer, CallError> {
        let served = self.shared.served();
        if self.http == Http::Two {
            return served.two.send(request).await;
        }
        let kept = self.connection.take().filter(|(number, _)| *number == served.number);
        let mut connection = match kept {
            Some((_, connection)) => connection,
            None => {
                let connection = endpoint.connect().await?;
                self.shared.tally().connections += 1;
                connection
            }
        };
        let answer = connection.send(request).await;
        if answer.is_ok() && !connection.is_closed() {
            self.connection = Some((served.number, connection));
        }
        answer
    }

    /// A signed request, and what is in its answer of status 200.
    pub(crate) async fn call(&mut self, store: usize, path: &str, body: &Value) -> Result<(Value, Duration), Mishap> {
        let endpoint = self.endpoint(store)?;
        self.call_at(&endpoint, path, body).await
    }

    async fn call_at(&mut self, endpoint: &Endpoint, path: &str, body: &Value) -> Result<(Value, Duration), Mishap> {
        let body = body.to_string();
        let request = Raw::signed(endpoint, Method::POST, path, body.as_bytes(), SystemTime::now());
        let request = request.map_err(|error| Mishap::Lost(error.to_string()))?;
        let answer = self.send(endpoint, &request).await;
        self.read(path, answer)
    }

    /// What an answer says. One that has neither status 200 nor an error of the table with its status is
    /// wrong.
    pub(crate) fn read(&self, path: &str, answer: Result<Answer, CallError>) -> Result<(Value, Duration), Mishap> {
        let answer = answer.map_err(|error| Mishap::Lost(error.to_string()))?;
        let json = answer.json();
        match (answer.status, json, answer.error_name()) {
            (200, Some(json), _) => Ok((json, answer.took)),
            (status, Some(_), Some(name)) if status_of(&name) == Some(status) => Err(Mishap::Error(name)),
            (status, _, name) => {
                let body = String::from_utf8_lossy(&answer.body)
                    .chars()
                    .take(200)
                    .collect::<String>();
                Err(self.wrong(&format!("{path}: status {status} with the name {name:?}: {body}")))
            }
        }
    }

    pub(crate) fn wrong(&self, text: &str) -> Mishap {
        self.shared.tally().wrong(text);
        Mishap::Wrong
    }

    /// Counts a request that began in the phase `first` and did not bring what was wanted.
    pub(crate) fn judge(&self, first: usize, subject: Subject<'_>, mishap: &Mishap) {
        let failure = match mishap {
            Mishap::Error(name) => Failure::Error(name),
            Mishap::Lost(_) => Failure::Lost,
            Mishap::Wrong => return,
        };
        let (is_allowed, phase) = self.shared.phases.judge(first, subject, failure);
        let mut tally = self.shared.tally();
        tally.failure(phase, is_allowed, subject.operation, failure);
        if !is_allowed {
            let (operation, key) = (subject.operation.name(), subject.key);
            tally.note(format!("not allowed in phase {phase}: {operation} {key}: {mishap:?}"));
        }
    }

    /// Counts a request that began in the phase `first`, and how long it took when it was calm all the time.
    pub(crate) fn count(&self, first: usize, operation: Operation, took: Option<Duration>) {
        let was_calm = self.shared.phases.was_calm(first);
        let mut tally = self.shared.tally();
        *tally.requests.entry(operation).or_default() += 1;
        if let Some(took) = took.filter(|_| was_calm) {
            tally.took(operation, took);
        }
    }

    /// An encryption of something by chance, whose result is looked at in all its parts.
    pub(crate) async fn encrypt(
        &mut self,
        store: usize,
        key: &'static str,
        wants_integrity: bool,
    ) -> Result<(Kept, Duration), Mishap> {
        let plaintext = self.bytes(MOST_PLAINTEXT);
        let aad = (self.rng.u8(..) >= 64).then(|| self.bytes(MOST_AAD));
        let mut body = json!({
            "requestMetadata": self.metadata("Encrypt"),
            "plaintext": BASE64.encode(&plaintext),
            "encryptionAlgorithm": "AES_GCM",
        });
        set(
            &mut body,
            "additionalAuthenticatedData",
            aad.as_ref().map(|aad| BASE64.encode(aad)),
        );
        let algorithm = wants_integrity.then(|| "SHA_256".to_owned());
        set(&mut body, "ciphertextDataIntegrityValueAlgorithm", algorithm);
        let (answer, took) = self.call(store, &format!("keys/{key}/encrypt"), &body).await?;
        let version = match self.inspect(store, key, wants_integrity, &answer, aad, &plaintext) {
            Ok(found) => found,
            Err(problem) => return Err(self.wrong(&format!("encryption with {key}: {problem}"))),
        };
        let (sealed, version) = version;
        let mut tally = self.shared.tally();
        tally.witnessed += 1;
        tally.integrity_values += u64::from(wants_integrity);
        drop(tally);
        let kept = Kept {
            store,
            key,
            version,
            sealed,
            plaintext,
            made: Instant::now(),
        };
        Ok((kept, took))
    }

    /// What an encryption returned, and the version of the key that it was made with; or what is wrong with
    /// it.
    fn inspect(
        &self,
        store: usize,
        key: &str,
        wants_integrity: bool,
        answer: &Value,
        aad: Option<Vec<u8>>,
        plaintext: &[u8],
    ) -> Result<(Sealed, usize), String> {
        let store = STORES.get(store).ok_or("no such key store")?;
        let field = |name: &str| bytes(answer, name)?.ok_or_else(|| format!("{name} is missing"));
        let sealed = Sealed {
            aad,
            metadata: bytes(answer, "ciphertextMetadata")?.unwrap_or_default(),
            iv: field("initializationVector")?,
            ciphertext: field("ciphertext")?,
            tag: field("authenticationTag")?,
        };
        let iv: [u8; 12] = sealed.iv.as_slice().try_into().map_err(|_| "an IV of another length")?;
        let lengths = (sealed.ciphertext.len(), sealed.tag.len());
        if lengths != (plaintext.len(), 16) {
            return Err(format!("lengths of ciphertext and tag: {lengths:?}"));
        }
        if sealed.metadata != store.metadata {
            return Err(format!("ciphertext metadata {:?}", sealed.metadata));
        }
        let integrity = bytes(answer, "ciphertextDataIntegrityValue")?;
        if integrity != wants_integrity.then(|| sealed.integrity()) {
            return Err("the integrity value is another one".to_owned());
        }
        let values = self.shared.values(key);
        let opened = values.iter().find_map(|(version, value)| {
            let opened = sealed.open(value, store.framing)?;
            Some((*version, *value, opened))
        });
        let (version, value, opened) = opened.ok_or("software cannot decrypt it")?;
        if opened != plaintext {
            return Err("software decrypts something else".to_owned());
        }
        if iv == [0; 12] || !self.shared.is_new_iv(value, iv) {
            return Err(format!("the IV {iv:02x?} is zero or was used before"));
        }
        Ok((sealed, version))
    }

    /// The body of a decryption.
    pub(crate) fn decryption(&mut self, sealed: &Sealed) -> Value {
        let mut body = json!({
            "requestMetadata": self.metadata("Decrypt"),
            "ciphertext": BASE64.encode(&sealed.ciphertext),
            "initializationVector": BASE64.encode(&sealed.iv),
            "authenticationTag": BASE64.encode(&sealed.tag),
            "encryptionAlgorithm": "AES_GCM",
        });
        let aad = sealed.aad.as_ref().map(|aad| BASE64.encode(aad));
        set(&mut body, "additionalAuthenticatedData", aad);
        let metadata = (!sealed.metadata.is_empty()).then(|| BASE64.encode(&sealed.metadata));
        set(&mut body, "ciphertextMetadata", metadata);
        body
    }

    /// A decryption of a good ciphertext.
    pub(crate) async fn decrypt(&mut self, kept: &Kept) -> Result<Duration, Mishap> {
        let body = self.decryption(&kept.sealed);
        let (answer, took) = self
            .call(kept.store, &format!("keys/{}/decrypt", kept.key), &body)
            .await?;
        if bytes(&answer, "plaintext") != Ok(Some(kept.plaintext.clone())) {
            let age = kept.made.elapsed();
            return Err(self.wrong(&format!(
                "decryption with {} of a ciphertext {age:?} old: another plaintext",
                kept.key
            )));
        }
        let mut tally = self.shared.tally();
        tally.plaintexts += 1;
        tally.oldest = tally.oldest.max(kept.made.elapsed());
        Ok(took)
    }

    pub(crate) async fn key_metadata(&mut self, store: usize, key: &str) -> Result<Duration, Mishap> {
        let body = json!({"requestMetadata": self.metadata("DescribeKey")});
        let (answer, took) = self.call(store, &format!("keys/{key}/metadata"), &body).await?;
        let has = |usage: &str| {
            let usages = answer.get("keyUsage").and_then(Value::as_array);
            usages.is_some_and(|usages| usages.iter().any(|other| other == usage))
        };
        // A change of a key's usages may show up to a minute later.
        let may = (has("ENCRYPT") || key == LIMITED) && has("DECRYPT");
        if answer.get("keySpec") != Some(&json!("AES_256"))
            || answer.get("keyStatus") != Some(&json!("ENABLED"))
            || !may
        {
            return Err(self.wrong(&format!("metadata of {key}: {answer}")));
        }
        Ok(took)
    }

    /// The health that KMS asks for: whether the token is not UNAVAILABLE. A busy machine makes it DEGRADED.
    pub(crate) async fn health(&mut self, store: usize) -> Result<(bool, Duration), Mishap> {
        let endpoint = self.endpoint(store)?;
        self.health_at(&endpoint).await
    }

    pub(crate) async fn health_at(&mut self, endpoint: &Endpoint) -> Result<(bool, Duration), Mishap> {
        let body = json!({"requestMetadata": {
            "kmsOperation": "KmsHealthCheck",
            "kmsRequestId": self.request_id(),
        }});
        let (answer, took) = self.call_at(endpoint, "health", &body).await?;
        let status = answer
            .pointer("/ekmFleetDetails/0/healthStatus")
            .and_then(Value::as_str);
        match status {
            Some("ACTIVE" | "DEGRADED") => Ok((true, took)),
            Some("UNAVAILABLE") => Ok((false, took)),
            _ => Err(self.wrong(&format!("health: {answer}"))),
        }
    }

    /// The status and text of a plain GET beside the API.
    pub(crate) async fn get(&mut self, endpoint: &Endpoint, path: &str) -> Result<(u16, String), CallError> {
        let mut request = Raw::unsigned(endpoint, Method::GET, "", b"")?;
        path.clone_into(&mut request.target);
        let answer = endpoint.connect().await?.send(&request).await?;
        Ok((answer.status, String::from_utf8_lossy(&answer.body).into_owned()))
    }

    pub(crate) fn metadata(&mut self, operation: &str) -> Value {
        json!({
            "awsPrincipalArn": "arn:aws:iam::111122223333:user/soak",
            "kmsKeyArn": format!("arn:aws:kms:{REGION}:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"),
            "kmsOperation": operation,
            "kmsRequestId": self.request_id(),
            "kmsViaService": "soak",
        })
    }

    fn request_id(&mut self) -> String {
        format!("{:032x}", self.rng.u128(..))
    }

    /// Bytes by chance: mostly few, sometimes none or as many as may be.
    pub(crate) fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = match self.rng.u8(0..20) {
            0 => 0,
            1 => most,
            2..6 => self.rng.usize(..=most),
            _ => self.rng.usize(..=256),
        };
        let mut bytes = vec![0; length];
        self.rng.fill(&mut bytes);
        bytes
    }
}

fn set(body: &mut Value, name: &str, value: Option<String>) {
    if let (Some(body), Some(value)) = (body.as_object_mut(), value) {
        body.insert(name.to_owned(), value.into());
    }
}

/// The bytes of a field, where it is there.
fn bytes(answer: &Value, name: &str) -> Result<Option<Vec<u8>>, String> {
    let Some(value) = answer.get(name) else {
        return Ok(None);
    };
    let text = value.as_str().ok_or_else(|| format!("{name} is no text"))?;
    let decoded = BASE64.decode(text).map_err(|_| format!("{name} is no Base64"))?;
    Ok(Some(decoded))
}

/// The status that goes with an error name.
fn status_of(name: &str) -> Option<u16> {
    Some(match name {
        "ValidationException" | "InvalidStateException" | "InvalidCiphertextException" | "InvalidKeyUsageException" => {
            400
        }
        "AuthenticationFailedException" => 401,
        "AccessDeniedException" => 403,
        "KeyNotFoundException" | "InvalidUriPathException" => 404,
        "ThrottlingException" => 429,
        "InternalException" => 500,
        "UnsupportedOperationException" => 501,
        "DependencyTimeoutException" => 503,
        _ => return None,
    })
}
