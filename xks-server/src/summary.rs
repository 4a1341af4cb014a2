//! The lines at the start: where the server listens, with which keys, and a command that calls it.

use std::{
    fmt::Write as _,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;
use xks_core::{
    KeyBackend, KeyId, Zeroizing,
    aad::AadFraming,
    api::RequestMetadata,
    backend::{GetKeyMetadataRequest, KeyMetadata, KeyUsage},
    key_store::Region,
};

use crate::{
    backends::Backends,
    demo::Demo,
    ports::Addresses,
    program::Program,
    settings::{CredentialSettings, KeyStoreSettings, SecretOrigin, Settings, TlsSettings},
};

/// How many keys of a key store are asked for what they are.
const MOST_KEYS: usize = 50;

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long all of them may take before the server serves without having asked the rest.
const ALL_PATIENCE: Duration = Duration::from_secs(10);

/// Where the settings came from.
#[derive(Clone, Copy)]
pub(crate) enum Origin<'a> {
    File(&'a Path),
    Demo(&'a Demo),
}

/// It holds a secret if that is new, so that the key store can be called at all. `managed` tells of keys
/// under management.
pub(crate) async fn summary(
    program: Program,
    settings: &Settings,
    origin: Origin<'_>,
    addresses: Addresses,
    backends: &Backends,
    managed: &str,
) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(32 * 1024)); // it seldom grows, so copies are seldom left behind
    let scheme = |tls: &Option<TlsSettings>| if tls.is_some() { "https" } else { "http" };
    let api = format!("{}://{}", scheme(&settings.tls.api), addresses.api);
    let health_address = addresses.health.map_or_else(
        || api.clone(),
        |address| format!("{}://{address}", scheme(&settings.tls.health)),
    );
    let _ = writeln!(out, "{program}\n");
    let mut fact = |name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(out, "  {name:<18} {value}");
    };
    fact("address", &api);
    fact("TLS", &tls(settings));
    fact("health", &format!("{health_address}{}", settings.health.readiness_path));
    if let Some(address) = addresses.metrics {
        fact(
            "metrics",
            &format!("{}://{address}/metrics", scheme(&settings.tls.metrics)),
        );
    }
    match origin {
        Origin::File(file) => fact("settings", &file.display()),
        Origin::Demo(_) => fact(
            "settings",
            &"none: a demo with software keys in memory; not for production",
        ),
    }
    for (name, backend) in backends.iter() {
        let health = tokio::time::timeout(PATIENCE, backend.health()).await;
        match health {
            Ok(Ok(health)) => {
                for member in health.members() {
                    let name = match health.members() {
                        [_] => name.to_owned(),
                        _ => format!("{name}/{}", member.id()),
                    };
                    fact(
                        "key manager",
                        &format!("{name}: {}, {}, {}", health.vendor(), member.model(), member.status()),
                    );
                }
                if let Some(fleet) = backend.as_fleet() {
                    for odd in fleet.disagreements().iter().take(MOST_KEYS) {
                        fact(
                            "members disagree",
                            &format!("{name}/{}: {} ({})", odd.member, odd.key, odd.kind.as_str()),
                        );
                    }
                }
            }
            _ => fact("key manager", &format!("{name}: health unknown")),
        }
    }
    let (mut example, until) = (None, Instant::now() + ALL_PATIENCE);
    for store in &settings.key_stores {
        let usable = key_store(&mut out, store, backends, origin, until).await;
        example = example.or(Some(store).zip(usable));
    }
    out.push_str(managed);
    if let (Some((store, key)), None) = (example, &settings.tls.api) {
        command(&mut out, store, &key, &addresses.api.to_string());
    }
    if let Some(store) = settings.key_stores.first()
        && let Some(CredentialSettings {
            credential,
            origin: SecretOrigin::New,
        }) = store.credentials.first()
    {
        out.push_str("The file for the AWS KMS console, to create an external key store:\n\n");
        out.push_str(&credential.console_json(&store.prefix));
        out.push_str("\n\n");
    }
    out
}

fn tls(settings: &Settings) -> String {
    match settings.tls.api.as_ref().map(|tls| &tls.client) {
        None => "none: AWS KMS requires HTTPS, so terminate TLS in front of this server".to_owned(),
        Some(None) => "1.2 and 1.3".to_owned(),
        Some(Some(client)) => format!(
            "1.2 and 1.3, with client certificates issued by {}",
            client.names.join(", ")
        ),
    }
}

