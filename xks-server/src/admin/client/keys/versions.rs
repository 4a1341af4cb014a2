//! `keys`: the commands on versions.

use clap::{Args, Subcommand};

use super::{
    super::{
        Fields,
        confirm::{Confirm, DATA_KEYS},
        connection::Client,
        failure::Failure,
        show::Output,
    },
    NOUN, One, give,
};

#[derive(Debug, Subcommand)]
pub(crate) enum VersionCommand {
    /// Lists the versions of a key
    Versions(One),
    /// Makes a version of a key and publishes it: it decrypts, and encrypts when it is promoted
    AddVersion(One),
    /// Lets a version encrypt, in place of the one that does
    PromoteVersion(OneVersion),
    /// Stops a version that does not encrypt any more, until it is restored
    RevokeVersion {
        #[command(flatten)]
        version: OneVersion,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Takes the revocation of a version back: it decrypts again
    RestoreVersion(OneVersion),
    /// Destroys a version that is revoked or not kept: what it has encrypted is lost
    DestroyVersion {
        #[command(flatten)]
        version: OneVersion,
        #[command(flatten)]
        confirm: Confirm,
    },
}

/// A version of a key.
#[derive(Debug, Args)]
pub(crate) struct OneVersion {
    #[command(flatten)]
    key: One,
    /// The version's id or number
    version: String,
}

impl OneVersion {
    fn give(
        &self,
        client: &Client,
        command: &str,
        fields: impl FnOnce(&str, &str) -> Result<Fields, Failure>,
    ) -> Result<Output, Failure> {
        let key = self.key.find(client)?;
        let version = client.version(&key, &self.version)?;
        let fields = fields(&key.name, &version)?;
        give(client, &key, &format!("versions/{version}/{command}"), fields)
    }

    fn give_confirmed(
        &self,
        client: &Client,
        command: &str,
        confirm: &Confirm,
        consequence: &str,
        fields: impl FnOnce(String) -> Fields,
    ) -> Result<Output, Failure> {
        self.give(client, command, |key, version| {
            let what = format!("Version {version} of the key {key}: {consequence} {DATA_KEYS}");
            confirm.ask(&what, key).map(fields)
        })
        .map(|output| output.with_note(DATA_KEYS))
    }
}

impl VersionCommand {
    pub(super) fn run(self, client: &Client) -> Result<Output, Failure> {
        let nothing = |_: &str, _: &str| Ok(Fields::default());
        match self {
            Self::Versions(key) => {
                let list = client.get(&format!("{}/versions", key.find(client)?.path(NOUN)))?;
                let columns = &[
                    "number",
                    "id",
                    "state",
                    "created",
                    "promoted",
                    "backend_key",
                    "earlier_encryptions",
                ];
                Ok(Output::table(list.body, columns))
            }
            Self::AddVersion(key) => key.give(client, "versions"),
            Self::PromoteVersion(version) => version.give(client, "promote", nothing),
            Self::RevokeVersion { version, confirm } => {
                let consequence = "what it has encrypted cannot be read until it is restored.";
                version.give_confirmed(client, "revoke", &confirm, consequence, |_| Fields::default())
            }
            Self::RestoreVersion(version) => version.give(client, "restore", nothing),
            Self::DestroyVersion { version, confirm } => {
                let consequence = "it is destroyed, and what it has encrypted is lost.";
                let fields = |name| Fields::default().with("typed_name", Some(name));
                version.give_confirmed(client, "destroy-version", &confirm, consequence, fields)
            }
        }
    }
}
