//! Signature Version 4, made the long way round: nothing here is shared with the verifier.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::proxy::{ACCESS_KEY_ID, DATE, HOST, REGION, SECRET};

/// The `Authorization` header of a POST of `body` to `path`, with the signed headers `host` and `x-amz-date`.
#[must_use]
pub fn authorization(path: &str, body: &[u8]) -> String {
    let (day, _) = DATE.split_at(8);
    let scope = format!("{day}/{REGION}/kms-xks-proxy/aws4_request");
    let canonical_request = format!(
        "POST\n{path}\n\nhost:{HOST}\nx-amz-date:{DATE}\n\nhost;x-amz-date\n{}",
        hex(&Sha256::digest(body))
    );
    let string_to_sign = format!(
        "AWS4-HMAC-SHA256\n{DATE}\n{scope}\n{}",
        hex(&Sha256::digest(canonical_request.as_bytes()))
    );
    let mut key = format!("AWS4{SECRET}").into_bytes();
    for part in [day, REGION, "kms-xks-proxy", "aws4_request"] {
        key = hmac(&key, part);
    }
    let signature = hex(&hmac(&key, &string_to_sign));
    format!("AWS4-HMAC-SHA256 Credential={ACCESS_KEY_ID}/{scope}, SignedHeaders=host;x-amz-date, Signature={signature}")
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}
