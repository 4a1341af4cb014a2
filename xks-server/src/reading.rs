//! What a settings text comes to, in texts: for the fuzzer, which asks whether two of them mean the same.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use xks_core::Zeroizing;

use crate::settings::{self, Settings};

/// What [`read_settings`] found.
#[non_exhaustive]
#[derive(Clone)]
pub struct Reading {
    /// What is wrong, each with file and line.
    pub problems: Vec<String>,
    /// It was written for AWS's sample proxy.
    pub is_sample_proxys: bool,
    /// All that was understood, secrets included, the same for files that mean the same; none when there were errors.
    pub model: Option<Zeroizing<String>>,
    /// The same in this program's format, secrets included, where it was written for the sample proxy.
    pub converted: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading")
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}

/// Reads `text` as if it stood in the file at `path`, and every file that it names.
#[must_use]
pub fn read_settings(path: &Path, text: &str) -> Reading {
    let loaded = settings::parse(path, text);
    Reading {
        problems: loaded.problems.iter().map(ToString::to_string).collect(),
        is_sample_proxys: loaded.is_sample_proxys,
        model: loaded.settings.as_ref().map(model),
        converted: loaded
            .settings
            .as_ref()
            .filter(|_| loaded.is_sample_proxys)
            .map(settings::to_our_format),
    }
}

fn model(settings: &Settings) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::new());
    // Writing to a string cannot fail.
    let _ = write_model(&mut out, settings);
    out
}

fn write_model(out: &mut String, settings: &Settings) -> std::fmt::Result {
    let Settings {
        environment,
        server,
        tls,
        health,
        metrics,
        log,
        watch,
        backends,
        key_stores,
    } = settings;
    // Variables have no order.
    let environment: BTreeMap<_, _> = environment.iter().map(|(name, value)| (name, value)).collect();
    writeln!(
        out,
        "{environment:?}\n{server:?}\n{tls:?}\n{health:?}\n{metrics:?}\n{log:?}\n{watch:?}\n{backends:?}"
    )?;
    // What `Debug` keeps to itself.
    for backend in backends {
        if let settings::BackendKind::Pkcs11(token) = &backend.kind {
            let pin = token.pin.as_ref().map(|pin| pin.0.as_slice());
            writeln!(out, "{}: {pin:?}", backend.name)?;
        }
    }
    for store in key_stores {
        let authorization = match &store.authorization {
            settings::Authorization::AllowAll => "all",
            settings::Authorization::By { what, .. } => what,
        };
        writeln!(
            out,
            "{} {:?} {} {:?} {:?} {:?} {:?} {:?} {authorization}",
            store.prefix,
            store.regions,
            store.backend,
            store.keys,
            store.aad_framing,
            store.ciphertext_metadata.map(|metadata| metadata.as_bytes().to_vec()),
            store.limits,
            store.traffic,
        )?;
        for settings::CredentialSettings { credential, origin } in &store.credentials {
            let secret = credential.secret_access_key().expose();
            writeln!(out, "{} {secret} {origin:?}", credential.access_key_id())?;
        }
    }
    Ok(())
}
