//! Fields of JSON.

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;
use xks_byok::aws::{Page, PageRequest};
use xks_lifecycle::Timestamp;

/// Leaves out the fields that are `null`, at the top.
pub(crate) fn without_nulls(mut body: Value) -> Value {
    if let Value::Object(fields) = &mut body {
        fields.retain(|_, value| !value.is_null());
    }
    body
}

/// A text, empty where it is missing.
pub(crate) fn text(body: &Value, field: &str) -> String {
    optional_text(body, field).unwrap_or_default()
}

pub(crate) fn optional_text(body: &Value, field: &str) -> Option<String> {
    body.get(field)?.as_str().map(str::to_owned)
}

/// A value of an enum that keeps what it does not know.
pub(crate) fn value<T: for<'a> From<&'a str>>(body: &Value, field: &str) -> T {
    T::from(&text(body, field))
}

pub(crate) fn optional_value<T: for<'a> From<&'a str>>(body: &Value, field: &str) -> Option<T> {
    optional_text(body, field).map(|text| T::from(&text))
}

pub(crate) fn flag(body: &Value, field: &str) -> bool {
    body.get(field).and_then(Value::as_bool).unwrap_or_default()
}

/// Seconds since 1970.
pub(crate) fn time(body: &Value, field: &str) -> Option<Timestamp> {
    let seconds = Duration::try_from_secs_f64(body.get(field)?.as_f64()?).ok()?;
    UNIX_EPOCH.checked_add(seconds).map(Timestamp::from)
}

pub(crate) fn bytes(body: &Value, field: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text(body, field)).unwrap_or_default()
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// Writes which page, in KMS's words.
pub(crate) fn with_page(mut body: Value, page: PageRequest) -> Value {
    if let Value::Object(fields) = &mut body {
        fields.insert("Limit".into(), page.limit.into());
        fields.insert("Marker".into(), page.marker.into());
    }
    body
}

/// A page of the list in `field`.
pub(crate) fn page<T>(body: &Value, field: &str, item: impl Fn(&Value) -> T) -> Page<T> {
    let items = body.get(field).and_then(Value::as_array);
    let items = items.map(|items| items.iter().map(item).collect());
    // IAM calls the marker of the next page as that of the request.
    let marker = optional_text(body, "NextMarker").or_else(|| optional_text(body, "Marker"));
    Page::new(items.unwrap_or_default(), marker)
}
