//! Verification of AWS Signature Version 4 in the `Authorization` header (section 9 of the specification).
//!
//! [`Claim::verify`] is the only maker of [`Verified`], and a body can only be decoded out of a [`Verified`]:
//! nothing is parsed before it is authenticated.

mod authorization;
mod canonical;
mod date;
mod signing_key;

use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

#[cfg(test)]
pub(crate) use self::signing_key::DERIVATIONS;
use self::{authorization::Authorization, canonical::HexDigest, signing_key::SigningKey};
pub(crate) use self::{authorization::ClaimedSigner, signing_key::SigningKeys};
use crate::{
    Credential, KeyStore, Request,
    key_store::{AccessKeyId, Region},
};

/// The only algorithm.
// SIG-1
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The service name that KMS signs for.
// SIG-1
const SERVICE: &str = "kms-xks-proxy";
/// The end of every credential scope.
// SIG-1
const TERMINATOR: &str = "aws4_request";
/// How far the client's clock may be from ours, either way.
// SIG-5
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// A request whose signature has been verified: the proof that its body may be parsed.
#[derive(Clone, Debug)]
pub struct Verified<'a> {
    credential: Credential,
    region: Region,
    body: VerifiedBody<'a>,
}

impl<'a> Verified<'a> {
    /// Returns the access key id that signed the request.
    #[must_use]
    pub fn access_key_id(&self) -> &AccessKeyId {
        self.credential.access_key_id()
    }

    /// Returns the AWS Region that the request was signed for: that of the calling KMS.
    #[must_use]
    pub const fn region(&self) -> &Region {
        &self.region
    }

    /// For tests of what comes after.
    #[cfg(test)]
    pub(crate) fn unchecked(body: &'a [u8]) -> Self {
        Self {
            credential: crate::testing::credential(),
            region: crate::testing::region("us-east-1"),
            body: VerifiedBody(body),
        }
    }

    /// Returns the authenticated body. It may hold plaintext.
    #[must_use]
    pub const fn body(&self) -> &'a [u8] {
        self.body.0
    }
}

/// A body that does not print itself.
#[derive(Clone, Copy)]
struct VerifiedBody<'a>(&'a [u8]);

