//! Requests that must be refused whatever the token does, and clients that go away or take their time.

use std::time::{Duration, SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::{Method, header};
use kms_double::wire::{Credential, Endpoint, Http, Raw};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{sleep, timeout},
};

use crate::{
    caller::{Caller, MOST_AAD, MOST_PLAINTEXT, Mishap},
    settings::{REGION, STORES},
};

/// More than the server reads, 256 KiB.
const TOO_MUCH: usize = 300 << 10;
const PATH: &str = "keys/alpha-1/encrypt";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hostility {
    BadSignature,
    OldDate,
    ForeignCredential,
    ForeignKey,
    UnknownKey,
    UnknownPath,
    MalformedJson,
    MissingField,
    BadBase64,
    LongPlaintext,
    LongAad,
    HugeBody,
    /// Sends a part and goes.
    DroppedRequest,
    /// Sends all and goes.
    DroppedAnswer,
    /// Takes its time, and is served.
    Slow,
}

impl Hostility {
    const ALL: [Self; 15] = [
        Self::BadSignature,
        Self::OldDate,
        Self::ForeignCredential,
        Self::ForeignKey,
        Self::UnknownKey,
        Self::UnknownPath,
        Self::MalformedJson,
        Self::MissingField,
        Self::BadBase64,
        Self::LongPlaintext,
        Self::LongAad,
        Self::HugeBody,
        Self::DroppedRequest,
        Self::DroppedAnswer,
        Self::Slow,
    ];

    pub(crate) fn choose(rng: &mut fastrand::Rng) -> Self {
        rng.choice(Self::ALL).unwrap_or(Self::BadSignature)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::BadSignature => "a bad signature",
            Self::OldDate => "an old signature",
            Self::ForeignCredential => "another key store's credential",
            Self::ForeignKey => "another key store's key",
            Self::UnknownKey => "an unknown key",
            Self::UnknownPath => "an unknown path",
            Self::MalformedJson => "malformed JSON",
            Self::MissingField => "a missing field",
            Self::BadBase64 => "bad Base64",
            Self::LongPlaintext => "too long a plaintext",
            Self::LongAad => "too long an AAD",
            Self::HugeBody => "a huge body",
            Self::DroppedRequest => "a dropped request",
            Self::DroppedAnswer => "a dropped answer",
            Self::Slow => "a slow client",
        }
    }

    /// What has to come of it.
    pub(crate) const fn wanted(self) -> &'static str {
        match self {
            Self::BadSignature | Self::OldDate | Self::ForeignCredential => "AuthenticationFailedException",
            Self::ForeignKey | Self::UnknownKey => "KeyNotFoundException",
            Self::UnknownPath => "InvalidUriPathException",
            Self::MalformedJson | Self::MissingField | Self::BadBase64 | Self::HugeBody => "ValidationException",
            Self::LongPlaintext | Self::LongAad => "UnsupportedOperationException",
            Self::DroppedRequest | Self::DroppedAnswer | Self::Slow => "Success",
        }
    }

    pub(crate) fn is_refused(self) -> bool {
        self.wanted() != "Success"
    }

    /// Does it; `Success` is an answer of status 200, and a connection that was dropped.
    pub(crate) async fn commit(self, caller: &mut Caller) -> Result<&'static str, Mishap> {
        let endpoint = caller.endpoint(0)?;
        let body = self.body(caller);
        let (path, time) = match self {
            Self::ForeignKey => ("keys/beta-1/encrypt", SystemTime::now()),
            Self::UnknownKey => ("keys/nobody-has-it/encrypt", SystemTime::now()),
            Self::UnknownPath => ("keys/alpha-1/sign", SystemTime::now()),
            Self::OldDate => (PATH, SystemTime::now() - Duration::from_secs(400)),
            _ => (PATH, SystemTime::now()),
        };
        let signer = match self {
            Self::ForeignCredential => foreign(caller, &endpoint)?,
            _ => endpoint.clone(),
        };
        let request = Raw::signed(&signer, Method::POST, path, body.as_bytes(), time);
        let mut request = request.map_err(|error| Mishap::Lost(error.to_string()))?;
        match self {
            Self::BadSignature => spoil(&mut request, &mut caller.rng),
            Self::DroppedRequest | Self::DroppedAnswer => return self.drop_it(caller, &request).await,
            Self::Slow => return slowly(caller, &request).await,
            _ => {}
        }
        let answer = caller.send(&endpoint, &request).await;
        caller.read(self.name(), answer).map(|_| "Success")
    }

    fn body(self, caller: &mut Caller) -> String {
        let plaintext = match self {
            Self::LongPlaintext => MOST_PLAINTEXT + caller.rng.usize(1..4000),
            _ => 16,
        };
        let aad = match self {
            Self::LongAad => MOST_AAD + caller.rng.usize(1..4000),
            _ => 3,
        };
        let mut body = json!({
            "requestMetadata": caller.metadata("Encrypt"),
            "plaintext": BASE64.encode(vec![1; plaintext]),
            "additionalAuthenticatedData": BASE64.encode(vec![2; aad]),
            "encryptionAlgorithm": "AES_GCM",
        });
        let fields = body.as_object_mut();
        match (self, fields) {
            (Self::MissingField, Some(fields)) => {
                let names = ["plaintext", "encryptionAlgorithm", "requestMetadata"];
                caller.rng.choice(names).and_then(|name| fields.remove(name));
            }
            (Self::BadBase64, Some(fields)) => {
                fields.insert("plaintext".to_owned(), "no-Base64".into());
            }
            (Self::HugeBody, Some(fields)) => {
                fields.insert("more".to_owned(), "x".repeat(TOO_MUCH).into());
            }
            _ => {}
        }
        let mut body = body.to_string();
        if self == Self::MalformedJson {
            body.truncate(caller.rng.usize(..body.len()));
        }
        body
    }

    /// Over a connection of its own.
    async fn drop_it(self, caller: &mut Caller, request: &Raw) -> Result<&'static str, Mishap> {
        let endpoint = one(caller)?;
        let lost = |error: &dyn ToString| Mishap::Lost(error.to_string());
        if self == Self::DroppedAnswer {
            let mut connection = endpoint.connect().await.map_err(|error| lost(&error))?;
            let patience = Duration::from_micros(caller.rng.u64(0..3000));
            // Whether it comes in that time is of no interest.
            let _ = timeout(patience, connection.send(request)).await;
            return Ok("Success");
        }
        let (mut stream, _) = endpoint.stream().await.map_err(|error| lost(&error))?;
        let text = text(request);
        let part = text.get(..caller.rng.usize(..text.len())).unwrap_or_default();
        stream.write_all(part).await.map_err(|error| lost(&error))?;
        Ok("Success")
    }
}

