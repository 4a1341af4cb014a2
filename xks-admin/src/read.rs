//! Reading what a request holds. A field that is not known, or has another type, is refused by its name.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use xks_core::backend::CiphertextMetadata;
use xks_lifecycle::{FieldError, FieldProblem, store::Revision};

use crate::problem::Problem;

/// The most characters of a message that may repeat what a client has sent, and of a field's name.
const MAX_MESSAGE: usize = 300;
const MAX_FIELD: usize = 64;

/// Reads an object of JSON, and nothing behind it.
pub(crate) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // An array would be read as the fields in their order.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::field("", "the body must be an object of JSON".to_owned()));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let message = cut(&error.inner().to_string(), MAX_MESSAGE);
        match error.inner().is_data() {
            true => {
                let (field, detail) = field_of(&error.path().to_string(), message);
                Problem::field(&field, detail)
            }
            false => Problem::json(&message),
        }
    })?;
    json.end().map_err(|error| Problem::json(&error.to_string()))?;
    Ok(read)
}

/// Reads the parameters of a path.
pub(crate) fn query<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let query = serde_urlencoded::Deserializer::new(form_urlencoded::parse(text.as_bytes()));
    serde_path_to_error::deserialize(query).map_err(|error| {
        let message = cut(&error.inner().to_string(), MAX_MESSAGE);
        let (field, detail) = field_of(&error.path().to_string(), message);
        Problem::parameter(&field, detail)
    })
}

/// The field of an error, and its words with that name. A path has no field where an object lacks one, or has
/// one too many: there the message does, between its first backticks.
fn field_of(path: &str, message: String) -> (String, String) {
    match path {
        "." | "" | "?" => (
            message
                .split('`')
                .nth(1)
                .map(|field| cut(field, MAX_FIELD))
                .unwrap_or_default(),
            message,
        ),
        path => {
            let field = cut(path, MAX_FIELD);
            let is_named = message.contains(&format!("`{field}`"));
            let detail = if is_named {
                message
            } else {
                format!("`{field}`: {message}")
            };
            (field, detail)
        }
    }
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Reads an entity tag: a revision between quotes.
pub(crate) fn tag(text: &[u8]) -> Option<Revision> {
    let digits = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let is_number = digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits)
        .ok()
        .filter(|_| is_number)?
        .parse()
        .ok()
        .map(Revision::new)
}

/// Reads the preference `wait` of a header `Prefer` (RFC 7240), in whole seconds. What is not understood is
/// passed over, as that RFC demands.
pub(crate) fn wait(prefer: &str) -> Option<Duration> {
    prefer.split(',').find_map(|preference| {
        let preference = preference.split(';').next().unwrap_or_default();
        let (name, value) = preference.split_once('=')?;
        let value = value.trim().trim_matches('"');
        let is_wait = name.trim().eq_ignore_ascii_case("wait") && value.bytes().all(|byte| byte.is_ascii_digit());
        value.parse().ok().filter(|_| is_wait).map(Duration::from_secs)
    })
}

/// A field of a change: it stays, is removed, or is set.
#[derive(Default)]
pub(crate) enum Patch<T> {
    #[default]
    Keep,
    Remove,
    Set(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Remove, Self::Set))
    }
}

impl<T> Patch<T> {
    /// Changes a field that cannot be missing.
    pub(crate) fn replace<U>(
        self,
        field: &'static str,
        to: &mut U,
        read: impl FnOnce(T) -> Result<U, FieldError>,
    ) -> Result<(), FieldError> {
        match self {
            Self::Keep => {}
            Self::Remove => return Err(FieldError::new(field, FieldProblem::Missing)),
            Self::Set(value) => *to = read(value)?,
        }
        Ok(())
    }

    /// Changes a field that may be missing.
    pub(crate) fn apply<U>(
        self,
        to: &mut Option<U>,
        read: impl FnOnce(T) -> Result<U, FieldError>,
    ) -> Result<(), FieldError> {
        match self {
            Self::Keep => {}
            Self::Remove => *to = None,
            Self::Set(value) => *to = Some(read(value)?),
        }
        Ok(())
    }
}

/// A field that must be there.
pub(crate) fn required<T>(field: &'static str, value: Option<T>) -> Result<T, FieldError> {
    value.ok_or_else(|| FieldError::new(field, FieldProblem::Missing))
}

/// Reads a value that is written as a text.
pub(crate) fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
    field: &'static str,
    text: &str,
) -> Result<T, FieldError> {
    text.parse()
        .map_err(|error: T::Err| FieldError::new(field, FieldProblem::Illegal(error.to_string())))
}

/// Reads a text that has a rule of its own, as the value of this field.
pub(crate) fn checked<T: std::str::FromStr<Err = FieldError>>(
    field: &'static str,
    text: &str,
) -> Result<T, FieldError> {
    text.parse()
        .map_err(|error: FieldError| FieldError::new(field, error.problem().clone()))
}

/// Reads constant metadata of ciphertexts, which is written as hex digits.
pub(crate) fn metadata(field: &'static str, text: &str) -> Result<CiphertextMetadata, FieldError> {
    let illegal = |rule: String| FieldError::new(field, FieldProblem::Illegal(rule));
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes: Option<Vec<u8>> = pairs
        .iter()
        .map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?))
        .collect();
    let bytes = bytes.filter(|_| rest.is_empty());
    let bytes = bytes.ok_or_else(|| illegal("it is written as pairs of hex digits".to_owned()))?;
    CiphertextMetadata::new(bytes).map_err(|error| illegal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_says_how_long_it_waits() {
        for (prefer, seconds) in [
            ("wait=0", Some(0)),
            ("wait=10", Some(10)),
            ("respond-async, Wait = \"7\"; x=y, wait=9", Some(7)),
            ("wait=18446744073709551616, wait=3", Some(3)),
            ("", None),
            ("wait", None),
            ("wait=", None),
            ("wait=-1", None),
            ("wait=+1", None),
            ("wait=1.5", None),
            ("handling=strict; wait=10", None),
        ] {
            assert_eq!(wait(prefer), seconds.map(Duration::from_secs), "{prefer}");
        }
    }
}
