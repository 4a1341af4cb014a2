//! The proxy under check: the client of all cases, which records every answer.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use http::Method;
use serde_json::Value;

use super::{
    body::{self, Operation, Sealed, field},
    case::Stop,
    half_sent::HalfSent,
    preflight::Baseline,
    setup::Setup,
    signature::Recipe,
    watch::Watch,
};
use crate::wire::{Answer, CallError, Client, Endpoint, EndpointBuilder, Http, Raw};

/// After so many requests in a row without any sign of life, the others are not tried: each would wait for
/// nothing.
const SILENCE: usize = 6;

/// Bytes of an answer's body that are read: the longest that a proxy gives has less than 6 KB.
const LARGEST_ANSWER: usize = 256 << 10;

#[derive(Clone)]
pub(super) struct Subject(Arc<Inner>);

struct Inner {
    setup: Setup,
    client: Client,
    watch: Mutex<Watch>,
    silent: AtomicUsize,
    half_sent: Mutex<Option<HalfSent>>,
    baseline: OnceLock<Baseline>,
    /// The operation that was asked for in the case under way, and failed as it always does.
    due_to: Mutex<Option<Operation>>,
    /// A key id that the proxy does not have.
    missing_key: String,
}

impl Subject {
    pub(super) fn new(setup: Setup, client: Client) -> Self {
        let missing_key = match setup.missing_keys.first() {
            Some(key) => key.clone(),
            None => format!("kms-double-{}", hex(&random(8))),
        };
        Self(Arc::new(Inner {
            setup,
            client,
            watch: Mutex::default(),
            silent: AtomicUsize::new(0),
            half_sent: Mutex::default(),
            baseline: OnceLock::new(),
            due_to: Mutex::default(),
            missing_key,
        }))
    }

    pub(super) fn setup(&self) -> &Setup {
        &self.0.setup
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        self.0.client.endpoint()
    }

    pub(super) fn watch(&self) -> MutexGuard<'_, Watch> {
        self.0.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn half_sent(&self) -> MutexGuard<'_, Option<HalfSent>> {
        self.0.half_sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What works at all, found out before the cases.
    pub(super) fn set_baseline(&self, baseline: Baseline) {
        let _ = self.0.baseline.set(baseline); // once for each subject
    }

