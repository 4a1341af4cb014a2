//! A signature made by hand, so that each part of it may be wrong, and the one that a request ought to have.

use std::time::SystemTime;

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::date;
use crate::wire::{Credential, Raw, SERVICE, SignError};

pub(super) const DATE: HeaderName = HeaderName::from_static("x-amz-date");
pub(super) const CONTENT_HASH: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// How a request is signed: rightly, unless a field is changed.
pub(super) struct Recipe {
    pub(super) access_key_id: String,
    pub(super) secret: Zeroizing<String>,
    pub(super) algorithm: &'static str,
    /// Of the credential scope, which has the date of `time` in front unless `scope_date` says otherwise.
    pub(super) region: String,
    pub(super) service: &'static str,
    pub(super) terminator: &'static str,
    pub(super) scope_date: Option<String>,
    pub(super) time: SystemTime,
    pub(super) has_date_header: bool,
    /// Headers that are signed, in this order.
    pub(super) signed: Vec<&'static str>,
    /// What stands for the body's hash, where it is not that.
    pub(super) payload: Option<String>,
}

impl Recipe {
    pub(super) fn of(credential: &Credential) -> Self {
        Self {
            access_key_id: credential.access_key_id().to_owned(),
            secret: Zeroizing::new(credential.secret().to_owned()),
            algorithm: "AWS4-HMAC-SHA256",
            region: credential.region().to_owned(),
            service: SERVICE,
            terminator: "aws4_request",
            scope_date: None,
            time: SystemTime::now(),
            has_date_header: true,
            signed: vec!["host", "x-amz-date"],
            payload: None,
        }
    }

    /// Adds `x-amz-date` and `Authorization`.
    pub(super) fn sign(&self, request: &mut Raw) -> Result<(), SignError> {
        let time = date::basic(self.time);
        if self.has_date_header {
            request.headers.insert(DATE, value(&time)?);
        }
        let day = match &self.scope_date {
            Some(day) => day.clone(),
            None => time.chars().take(8).collect(),
        };
        let scope = format!("{day}/{}/{}/{}", self.region, self.service, self.terminator);
        let hash = self.payload.clone().unwrap_or_else(|| hex_hash(&request.body));
        let canonical = canonical(request, &self.signed, &hash);
        let to_sign = format!(
            "{}\n{time}\n{scope}\n{}",
            self.algorithm,
            hex_hash(canonical.as_bytes())
        );
        let key = generate_signing_key(&self.secret, self.time, &self.region, self.service);
        let signature = calculate_signature(key, to_sign.as_bytes());
        let (algorithm, id, signed) = (self.algorithm, &self.access_key_id, self.signed.join(";"));
        let text = format!("{algorithm} Credential={id}/{scope}, SignedHeaders={signed}, Signature={signature}");
        request.headers.insert(header::AUTHORIZATION, value(&text)?);
        Ok(())
    }
}

/// The signature that a request ought to have by its own words, where it says enough and has another.
pub(super) fn missing_from(request: &Raw, credential: &Credential) -> Option<String> {
    let text = request.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let part = |name: &str| {
        let (_, rest) = text.split_once(name)?;
        rest.split(',').next()
    };
    let mut scope = part("Credential=")?.splitn(2, '/');
    let scope = scope.nth(1)?;
    let signed: Vec<_> = part("SignedHeaders=")?.split(';').collect();
    let time = request.headers.get(DATE)?.to_str().ok()?;
    let canonical = canonical(request, &signed, &hex_hash(&request.body));
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex_hash(canonical.as_bytes()));
    let key = generate_signing_key(
        credential.secret(),
        date::parse_basic(time)?,
        credential.region(),
        SERVICE,
    );
    let signature = calculate_signature(key, to_sign.as_bytes());
    (!text.contains(&signature)).then_some(signature)
}

fn canonical(request: &Raw, signed: &[&str], hash: &str) -> String {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let headers: String = signed
        .iter()
        .map(|name| format!("{name}:{}\n", canonical_value(&request.headers, name)))
        .collect();
    format!(
        "{}\n{path}\n{query}\n{headers}\n{}\n{hash}",
        request.method,
        signed.join(";")
    )
}

/// Values joined by commas, each without spaces at its ends and with one space where it has several.
fn canonical_value(headers: &HeaderMap, name: &str) -> String {
    let values = headers.get_all(name).iter().map(|value| {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        text.split(' ')
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    });
    values.collect::<Vec<_>>().join(",")
}

pub(super) fn hex_hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn value(text: &str) -> Result<HeaderValue, SignError> {
    HeaderValue::try_from(text).map_err(|_| SignError)
}