/// Says all of it, and returns a key that may encrypt.
async fn key_store(
    out: &mut String,
    store: &KeyStoreSettings,
    backends: &Backends,
    origin: Origin<'_>,
    until: Instant,
) -> Option<KeyId> {
    out.push('\n');
    let mut fact = |name: &str, value: &str| {
        let _ = writeln!(out, "  {name:<18} {value}");
    };
    fact("URI path prefix", store.prefix.as_str());
    let regions: Vec<_> = store.regions.iter().map(Region::as_str).collect();
    fact("Region", &regions.join(", "));
    fact("served from", &store.backend);
    for CredentialSettings { credential, origin } in &store.credentials {
        fact("access key id", credential.access_key_id().as_str());
        let shown = match origin {
            SecretOrigin::New => Zeroizing::new(credential.secret_access_key().expose().to_owned()),
            SecretOrigin::File(path) => Zeroizing::new(format!("as in {}", path.display())),
            SecretOrigin::Environment(variable) => Zeroizing::new(format!("as in ${variable}")),
            SecretOrigin::Settings => Zeroizing::new("as in the settings".to_owned()),
        };
        fact("secret access key", &shown);
    }
    fact(
        "AAD framing",
        match store.aad_framing {
            AadFraming::Digest => "digest: SHA-256 of the AAD, as in AWS's sample proxy",
            AadFraming::Migrating => "migrating: new ciphertexts as in the specification, marked",
            _ => "spec: as in the specification",
        },
    );
    fact("authorization", &store.authorization.to_string());
    if let Some((rate, burst)) = store.traffic.rate {
        fact("rate", &format!("{rate} requests a second, {burst} at once"));
    }
    let Some(keys) = &store.keys else {
        fact("external keys", "all keys of the key manager");
        return None;
    };
    fact("external keys", &keys.len().to_string());
    let backend = backends.get(&store.backend)?;
    let mut usable = None;
    for key in keys.iter().take(MOST_KEYS) {
        let metadata = key_metadata(store, &*backend, key, until).await;
        if usable.is_none()
            && metadata
                .as_ref()
                .is_ok_and(|metadata| metadata.usages().contains(&KeyUsage::Encrypt))
        {
            usable = Some(key.clone());
        }
        let purpose = match origin {
            Origin::Demo(demo) => demo.purpose(key),
            Origin::File(_) => None,
        };
        let what = match (purpose, metadata) {
            (Some(purpose), _) => purpose.to_owned(),
            (None, Ok(metadata)) => {
                let usages: Vec<_> = metadata.usages().iter().map(|usage| usage.as_str()).collect();
                format!("{}, {}", metadata.spec().as_str(), usages.join(" "))
            }
            (None, Err(why)) => why,
        };
        let _ = writeln!(out, "    {:<16} {what}", key.as_str());
    }
    if keys.len() > MOST_KEYS {
        let _ = writeln!(out, "    and {} more", keys.len() - MOST_KEYS);
    }
    usable
}

/// The key's kind and status, or why they are unknown, which is logged too: the key may come later.
async fn key_metadata(
    store: &KeyStoreSettings,
    backend: &dyn KeyBackend,
    key: &KeyId,
    until: Instant,
) -> Result<KeyMetadata, String> {
    let request = GetKeyMetadataRequest::new(RequestMetadata::default());
    let why = match tokio::time::timeout_at(
        until.min(Instant::now() + PATIENCE),
        backend.key_metadata(key, &request),
    )
    .await
    {
        Ok(Ok(metadata)) => return Ok(metadata),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer".to_owned(),
    };
    let (key_store, key) = (store.prefix.as_str(), key.as_str());
    tracing::warn!(key_store, key, "key unusable: {why}");
    Err(why)
}

/// Looks at the keys of settings that are in force now.
pub(crate) async fn warn_of_unusable_keys(settings: &Settings, backends: &Backends) {
    let until = Instant::now() + ALL_PATIENCE;
    for store in &settings.key_stores {
        let Some(backend) = backends.get(&store.backend) else {
            continue;
        };
        for key in store.keys.iter().flatten().take(MOST_KEYS) {
            // It has been said.
            let _ = key_metadata(store, &*backend, key, until).await;
        }
    }
}

/// A command that encrypts, for a shell.
fn command(out: &mut String, store: &KeyStoreSettings, key: &KeyId, address: &str) {
    let (Some(CredentialSettings { credential, origin }), Some(region)) =
        (store.credentials.first(), store.regions.first())
    else {
        return;
    };
    let id = credential.access_key_id();
    let user = Zeroizing::new(match origin {
        SecretOrigin::New => format!("{id}:{}", credential.secret_access_key().expose()),
        SecretOrigin::File(path) => format!("{id}:\"$(cat {})\"", quoted(path)),
        SecretOrigin::Environment(variable) => format!("{id}:\"${variable}\""),
        SecretOrigin::Settings => format!("{id}:SECRET"),
    });
    let secret_note = match origin {
        SecretOrigin::Settings => ", with its secret access key filled in",
        _ => "",
    };
    let (user, path) = (&*user, store.prefix.xks_proxy_uri_path());
    // A request id that is new at each start is enough for an example.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_millis());
    let curl = |operation: &str, data: &str| {
        format!(
            r#"curl -sS http://{address}{path}/keys/{key}/{operation} \
  --aws-sigv4 aws:amz:{region}:kms-xks-proxy --user {user} \
  -H 'Content-Type: application/json' \
  -d {data}"#
        )
    };
    let metadata = |operation: &str| {
        format!(
            r#""requestMetadata":{{"awsPrincipalArn":"arn:aws:iam::123456789012:user/Alice","kmsKeyArn":"arn:aws:kms:{region}:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab","kmsOperation":"{operation}","kmsRequestId":"demo-{now}"}},"encryptionAlgorithm":"AES_GCM""#
        )
    };
    let plaintext = r#""plaintext":"SGVsbG8gV29ybGQh","ciphertextDataIntegrityValueAlgorithm":"SHA_256""#;
    let encrypt = curl("encrypt", &format!("'{{{},{plaintext}}}'", metadata("Encrypt")));
    let (metadata, decrypt) = (metadata("Decrypt"), curl("decrypt", "@-"));
    // Writing to a string cannot fail. What decrypt does not know of the response to encrypt it passes over.
    let _ = write!(
        out,
        r#"
Paste this to encrypt with the key `{key}`{secret_note}, with the integrity value that AWS KMS asks for:

{encrypt}

Paste this to encrypt, and decrypt the response:

{encrypt} |
  sed 's|^{{|{{{metadata},|' |
  {decrypt}

"#
    );
}

/// As a shell takes it for one word.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
