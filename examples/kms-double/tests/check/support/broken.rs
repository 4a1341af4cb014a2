//! Ways to break a proxy: what is done to requests before it sees them, and to its answers.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, Response, request::Parts};
use http_body_util::Full;
use kms_double::wire::{Endpoint, Raw};
use serde_json::Value;

use super::{PREFIX, credential};

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

    /// Whether the signature is good, as far as this test can tell: that of the credential, over the usual parts.
    pub(crate) fn has_authorization(&self) -> bool {
        self.parts.headers.contains_key("authorization")
    }

    /// Changes the body, and signs the request anew, as if the proxy did not look at its signature.
    pub(crate) fn set_body(&mut self, body: impl Into<Bytes>) {
        self.body = body.into();
        self.sign();
    }

    pub(crate) fn set_json(&mut self, json: &Value) {
        self.set_body(json.to_string());
    }

    /// Signs the request as it is.
    pub(crate) fn sign(&mut self) {
        let host = self.header("host").to_owned();
        let endpoint = Endpoint::builder(format!("http://{host}{PREFIX}"), credential()).build();
        let start = format!("{PREFIX}/kms/xks/v1/");
        let path = self.parts.uri.path().strip_prefix(&start).map(str::to_owned);
        let (Ok(endpoint), Some(path)) = (endpoint, path) else {
            return;
        };
        let method = self.parts.method.clone();
        let Ok(signed) = Raw::signed(&endpoint, method, &path, &self.body, SystemTime::now()) else {
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
