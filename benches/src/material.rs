//! What the primitives of an encryption work on, taken from a signed request and its answer. Signature and
//! integrity value are computed from it once more and have to be those of request and answer: so it is what
//! the pipeline works on.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use xks_core::{
    Response,
    aad::{AadFraming, BoundAad},
    text::Hex,
};

use crate::{REGION, SECRET_ACCESS_KEY, SERVICE, Signed};

/// A request to encrypt, borrowed from its body.
#[allow(dead_code, reason = "the scan makes all of it")]
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EncryptBody<'a> {
    #[serde(borrow)]
    request_metadata: RequestMetadata<'a>,
    plaintext: &'a str,
    encryption_algorithm: &'a str,
    additional_authenticated_data: &'a str,
    ciphertext_data_integrity_value_algorithm: &'a str,
}

#[allow(dead_code, reason = "the scan makes all of it")]
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestMetadata<'a> {
    aws_principal_arn: &'a str,
    kms_key_arn: &'a str,
    kms_operation: &'a str,
    kms_request_id: &'a str,
    kms_via_service: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    ciphertext: &'a str,
    ciphertext_metadata: &'a str,
    initialization_vector: &'a str,
    authentication_tag: &'a str,
    ciphertext_data_integrity_value: &'a str,
}

pub(crate) struct Material {
    pub(crate) canonical_request: String,
    pub(crate) string_to_sign: String,
    pub(crate) signing_key: Hmac<Sha256>,
    pub(crate) integrity_input: Vec<u8>,
    pub(crate) plaintext: Vec<u8>,
    /// As AES-GCM gets it.
    pub(crate) aad: BoundAad,
    /// The request's Base64: plaintext and AAD.
    pub(crate) texts: [String; 2],
    /// What is Base64 in the answer.
    pub(crate) parts: [Vec<u8>; 5],
}

impl Material {
    pub(crate) fn of(signed: &Signed, response: &Response) -> Self {
        let (scope, names, signature) = authorization(signed);
        let body_hash = Hex(&Sha256::digest(&signed.body)).to_string();
        let headers: String = names
            .split(';')
            .map(|name| format!("{name}:{}\n", signed.header(name)))
            .collect();
        let canonical_request = format!("POST\n{}\n\n{headers}\n{names}\n{body_hash}", signed.path);
        let date = signed.header("x-amz-date");
        let request_hash = Hex(&Sha256::digest(&canonical_request)).to_string();
        let string_to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{request_hash}");
        let (day, _) = scope.split_once('/').expect("a scope");
        let start = keyed(format!("AWS4{SECRET_ACCESS_KEY}").as_bytes());
        let signing_key = [day, REGION, SERVICE, "aws4_request"]
            .iter()
            .fold(start, |key, part| keyed(&mac(&key, part)));
        assert_eq!(Hex(&mac(&signing_key, &string_to_sign)).to_string(), signature);

        let body: EncryptBody<'_> = serde_json::from_str(&signed.body).expect("a body");
        let answer: Answer<'_> = serde_json::from_slice(response.body()).expect("an answer");
        let (plaintext, aad) = (body.plaintext, body.additional_authenticated_data);
        let (metadata, integrity_value) = (
            decoded(answer.ciphertext_metadata),
            decoded(answer.ciphertext_data_integrity_value),
        );
        let (ciphertext, iv, tag) = (
            decoded(answer.ciphertext),
            decoded(answer.initialization_vector),
            decoded(answer.authentication_tag),
        );
        let bound = metadata.as_slice().try_into().expect("legal metadata");
        let integrity_input = [&*decoded(aad), &metadata, &iv, &ciphertext, &tag].concat();
        assert_eq!(*Sha256::digest(&integrity_input), *integrity_value);
        Self {
            canonical_request,
            string_to_sign,
            signing_key,
            integrity_input,
            plaintext: decoded(plaintext),
            aad: BoundAad::new(AadFraming::Spec, Some(&decoded(aad)), Some(bound)).expect("a legal AAD"),
            texts: [plaintext.to_owned(), aad.to_owned()],
            parts: [ciphertext, metadata, iv, tag, integrity_value],
        }
    }
}

/// Scope, signed headers and signature.
fn authorization(signed: &Signed) -> (&str, &str, &str) {
    let mut fields = signed.header("authorization").split(", ");
    let mut after = |mark| {
        let (_, value) = fields.next().and_then(|field| field.split_once(mark)).expect("a field");
        value
    };
    // The scope follows the access key id.
    (after("/"), after("="), after("="))
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("a key of any length")
}

pub(crate) fn mac(key: &Hmac<Sha256>, text: &str) -> [u8; 32] {
    key.clone().chain_update(text).finalize().into_bytes().into()
}

fn decoded(text: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text).expect("Base64")
}
