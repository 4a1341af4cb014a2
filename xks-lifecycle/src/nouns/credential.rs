//! A credential of an external key store: what AWS KMS signs its requests with.

use std::fmt;

use xks_core::{
    Credential, Zeroizing,
    key_store::{AccessKeyId, CredentialError, SecretAccessKey},
};

use crate::{
    FieldError, KeyStoreId, Timestamp,
    field::bounded,
    record::{CellReader, CellWriter, Record, RowProblem},
    snapshot::Object,
    store::Table,
};

/// A credential of an external key store. Its secret is stored sealed and never printed.
#[derive(Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct KeyStoreCredential {
    /// Its id, unique over all key stores.
    pub access_key_id: AccessKeyId,
    /// Of which key store.
    pub key_store: KeyStoreId,
    /// The secret.
    #[serde(skip)]
    pub secret: SecretAccessKey,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends, while it is being replaced.
    pub expires: Option<Timestamp>,
    /// Whether it was revoked. Its id is not given again.
    pub is_revoked: bool,
    /// Whether its secret was not handed out yet: a scheduler has made it.
    pub is_untaken: bool,
}

bounded! {
    /// How many minutes a credential goes on after another one was made in its place: 0 to 43 200, which are
    /// thirty days.
    OverlapMinutes, "overlap_minutes", 0, 43_200
}

impl OverlapMinutes {
    /// A day.
    pub const DEFAULT: Self = Self(24 * 60);

    pub(crate) const fn seconds(self) -> u64 {
        self.0 as u64 * 60
    }
}

impl KeyStoreCredential {
    /// A credential without end.
    #[must_use]
    pub const fn new(
        key_store: KeyStoreId,
        access_key_id: AccessKeyId,
        secret: SecretAccessKey,
        created: Timestamp,
    ) -> Self {
        Self {
            access_key_id,
            key_store,
            secret,
            created,
            expires: None,
            is_revoked: false,
            is_untaken: false,
        }
    }

    /// The same credential, which ends at this time, or when it did if that is earlier.
    pub(crate) fn ending(&self, end: Timestamp) -> Self {
        Self {
            expires: Some(self.expires.map_or(end, |known| known.min(end))),
            ..self.clone()
        }
    }

    /// The same credential, revoked.
    pub(crate) fn revoked(&self) -> Self {
        Self {
            is_revoked: true,
            ..self.clone()
        }
    }

    /// Sorts credentials by their age: of two that were made in one second, the one that ends is the former.
    pub(crate) const fn age(&self) -> (Timestamp, bool) {
        (self.created, self.expires.is_none())
    }

    /// The credential as requests are verified with it.
    pub(crate) fn shared(&self) -> Result<Credential, CredentialError> {
        Credential::new(&self.access_key_id, self.secret.expose().to_owned())
    }

    /// Returns whether KMS may sign with it at this time.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        !self.is_revoked && self.expires.is_none_or(|end| now < end)
    }
}

impl fmt::Debug for KeyStoreCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStoreCredential")
            .field("access_key_id", &self.access_key_id)
            .field("key_store", &self.key_store)
            .field("created", &self.created)
            .field("expires", &self.expires)
            .field("is_revoked", &self.is_revoked)
            .field("is_untaken", &self.is_untaken)
            .finish_non_exhaustive()
    }
}

impl Record for KeyStoreCredential {
    type Id = AccessKeyId;
    const TABLE: Table = Table::Credentials;

    fn id(&self) -> AccessKeyId {
        self.access_key_id.clone()
    }

    /// One that was revoked keeps no key store from being removed.
    fn references(&self) -> Vec<(&'static str, Object)> {
        let key_store = ("key_store", Object::new(Table::KeyStores, &self.key_store));
        Some(key_store).filter(|_| !self.is_revoked).into_iter().collect()
    }

    fn contradicts(&self, former: &Self) -> Option<&'static str> {
        let is_other = [
            ("key_store", self.key_store != former.key_store),
            ("is_revoked", former.is_revoked && !self.is_revoked),
        ];
        is_other
            .into_iter()
            .find_map(|(field, is_other)| is_other.then_some(field))
    }

    fn write(&self, cells: &mut CellWriter<'_>) {
        cells.text("key_store", &self.key_store);
        cells.secret("secret", Some(self.secret.expose().as_bytes()));
        cells.number("created", self.created.seconds());
        cells.optional_number("expires", self.expires.map(Timestamp::seconds));
        cells.flag("is_revoked", self.is_revoked);
        cells.optional_number("is_untaken", self.is_untaken.then_some(1));
    }

    fn read(id: AccessKeyId, cells: &mut CellReader<'_>) -> Result<Self, RowProblem> {
        Ok(Self {
            access_key_id: id,
            key_store: cells.parsed("key_store")?,
            secret: secret(&cells.required_secret("secret")?)?,
            created: cells.time("created")?,
            expires: cells.optional_time("expires")?,
            is_revoked: cells.flag("is_revoked")?,
            is_untaken: cells.optional_number("is_untaken")? == Some(1),
        })
    }
}

fn secret(bytes: &[u8]) -> Result<SecretAccessKey, FieldError> {
    let text = str::from_utf8(bytes).map_err(|error| FieldError::illegal("secret", &error))?;
    SecretAccessKey::new(Zeroizing::new(text.to_owned())).map_err(|error| FieldError::illegal("secret", &error))
}