    /// The operation to which a failure since the last call is due, where it does not work at all.
    pub(super) fn due_to(&self) -> Option<Operation> {
        self.0.due_to.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn compare_with_baseline(&self, operation: Operation, came: &str) {
        if self
            .0
            .baseline
            .get()
            .is_some_and(|baseline| baseline.explains(operation, came))
        {
            *self.0.due_to.lock().unwrap_or_else(PoisonError::into_inner) = Some(operation);
        }
    }

    pub(super) fn key(&self) -> &str {
        self.0.setup.keys.first().map_or("", String::as_str)
    }

    pub(super) fn missing_key(&self) -> &str {
        &self.0.missing_key
    }

    /// The same proxy called in another way.
    pub(super) fn another(&self, change: impl FnOnce(EndpointBuilder) -> EndpointBuilder) -> Result<Endpoint, Stop> {
        let builder = change(endpoint(self.setup(), self.endpoint().http()));
        builder.build().map_err(|error| Stop::not_tried(error.to_string()))
    }

    /// A signed POST, as KMS sends it.
    pub(super) fn request(&self, path: &str, body: &Value) -> Result<Raw, Stop> {
        self.request_of_bytes(path, body.to_string().as_bytes())
    }

    pub(super) fn request_of_bytes(&self, path: &str, body: &[u8]) -> Result<Raw, Stop> {
        Ok(Raw::signed(
            self.endpoint(),
            Method::POST,
            path,
            body,
            SystemTime::now(),
        )?)
    }

    pub(super) fn unsigned(&self, path: &str, body: &[u8]) -> Result<Raw, Stop> {
        Ok(Raw::unsigned(self.endpoint(), Method::POST, path, body)?)
    }

    /// The proxy's time, as far as it says.
    pub(super) fn their_time(&self) -> SystemTime {
        let skew = self.watch().skew().unwrap_or_default();
        let by = Duration::try_from_secs_f64(skew.abs()).unwrap_or_default();
        let time = SystemTime::now();
        let shifted = if skew < 0.0 {
            time.checked_sub(by)
        } else {
            time.checked_add(by)
        };
        shifted.unwrap_or(time)
    }

    /// A GetKeyMetadata request without signature, to be signed by hand.
    pub(super) fn to_be_signed(&self) -> Result<(Raw, Recipe), Stop> {
        let body = body::plain(self.setup(), Operation::Metadata).to_string();
        let request = self.unsigned(&Operation::Metadata.path(self.key()), body.as_bytes())?;
        Ok((request, Recipe::of(&self.setup().credential)))
    }

    /// # Errors
    /// There has been no sign of life for a while.
    pub(super) fn is_alive(&self) -> Result<(), Stop> {
        match self.0.silent.load(Ordering::Relaxed) {
            silent if silent >= SILENCE => Err(Stop::not_tried(format!(
                "the last {silent} requests got no response within the timeout"
            ))),
            _ => Ok(()),
        }
    }

    pub(super) async fn send(&self, request: &Raw) -> Result<Answer, Stop> {
        let silent = self.0.silent.load(Ordering::Relaxed);
        if silent >= SILENCE {
            return Err(Stop::not_tried(format!(
                "the last {silent} requests got no response within the timeout"
            )));
        }
        let answer = Box::pin(self.0.client.send(request)).await;
        self.seen(request, answer)
    }

    /// Sends a request that is not recorded, whatever its answer.
    pub(super) async fn call(&self, request: &Raw) -> Result<Answer, CallError> {
        Box::pin(self.0.client.send(request)).await
    }

    /// Takes note of an answer that came over another connection.
    pub(super) fn seen(&self, request: &Raw, answer: Result<Answer, CallError>) -> Result<Answer, Stop> {
        match &answer {
            Ok(answer) => {
                self.0.silent.store(0, Ordering::Relaxed);
                self.watch()
                    .see(request, answer, SystemTime::now(), &self.setup().credential);
                if let Some(operation) = Operation::of(request) {
                    self.compare_with_baseline(operation, &self.describe(answer));
                }
            }
            Err(CallError::Timeout(_) | CallError::Connect(_)) => {
                self.0.silent.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {}
        }
        Ok(answer?)
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Answer, Stop> {
        self.send(&self.request(path, body)?).await
    }

    /// Asks for the first key's metadata.
    pub(super) async fn ask(&self) -> Result<Answer, Stop> {
        let body = body::plain(self.setup(), Operation::Metadata);
        self.post(&Operation::Metadata.path(self.key()), &body).await
    }

    pub(super) async fn encrypt(
        &self,
        key: &str,
        plaintext: &[u8],
        aad: Option<&[u8]>,
        has_cdiv: bool,
    ) -> Result<Sealed, Stop> {
        let body = body::encrypt(self.setup(), plaintext, aad, has_cdiv);
        let answer = self.post(&Operation::Encrypt.path(key), &body).await?;
        match (answer.status, answer.json()) {
            (200, Some(json)) => {
                let sealed = Sealed::from_answer(&json, aad);
                sealed.map_err(|error| {
                    self.compare_with_baseline(Operation::Encrypt, &error);
                    Stop::failed(format!("encrypt: {error}"))
                })
            }
            _ => Err(Stop::failed(format!("encrypt: {}", self.describe(&answer)))),
        }
    }

    pub(super) fn decryption(&self, key: &str, sealed: &Sealed) -> Result<Raw, Stop> {
        self.request(&Operation::Decrypt.path(key), &sealed.body(self.setup()))
    }

    /// Decrypts what is expected to be decrypted.
    pub(super) async fn decrypt(&self, key: &str, sealed: &Sealed) -> Result<Vec<u8>, Stop> {
        let answer = self.send(&self.decryption(key, sealed)?).await?;
        self.plaintext(&answer)
    }

    pub(super) fn plaintext(&self, answer: &Answer) -> Result<Vec<u8>, Stop> {
        match (answer.status, answer.json()) {
            (200, Some(json)) => match field(&json, "plaintext") {
                Ok(Some(plaintext)) => Ok(plaintext),
                Ok(None) => Err(Stop::failed("decrypt: no plaintext")),
                Err(error) => Err(Stop::failed(format!("decrypt: {error}"))),
            },
            _ => Err(Stop::failed(format!("decrypt: {}", self.describe(answer)))),
        }
    }

    /// What came, in a line, without secrets and without the values of a good answer.
    pub(super) fn describe(&self, answer: &Answer) -> String {
        let status = answer.status;
        let text = match answer.json() {
            Some(Value::Object(fields)) if fields.contains_key("errorName") => {
                let shown = |name: &str| match fields.get(name) {
                    Some(Value::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                    None => String::new(),
                };
                format!("{status} {}: {}", shown("errorName"), shown("errorMessage"))
            }
            Some(Value::Object(fields)) => {
                let names: Vec<_> = fields.keys().take(12).map(String::as_str).collect();
                format!("{status} with the fields {}", names.join(", "))
            }
            Some(_) => format!("{status} with JSON that is not an object"),
            None if answer.body.is_empty() => format!("{status} without a body"),
            None => format!("{status} with {} bytes that are not JSON", answer.body.len()),
        };
        let secret = self.setup().credential.secret();
        let text = if secret.is_empty() {
            text
        } else {
            text.replace(secret, "[secret]")
        };
        printable(&text, 200)
    }
}

/// How the proxy is called.
pub(super) fn endpoint(setup: &Setup, http: Http) -> EndpointBuilder {
    Endpoint::builder(&setup.url, setup.credential.clone())
        .http(http)
        .tls(setup.tls.clone())
        .timeout(setup.timeout)
        .connect_timeout(setup.timeout)
        .max_answer(LARGEST_ANSWER)
}

/// Text from a proxy that does no harm to a terminal. Whatever looks like a signature is left out.
pub(super) fn printable(text: &str, length: usize) -> String {
    let clean: String = text
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect();
    let is_signature = |word: &str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = clean
        .split_inclusive(|char: char| !char.is_ascii_alphanumeric())
        .map(|word| {
            let bare = word.trim_end_matches(|char: char| !char.is_ascii_alphanumeric());
            if is_signature(bare) { "[64 hex digits] " } else { word }
        });
    let clean: String = words.collect();
    match clean.char_indices().nth(length) {
        Some((end, _)) => format!("{}...", clean.get(..end).unwrap_or_default()),
        None => clean.trim_end().trim_end_matches(':').to_owned(),
    }
}

pub(super) fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    // A machine without random numbers does not matter here: nothing is kept secret by them.
    let _ = getrandom::fill(&mut bytes);
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
