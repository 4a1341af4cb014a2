//! What both formats have under different names: TLS files, credentials, a module, a set of key stores.

use std::{
    collections::{HashMap, HashSet},
    ops::{Range, RangeInclusive},
    path::PathBuf,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use xks_core::{
    Credential, KeyId, Zeroizing,
    backend::{CiphertextMetadata, Limits},
    key_store::{AccessKeyId, Region, UriPathPrefix},
};

use super::{
    ClientCertificates, CredentialSettings, Secret, SecretOrigin, TlsContent, TlsSettings,
    secrecy::{flaws, shown},
    source::Source,
    table::{Item, Table},
};
use crate::tls::{TlsPart, TlsProblem};

/// What Linux takes for the keep-alive of a connection.
pub(super) const KEEPALIVE_SECS: RangeInclusive<u64> = 1..=32_767;
pub(super) const KEEPALIVE_RETRIES: RangeInclusive<u64> = 1..=127;

/// Of the clients whose certificates are taken.
pub(super) type RootsAndNames = (Item<PathBuf>, Vec<Item<String>>);

/// The files of TLS, read and tried; none if one is missing or wrong. `client` is there when client
/// certificates are asked for.
pub(super) fn tls(
    source: &Source<'_>,
    certificate_chain: Option<Item<PathBuf>>,
    private_key: Option<Item<PathBuf>>,
    client: Option<Option<RootsAndNames>>,
) -> Option<TlsSettings> {
    let client = match client {
        Some(client) => Some(client?),
        None => None,
    };
    let (certificate_chain, private_key) = (certificate_chain?, private_key?);
    let (chain, key) = (source.read(&certificate_chain), source.read(&private_key));
    let roots = client.as_ref().map(|(roots, _)| source.read(roots));
    let (chain, key) = (chain?, key?);
    // One name, whole: what has an asterisk, or is no name, would match no certificate.
    let is_name = |name: &str| {
        name.split('.').all(|label| !label.is_empty())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
    };
    let names = client.iter().flat_map(|(_, names)| names);
    for name in names.filter(|name| !is_name(&name.value)) {
        let wrong = format!(
            "{}: not a client name, such as cks.kms.eu-central-1.amazonaws.com",
            shown(&name.value)
        );
        source.error(name.span.clone(), wrong);
    }
    let names: Vec<String> = client
        .iter()
        .flat_map(|(_, names)| names)
        .map(|name| name.value.clone())
        .collect();
    let roots = match roots {
        Some(roots) => Some(Secret(roots?)),
        None => None,
    };
    let settings = TlsSettings {
        content: TlsContent(Secret(chain), Secret(key), roots),
        certificate_chain: certificate_chain.value.clone(),
        private_key: private_key.value.clone(),
        client: client.as_ref().map(|(roots, _)| ClientCertificates {
            roots: roots.value.clone(),
            names,
        }),
    };
    // Of a line in one of the files, at the line that names the file.
    let place = |problem: &TlsProblem| {
        let file = match (problem.part, &client) {
            (TlsPart::PrivateKey, _) => &private_key,
            (TlsPart::ClientRoots, Some((roots, _))) => roots,
            (TlsPart::CertificateChain | TlsPart::ClientRoots, _) => &certificate_chain,
        };
        let (path, text) = (file.value.display(), &problem.text);
        let text = match problem.line {
            Some(line) => format!("{path}, line {line}: {text}"),
            None => format!("{path}: {text}"),
        };
        (file.span.clone(), text)
    };
    let say = |report: fn(&Source<'_>, Range<usize>, String), problems: &[TlsProblem]| {
        for (span, text) in problems.iter().map(place) {
            report(source, span, text);
        }
    };
    let material = settings
        .material()
        .map_err(|problems| say(|source, span, text| source.error(span, text), &problems))
        .ok()?;
    say(|source, span, text| source.warn(span, text), &material.warnings);
    Some(settings)
}

/// A credential of a checked id and secret.
// SIG-6
pub(super) fn credential(
    source: &Source<'_>,
    id: Item<AccessKeyId>,
    secret: Item<Zeroizing<String>>,
    origin: SecretOrigin,
) -> Option<Item<CredentialSettings>> {
    let flaws = flaws(&secret.value);
    match Credential::new(&id.value, secret.value) {
        Ok(credential) => Some(Item {
            value: CredentialSettings { credential, origin },
            span: id.span,
        }),
        Err(error) => {
            let found: String = flaws.iter().map(|flaw| format!("; {flaw}")).collect();
            source.error(secret.span, format!("{error}{found}"));
            None
        }
    }
}

/// What the names of log files begin with.
pub(super) fn check_file_prefix(source: &Source<'_>, prefix: Option<&Item<String>>) {
    // A file's name has 255 bytes at most, and a date follows.
    let is_one = |prefix: &str| {
        !matches!(prefix, "" | "." | "..")
            && prefix.len() <= 200
            && !prefix.contains(|c: char| c == '/' || c.is_control())
    };
    if let Some(prefix) = prefix
        && !is_one(&prefix.value)
    {
        let wrong = "the prefix of log files must have at most 200 bytes, without a slash";
        source.error(prefix.span.clone(), wrong);
    }
}

/// Whether the environment can have a variable of this name and value.
pub(super) fn is_variable(name: &str, value: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
}

// ENC-7: Base64 of 1 to 20 bytes.
pub(super) fn ciphertext_metadata(source: &Source<'_>, text: Item<String>) -> Option<CiphertextMetadata> {
    let bytes = BASE64_STANDARD.decode(&text.value).unwrap_or_default();
    let metadata = CiphertextMetadata::try_from(&*bytes);
    if metadata.is_err() {
        source.error(text.span, "ciphertext metadata must be the Base64 of 1 to 20 bytes");
    }
    metadata.ok()
}

// ENC-2, ENC-3: less than the specification demands can be configured, with a warning.
pub(super) fn warn_of_small_limits(table: &Table<'_, '_>, limits: Limits) {
    let least = Limits::default();
    if limits.plaintext < least.plaintext || limits.aad < least.aad {
        table.source.warn(
            table.span.clone(),
            format!(
                "limits of {} bytes of plaintext and {} of AAD are below what KMS requires: {} and {}",
                limits.plaintext, limits.aad, least.plaintext, least.aad
            ),
        );
    }
}

/// What no two key stores may share, and what one may not name twice.
#[derive(Default)]
pub(super) struct Unique {
    prefixes: HashMap<UriPathPrefix, Range<usize>>,
    /// Those of the key stores so far.
    credentials: Vec<Credential>,
}

impl Unique {
    pub(super) fn check(
        &mut self,
        table: &Table<'_, '_>,
        prefix: Option<&Item<UriPathPrefix>>,
        credentials: &[Item<CredentialSettings>],
        keys: Option<&[Item<KeyId>]>,
    ) {
        let source = table.source;
        if let Some(prefix) = prefix {
            if self
                .prefixes
                .insert(prefix.value.clone(), prefix.span.clone())
                .is_some()
            {
                let wrong = format!(
                    "another key store has the same URI path prefix {:?}",
                    prefix.value.as_str()
                );
                source.error(prefix.span.clone(), wrong);
            }
            if prefix.value.is_too_short_for_console() {
                // URI-1
                let warning = "the AWS console requires a URI path prefix of 9 characters or more, or none";
                source.warn(prefix.span.clone(), warning);
            }
            let lower = prefix.value.as_str().to_ascii_lowercase();
            if lower.ends_with("/kms/xks") || lower.contains("/kms/xks/v") {
                let warning = format!(
                    "`uri_path_prefix` must not include /kms/xks/v1: with this prefix KMS would have to call {}",
                    prefix.value.xks_proxy_uri_path()
                );
                source.warn(prefix.span.clone(), warning);
            }
        }
        let before = self.credentials.len();
        for Item { value, span } in credentials {
            let credential = &value.credential;
            let id = credential.access_key_id();
            let same = |known: &(usize, &Credential)| known.1.access_key_id() == id;
            if let Some((place, known)) = self.credentials.iter().enumerate().find(same) {
                let has_same_secret = known.secret_access_key().expose() == credential.secret_access_key().expose();
                if place < before && has_same_secret {
                    let warning =
                        format!("another key store has the same credential {id}: its secret gives access to both");
                    source.warn(span.clone(), warning);
                } else {
                    let wrong = format!(
                        "the access key id {id} is used twice: it must have one secret, and be listed once per key \
                         store"
                    );
                    source.error(span.clone(), wrong);
                }
            }
            self.credentials.push(credential.clone());
        }
        let mut seen = HashSet::new();
        for key in keys.unwrap_or_default() {
            if !seen.insert(&key.value) {
                source.warn(key.span.clone(), format!("the key {} is listed twice", key.value));
            }
        }
        if keys.is_some_and(<[_]>::is_empty) {
            source.warn(
                table.span.clone(),
                "the key store has no keys: every request fails with KeyNotFoundException",
            );
        }
    }
}

/// Reads a Region; the list of Regions changes too often to be kept here.
pub(super) fn region(source: &Source<'_>, region: Item<String>) -> Option<Region> {
    let parsed = region.value.parse().ok();
    if parsed.is_none() {
        let wrong = format!("{} is not an AWS Region, such as eu-central-1", shown(&region.value));
        source.error(region.span, wrong);
    }
    parsed
}