impl std::fmt::Debug for VerifiedBody<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Why a request is not authentic. For the log alone: on the wire all of these look the same.
// SIG-8
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The body could not be read, so its signature cannot be verified.
    #[error("the body could not be read")]
    NoBody,
    /// No `Authorization` header.
    #[error("the Authorization header is missing")]
    NoAuthorization,
    /// A header that must be there once is there several times.
    #[error("the header `{0}` occurs more than once")]
    Repeated(&'static str),
    /// The `Authorization` header does not have its form. Specification: Appendix A.
    // SIG-1
    #[error("the Authorization header is malformed: {0}")]
    MalformedAuthorization(&'static str),
    /// No credential of this key store has the access key id.
    #[error("the access key id does not belong to this key store")]
    UnknownAccessKeyId,
    /// The credential scope names a Region that the key store does not serve.
    #[error("the credential scope is for another Region; the key store must list each Region that KMS calls it from")]
    WrongRegion,
    /// The credential scope names another service.
    #[error("the credential scope is not for kms-xks-proxy")]
    WrongService,
    /// No `x-amz-date`, or not of the form `yyyymmddThhmmssZ`.
    #[error("the x-amz-date header is missing or malformed")]
    MalformedDate,
    /// `x-amz-date` and the credential scope name different days.
    #[error("x-amz-date and the credential scope name different days")]
    ScopeDate,
    /// More than five minutes from now, either way. Specification: Appendix A.
    // SIG-5
    #[error("the request was signed more than 5 minutes from now; check both clocks")]
    ClockSkew,
    /// `host` or `x-amz-date` is not among the signed headers. Specification: Appendix A.
    // SIG-2
    #[error("the header `{0}` is not signed")]
    NotSigned(&'static str),
    /// The list of signed headers is not sorted, or has doubles or upper case.
    #[error("the list of signed headers is malformed")]
    MalformedSignedHeaders,
    /// A header of the list was not sent.
    #[error("a signed header was not sent")]
    SignedHeaderMissing,
    /// `x-amz-content-sha256` is `UNSIGNED-PAYLOAD`, which S3 alone takes: here the signature covers the
    /// body.
    #[error("x-amz-content-sha256 is UNSIGNED-PAYLOAD, but the signature must cover the body: let the client sign it")]
    UnsignedPayload,
    /// `x-amz-content-sha256` is not the hash of the body.
    #[error("x-amz-content-sha256 is not the SHA-256 of the body")]
    ContentHash,
    /// The signature is another one than this request needs.
    #[error("the signature does not match: wrong secret, or the request was changed in transit")]
    Signature,
}

/// What a request says about its signature, before anything of it is verified.
pub struct Claim<'r, 'a> {
    request: &'r Request<'a>,
    body: &'a [u8],
    authorization: Authorization<'a>,
}

impl<'r, 'a> Claim<'r, 'a> {
    /// Reads the `Authorization` header of a request.
    ///
    /// # Errors
    /// A [`Rejection`], for the log.
    pub fn of(request: &'r Request<'a>) -> Result<Self, Rejection> {
        let body = request.body().map_err(|_| Rejection::NoBody)?;
        let authorization = only(request, "authorization")?.ok_or(Rejection::NoAuthorization)?;
        Ok(Self {
            request,
            body,
            authorization: Authorization::parse(authorization)?,
        })
    }

    /// Returns the access key id that the request claims: any text.
    #[must_use]
    pub const fn access_key_id(&self) -> &'a str {
        self.authorization.access_key_id
    }

    /// Verifies that the request was signed with `credential`, which is that of the [access key
    /// id](Self::access_key_id), for one of the Regions of `store`, within five minutes of `now`. Its target
    /// must be a path of the API, as routing sees to: one with a query or percent-encoding does not verify,
    /// even with a right signature.
    ///
    /// The signing key for a credential, day and Region is derived once and kept. Two signatures are compared
    /// in constant time.
    ///
    /// # Errors
    /// A [`Rejection`], for the log.
    pub fn verify(self, credential: Credential, store: &KeyStore, now: SystemTime) -> Result<Verified<'a>, Rejection> {
        let Self {
            request,
            body,
            authorization,
        } = self;
        if credential.access_key_id().as_str() != authorization.access_key_id {
            return Err(Rejection::UnknownAccessKeyId);
        }
        let scope = authorization.scope;
        let region = store.region(scope.region).ok_or(Rejection::WrongRegion)?;

        let timestamp = only(request, "x-amz-date")?.ok_or(Rejection::MalformedDate)?;
        let signed_at = date::parse(timestamp).ok_or(Rejection::MalformedDate)?;
        if !timestamp.starts_with(scope.date.as_bytes()) {
            return Err(Rejection::ScopeDate);
        }
        let skew = now.duration_since(signed_at).unwrap_or_else(|error| error.duration());
        if skew > MAX_CLOCK_SKEW {
            return Err(Rejection::ClockSkew);
        }

        // One hasher for body and canonical request: it wipes itself when it is dropped, which takes as long
        // as a block.
        let mut hash = Sha256::new_with_prefix(body);
        let body_hash = HexDigest::new(&hash.finalize_reset().into());
        for sent in request.values("x-amz-content-sha256").map(<[u8]>::trim_ascii) {
            match sent {
                // SIG-3
                b"UNSIGNED-PAYLOAD" | b"STREAMING-UNSIGNED-PAYLOAD-TRAILER" => return Err(Rejection::UnsignedPayload),
                sent if sent != body_hash.as_bytes() => return Err(Rejection::ContentHash),
                _ => {}
            }
        }
        let request_hash = canonical::hash(&mut hash, request, authorization.signed_headers, &body_hash)?;

        let (key, is_new) = match credential.signing_keys().get(scope.date, region) {
            Some(key) => (key, false),
            None => (
                SigningKey::derive(credential.secret_access_key(), scope.date, region).into(),
                true,
            ),
        };
        let expected = key.sign(&[
            ALGORITHM.as_bytes(),
            b"\n",
            timestamp,
            b"\n",
            scope.text.as_bytes(),
            b"\n",
            request_hash.as_bytes(),
        ]);
        if !bool::from(expected.ct_eq(&authorization.signature)) {
            return Err(Rejection::Signature);
        }
        if is_new {
            credential.signing_keys().remember(scope.date, region, key); // only now: a client without the secret cannot fill the cache
        }
        credential.was_used(now);
        Ok(Verified {
            credential,
            region: region.clone(),
            body: VerifiedBody(body),
        })
    }
}

impl std::fmt::Debug for Claim<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim")
            .field("authorization", &self.authorization)
            .finish_non_exhaustive()
    }
}

/// Returns what a request says of its signer: for the record of one that was not verified.
pub(crate) fn claimed_signer<'a>(request: &Request<'a>) -> ClaimedSigner<'a> {
    let header = request.values("authorization").next();
    header.map(ClaimedSigner::of).unwrap_or_default()
}

/// The value of a header that may be there at most once.
fn only<'a>(request: &Request<'a>, name: &'static str) -> Result<Option<&'a [u8]>, Rejection> {
    let mut values = request.values(name);
    let first = values.next();
    if values.next().is_some() {
        return Err(Rejection::Repeated(name));
    }
    Ok(first.map(<[u8]>::trim_ascii))
}

#[cfg(test)]
mod tests;
