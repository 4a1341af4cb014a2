//! The types of the API: its operations, its error names, and KMS's data about a call.
//!
//! What a backend is asked and answers is in [`backend`](crate::backend).
//!
//! A body may be nested 64 levels deep. KMS nests two, and code that walks unknown fields recursively is
//! safe.

// Inside: the bodies of the four operations, one file each, request and response side by side.
mod base64;
pub(crate) mod decrypt;
pub(crate) mod encrypt;
mod error_name;
mod fields;
pub(crate) mod health;
mod json_error;
pub(crate) mod key_metadata;
mod operation;
mod request_metadata;

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, de};
use zeroize::{Zeroize as _, Zeroizing};

use self::fields::Fields;
pub(crate) use self::{
    decrypt::{DecryptBody, encode_plaintext},
    encrypt::EncryptBody,
    health::{ProxyIdentity, decode_health_request},
};
pub use self::{
    error_name::ErrorName,
    json_error::JsonError,
    operation::{KeyOperation, Operation},
    request_metadata::RequestMetadata,
};
use crate::{error::Error, sigv4::Verified};
pub use crate::{message::UnreadableBody, names::UnknownName};

/// The greatest depth of a body's nesting. KMS nests two deep; who decides or logs may walk what is unknown
/// to us recursively.
const MAX_DEPTH: usize = 64;
/// The only `encryptionAlgorithm`.
// ENC-5
const AES_GCM: &str = "AES_GCM";

/// Parses an authenticated body: one JSON object and nothing after it. Unknown fields are passed over. The
/// metadata is noted for the audit record as soon as it is known, then held against what must be there.
// MD-4, MD-1
fn parse<'t, 'a, const N: usize>(
    verified: &Verified<'a>,
    operation: Operation,
    names: [&'static str; N],
    note: &'t mut Option<RequestMetadata<'a>>,
) -> Result<(&'t RequestMetadata<'a>, [Option<Text<'a>>; N]), Error> {
    let body = str::from_utf8(verified.body()).map_err(|_| Error::validation("the body is not UTF-8"))?;
    if !body.trim_ascii_start().starts_with('{') {
        return Err(Error::validation("the body is not a JSON object"));
    }
    if is_nested_deeper_than(MAX_DEPTH, body) {
        return Err(Error::validation(format!(
            "the body is nested more than {MAX_DEPTH} deep"
        )));
    }
    let mut texts = [const { None }; N];
    let mut json = serde_json::Deserializer::from_str(body);
    let fields = Fields {
        request_metadata: note,
        names,
        texts: &mut texts,
    };
    if let Err(error) = json.deserialize_map(fields).and_then(|()| json.end()) {
        *note = None;
        return Err(Error::validation(JsonError::new(&error).to_string()));
    }
    let request_metadata = required(note.as_ref(), "requestMetadata")?;
    request_metadata.check(operation)?;
    Ok((request_metadata, texts))
}

/// `serde_json` passes over unknown values without a limit of its own.
fn is_nested_deeper_than(limit: usize, json: &str) -> bool {
    // No more of them than a byte can count, and whole vectors: many are looked at in one step.
    let opened = json.as_bytes().chunks(192).map(|chunk| {
        let opens = |byte: &u8| u8::from(matches!(byte, b'{' | b'['));
        usize::from(chunk.iter().map(opens).fold(0, u8::wrapping_add))
    });
    if opened.sum::<usize>() <= limit {
        return false; // the usual case
    }
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'{' | b'[' if !is_text => depth += 1,
            b'}' | b']' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limit {
            return true;
        }
    }
    false
}

/// A field that must be there.
// MD-1
fn required<T>(field: Option<T>, name: &'static str) -> Result<T, Error> {
    field.ok_or_else(|| Error::validation(format!("{name} is missing")))
}

// ENC-5: the one algorithm there is.
fn require_aes_gcm(algorithm: Option<Text<'_>>) -> Result<(), Error> {
    if required(algorithm, "encryptionAlgorithm")?.as_str() == AES_GCM {
        Ok(())
    } else {
        Err(Error::validation("encryptionAlgorithm is not AES_GCM"))
    }
}

/// A JSON string: borrowed from the body, or owned where it had escapes, and then wiped when dropped.
#[derive(Clone)]
struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    fn as_str(&self) -> &str {
        &self.0
    }

    fn to_owned(&self) -> Text<'static> {
        Text(Cow::Owned(self.as_str().to_owned()))
    }
}

impl Drop for Text<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(text) = &mut self.0 {
            text.zeroize();
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

/// A JSON object of Base64 strings, in one buffer that is as large as it becomes: no copy of a plaintext is
/// left behind by growing, and nothing is wiped that was never written.
fn base64_object<'f>(fields: impl Iterator<Item = (&'static str, &'f [u8])> + Clone) -> Zeroizing<Vec<u8>> {
    let length_of = |(name, bytes): (&str, &[u8])| r#","":"""#.len() + name.len() + bytes.len().div_ceil(3) * 4;
    let length = fields.clone().map(length_of).sum::<usize>() + "}".len();
    let mut json = Zeroizing::new(Vec::with_capacity(length));
    for (name, bytes) in fields {
        let before = if json.is_empty() { b"{\"" } else { b",\"" };
        json.extend_from_slice(before);
        json.extend_from_slice(name.as_bytes());
        json.extend_from_slice(b"\":\"");
        base64::append_encoded(bytes, &mut json);
        json.push(b'"');
    }
    json.push(b'}');
    json
}

#[cfg(test)]
mod tests;
