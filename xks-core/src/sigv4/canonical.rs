//! The canonical request, fed straight into the hash: it is never built as a text.

use std::fmt;

use memchr::memchr;
use sha2::{Digest as _, Sha256};

use super::{Rejection, authorization::split};
use crate::{Request, text::encode_hex};

/// The hash of the canonical request, by a hasher that has seen nothing yet:
///
/// ```text
/// <method> \n <path> \n <query> \n <name>:<value> \n ... \n <signed headers> \n <hex SHA-256 of the body>
/// ```
///
/// The path is taken as it came and the query is always empty: routing lets nothing else through.
pub(super) fn hash(
    hash: &mut Sha256,
    request: &Request<'_>,
    signed_headers: &str,
    body_hash: &HexDigest,
) -> Result<HexDigest, Rejection> {
    hash.update(request.method());
    hash.update(b"\n");
    hash.update(request.target());
    hash.update(b"\n\n");
    let (mut host, mut date, mut previous) = (false, false, "");
    for name in split(signed_headers, b';') {
        // Sorted, no doubles, lower case, nothing that is not a header name.
        if name.bytes().le(previous.bytes()) || !name.bytes().all(is_lower_case_token) {
            return Err(Rejection::MalformedSignedHeaders);
        }
        previous = name;
        host |= name == "host";
        date |= name == "x-amz-date";
        hash.update(name);
        hash.update(b":");
        update_with_values(hash, request, name)?;
        hash.update(b"\n");
    }
    if !host {
        return Err(Rejection::NotSigned("host")); // SIG-2
    }
    if !date {
        return Err(Rejection::NotSigned("x-amz-date")); // SIG-2
    }
    hash.update(b"\n");
    hash.update(signed_headers);
    hash.update(b"\n");
    hash.update(body_hash.as_bytes());
    Ok(HexDigest::new(&hash.finalize_reset().into()))
}

/// A header's values, each without outer white space and with inner runs of spaces folded into one, joined
/// with commas. `host` may be there only once.
fn update_with_values(hash: &mut Sha256, request: &Request<'_>, name: &str) -> Result<(), Rejection> {
    let mut values = request.values(name);
    let first = values.next().ok_or(Rejection::SignedHeaderMissing)?;
    update_folded(hash, first);
    for value in values {
        if name == "host" {
            return Err(Rejection::Repeated("host"));
        }
        hash.update(b",");
        update_folded(hash, value);
    }
    Ok(())
}

fn update_folded(hash: &mut Sha256, value: &[u8]) {
    let value = value.trim_ascii();
    if memchr(b' ', value).is_none() {
        hash.update(value);
        return;
    }
    let words = value.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    for (index, word) in words.enumerate() {
        if index > 0 {
            hash.update(b" ");
        }
        hash.update(word);
    }
}

const fn is_lower_case_token(byte: u8) -> bool {
    matches!(
        byte,
        b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~'
    )
}

/// A SHA-256 digest as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy)]
pub(super) struct HexDigest([u8; 64]);

impl HexDigest {
    pub(super) fn new(digest: &[u8; 32]) -> Self {
        let mut text = [0; 64];
        encode_hex(digest, &mut text);
        Self(text)
    }

    pub(super) const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for HexDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HexDigest")
    }
}
