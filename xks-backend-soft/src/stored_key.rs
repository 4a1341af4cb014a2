//! A key as text, for its file: one line for each thing that is known of it.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use xks_core::{Zeroizing, backend::KeyUsage};

use crate::{KeyMaterial, KeyVersion, SoftKey};

const FIRST_LINE: &str = "xks-backend-soft key 1";
/// `version`, eight digits, 44 characters, two spaces and the end of the line.
const MAX_VERSION_LINE: usize = 7 + 8 + 44 + 3;

/// Writes down a key that was created here.
pub(crate) fn encode(key: &SoftKey) -> Zeroizing<Vec<u8>> {
    let token = key.token().map(|token| token.to_string()).unwrap_or_default();
    let usages: Vec<_> = key.metadata().usages().iter().map(|usage| usage.as_str()).collect();
    let status = key.metadata().status().as_str();
    let extractable = if key.is_extractable() { "yes" } else { "no" };
    let head = format!(
        "{FIRST_LINE}\ntoken {token}\nusages {}\nstatus {status}\nextractable {extractable}\n",
        usages.join(" ")
    );
    // With room for all versions, so that nothing moves them.
    let mut text = Zeroizing::new(Vec::with_capacity(
        head.len() + key.versions().count() * MAX_VERSION_LINE,
    ));
    text.extend_from_slice(head.as_bytes());
    for version in key.versions() {
        text.extend_from_slice(format!("version {} ", version.number()).as_bytes());
        let mut material = Zeroizing::new([0; 44]);
        let _ = BASE64_STANDARD.encode_slice(version.material().as_bytes(), &mut *material); // 44 characters
        text.extend_from_slice(&*material);
        text.push(b'\n');
    }
    text
}

/// Reads what [`encode`] wrote, and nothing else.
///
/// # Errors
/// Says what is wrong, without the content.
pub(crate) fn decode(content: &[u8]) -> Result<SoftKey, &'static str> {
    let text = std::str::from_utf8(content).map_err(|_| "it is not text")?;
    let mut lines = text.strip_suffix('\n').ok_or("its last line has no end")?.split('\n');
    if lines.next() != Some(FIRST_LINE) {
        return Err("its first line is not `xks-backend-soft key 1`");
    }
    let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    let token = value("token").and_then(|token| token.parse().ok());
    let token = token.ok_or("its second line is not `token` and 32 hex digits")?;
    let usages = value("usages").and_then(usages_of);
    let usages = usages.ok_or("its third line is not `usages` and their names")?;
    let status = value("status").and_then(|status| status.parse().ok());
    let status = status.ok_or("its fourth line is not `status` and ENABLED or DISABLED")?;
    let is_extractable = match value("extractable") {
        Some("yes") => true,
        Some("no") => false,
        _ => return Err("its fifth line is not `extractable` and yes or no"),
    };
    let mut key: Option<SoftKey> = None;
    for line in lines {
        let version = version_of(line).ok_or("a line is not `version`, a number and 44 characters of Base64")?;
        key = Some(match key {
            None => SoftKey::new(version),
            Some(key) => key.with_version(version).map_err(|_| "two versions are the same")?,
        });
    }
    let key = key.ok_or("it has no version")?;
    Ok(key
        .with_usages(usages)
        .with_status(status)
        .created_with(token, is_extractable))
}

fn version_of(line: &str) -> Option<KeyVersion> {
    let (number, text) = line.strip_prefix("version ")?.split_once(' ')?;
    let mut material = Zeroizing::new([0; 33]); // what 44 characters without padding would be
    let length = BASE64_STANDARD.decode_slice(text, &mut *material).ok()?;
    let material = KeyMaterial::try_from(material.get(..length)?).ok()?;
    KeyVersion::new(number.parse().ok()?, material).ok()
}

fn usages_of(text: &str) -> Option<Vec<KeyUsage>> {
    let names = text.split(' ').filter(|name| !name.is_empty());
    names.map(|name| name.parse().ok()).collect()
}
