//! Errors of TOML's syntax, with what to write instead. No message repeats a value, which may be a secret.

use std::ops::Range;

use super::secrecy::shown_key;

/// Describes the error at `span` of a text for a reader who does not know TOML's terms.
pub(super) fn explained(text: &str, span: &Range<usize>, message: &str) -> String {
    if message.starts_with("duplicate key") {
        let key = text.get(span.clone()).unwrap_or_default();
        let key = key.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
        return format!("duplicate key {}: it must be written once", shown_key(key));
    }
    let line = line_at(text, span.start);
    if let Some((odd, remedy)) = odd_character(line) {
        return format!("this line contains the character U+{:04X}: {remedy}", u32::from(odd));
    }
    let (key, value) = match line.split_once('=') {
        Some((key, value)) => (key.trim(), value.trim()),
        None => return without_equals_sign(line, message),
    };
    if !is_bare(key) {
        return message.to_owned();
    }
    match value.bytes().next() {
        None | Some(b'#') => format!("`{key}` has no value"),
        Some(b'"' | b'\'') => behind_a_quote(key, message),
        // An IPv6 address, or a list, in which another line may be meant.
        Some(b'[') if value.contains("]:") => in_quotes(key),
        Some(b'[' | b'{') => message.to_owned(),
        _ if matches!(&*value.to_ascii_lowercase(), "true" | "false") => {
            format!("`{key}`: write true or false in lower case")
        }
        _ if key.ends_with("_secs") || key.ends_with("_ms") => {
            format!("`{key}` must be a whole number without a unit")
        }
        Some(b'0'..=b'9' | b'+' | b'-') if !value.contains(['.', ':', '/']) && !value.starts_with("--") => {
            format!(
                "`{key}`: write a whole number in digits only, such as 5000, and a text in quotes, as in {key} = \
                 \"...\""
            )
        }
        _ => in_quotes(key),
    }
}

/// A line that is no `key = value`.
fn without_equals_sign(line: &str, message: &str) -> String {
    match line.split_once(':') {
        Some((key, _)) if is_bare(key.trim()) => {
            let key = key.trim();
            format!("`{key}`: write an equals sign instead of the colon: {key} = ...")
        }
        _ if line.trim_start().starts_with(['[', ']', '"', '\'', '{', '}']) => message.to_owned(),
        _ => "not a `key = value`, `[table]` or `# comment` line".to_owned(),
    }
}

/// Describes the error in a text that begins with a quote.
fn behind_a_quote(key: &str, message: &str) -> String {
    if message.starts_with("missing escaped value") || message.contains("unicode") {
        format!("`{key}`: a backslash in \"...\" begins an escape: write the text in '...', or the backslash twice")
    } else if message.starts_with("invalid basic string") || message.starts_with("invalid literal string") {
        format!("`{key}`: the text has no closing quote, or contains a control character")
    } else if message.starts_with("unexpected key or value") {
        format!("`{key}`: only a # comment may follow the value")
    } else {
        message.to_owned()
    }
}

fn in_quotes(key: &str) -> String {
    format!("`{key}`: write the value in quotes, as in {key} = \"...\", unless it is a number")
}

/// A character that editors and word processors write, and TOML has no use for, outside of a comment.
fn odd_character(line: &str) -> Option<(char, &'static str)> {
    let code = line.split('#').next().unwrap_or_default();
    code.chars().find_map(|c| {
        let remedy = match c {
            '\u{2018}'..='\u{201f}' | '\u{ab}' | '\u{bb}' | '\u{2032}' | '\u{2033}' => {
                "write quotes as the plain \" or '"
            }
            '\u{a0}' | '\u{2000}'..='\u{200f}' | '\u{202f}' | '\u{2060}' | '\u{3000}' | '\u{feff}' => {
                "write plain spaces"
            }
            '\r' => "end lines with LF or CR LF",
            _ => return None,
        };
        Some((c, remedy))
    })
}

/// The line of an offset, without its end.
fn line_at(text: &str, offset: usize) -> &str {
    let (before, behind) = text.split_at_checked(offset).unwrap_or((text, ""));
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let end = behind.find('\n').map_or(text.len(), |at| before.len() + at);
    let line = text.get(start..end).unwrap_or_default();
    line.strip_suffix('\r').unwrap_or(line)
}

/// Whether a text is a key as settings have them, without quotes: a line of a key in PEM may stand there too,
/// which has small letters and capitals.
fn is_bare(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_mixed = text.contains(|c: char| c.is_ascii_uppercase()) && text.contains(|c: char| c.is_ascii_lowercase());
    (1..=40).contains(&text.len()) && text.bytes().all(legal) && !is_mixed
}
