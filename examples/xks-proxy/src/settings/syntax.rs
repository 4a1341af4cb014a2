//! Errors of TOML's syntax, with what to write instead. No message repeats a value, which may be a secret.

use std::ops::Range;

/// What is wrong at `span` of a text, for somebody who does not know TOML's words for it.
pub(super) fn explained(text: &str, span: &Range<usize>, message: &str) -> String {
    if message.starts_with("duplicate key") {
        let key = text.get(span.clone()).unwrap_or_default().trim();
        return if is_key(key) {
            format!("duplicate key `{key}`: it must be written once")
        } else {
            message.to_owned()
        };
    }
    let (before, behind) = text.split_at_checked(span.start).unwrap_or((text, ""));
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let end = behind.find('\n').map_or(text.len(), |at| before.len() + at);
    let line = text.get(start..end).unwrap_or_default();
    let Some((key, value)) = line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) else {
        return message.to_owned();
    };
    if !is_key(key) || value.starts_with(['"', '\'', '[', '{']) {
        return message.to_owned();
    }
    if value.is_empty() || value.starts_with('#') {
        return format!("`{key}` has no value");
    }
    match value.to_ascii_lowercase().as_str() {
        "true" | "false" => format!("`{key}`: write true or false in lower case"),
        _ if key.ends_with("_secs") || key.ends_with("_ms") => {
            format!("`{key}` takes a whole number, without a unit")
        }
        _ => format!("{message}: put the value of `{key}` in quotes, as in {key} = \"...\", unless it is a number"),
    }
}

fn is_key(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=40).contains(&text.len()) && text.bytes().all(legal)
}
