//! Bodies: JSON that may be anything, and JSON of answers.

use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::error::Category;
use zeroize::Zeroizing;

use crate::kms::{Exception, ExceptionName};

pub(crate) fn parsed<R: DeserializeOwned>(body: &[u8]) -> Result<R, Exception> {
    serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        let names_a_field = ["unknown field", "missing field", "duplicate field"];
        match error.classify() {
            Category::Data if names_a_field.iter().any(|start| text.starts_with(start)) => Exception::validation(text),
            // Other texts could quote a value, and that could be a secret.
            Category::Data => Exception::validation(format!(
                "invalid value at line {} column {}",
                error.line(),
                error.column()
            )),
            // `null` where an enumeration is expected, for instance.
            _ if serde_json::from_slice::<IgnoredAny>(body).is_ok() => Exception::validation(format!(
                "invalid value at line {} column {}",
                error.line(),
                error.column()
            )),
            _ => Exception::new(ExceptionName::Serialization, "the body is not JSON"),
        }
    })
}

pub(crate) fn json(answer: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, Exception> {
    let body = serde_json::to_vec(answer).map(Zeroizing::new);
    body.map_err(|error| Exception::new(ExceptionName::Internal, error.to_string()))
}
