//! Writes our format, for the settings that the sample proxy's has.

use std::{fmt::Write as _, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use xks_backend_pkcs11::{AppendedIv, IvSource, Quirks};
use xks_core::{Zeroizing, aad::AadFraming, backend::Limits, key_store::Region};

use super::{CredentialSettings, HealthSettings, KeyStoreSettings, LogOutput, LogSettings, Rotation, Settings};
use crate::kinds::Pkcs11Settings;

/// The settings in our format. It holds the secrets that they hold.
pub(crate) fn to_our_format(settings: &Settings) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(16 * 1024)); // it seldom grows, so copies are seldom left behind
    // Writing to a string cannot fail.
    let _ = write(&mut out, settings);
    out
}

fn write(out: &mut String, settings: &Settings) -> std::fmt::Result {
    writeln!(
        out,
        "# Secrets may stand in files of their own: `secret_access_key_file` and `pin_file` name them."
    )?;
    if !settings.environment.is_empty() {
        writeln!(out, "\n[environment]")?;
        for (name, value) in &settings.environment {
            writeln!(out, "{} = {}", quoted(name), quoted(value))?;
        }
    }
    let server = &settings.server;
    writeln!(out, "\n[server]\nlisten = {}", quoted(&server.listen.to_string()))?;
    if let Some(keepalive) = &server.tcp_keepalive {
        writeln!(
            out,
            "\n[server.tcp_keepalive]\nidle_secs = {}",
            keepalive.idle.as_secs()
        )?;
        if let Some(interval) = keepalive.interval {
            writeln!(out, "interval_secs = {}", interval.as_secs())?;
        }
        if let Some(retries) = keepalive.retries {
            writeln!(out, "retries = {retries}")?;
        }
    }
    if let Some(tls) = &settings.tls.api {
        writeln!(out, "\n[tls]\ncertificate_chain = {}", path(&tls.certificate_chain))?;
        writeln!(out, "private_key = {}", path(&tls.private_key))?;
        if let Some(client) = &tls.client {
            writeln!(out, "\n[tls.client]\nroots = {}", path(&client.roots))?;
            writeln!(out, "names = {}", list(client.names.iter().map(String::as_str)))?;
        }
    }
    let HealthSettings { listen, .. } = &settings.health;
    if let Some(listen) = listen {
        writeln!(out, "\n[health]\nlisten = {}", quoted(&listen.to_string()))?;
    }
    log(out, &settings.log)?;
    for backend in &settings.backends {
        if let Some(settings) = backend.settings::<Pkcs11Settings>() {
            writeln!(out, "\n[backends.{}]\nkind = {}", backend.name, quoted(backend.kind))?;
            token(out, settings)?;
        }
    }
    settings.key_stores.iter().try_for_each(|store| key_store(out, store))
}

fn log(out: &mut String, log: &LogSettings) -> std::fmt::Result {
    let output = match log.output {
        LogOutput::Stderr => "stderr",
        LogOutput::Stdout => "stdout",
        LogOutput::None => "none",
    };
    writeln!(out, "\n[log]\nlevel = {}", quoted(&log.level.as_str().to_lowercase()))?;
    writeln!(out, "output = {}", quoted(output))?;
    let Some(file) = &log.file else { return Ok(()) };
    let rotation = match file.rotation {
        Rotation::Minutely => "minutely",
        Rotation::Hourly => "hourly",
        Rotation::Daily => "daily",
        Rotation::Never => "never",
    };
    writeln!(out, "\n[log.file]\ndirectory = {}", path(&file.directory))?;
    writeln!(
        out,
        "prefix = {}\nrotation = {}",
        quoted(&file.prefix),
        quoted(rotation)
    )
}

fn token(out: &mut String, token: &Pkcs11Settings) -> std::fmt::Result {
    writeln!(out, "module = {}", path(&token.module))?;
    writeln!(out, "vendor = {}", quoted(token.quirks.name()))?;
    let of_vendor = token.quirks.name().parse::<Quirks>().map(|quirks| quirks.iv_source());
    if of_vendor != Ok(token.quirks.iv_source()) {
        let iv_source = match token.quirks.iv_source() {
            IvSource::SystemRandom => "system-random",
            IvSource::WrittenBack => "written-back",
            IvSource::Appended(AppendedIv::Bytes12) => "appended-12",
            IvSource::Appended(AppendedIv::Bytes16) => "appended-16",
            _ => "token-random",
        };
        writeln!(out, "iv_source = {}", quoted(iv_source))?;
    }
    if let Some(pin) = &token.pin {
        writeln!(out, "pin = {}", quoted(&String::from_utf8_lossy(&pin.0)))?;
    }
    writeln!(out, "sessions = {}", token.sessions)
}

fn key_store(out: &mut String, store: &KeyStoreSettings) -> std::fmt::Result {
    writeln!(
        out,
        "\n[[key_stores]]\nuri_path_prefix = {}",
        quoted(store.prefix.as_str())
    )?;
    writeln!(out, "regions = {}", list(store.regions.iter().map(Region::as_str)))?;
    writeln!(
        out,
        "keys = {}",
        list(store.keys.iter().flatten().map(|key| key.as_str()))
    )?;
    if store.aad_framing == AadFraming::Digest {
        writeln!(
            out,
            "aad_framing = \"digest\" # as the sample proxy made it: what it encrypted decrypts"
        )?;
    }
    if let Some(metadata) = &store.ciphertext_metadata {
        writeln!(
            out,
            "ciphertext_metadata = {}",
            quoted(&BASE64_STANDARD.encode(metadata.as_bytes()))
        )?;
    }
    let standard = Limits::default();
    if store.limits.plaintext != standard.plaintext {
        writeln!(out, "max_plaintext_bytes = {}", store.limits.plaintext)?;
    }
    if store.limits.aad != standard.aad {
        writeln!(out, "max_aad_bytes = {}", store.limits.aad)?;
    }
    for CredentialSettings { credential, .. } in &store.credentials {
        writeln!(
            out,
            "\n[[key_stores.credentials]]\naccess_key_id = {}",
            quoted(credential.access_key_id().as_str())
        )?;
        writeln!(
            out,
            "secret_access_key = {}",
            quoted(credential.secret_access_key().expose())
        )?;
    }
    Ok(())
}

/// As a TOML string: what JSON escapes, TOML reads, but for DEL, which TOML wants escaped too.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

fn list<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let texts: Vec<_> = texts.map(quoted).collect();
    format!("[{}]", texts.join(", "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever a path or a PIN holds comes back as it was.
        #[test]
        fn what_is_quoted_is_read_as_it_was(text in any::<String>()) {
            let line = format!("key = {}", quoted(&text));
            let table = toml::de::DeTable::parse(&line).unwrap().into_inner();
            let value = table.get("key").unwrap().get_ref();
            prop_assert!(matches!(value, toml::de::DeValue::String(read) if *read == text), "{line:?}");
        }
    }
}
