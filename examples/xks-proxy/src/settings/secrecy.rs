//! What a message may repeat of a file, where people put secrets into the wrong places.

use std::path::Path;

use xks_backend_pkcs11::Pin;

/// Endings of names of files that hold certificates, keys and secrets.
const ENDINGS: [&str; 12] = [
    "pem", "crt", "cer", "key", "der", "p8", "txt", "hex", "bin", "pin", "secret", "pass",
];

/// Whether a text has the form of a secret access key (SIG-6), or is a PEM file.
pub(super) fn looks_secret(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    text.contains("-----BEGIN") || ((43..=64).contains(&text.len()) && text.bytes().all(legal))
}

/// A value as a message shows it: in quotes, or not at all if it is long or looks like a secret.
pub(super) fn shown(value: &str) -> String {
    if looks_secret(value) || value.len() > 128 {
        "(a value that is not shown: it may be a secret)".to_owned()
    } else {
        format!("{value:?}")
    }
}

/// Whether what stands where the name of a file with a secret belongs may be the secret itself. There is no
/// such file.
pub(super) fn may_be_the_secret(name: &str, path: &Path) -> bool {
    let is_a_path = ["/", "./", "../"].iter().any(|start| name.starts_with(start))
        || (name.contains('/') && path.parent().is_some_and(Path::is_dir));
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
    let has_known_ending = ending.is_some_and(|ending| ENDINGS.contains(&ending));
    looks_secret(name) || !(is_a_path || has_known_ending)
}

/// Whether a text is a variable's name as people write them, such as `XKS_PIN`.
pub(super) fn is_usual_variable(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    name.contains('_') && name.bytes().all(legal) && !looks_secret(name)
}

/// What an editor or a shell may have put into or around a secret of one line, as it does with a PIN.
pub(super) fn flaws(text: &str) -> Vec<&'static str> {
    Pin::fault(text).into_iter().chain(Pin::doubts(text)).collect()
}
