//! Ways to break a proxy: what is done to requests before it sees them, and to its answers.

use std::time::{Duration, SystemTime};

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use bytes::Bytes;
use http::{HeaderMap, Response, request::Parts};
use http_body_util::Full;
use kms_double::wire::{Endpoint, Raw};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use time::{PrimitiveDateTime, macros::format_description};

use super::{PREFIX, REGION, SECRET, credential};

type OnRequest = Box<dyn Fn(&mut Asked) -> Option<Answered> + Send + Sync>;
type OnAnswer = Box<dyn Fn(&Asked, &mut Answered) + Send + Sync>;

pub(crate) struct Broken {
    /// May change a request, or answer it without asking the proxy.
    pub(crate) request: OnRequest,
    pub(crate) answer: OnAnswer,
}

impl Default for Broken {
    fn default() -> Self {
        Self {
            request: Box::new(|_| None),
            answer: Box::new(|_, _| {}),
        }
    }
}

impl Broken {
    pub(crate) fn requests(change: impl Fn(&mut Asked) + Send + Sync + 'static) -> Self {
        Self::instead(move |asked| {
            change(asked);
            None
        })
    }

    pub(crate) fn instead(answer: impl Fn(&mut Asked) -> Option<Answered> + Send + Sync + 'static) -> Self {
        Self {
            request: Box::new(answer),
            ..Self::default()
        }
    }

    pub(crate) fn answers(change: impl Fn(&Asked, &mut Answered) + Send + Sync + 'static) -> Self {
        Self {
            answer: Box::new(change),
            ..Self::default()
        }
    }

    pub(crate) fn and_answers(mut self, change: impl Fn(&Asked, &mut Answered) + Send + Sync + 'static) -> Self {
        self.answer = Box::new(change);
        self
    }
}

/// A request.
pub(crate) struct Asked {
    pub(crate) parts: Parts,
    pub(crate) body: Bytes,
}

impl Asked {
    pub(crate) fn is(&self, operation: &str) -> bool {
        self.parts.uri.path().ends_with(operation) && self.parts.method == "POST"
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.parts
            .headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap_or_default())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn has_authorization(&self) -> bool {
        self.parts.headers.contains_key("authorization")
    }

    pub(crate) fn body_hash(&self) -> String {
        Sha256::digest(&self.body)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Whether it has the signature that AWS's signer gives it, with the usual headers signed.
    pub(crate) fn is_signed_well(&self) -> bool {
        self.is_signed_well_for(self.parts.method.as_str())
    }

    /// Whether it would have, with another method.
    pub(crate) fn is_signed_well_for(&self, method: &str) -> bool {
        let signature = |asked: &Self| asked.header("authorization").rsplit('=').next().unwrap().to_owned();
        let text = self.header("authorization");
        let Some((_, signed)) = text.split_once("SignedHeaders=") else {
            return false;
        };
        let signed: Vec<_> = signed.split(',').next().unwrap().split(';').collect();
        let headers = signed.iter().map(|name| format!("{name}:{}\n", self.header(name)));
        let canonical = format!(
            "{method}\n{}\n\n{}\n{}\n{}",
            self.parts.uri.path(),
            headers.collect::<String>(),
            signed.join(";"),
            self.body_hash()
        );
        let date = self.header("x-amz-date");
        let Some(time) = parsed(date) else { return false };
        let day = date.get(..8).unwrap();
        let hash: String = Sha256::digest(canonical)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{day}/{REGION}/kms-xks-proxy/aws4_request\n{hash}");
        let key = generate_signing_key(SECRET, time, REGION, "kms-xks-proxy");
        signature(self) == calculate_signature(key, to_sign.as_bytes())
    }

    /// How far `x-amz-date` is from now.
    pub(crate) fn age(&self) -> Option<Duration> {
        let (now, time) = (SystemTime::now(), parsed(self.header("x-amz-date"))?);
        now.duration_since(time).or_else(|_| time.duration_since(now)).ok()
    }

    pub(crate) fn is_old(&self) -> bool {
        let time = parsed(self.header("x-amz-date"));
        time.is_some_and(|time| {
            SystemTime::now()
                .duration_since(time)
                .is_ok_and(|age| age.as_secs() > 300)
        })
    }

    pub(crate) fn was_http_2(&self) -> bool {
        self.parts.version == http::Version::HTTP_2
    }

    /// Changes the body, and signs the request again, as if the proxy did not look at its signature.
    pub(crate) fn set_body(&mut self, body: impl Into<Bytes>) {
        self.body = body.into();
        self.sign();
    }

    pub(crate) fn set_json(&mut self, json: &Value) {
        self.set_body(json.to_string());
    }

    /// Signs the request as it is.
    pub(crate) fn sign(&mut self) {
        self.sign_of(SystemTime::now());
    }

    /// Signs the request as it is, at a time as `x-amz-date` has it.
    pub(crate) fn sign_at(&mut self, date: &str) {
        if let Some(time) = parsed(date) {
            self.sign_of(time);
        }
    }

    fn sign_of(&mut self, time: SystemTime) {
        let host = self.header("host").to_owned();
        let endpoint = Endpoint::builder(format!("http://{host}{PREFIX}"), credential()).build();
        let start = format!("{PREFIX}/kms/xks/v1/");
        let path = self.parts.uri.path().strip_prefix(&start).map(str::to_owned);
        let (Ok(endpoint), Some(path)) = (endpoint, path) else {
            return;
        };
        let method = self.parts.method.clone();
        let Ok(signed) = Raw::signed(&endpoint, method, &path, &self.body, time) else {
            return;
        };
        for name in [
            "authorization",
            "x-amz-date",
            "host",
            "content-type",
            "x-amz-content-sha256",
        ] {
            self.parts.headers.remove(name);
        }
        self.parts.headers.extend(signed.headers);
        let length = self.body.len().to_string();
        self.parts.headers.insert("content-length", length.parse().unwrap());
    }
}

fn parsed(date: &str) -> Option<SystemTime> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    Some(PrimitiveDateTime::parse(date, format).ok()?.assume_utc().into())
}

/// An answer.
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answered {
    pub(crate) fn new(status: u16, json: &Value) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/json".parse().unwrap());
        Self {
            status,
            headers,
            body: json.to_string().into(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn set_json(&mut self, json: &Value) {
        self.body = json.to_string().into();
    }

    pub(crate) fn error_name(&self) -> String {
        self.json()["errorName"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn into_response(mut self) -> Response<Full<Bytes>> {
        self.headers.remove("content-length");
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status.try_into().unwrap();
        *response.headers_mut() = self.headers;
        response
    }
}
