//! The `Authorization` header, taken apart:
//! `AWS4-HMAC-SHA256 Credential=<id>/<yyyymmdd>/<region>/kms-xks-proxy/aws4_request, SignedHeaders=<a;b>,
//! Signature=<hex>`.

use std::iter;

use memchr::{memchr, memchr2};

use super::{ALGORITHM, Rejection, SERVICE, TERMINATOR};
use crate::key_store::{check_access_key_id, check_region};
use crate::text::decode_hex;

/// Longer than any signer makes it; bounds the work that an unknown client can cause.
const MAX_LENGTH: usize = 8192;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Authorization<'a> {
    pub(super) access_key_id: &'a str,
    pub(super) scope: Scope<'a>,
    /// As sent: names separated by `;`.
    pub(super) signed_headers: &'a str,
    pub(super) signature: [u8; 32],
}

/// `<yyyymmdd>/<region>/kms-xks-proxy/aws4_request`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scope<'a> {
    /// The whole scope, as signed.
    pub(super) text: &'a str,
    pub(super) date: &'a str,
    pub(super) region: &'a str,
}

impl<'a> Authorization<'a> {
    /// Each of the three parts once, in any order, separated by commas with or without spaces.
    pub(super) fn parse(value: &'a [u8]) -> Result<Self, Rejection> {
        let malformed = Rejection::MalformedAuthorization;
        if value.len() > MAX_LENGTH {
            return Err(malformed("longer than 8192 bytes"));
        }
        let value = str::from_utf8(value).map_err(|_| malformed("not ASCII"))?;
        let parts = value
            .strip_prefix(ALGORITHM)
            .and_then(|rest| rest.strip_prefix(' '))
            .ok_or(malformed("the algorithm is not AWS4-HMAC-SHA256"))?;

        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for part in split(parts, b',') {
            let part = without_spaces_around(part);
            let (slot, value) = if let Some(value) = part.strip_prefix("Credential=") {
                (&mut credential, value)
            } else if let Some(value) = part.strip_prefix("SignedHeaders=") {
                (&mut signed_headers, value)
            } else if let Some(value) = part.strip_prefix("Signature=") {
                (&mut signature, value)
            } else {
                return Err(malformed(
                    "a part is neither Credential=, SignedHeaders= nor Signature=",
                ));
            };
            if slot.replace(value).is_some() {
                return Err(malformed("a part occurs twice"));
            }
        }
        let (access_key_id, scope) = split_once(credential.ok_or(malformed("no Credential"))?, b'/');
        Ok(Self {
            access_key_id,
            scope: Scope::parse(scope.ok_or(malformed("a Credential without a scope"))?)?,
            signed_headers: signed_headers.ok_or(malformed("no SignedHeaders"))?,
            signature: signature
                .and_then(decode_signature)
                .ok_or(malformed("no Signature of 64 lower-case hexadecimal digits"))?,
        })
    }
}

impl<'a> Scope<'a> {
    fn parse(text: &'a str) -> Result<Self, Rejection> {
        let (date, rest) = split_once(text, b'/');
        let (region, rest) = split_once(rest.unwrap_or_default(), b'/');
        let Some(rest) = rest else {
            return Err(Rejection::MalformedAuthorization("the scope does not have four parts"));
        };
        if date.len() != 8 || !date.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Rejection::MalformedAuthorization("the scope's date is not yyyymmdd"));
        }
        let end = rest.strip_prefix(SERVICE).and_then(|rest| rest.strip_prefix('/'));
        if end.ok_or(Rejection::WrongService)? != TERMINATOR {
            return Err(Rejection::MalformedAuthorization(
                "the scope does not end with aws4_request",
            ));
        }
        Ok(Self { text, date, region })
    }
}

/// Who signed a request, as it says itself. Only what has the alphabet and the length of its kind is here, so
/// that a stranger can put nothing else into a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClaimedSigner<'a> {
    pub(crate) access_key_id: Option<&'a str>,
    pub(crate) signing_region: Option<&'a str>,
}

impl<'a> ClaimedSigner<'a> {
    /// Reads the credential, in however malformed a header it stands.
    pub(super) fn of(header: &'a [u8]) -> Self {
        let header = header.get(..MAX_LENGTH).unwrap_or(header);
        // Signers put it there, where it is found without a search.
        let credential = header.strip_prefix(b"AWS4-HMAC-SHA256 Credential=").or_else(|| {
            let mut parts = (0..header.len()).filter_map(|start| header.get(start..));
            parts.find_map(|part| part.strip_prefix(b"Credential="))
        });
        let credential = credential.unwrap_or_default();
        let end = memchr2(b',', b' ', credential).unwrap_or(credential.len());
        let credential = credential
            .get(..end)
            .and_then(|credential| str::from_utf8(credential).ok());
        let mut parts = split(credential.unwrap_or_default(), b'/');
        let (access_key_id, _date, region) = (parts.next(), parts.next(), parts.next());
        Self {
            access_key_id: access_key_id.filter(|id| check_access_key_id(id).is_ok()),
            signing_region: region.filter(|region| check_region(region).is_ok()),
        }
    }
}

/// What stands between the separators, which are ASCII. The searchers of `str` take several times as long for
/// parts as short as these.
pub(super) fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    iter::from_fn(move || {
        let part;
        (part, rest) = split_once(rest?, separator);
        Some(part)
    })
}

/// What stands before the first separator, and what stands after it.
fn split_once(text: &str, separator: u8) -> (&str, Option<&str>) {
    let place = memchr(separator, text.as_bytes());
    match place.and_then(|place| text.split_at_checked(place)) {
        Some((before, after)) => (before, after.get(1..)),
        None => (text, None),
    }
}

