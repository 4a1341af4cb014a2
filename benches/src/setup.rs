//! The setup of a server for a measurement, and its settings file.

use std::fmt::Write as _;

use xks_core::Credential;
use xks_pkcs11_fixture::softhsm_path;

use crate::{
    REGION, SECRET_ACCESS_KEY,
    load::{Place, server_core},
    server::free_port,
    token::{LABEL, PIN, Token},
};

/// What is served, and how.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where the keys are.
    pub keys: Keys,
    /// How many key stores have them, each with a prefix and a credential of its own.
    pub key_stores: usize,
    /// Whether over TLS.
    pub tls: bool,
    /// Whether each request is recorded, as JSON on a standard output that is discarded.
    pub audit: bool,
    /// The core that the server is kept to.
    pub core: Option<usize>,
}

/// Where the keys are. They are called `key-0` and so on.
#[derive(Clone, Debug)]
pub enum Keys {
    /// In software, so many.
    Soft(usize),
    /// In a token of SoftHSM2.
    Token(Token),
}

impl Setup {
    /// One key store over these keys; plain, without records, on the first core where there are several.
    #[must_use]
    pub fn new(keys: Keys) -> Self {
        Self {
            keys,
            key_stores: 1,
            tls: false,
            audit: false,
            core: server_core(),
        }
    }

    pub(crate) fn settings(&self, port: u16) -> anyhow::Result<String> {
        let mut text = String::new();
        if let Keys::Token(token) = &self.keys {
            writeln!(text, "[environment]\nSOFTHSM2_CONF = {:?}", token.config())?;
        }
        writeln!(
            text,
            "[server]\nlisten = \"127.0.0.1:{port}\"\nmax_connections = 15000\ndrain_delay_secs = 0\n\
             [metrics]\nlisten = \"127.0.0.1:{}\"",
            free_port()?
        )?;
        if self.tls {
            text += "[tls]\ncertificate_chain = \"chain.pem\"\nprivate_key = \"key.pem\"\n";
        }
        text += match self.audit {
            true => "[log]\noutput = \"stdout\"\nformat = \"json\"\n",
            false => "[log]\noutput = \"none\"\n",
        };
        match &self.keys {
            Keys::Soft(count) => {
                let keys = (0..*count).map(|number| format!("{} = \"secret.key\"", key(number)));
                let keys = keys.collect::<Vec<_>>().join(", ");
                writeln!(text, "[backends.keys]\nkind = \"soft\"\nkeys = {{ {keys} }}")?;
            }
            Keys::Token(_) => writeln!(
                text,
                "[backends.keys]\nkind = \"pkcs11\"\nmodule = {:?}\nvendor = \"softhsm\"\ntoken_label = \"{LABEL}\"\n\
                 pin = \"{PIN}\"",
                softhsm_path()
            )?,
        }
        for number in 0..self.key_stores {
            let Place { prefix, credential, .. } = place(number, 0)?;
            let (id, secret) = (
                credential.access_key_id().as_str(),
                credential.secret_access_key().expose(),
            );
            writeln!(
                text,
                "[[key_stores]]\nuri_path_prefix = \"{prefix}\"\nregions = [\"{REGION}\"]\nall_keys = true\n\
                 [[key_stores.credentials]]\naccess_key_id = \"{id}\"\nsecret_access_key = \"{secret}\""
            )?;
        }
        Ok(text)
    }
}

/// The name of a key.
#[must_use]
pub fn key(number: usize) -> String {
    format!("key-{number}")
}

/// A key of a key store, and the credential of that.
///
/// # Errors
/// When there are more key stores than access key ids for them.
pub fn place(key_store: usize, number: usize) -> anyhow::Result<Place> {
    // An access key id has letters, and of the digits only some.
    let letters = key_store
        .to_string()
        .bytes()
        .map(|digit| char::from(digit - b'0' + b'A'))
        .collect::<String>();
    let id = format!("BENCHMARKSKEYSTORE{letters:Z>6}");
    Ok(Place {
        prefix: format!("/bench/store-{key_store}"),
        credential: Credential::new(id, SECRET_ACCESS_KEY.to_owned())?,
        key: key(number),
    })
}