/// Who has a valid credential, of another key store.
fn foreign(caller: &Caller, endpoint: &Endpoint) -> Result<Endpoint, Mishap> {
    let lost = |error: &dyn ToString| Mishap::Lost(error.to_string());
    let served = caller.shared.served();
    let other = served.door(1, Http::One).map_err(|error| lost(&error))?.credential();
    let credential = Credential::new(other.access_key_id(), other.secret(), REGION);
    // It is only signed for, so TLS is of no interest.
    let prefix = STORES.first().map_or("", |store| store.prefix);
    let url = format!("http://{}{prefix}", endpoint.authority());
    Endpoint::builder(url, credential).build().map_err(|error| lost(&error))
}

fn spoil(request: &mut Raw, rng: &mut fastrand::Rng) {
    if let Some(value) = request.headers.get_mut(header::AUTHORIZATION) {
        let mut text = value.to_str().unwrap_or_default().to_owned();
        let digit = text.pop().unwrap_or('0');
        let others: Vec<_> = "0123456789abcdef".chars().filter(|other| *other != digit).collect();
        text.push(rng.choice(others).unwrap_or('x'));
        if let Ok(spoiled) = text.parse() {
            *value = spoiled;
        }
    }
}

/// The first key store over HTTP/1.1.
fn one(caller: &Caller) -> Result<Endpoint, Mishap> {
    let served = caller.shared.served();
    let endpoint = served.door(0, Http::One).cloned();
    endpoint.map_err(|error| Mishap::Lost(error.to_string()))
}

/// The request as HTTP/1.1 has it.
fn text(request: &Raw) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
    for (name, value) in &request.headers {
        head += &format!("{name}: {}\r\n", value.to_str().unwrap_or_default());
    }
    head += &format!("content-length: {}\r\nconnection: close\r\n\r\n", request.body.len());
    [head.as_bytes(), &request.body].concat()
}

/// In small pieces with pauses between them.
async fn slowly(caller: &mut Caller, request: &Raw) -> Result<&'static str, Mishap> {
    let lost = |error: &dyn ToString| Mishap::Lost(error.to_string());
    let (mut stream, _) = one(caller)?.stream().await.map_err(|error| lost(&error))?;
    for piece in text(request).chunks(150) {
        stream.write_all(piece).await.map_err(|error| lost(&error))?;
        sleep(Duration::from_millis(30)).await;
    }
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(15), stream.read_to_end(&mut answer)).await;
    read.map_err(|error| lost(&error))?.map_err(|error| lost(&error))?;
    let answer = String::from_utf8_lossy(&answer);
    if answer.starts_with("HTTP/1.1 200 ") {
        return Ok("Success");
    }
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    match body.get("errorName").and_then(Value::as_str) {
        Some(name) => Err(Mishap::Error(name.to_owned())),
        None if answer.is_empty() => Err(Mishap::Lost("closed without an answer".to_owned())),
        None => Err(caller.wrong(&format!("a slow client: {answer}"))),
    }
}