/// Signers put a space after each comma.
fn without_spaces_around(mut part: &str) -> &str {
    while let Some(rest) = part.strip_prefix(' ').or_else(|| part.strip_suffix(' ')) {
        part = rest;
    }
    part
}

/// 64 lower-case hexadecimal digits: others are not what a signer writes.
fn decode_signature(text: &str) -> Option<[u8; 32]> {
    let mut signature = [0; 32];
    decode_hex(text, &mut signature).ok()?;
    let has_upper_case = text.bytes().fold(false, |has, byte| has | byte.is_ascii_uppercase());
    (!has_upper_case).then_some(signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &str = "00ff000102030405060708090a0b0c0d0e0f101112131415161718191a1b1cfe";

    fn parse(text: &str) -> Result<Authorization<'_>, Rejection> {
        Authorization::parse(text.as_bytes())
    }

    /// SIG-1: the form that signers make, with and without spaces, in any order.
    #[test]
    fn well_formed_headers_are_taken_apart() {
        let scope = "20260102/eu-central-1/kms-xks-proxy/aws4_request";
        for text in [
            format!("AWS4-HMAC-SHA256 Credential=AKID/{scope}, SignedHeaders=host;x-amz-date, Signature={SIGNATURE}"),
            format!("AWS4-HMAC-SHA256 Credential=AKID/{scope},SignedHeaders=host;x-amz-date,Signature={SIGNATURE}"),
            format!(
                "AWS4-HMAC-SHA256  Signature={SIGNATURE}  ,  SignedHeaders=host;x-amz-date, Credential=AKID/{scope}"
            ),
        ] {
            let authorization = parse(&text).unwrap();
            assert_eq!(authorization.access_key_id, "AKID");
            assert_eq!(
                authorization.scope,
                Scope {
                    text: scope,
                    date: "20260102",
                    region: "eu-central-1"
                }
            );
            assert_eq!(authorization.signed_headers, "host;x-amz-date");
            assert_eq!(authorization.signature[..3], [0x00, 0xff, 0x00]);
        }
    }

    /// LOG-1, LOG-2: the signer that any header names is recorded, and nothing but names.
    #[test]
    fn a_claim_is_read_from_any_header() {
        let claim = |header: &str| {
            let claim = ClaimedSigner::of(header.as_bytes());
            (
                claim.access_key_id.map(str::to_owned),
                claim.signing_region.map(str::to_owned),
            )
        };
        let (id, region) = (Some("A".repeat(20)), Some("eu-central-1".to_owned()));
        let whole = format!(
            "AWS4-HMAC-SHA256 Credential={}/20260102/eu-central-1/s3/x, Signature=0",
            "A".repeat(20)
        );
        assert_eq!(claim(&whole), (id.clone(), region.clone()));
        let broken = format!("Basic x,Credential={}", "A".repeat(20));
        assert_eq!(claim(&broken), (id.clone(), None));
        assert_eq!(claim(&format!("{broken} //eu-central-1/")), (id, None));
        for forged in [
            "a".repeat(20),
            "A".repeat(19),
            "A".repeat(31),
            "A\n".repeat(10),
            "1".repeat(20),
        ] {
            let header = format!("Credential={forged}/20260102/eu-central-1/");
            assert_eq!(claim(&header), (None, region.clone()), "{forged}");
        }
        for forged in ["", "EU", "eu_central", "\"", &"x".repeat(65)] {
            assert_eq!(
                claim(&format!("Credential=a/20260102/{forged}/")),
                (None, None),
                "{forged}"
            );
        }
        assert_eq!(claim(""), (None, None));
        let late = format!("{}{whole}", " ".repeat(MAX_LENGTH));
        assert_eq!(claim(&late), (None, None), "further than is looked at");
    }

    /// SIG-1: what no signer makes.
    #[test]
    fn malformed_headers_are_rejected() {
        let good = format!(
            "AWS4-HMAC-SHA256 Credential=A/20260102/r/kms-xks-proxy/aws4_request, SignedHeaders=host, Signature={SIGNATURE}"
        );
        assert!(parse(&good).is_ok());
        for (from, to) in [
            ("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256"),
            ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"),
            ("AWS4-HMAC-SHA256", "Basic"),
            ("Credential=", "credential="),
            ("Credential=A/20260102/r/kms-xks-proxy/aws4_request, ", ""),
            ("SignedHeaders=host, ", ""),
            ("SignedHeaders=host, ", "SignedHeaders=host, SignedHeaders=host, "),
            ("SignedHeaders=host, ", "SignedHeaders=host, Extra=1, "),
            ("SignedHeaders=host, ", "SignedHeaders=host,, "),
            ("A/20260102/r/", "A/2026010/r/"),
            ("A/20260102/r/", "A/2026010x/r/"),
            ("A/20260102/r/", "A/20260102/"),
            ("A/20260102/r/", "A/B/20260102/r/"),
            ("/kms-xks-proxy/", "/kms/"),
            ("/aws4_request", "/aws4_requests"),
            ("/aws4_request", "/aws4_request/"),
            ("Signature=00ff", "Signature=00FF"),
            ("Signature=00ff", "Signature=00f"),
            ("Signature=00ff", "Signature=00fff"),
            ("Signature=00ff", "Signature=00f\u{e9}"),
            (", Signature=", ", Signature"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert!(parse(&bad).is_err(), "{bad}");
        }
        assert!(parse("").is_err());
        assert!(parse("AWS4-HMAC-SHA256 ").is_err());
        assert!(Authorization::parse(b"AWS4-HMAC-SHA256 \xff").is_err());
        assert!(parse(&format!("{good}{}", " ".repeat(8192))).is_err());
    }
}
