//! The twelve errors of the specification.

/// Each with its status.
const ERRORS: [(&str, u16); 12] = [
    ("ValidationException", 400),
    ("InvalidStateException", 400),
    ("InvalidCiphertextException", 400),
    ("InvalidKeyUsageException", 400),
    ("AuthenticationFailedException", 401),
    ("AccessDeniedException", 403),
    ("KeyNotFoundException", 404),
    ("InvalidUriPathException", 404),
    ("ThrottlingException", 429),
    ("UnsupportedOperationException", 501),
    ("DependencyTimeoutException", 503),
    ("InternalException", 500),
];

pub(super) const VALIDATION: &[&str] = &["ValidationException"];
pub(super) const CIPHERTEXT: &[&str] = &["InvalidCiphertextException"];
/// What has no legal form may be called either: the specification's table has "corrupted or missing" too.
pub(super) const CIPHERTEXT_OR_VALIDATION: &[&str] = &["InvalidCiphertextException", "ValidationException"];
pub(super) const AUTHENTICATION: &[&str] = &["AuthenticationFailedException"];
pub(super) const AUTHENTICATION_OR_PATH: &[&str] = &["AuthenticationFailedException", "InvalidUriPathException"];
pub(super) const KEY_NOT_FOUND: &[&str] = &["KeyNotFoundException"];
pub(super) const PATH: &[&str] = &["InvalidUriPathException"];
pub(super) const USAGE: &[&str] = &["InvalidKeyUsageException"];
pub(super) const STATE: &[&str] = &["InvalidStateException"];
/// Of two things that are wrong, the key and the ciphertext, a proxy may look at either first.
pub(super) const KEY_NOT_FOUND_OR_CIPHERTEXT: &[&str] = &["KeyNotFoundException", "InvalidCiphertextException"];
pub(super) const USAGE_OR_CIPHERTEXT: &[&str] = &["InvalidKeyUsageException", "InvalidCiphertextException"];
pub(super) const STATE_OR_CIPHERTEXT: &[&str] = &["InvalidStateException", "InvalidCiphertextException"];

/// The status of an error, where it is one of the twelve.
pub(super) fn status(name: &str) -> Option<u16> {
    ERRORS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, status)| *status)
}

/// What is expected, in words.
pub(super) fn expectation(names: &[&str]) -> String {
    let named = names.iter().map(|name| match status(name) {
        Some(status) => format!("{status} {name}"),
        None => (*name).to_owned(),
    });
    named.collect::<Vec<_>>().join(" or ")
}
