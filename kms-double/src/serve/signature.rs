//! The signature of a request, verified: AWS's own signer signs the same request once more.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use http::{HeaderMap, header, request::Parts};
use subtle::ConstantTimeEq as _;
use time::{PrimitiveDateTime, format_description::BorrowedFormatItem, macros::format_description};

use crate::kms::{Caller, Exception, ExceptionName, Kms};

/// How far the clocks may be apart, either way.
const MAX_SKEW: Duration = Duration::from_secs(5 * 60);

const DATE: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");

/// What the `Authorization` header says.
struct Claim<'a> {
    access_key_id: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Claim<'a> {
    fn of(headers: &'a HeaderMap) -> Option<Self> {
        let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let parameters = authorization.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let get = |name: &str| {
            let mut all = parameters.split(',').map(str::trim);
            all.find_map(|parameter| parameter.strip_prefix(name)?.strip_prefix('='))
        };
        let mut scope = get("Credential")?.split('/');
        Some(Self {
            access_key_id: scope.next()?,
            region: scope.nth(1)?,
            service: scope.next()?,
            signed_headers: get("SignedHeaders")?,
            signature: get("Signature")?,
        })
    }
}

/// The user whose access key has signed the request, for one of these services.
pub(super) fn verified(kms: &Kms, parts: &Parts, body: &[u8], services: &[&str]) -> Result<Caller, Exception> {
    let claim = Claim::of(&parts.headers).ok_or_else(|| {
        let message = "the request is not signed";
        Exception::new(ExceptionName::MissingAuthenticationToken, message)
    })?;
    let (caller, secret) = kms.signer(claim.access_key_id)?;
    let wrong = |message: &str| Exception::new(ExceptionName::InvalidSignature, message);
    if !services.contains(&claim.service) {
        return Err(wrong("Credential should be scoped to the service that is called"));
    }
    let signed_at = signed_at(&parts.headers).ok_or_else(|| wrong("X-Amz-Date is missing or malformed"))?;
    let now = SystemTime::now();
    let skew = now.duration_since(signed_at).unwrap_or_else(|error| error.duration());
    if skew > MAX_SKEW {
        return Err(wrong(
            "Signature expired, or not yet current: more than 5 minutes from now",
        ));
    }
    let secret = std::str::from_utf8(&secret).unwrap_or_default();
    let expected = signature(parts, body, &claim, secret, signed_at);
    let is_right = expected.is_some_and(|expected| expected.as_bytes().ct_eq(claim.signature.as_bytes()).into());
    if !is_right {
        return Err(Exception::wrong_signature());
    }
    Ok(caller)
}

fn signed_at(headers: &HeaderMap) -> Option<SystemTime> {
    let text = headers.get("x-amz-date")?.to_str().ok()?;
    let date = PrimitiveDateTime::parse(text, DATE).ok()?;
    Some(date.assume_utc().into())
}

/// The signature that the request has to have; none where it cannot be signed so.
fn signature(parts: &Parts, body: &[u8], claim: &Claim<'_>, secret: &str, time: SystemTime) -> Option<String> {
    let mut signed = Vec::new();
    for name in claim.signed_headers.split(';') {
        signed.push((name, parts.headers.get(name)?.to_str().ok()?));
    }
    // What has to be signed, or anybody could send it again to another place, and with another time.
    for required in ["host", "x-amz-date"] {
        signed.iter().find(|(name, _)| *name == required)?;
    }
    let identity = Credentials::from_keys(claim.access_key_id, secret, None).into();
    let parameters = SigningParams::builder()
        .identity(&identity)
        .region(claim.region)
        .name(claim.service)
        .time(time)
        .settings(SigningSettings::default())
        .build()
        .ok()?
        .into();
    let host = parts.headers.get(header::HOST)?.to_str().ok()?;
    let url = format!("http://{host}{}", parts.uri);
    let body = SignableBody::Bytes(body);
    let request = SignableRequest::new(parts.method.as_str(), &url, signed.into_iter(), body).ok()?;
    let (_, signature) = sign(request, &parameters).ok()?.into_parts();
    Some(signature)
}
