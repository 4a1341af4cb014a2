//! The command line, and the settings that it makes. Nothing else of the program knows of it.

use std::{env, fs, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Parser, ValueEnum};
use xks_backend_pkcs11::{
    AppendedIv, Config, Dispatch, IvSource, KeyLookup, KeyName, Pin, Quirks, SlotSelector, TestKey,
};
use xks_core::{AadFraming, AccessKeyId, Credential, KeyId, UriPathPrefix, Zeroizing};

use crate::{
    key_store::{CredentialOrigin, KeyStoreSettings},
    token::TokenSettings,
};

/// Where the secret access key is when no file is named.
const SECRET_VARIABLE: &str = "XKS_SECRET_ACCESS_KEY";

/// An AWS KMS external key store proxy, over plain HTTP. It serves the keys of a PKCS#11 token, or, without
/// --pkcs11-module, a demo key store with software keys, which are gone when it stops.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Options {
    /// Where to listen; port 0 takes any free port. It speaks plain HTTP, so keep it on loopback.
    #[arg(long, default_value = "127.0.0.1:8000", value_name = "ADDRESS")]
    listen: SocketAddr,

    /// Milliseconds that a request may take before it is answered DependencyTimeoutException; AWS KMS waits 250.
    #[arg(long, default_value_t = 200, value_name = "MS")]
    budget: u64,

    #[command(flatten)]
    key_store: KeyStoreOptions,

    #[command(flatten)]
    token: TokenOptions,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Key store")]
struct KeyStoreOptions {
    /// The AWS Region that requests are signed for.
    #[arg(long, default_value = "us-east-1")]
    region: String,

    /// What stands before /kms/xks/v1 in the path of each request: nothing, or a slash and more.
    #[arg(long, default_value = "/demo-key-store", value_name = "PREFIX")]
    uri_path_prefix: UriPathPrefix,

    /// The access key id that requests are signed with; the secret comes from --secret-access-key-file, or else from
    /// the environment variable XKS_SECRET_ACCESS_KEY. By default both are made anew at each start, and printed.
    #[arg(long, value_name = "ID")]
    access_key_id: Option<AccessKeyId>,

    /// The file with the secret access key.
    #[arg(long, value_name = "FILE", requires = "access_key_id")]
    secret_access_key_file: Option<PathBuf>,

    /// How AAD and ciphertext metadata are authenticated. AWS's sample proxy has `digest`. What was encrypted with one
    /// does not decrypt with the other.
    #[arg(long, value_enum, default_value_t)]
    aad_framing: Framing,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "PKCS#11 token")]
#[group(requires = "pkcs11_module")]
struct TokenOptions {
    /// The library with the PKCS#11 module: its token's keys are served instead of the demo's.
    #[arg(long, value_name = "FILE")]
    pkcs11_module: Option<PathBuf>,

    /// The token with this label. By default the one in the first slot that has one.
    #[arg(long, value_name = "LABEL", conflicts_with_all = ["token_serial", "slot_index"])]
    token_label: Option<String>,

    /// The token with this serial number.
    #[arg(long, value_name = "NUMBER", conflicts_with = "slot_index")]
    token_serial: Option<String>,

    /// The token in the slot at this place, from 0, among those that have one.
    #[arg(long, value_name = "PLACE")]
    slot_index: Option<usize>,

    /// The file with the PIN, or passphrase; an empty file for one of no characters. Without --pin-file and --pin-env
    /// nobody logs in.
    #[arg(long, value_name = "FILE", conflicts_with = "pin_env")]
    pin_file: Option<PathBuf>,

    /// The environment variable with the PIN.
    #[arg(long, value_name = "VARIABLE")]
    pin_env: Option<String>,

    /// Whose module it is: standard, softhsm, nshield, luna or cloudhsm. By default standard.
    #[arg(long)]
    vendor: Option<Quirks>,

    /// Where the IV of an encryption comes from. By default what the vendor's modules need.
    #[arg(long, value_enum)]
    iv_source: Option<Iv>,

    /// An external key id to serve; again for each further one. By default every key of the token.
    #[arg(long, value_name = "ID")]
    key: Vec<KeyId>,

    /// What an external key id names: a label (CKA_LABEL), or a CKA_ID in hexadecimal digits. By default a label.
    #[arg(long, value_enum)]
    key_lookup: Option<Lookup>,

    /// The most sessions that serve requests at once. By default 30.
    #[arg(long, value_name = "NUMBER")]
    sessions: Option<usize>,

    /// How many requests may wait for a session; any further is answered ThrottlingException. By default 8 for each
    /// session.
    #[arg(long, value_name = "NUMBER")]
    queue: Option<usize>,

    /// Milliseconds that the token may take for one operation: at most the budget, by default nine tenths of it.
    #[arg(long, value_name = "MS")]
    deadline_ms: Option<u64>,

    /// Call the module on the server's own threads: only for one that answers in microseconds, such as SoftHSM2.
    #[arg(long)]
    inline: bool,

    /// The label of an AES-256 key to test the token with, at the start and for health. It must back no KMS key. By
    /// default one is made for the purpose, which leaves nothing behind.
    #[arg(long, value_name = "LABEL", conflicts_with = "no_test_key")]
    test_key: Option<String>,

