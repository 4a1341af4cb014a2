//! Tables, and their rows as every database can keep them.

use std::borrow::Cow;

use super::Revision;
use crate::field::named_enum;

/// A table whose rows belong to the revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Table {
    /// The data key, wrapped under each root.
    Roots,
    /// [`Tenant`](crate::Tenant)
    Tenants,
    /// [`ExternalKeyStore`](crate::ExternalKeyStore)
    KeyStores,
    /// [`KeyStoreCredential`](crate::KeyStoreCredential)
    Credentials,
    /// [`Schedule`](crate::Schedule)
    Schedules,
    /// [`KeySet`](crate::KeySet)
    KeySets,
    /// [`Key`](crate::Key)
    Keys,
    /// [`KeyVersion`](crate::KeyVersion)
    Versions,
    /// [`Restore`](crate::Restore)
    Restores,
    /// [`CloudAccount`](crate::CloudAccount)
    CloudAccounts,
    /// [`CloudKeyStore`](crate::CloudKeyStore)
    CloudKeyStores,
    /// [`CloudKey`](crate::CloudKey)
    CloudKeys,
    /// [`CloudMaterial`](crate::CloudMaterial)
    CloudMaterials,
}

named_enum! {
    Table,
    Roots => "roots",
    Tenants => "tenants",
    KeyStores => "key_stores",
    Credentials => "credentials",
    Schedules => "schedules",
    KeySets => "key_sets",
    Keys => "keys",
    Versions => "versions",
    Restores => "restores",
    CloudAccounts => "cloud_accounts",
    CloudKeyStores => "cloud_key_stores",
    CloudKeys => "cloud_keys",
    CloudMaterials => "cloud_materials",
}

impl Table {
    /// Returns the columns besides `id`, `revision` and `code`, in the order of a row's cells.
    ///
    /// A column that a later version adds comes last, and stays empty while a neighbouring older version may
    /// serve the same database: empty cells are left out of a row's code.
    #[must_use]
    pub const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Roots => &["kind", "backend_key", "created", "wrapped"],
            Self::Tenants => &["name", "description"],
            Self::KeyStores => &[
                "tenant",
                "name",
                "prefix",
                "regions",
                "is_blocked",
                "schedule",
                "schedule_since",
                "overlap_minutes",
            ],
            Self::Credentials => &["key_store", "secret", "created", "expires", "is_revoked", "is_untaken"],
            Self::Schedules => &[
                "tenant",
                "name",
                "description",
                "every_days",
                "cron",
                "time_zone",
                "jitter_minutes",
                "since",
            ],
            Self::KeySets => &[
                "tenant",
                "name",
                "description",
                "administrators",
                "source",
                "backend",
                "key_store",
                "schedule",
                "lifetime_days",
                "waiting_days",
                "keeps_decryption",
                "needs_two",
                "schedule_since",
            ],
            Self::Keys => &[
                "key_set",
                "name",
                "description",
                "state",
                "deleted_after",
                "expires",
                "usages",
                "rotation",
                "min_encrypt",
                "min_decrypt",
                "min_kept",
                "kms_key",
                "rotation_since",
            ],
            Self::Versions => &[
                "number",
                "state",
                "created",
                "material_kind",
                "backend_key",
                "token",
                "material",
                "earlier_encryptions",
                "legacy_metadata",
                "promoted",
            ],
            Self::Restores => &["time", "backup_revision", "backup_time"],
            Self::CloudAccounts => &[
                "tenant",
                "name",
                "description",
                "region",
                "credential",
                "credential_file",
                "access_key",
                "secret",
                "next_access_key",
                "next_secret",
                "rotated",
                "schedule",
                "schedule_since",
                "account",
            ],
            Self::CloudKeyStores => &[
                "tenant",
                "account",
                "region",
                "name",
                "key_store",
                "endpoint",
                "vpc_service",
                "vpc_owner",
                "wanted",
                "custom_key_store_id",
            ],
            Self::CloudKeys => &[
                "key_set",
                "alias",
                "description",
                "account",
                "region",
                "origin",
                "cloud_key_store",
                "managed_key",
                "tags",
                "administrators",
                "users",
                "policy",
                "wanted",
                "waiting_days",
                "kms_key",
                "is_adopted",
                "style",
                "expires",
                "disable_former",
                "keep_days",
                "rotation",
                "rotation_since",
                "ending_within_days",
            ],
            Self::CloudMaterials => &[
                "cloud_key",
                "number",
                "created",
                "material_kind",
                "backend_key",
                "token",
                "material",
                "check_value",
                "fingerprint",
                "destroyed",
                "kms_key",
                "kms_material",
                "imported",
                "valid_to",
                "wanted",
                "former",
                "former_days",
                "retired",
                "kept_until",
            ],
        }
    }
}

/// What a column holds in one row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "what every database has")]
pub enum Cell<'a> {
    /// Nothing.
    Null,
    /// A number.
    Integer(i64),
    /// A text without NUL.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
}

impl Cell<'_> {
    /// The same cell with its content in memory of its own.
    #[must_use]
    pub fn into_owned(self) -> Cell<'static> {
        match self {
            Self::Null => Cell::Null,
            Self::Integer(number) => Cell::Integer(number),
            Self::Text(text) => Cell::Text(text.into_owned().into()),
            Self::Bytes(bytes) => Cell::Bytes(bytes.into_owned().into()),
        }
    }
}

/// The code that authenticates a row with its table, id and revision.
pub type RowCode = [u8; 16];

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row<'a> {
    /// Of which table.
    pub table: Table,
    /// Its id, unique in the table.
    pub id: Cow<'a, str>,
    /// The revision that put it there.
    pub revision: Revision,
    /// Its code.
    pub code: RowCode,
    /// What its [columns](Table::columns) hold.
    pub cells: Vec<Cell<'a>>,
}

impl<'a> Row<'a> {
    /// A row.
    #[must_use]
    pub const fn new(table: Table, id: Cow<'a, str>, revision: Revision, code: RowCode, cells: Vec<Cell<'a>>) -> Self {
        Self {
            table,
            id,
            revision,
            code,
            cells,
        }
    }

    /// The same row with its content in memory of its own.
    #[must_use]
    pub fn into_owned(self) -> Row<'static> {
        Row {
            table: self.table,
            id: self.id.into_owned().into(),
            revision: self.revision,
            code: self.code,
            cells: self.cells.into_iter().map(Cell::into_owned).collect(),
        }
    }
}

/// What a load gives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a load is of rows or of changes")]
pub enum Loaded<'a> {
    /// A row, of a load of whole tables.
    Row(Row<'a>),
    /// The last change of a row, of a load of changes.
    Change {
        /// Of which table.
        table: Table,
        /// Which row.
        id: &'a str,
        /// The revision that changed it last.
        revision: Revision,
        /// Whether that removed it.
        is_removed: bool,
        /// The row, if it is there.
        row: Option<Row<'a>>,
    },
}

/// Takes what a load gives, one after the other, on whichever thread reads the store.
pub type RowSink = Box<dyn FnMut(Loaded<'_>) + Send>;
