//! Decides which words of a file a message may repeat, since people put secrets into the wrong places.

use std::path::Path;

use xks_backend_pkcs11::Pin;

/// Endings of names of files that hold certificates, keys and secrets.
const ENDINGS: [&str; 12] = [
    "pem", "crt", "cer", "key", "der", "p8", "txt", "hex", "bin", "pin", "secret", "pass",
];

/// Whether a text has the form of a secret access key, of one of AWS's own, which has 40 characters, or
/// of a key in Base64 or hexadecimal digits; or is a PEM file.
// SIG-6
pub(super) fn looks_secret(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let text = text.trim();
    text.contains("-----BEGIN") || ((40..=128).contains(&text.len()) && text.bytes().all(legal))
}

/// A value as a message shows it: in quotes, or not at all if it is long or looks like a secret.
pub(crate) fn shown(value: &str) -> String {
    if looks_secret(value) || value.len() > 128 {
        "(value not shown: it may be a secret)".to_owned()
    } else {
        format!("{value:?}")
    }
}

/// A key of a table as a message shows it.
pub(super) fn shown_key(key: &str) -> String {
    if looks_secret(key) || key.len() > 128 {
        "(not shown: it may be a secret)".to_owned()
    } else {
        format!("`{key}`")
    }
}

/// Whether what stands where the name of a file with a secret belongs may be the secret itself. There is no
/// such file.
pub(super) fn may_be_the_secret(name: &str, path: &Path) -> bool {
    let is_in_a_folder = ["/", "./", "../"].iter().any(|start| match name.strip_prefix(start) {
        Some(rest) => *start != "/" || rest.contains('/'), // a PIN may begin with a slash
        None => false,
    });
    let is_a_path = is_in_a_folder || (name.contains('/') && path.parent().is_some_and(is_folder));
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
    let has_known_ending = ending.is_some_and(|ending| ENDINGS.contains(&ending));
    looks_secret(name) || !(is_a_path || has_known_ending)
}

/// But for the root, in which every name that begins with a slash may be meant.
fn is_folder(path: &Path) -> bool {
    path.parent().is_some() && path.is_dir()
}

/// Whether a text is a variable's name as people write them, such as `XKS_PIN`.
pub(super) fn is_usual_variable(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    name.contains('_') && name.bytes().all(legal) && !looks_secret(name)
}

/// What an editor or a shell may have put into or around a secret of one line, as it does with a PIN.
pub(super) fn flaws(text: &str) -> Vec<&'static str> {
    Pin::fault(text).into_iter().chain(Pin::warnings(text)).collect()
}
