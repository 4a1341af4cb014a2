//! What is printed at the start: all that somebody needs to call the key store.

use std::{
    fmt::Write as _,
    io::Write as _,
    net::SocketAddr,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use xks_core::{AadFraming, KeyId, Zeroizing};

use crate::key_store::{CredentialOrigin, KeyStoreSettings};

/// What there is to say of the keys.
pub(crate) struct About {
    pub(crate) title: &'static str,
    pub(crate) hsm: Option<String>,
    /// A line for each key.
    pub(crate) listing: Vec<String>,
    /// A key that may encrypt.
    pub(crate) example: Option<KeyId>,
}

pub(crate) struct Introduction<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) key_store: &'a KeyStoreSettings,
    pub(crate) about: About,
}

impl Introduction<'_> {
    /// To standard output, which is for people; the log goes to standard error.
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        let text = self.text();
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .context("cannot write to standard output")
    }

    /// It holds the secret if that is new, so that the key store can be called at all.
    fn text(&self) -> Zeroizing<String> {
        let Self {
            address,
            key_store,
            about,
        } = self;
        let (prefix, region) = (&key_store.prefix, &key_store.region);
        let id = key_store.credential.access_key_id();
        let secret = Secret::new(key_store);
        let (shown_secret, user) = (&*secret.shown, &*secret.user);
        let framing = match key_store.aad_framing {
            AadFraming::Digest => "digest: SHA-256 of the AAD, as AWS's sample proxy",
            _ => "spec: as the specification says",
        };
        let hsm = about.hsm.as_ref().map(|hsm| format!("  HSM                {hsm}\n"));
        let hsm = hsm.unwrap_or_default();
        let title = about.title;
        let listing: String = about.listing.iter().map(|line| format!("    {line}\n")).collect();
        let (key, paste) = match &about.example {
            Some(key) => (key.as_str(), format!("Paste this to encrypt with the key `{key}`")),
            None => (
                "KEY",
                "With a key's name in place of KEY this encrypts with it".to_owned(),
            ),
        };
        let path = prefix.xks_proxy_uri_path();
        // A request id that is new at each start is enough for an example.
        let request_id = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_millis());

        let mut text = Zeroizing::new(String::with_capacity(8192)); // it seldom grows, so copies are seldom left behind
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            r#"xks-proxy: {title}

  address            http://{address}
  URI path prefix    {prefix}
  Region             {region}
  access key id      {id}
  secret access key  {shown_secret}
  AAD framing        {framing}
{hsm}  alive?             curl http://{address}/ping

  external keys
{listing}
{paste}, with the integrity value that AWS KMS asks for:

curl -sS http://{address}{path}/keys/{key}/encrypt \
  --aws-sigv4 aws:amz:{region}:kms-xks-proxy --user {user} \
  -H 'Content-Type: application/json' \
  -d '{{"requestMetadata":{{"awsPrincipalArn":"arn:aws:iam::123456789012:user/Alice","kmsKeyArn":"arn:aws:kms:{region}:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab","kmsOperation":"Encrypt","kmsRequestId":"demo-{request_id}"}},"plaintext":"SGVsbG8gV29ybGQh","encryptionAlgorithm":"AES_GCM","ciphertextDataIntegrityValueAlgorithm":"SHA_256"}}'

"#
        );
        if let CredentialOrigin::New = key_store.origin {
            text.push_str("The file that the AWS KMS console takes when an external key store is created:\n\n");
            text.push_str(&key_store.credential.console_json(prefix));
            text.push_str("\n\n");
        }
        text.push_str("Press Ctrl-C to stop.\n");
        text
    }
}

/// The secret access key, as it is shown, and as the shell hands it to curl.
struct Secret {
    shown: Zeroizing<String>,
    user: Zeroizing<String>,
}

impl Secret {
    fn new(key_store: &KeyStoreSettings) -> Self {
        let credential = &key_store.credential;
        let id = credential.access_key_id();
        let (shown, user) = match &key_store.origin {
            CredentialOrigin::New => {
                let secret = credential.secret_access_key().expose();
                (secret.to_owned(), format!("{id}:{secret}"))
            }
            CredentialOrigin::File(path) => (
                format!("as in {}", path.display()),
                format!("{id}:\"$(cat {})\"", quoted(path)),
            ),
            CredentialOrigin::Environment(variable) => (format!("as in ${variable}"), format!("{id}:\"${variable}\"")),
        };
        Self {
            shown: Zeroizing::new(shown),
            user: Zeroizing::new(user),
        }
    }
}

/// As a shell takes it for one word.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
