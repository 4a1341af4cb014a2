//! A server's name, certificates for it, and a client that trusts them.

use rustls::ClientConfig;

use super::{Authority, Folder, Identity, Leaf, Settings, client_config};

/// A root, one that it trusts, and a certificate for `localhost` that this one issued.
pub(crate) struct Site {
    pub(crate) root: Authority,
    intermediate: Authority,
    pub(crate) identity: Identity,
}

impl Site {
    pub(crate) fn new(leaf: &Leaf<'_>) -> Self {
        let root = Authority::root("Root of a test");
        let intermediate = root.intermediate("Intermediate of a test");
        Self {
            identity: intermediate.issue(leaf),
            intermediate,
            root,
        }
    }

    /// Writes the files that the settings of [`with_tls`](Self::settings) name, the chain in one.
    pub(crate) fn write(&self, folder: &Folder) {
        folder.replace("chain.pem", &(self.identity.pem() + &self.intermediate.pem()));
        folder.replace("key.pem", &self.identity.key_pem());
        folder.replace("root.pem", &self.root.pem());
    }

    /// The usual settings, with TLS.
    pub(crate) fn settings(&self) -> Settings {
        let settings = Settings::new().tables("[tls]\ncertificate_chain = \"chain.pem\"\nprivate_key = \"key.pem\"");
        self.write(&settings.folder);
        settings
    }

    /// Another certificate from the same hands.
    pub(crate) fn renew(&mut self, leaf: &Leaf<'_>) {
        self.identity = self.intermediate.issue(leaf);
    }

    pub(crate) const fn intermediate(&self) -> &Authority {
        &self.intermediate
    }

    /// A client that trusts the root alone.
    pub(crate) fn client(&self) -> ClientConfig {
        client_config(&self.root, None, rustls::ALL_VERSIONS, &[])
    }
}
