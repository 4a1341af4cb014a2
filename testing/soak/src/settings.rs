//! The proxy's settings: the file and what it names, and how they change.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use kms_double::wire::Credential;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

use crate::witness::Framing;

pub(crate) const REGION: &str = "eu-central-1";
pub(crate) const TOKEN: &str = "soak";
pub(crate) const PIN: &str = "a PIN of the soak";

/// The key that an operator adds to a key store and removes from it.
pub(crate) const MOVING: &str = "moving";
/// The key that is destroyed and made again.
pub(crate) const PHOENIX: &str = "phoenix";
/// The key that may not encrypt at times.
pub(crate) const LIMITED: &str = "limited";
/// Beginning of the names of keys that come and go.
pub(crate) const PASSING: &str = "passing";

/// A key store, as it is all the time.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) prefix: &'static str,
    pub(crate) framing: Framing,
    pub(crate) metadata: &'static [u8],
    /// None: all that the token has.
    pub(crate) keys: Option<&'static [&'static str]>,
}

pub(crate) const STORES: [Store; 3] = [
    Store {
        prefix: "/soak/alpha",
        framing: Framing::Spec,
        metadata: b"",
        keys: Some(&["alpha-1", "alpha-2", PHOENIX, LIMITED, MOVING]),
    },
    Store {
        prefix: "/soak/beta",
        framing: Framing::Digest,
        metadata: b"soak=beta",
        keys: Some(&["beta-1"]),
    },
    Store {
        prefix: "/soak/gamma",
        framing: Framing::Spec,
        metadata: b"soak=gamma",
        keys: None,
    },
];

/// Keys and the places of the key stores that traffic uses them through.
pub(crate) const KEYS: [(&str, usize); 7] = [
    ("alpha-1", 0),
    ("alpha-2", 0),
    (PHOENIX, 0),
    (LIMITED, 0),
    (MOVING, 0),
    ("beta-1", 1),
    ("gamma-1", 2),
];

/// What changes.
pub(crate) struct Settings {
    folder: PathBuf,
    module: PathBuf,
    authority: CertifiedIssuer<'static, KeyPair>,
    pub(crate) has_tls: bool,
    pub(crate) vendor: &'static str,
    pub(crate) sessions: u64,
    pub(crate) has_moving: bool,
    /// Of each key store.
    pub(crate) credentials: Vec<Vec<Credential>>,
}

impl Settings {
    pub(crate) const FEWEST_SESSIONS: u64 = 6;
    /// How long an operation may take: longer than on any busy machine.
    pub(crate) const DEADLINE_MS: u64 = 2500;

    pub(crate) fn new(folder: &Path, module: &Path, rng: &mut fastrand::Rng) -> anyhow::Result<Self> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, "Root of a soak");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let settings = Self {
            folder: folder.to_owned(),
            module: module.to_owned(),
            authority: CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?,
            has_tls: false,
            vendor: "softhsm",
            sessions: Self::FEWEST_SESSIONS,
            has_moving: true,
            credentials: STORES.iter().map(|_| vec![new_credential(rng)]).collect(),
        };
        settings.replace("pin", PIN.as_bytes())?;
        settings.replace("roots.pem", settings.authority.pem().as_bytes())?;
        settings.renew_certificate()?;
        Ok(settings)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join("settings.toml")
    }

    pub(crate) fn roots(&self) -> PathBuf {
        self.folder.join("roots.pem")
    }

    /// Another certificate from the same hands.
    pub(crate) fn renew_certificate(&self) -> anyhow::Result<Certificate> {
        let key = KeyPair::generate()?;
        let parameters = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        let certificate = parameters.signed_by(&key, &self.authority)?;
        self.replace("chain.pem", certificate.pem().as_bytes())?;
        self.replace("key.pem", key.serialize_pem().as_bytes())?;
        Ok(certificate)
    }

    pub(crate) fn write(&self) -> anyhow::Result<()> {
        self.replace("settings.toml", self.text().as_bytes())
    }

    /// Settings with a mistake in them, of one kind or another.
    pub(crate) fn write_broken(&self, rng: &mut fastrand::Rng) -> anyhow::Result<()> {
        let good = self.text();
        let broken = match rng.u8(0..4) {
            0 => good.replace("regions", "regoins"),
            1 => good.chars().take(good.len() / 2).collect::<String>() + "\n[",
            2 => good.replace("pin_file = \"pin\"", "pin_file = \"no-such-file\""),
            _ => good.replace("token_label = \"soak\"", "token_label = \"no such token\""),
        };
        self.replace("settings.toml", broken.as_bytes())
    }

    fn text(&self) -> String {
        let Self { vendor, sessions, .. } = self;
        let (module, deadline) = (self.module.display(), Self::DEADLINE_MS);
        let tls = match self.has_tls {
            true => "[tls]\ncertificate_chain = \"chain.pem\"\nprivate_key = \"key.pem\"\n",
            false => "",
        };
        let mut text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nbudget_ms = 4000\ndrain_delay_secs = 0\n{tls}\
             [health]\nlisten = \"127.0.0.1:0\"\ninterval_secs = 1\n[metrics]\nlisten = \"127.0.0.1:0\"\n\
             [log]\naudit = \"failures\"\n[reload]\nwatch_secs = 1\n\
             [backends.token]\nkind = \"pkcs11\"\nmodule = \"{module}\"\nvendor = \"{vendor}\"\n\
             token_label = \"{TOKEN}\"\npin_file = \"pin\"\nsessions = {sessions}\nqueue = 256\ndeadline_ms = {deadline}\n"
        );
        for (store, credentials) in STORES.iter().zip(&self.credentials) {
            let keys = match store.keys {
                None => "all_keys = true".to_owned(),
                Some(keys) => {
                    let kept = keys.iter().filter(|key| self.has_moving || **key != MOVING);
                    format!("keys = {:?}", kept.collect::<Vec<_>>())
                }
            };
            let (prefix, framing) = (store.prefix, store.framing.name());
            text += &format!(
                "[[key_stores]]\nuri_path_prefix = \"{prefix}\"\nregions = [\"{REGION}\"]\n{keys}\n\
                 aad_framing = \"{framing}\"\n"
            );
            if !store.metadata.is_empty() {
                text += &format!("ciphertext_metadata = \"{}\"\n", BASE64.encode(store.metadata));
            }
            for credential in credentials {
                let (id, secret) = (credential.access_key_id(), credential.secret());
                text += &format!(
                    "[[key_stores.credentials]]\naccess_key_id = \"{id}\"\nsecret_access_key = \"{secret}\"\n"
                );
            }
        }
        text
    }

    /// Puts a file in place at one moment.
    fn replace(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        let beside = self.folder.join(format!("{name}.new"));
        let put = || -> io::Result<()> {
            fs::write(&beside, content)?;
            fs::rename(&beside, self.folder.join(name))
        };
        put().with_context(|| format!("cannot write {name}"))
    }
}

/// An id and a secret of the form that KMS takes.
pub(crate) fn new_credential(rng: &mut fastrand::Rng) -> Credential {
    let mut text = |length: usize, alphabet: &[u8]| -> String {
        let letter = |_| rng.choice(alphabet).map(|letter| char::from(*letter));
        (0..length).filter_map(letter).collect()
    };
    let id = text(22, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567");
    let secret = text(50, b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/");
    Credential::new(id, secret, REGION)
}
