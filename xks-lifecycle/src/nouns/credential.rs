//! A credential of an external key store: what AWS KMS signs its requests with.

use std::fmt;

use xks_core::{
    Zeroizing,
    key_store::{AccessKeyId, SecretAccessKey},
};

use crate::{
    FieldError, KeyStoreId, Timestamp,
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
        }
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
            .finish_non_exhaustive()
    }
}

impl Record for KeyStoreCredential {
    type Id = AccessKeyId;
    const TABLE: Table = Table::Credentials;

    fn id(&self) -> AccessKeyId {
        self.access_key_id.clone()
    }

    fn references(&self) -> Vec<(&'static str, Object)> {
        vec![("key_store", Object::new(Table::KeyStores, &self.key_store))]
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
    }

    fn read(id: AccessKeyId, cells: &mut CellReader<'_>) -> Result<Self, RowProblem> {
        Ok(Self {
            access_key_id: id,
            key_store: cells.parsed("key_store")?,
            secret: secret(&cells.required_secret("secret")?)?,
            created: cells.time("created")?,
            expires: cells.optional_time("expires")?,
            is_revoked: cells.flag("is_revoked")?,
        })
    }
}

fn secret(bytes: &[u8]) -> Result<SecretAccessKey, FieldError> {
    let text = str::from_utf8(bytes).map_err(|error| FieldError::illegal("secret", &error))?;
    SecretAccessKey::new(Zeroizing::new(text.to_owned())).map_err(|error| FieldError::illegal("secret", &error))
}
