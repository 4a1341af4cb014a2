//! The demo: a key store with software keys that live as long as the process, and what to type to call it.

use std::{
    io::Write as _,
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use xks_backend_soft::{SoftBackend, SoftKey};
use xks_core::{Credential, KeyId, KeyStatus, KeyStore, KeyStores, KeyUsage, Proxy, UriPathPrefix, Zeroizing};

const PREFIX: &str = "/demo-key-store";

/// The keys: what they are called, what they may do, and what that is good for.
const KEYS: [(&str, &[KeyUsage], KeyStatus, &str); 5] = [
    (
        "usable",
        &[KeyUsage::Encrypt, KeyUsage::Decrypt],
        KeyStatus::Enabled,
        "encrypts and decrypts",
    ),
    (
        "encrypt-only",
        &[KeyUsage::Encrypt],
        KeyStatus::Enabled,
        "refuses to decrypt",
    ),
    (
        "decrypt-only",
        &[KeyUsage::Decrypt],
        KeyStatus::Enabled,
        "refuses to encrypt",
    ),
    ("neither", &[], KeyStatus::Enabled, "refuses both"),
    (
        "disabled",
        &[KeyUsage::Encrypt, KeyUsage::Decrypt],
        KeyStatus::Disabled,
        "is disabled",
    ),
];

/// A proxy over the demo's key store, and the credential to call it with.
pub(crate) struct Demo {
    pub(crate) proxy: Proxy,
    prefix: UriPathPrefix,
    region: String,
    credential: Credential,
}

impl Demo {
    /// New keys and a new credential each time.
    pub(crate) fn new(region: &str) -> anyhow::Result<Self> {
        let backend = SoftBackend::new();
        for (id, usages, status, _) in KEYS {
            backend.insert(
                id.parse()?,
                SoftKey::generate()?
                    .with_usages(usages.iter().copied())
                    .with_status(status),
            );
        }
        let mut entropy = Zeroizing::new([0; 48]);
        getrandom::fill(&mut *entropy)
            .map_err(anyhow::Error::msg)
            .context("no random bytes from the system")?;
        let credential = Credential::from_entropy(&entropy)?;
        let prefix: UriPathPrefix = PREFIX.parse()?;
        let keys = KEYS
            .iter()
            .map(|(id, ..)| id.parse())
            .collect::<Result<Vec<KeyId>, _>>()?;
        let key_store = KeyStore::builder(prefix.clone(), std::sync::Arc::new(backend))
            .region(region)
            .credential(credential.clone())
            .keys(keys)
            .build()?;
        let proxy = Proxy::builder(KeyStores::new([key_store])?)
            .vendor("xks-proxy demo")
            .model(concat!("xks-proxy ", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self {
            proxy,
            prefix,
            region: region.to_owned(),
            credential,
        })
    }

    /// All that somebody needs to call it. It holds the secret, so that the demo can be called at all.
    pub(crate) fn introduction(&self, address: SocketAddr) -> Zeroizing<String> {
        let Self {
            prefix,
            region,
            credential,
            ..
        } = self;
        let (id, secret) = (credential.access_key_id(), credential.secret_access_key().expose());
        let keys: String = KEYS
            .iter()
            .map(|(id, .., what)| format!("    {id:<14}{what}\n"))
            .collect();
        let path = prefix.xks_proxy_uri_path();
        // A request id that is new at each start is enough for a demo.
        let request_id = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_millis());
        let console = credential.console_json(prefix);
        let console = &*console;
        Zeroizing::new(format!(
            r#"xks-proxy: demo key store over plain HTTP, with software keys that are gone when it stops. Not for production.

  address            http://{address}
  URI path prefix    {prefix}
  Region             {region}
  access key id      {id}
  secret access key  {secret}
  alive?             curl http://{address}/ping

  external keys
{keys}
Paste this to encrypt with the key `usable`, with the integrity value that AWS KMS asks for:

curl -sS http://{address}{path}/keys/usable/encrypt \
  --aws-sigv4 aws:amz:{region}:kms-xks-proxy --user {id}:{secret} \
  -H 'Content-Type: application/json' \
  -d '{{"requestMetadata":{{"awsPrincipalArn":"arn:aws:iam::123456789012:user/Alice","kmsKeyArn":"arn:aws:kms:{region}:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab","kmsOperation":"Encrypt","kmsRequestId":"demo-{request_id}"}},"plaintext":"SGVsbG8gV29ybGQh","encryptionAlgorithm":"AES_GCM","ciphertextDataIntegrityValueAlgorithm":"SHA_256"}}'

The file that the AWS KMS console takes when an external key store is created:

{console}

Press Ctrl-C to stop.
"#
        ))
    }
}

/// To standard output, which is for people; the log goes to standard error.
pub(crate) fn print(introduction: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(introduction.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}