    /// Test with no key. Then nothing tells before the first request whether IVs are made as they should, and health is
    /// never better than DEGRADED.
    #[arg(long)]
    no_test_key: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Framing {
    /// As the specification says
    #[default]
    Spec,
    /// With the SHA-256 of the AAD in place of the AAD
    Digest,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Iv {
    /// From the token's random source, passed in
    TokenRandom,
    /// From the operating system's random source, passed in
    SystemRandom,
    /// Made by the HSM and written where the IV is passed: nShield, AWS CloudHSM
    WrittenBack,
    /// Made by the HSM, 12 bytes behind the tag: Luna in FIPS mode, from firmware 7.9.3 on
    #[value(name = "appended-12")]
    Appended12,
    /// Made by the HSM, 16 bytes behind the tag: Luna in FIPS mode
    #[value(name = "appended-16")]
    Appended16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Lookup {
    Label,
    Id,
}

/// What the program is to do, wherever that was written.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) budget: Duration,
    pub(crate) key_store: KeyStoreSettings,
    /// Whose keys are served; none for the demo.
    pub(crate) token: Option<TokenSettings>,
}

impl Options {
    pub(crate) fn settings(self) -> anyhow::Result<Settings> {
        let budget = Duration::from_millis(self.budget);
        Ok(Settings {
            listen: self.listen,
            budget,
            key_store: self.key_store.settings()?,
            token: self.token.settings(budget)?,
        })
    }
}

impl KeyStoreOptions {
    fn settings(self) -> anyhow::Result<KeyStoreSettings> {
        let (credential, origin) = match (self.access_key_id, self.secret_access_key_file) {
            (None, _) => (new_credential()?, CredentialOrigin::New),
            (Some(id), Some(path)) => {
                let secret = fs::read_to_string(&path).map(Zeroizing::new);
                let secret =
                    secret.with_context(|| format!("cannot read the secret access key from {}", path.display()))?;
                let credential = Credential::new(id, secret.trim_end().to_owned());
                let credential = credential.with_context(|| format!("the file {}", path.display()))?;
                (credential, CredentialOrigin::File(path))
            }
            (Some(id), None) => {
                let secret = env::var(SECRET_VARIABLE).map(Zeroizing::new);
                let secret = secret.with_context(|| {
                    format!("--access-key-id needs its secret: give --secret-access-key-file, or set {SECRET_VARIABLE}")
                })?;
                let credential = Credential::new(id, secret).context(SECRET_VARIABLE)?;
                (credential, CredentialOrigin::Environment(SECRET_VARIABLE))
            }
        };
        Ok(KeyStoreSettings {
            prefix: self.uri_path_prefix,
            region: self.region,
            credential,
            origin,
            aad_framing: match self.aad_framing {
                Framing::Spec => AadFraming::Spec,
                Framing::Digest => AadFraming::Digest,
            },
        })
    }
}

fn new_credential() -> anyhow::Result<Credential> {
    let mut entropy = Zeroizing::new([0; 48]);
    getrandom::fill(&mut *entropy)
        .map_err(anyhow::Error::msg)
        .context("no random bytes from the system")?;
    Ok(Credential::from_entropy(&entropy)?)
}

impl TokenOptions {
    fn settings(self, budget: Duration) -> anyhow::Result<Option<TokenSettings>> {
        let Some(module) = self.pkcs11_module else {
            return Ok(None);
        };
        let deadline = match self.deadline_ms.map(Duration::from_millis) {
            Some(deadline) => deadline,
            // The backend knows better than the server why it took so long, so it is the one to say so.
            None => budget * 9 / 10,
        };
        ensure!(
            deadline <= budget,
            "--deadline-ms is more than --budget: nobody would wait for the token so long"
        );
        let mut config = Config::new(module)
            .deadline(deadline)
            .slot(match (self.token_label, self.token_serial, self.slot_index) {
                (Some(label), _, _) => SlotSelector::TokenLabel(label),
                (None, Some(serial), _) => SlotSelector::Serial(serial),
                (None, None, Some(index)) => SlotSelector::Index(index),
                (None, None, None) => SlotSelector::First,
            })
            .pin(match (self.pin_file, self.pin_env) {
                (Some(path), _) => Pin::from_file(path)?,
                (None, Some(variable)) => Pin::from_env(&variable)?,
                (None, None) => Pin::None,
            });

        let quirks = self.vendor.unwrap_or_default();
        config = config.quirks(match self.iv_source {
            Some(source) => quirks.with_iv_source(source.into()),
            None => quirks,
        });
        let key_lookup = match self.key_lookup {
            Some(Lookup::Id) => KeyLookup::Id,
            Some(Lookup::Label) | None => KeyLookup::Label,
        };
        config = config.key_lookup(key_lookup);
        if let Some(sessions) = self.sessions {
            config = config.sessions(sessions);
        }
        if let Some(queue) = self.queue {
            config = config.queue_length(queue);
        }
        if self.inline {
            config = config.dispatch(Dispatch::Inline);
        }
        if let Some(label) = self.test_key {
            if key_lookup == KeyLookup::Label && self.key.iter().any(|id| id.as_str() == label) {
                bail!("--test-key {label} is one of --key: the test key must back no KMS key");
            }
            config = config.test_key(TestKey::Named(KeyName::Label(label)));
        }
        if self.no_test_key {
            config = config.test_key(TestKey::None);
        }
        Ok(Some(TokenSettings {
            config,
            key_lookup,
            keys: self.key,
        }))
    }
}

impl From<Iv> for IvSource {
    fn from(iv: Iv) -> Self {
        match iv {
            Iv::TokenRandom => Self::TokenRandom,
            Iv::SystemRandom => Self::SystemRandom,
            Iv::WrittenBack => Self::WrittenBack,
            Iv::Appended12 => Self::Appended(AppendedIv::Bytes12),
            Iv::Appended16 => Self::Appended(AppendedIv::Bytes16),
        }
    }
}
