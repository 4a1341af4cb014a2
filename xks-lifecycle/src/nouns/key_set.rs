//! A key set: keys of one source under one policy.

use crate::{
    Description, FieldError, KeySetId, KeyStoreId, Name, ScheduleId, TenantId, Timestamp,
    field::{bounded, named, named_enum},
    record::{CellReader, CellWriter, Record, RowProblem},
    snapshot::Object,
    store::Table,
};

/// A set of keys with one source, one policy, and possibly an external key store.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct KeySet {
    /// Its id.
    pub id: KeySetId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it is called.
    pub name: Name,
    /// What it is for.
    pub description: Description,
    /// The group that administers it; the tenant's administrators if none.
    pub administrators: Option<Name>,
    /// Where its keys come from. It cannot be changed later.
    pub source: KeySource,
    /// The server's backend that has its keys; the only one if none. It cannot be changed later.
    pub backend: Option<Name>,
    /// The external key store that serves its keys.
    pub key_store: Option<KeyStoreId>,
    /// When its keys rotate, unless a key has a schedule of its own.
    pub schedule: Option<ScheduleId>,
    /// Since when it has this schedule, if it once had another, or none. [Commands](crate::commands) set it.
    pub schedule_since: Option<Timestamp>,
    /// After how many days a new key expires.
    #[serde(rename = "lifetime_days")]
    pub lifetime: Option<LifetimeDays>,
    /// How long a key waits for its deletion.
    #[serde(rename = "waiting_days")]
    pub waiting: WaitingDays,
    /// Whether a key that is deactivated goes on decrypting.
    pub keeps_decryption: bool,
    /// Whether two people must agree to what cannot be undone. One person can set it, and not take it back.
    pub needs_two: bool,
}

/// Where the keys of a key set come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeySource {
    /// Made and used in the HSM, one HSM key for each version.
    Hsm,
    /// Made from a random source, stored sealed, used in memory.
    Vault,
    /// HSM keys that were there before, under management.
    Adopted,
}

named_enum! {
    KeySource,
    Hsm => "hsm",
    Vault => "vault",
    Adopted => "adopted",
}

bounded! {
    /// After how many days a key expires: 1 to 36 500.
    LifetimeDays, "lifetime_days", 1, 36_500
}
bounded! {
    /// How many days a key waits for its deletion: 7 to 30, as in AWS KMS.
    WaitingDays, "waiting_days", 7, 30
}

impl WaitingDays {
    /// Thirty days, as AWS KMS has it by default.
    pub const DEFAULT: Self = Self(30);
    /// Thirty days, the most that AWS KMS takes.
    pub(crate) const MAX: Self = Self(30);
}

impl KeySet {
    /// A key set with this name, and for the rest: no description, group, backend, key store, schedule or
    /// lifetime; thirty days of waiting for a deletion; a deactivated key goes on decrypting; one person
    /// suffices.
    ///
    /// # Errors
    /// Of the field `name`.
    pub fn new(id: KeySetId, tenant: TenantId, name: &str, source: KeySource) -> Result<Self, FieldError> {
        Ok(Self {
            id,
            tenant,
            name: Name::new("name", name)?,
            description: Description::new("description", "")?,
            administrators: None,
            source,
            backend: None,
            key_store: None,
            schedule: None,
            schedule_since: None,
            lifetime: None,
            waiting: WaitingDays::DEFAULT,
            keeps_decryption: true,
            needs_two: false,
        })
    }
}

impl Record for KeySet {
    type Id = KeySetId;
    const TABLE: Table = Table::KeySets;

    fn id(&self) -> KeySetId {
        self.id
    }

    fn references(&self) -> Vec<(&'static str, Object)> {
        let tenant = ("tenant", Object::new(Table::Tenants, &self.tenant));
        let key_store = self
            .key_store
            .map(|id| ("key_store", Object::new(Table::KeyStores, &id)));
        let schedule = self.schedule.map(|id| ("schedule", Object::new(Table::Schedules, &id)));
        std::iter::once(tenant).chain(key_store).chain(schedule).collect()
    }

    fn contradicts(&self, former: &Self) -> Option<&'static str> {
        let is_other = [
            ("tenant", self.tenant != former.tenant),
            ("source", self.source != former.source),
            ("backend", self.backend != former.backend),
            // One person would take back what two must agree to.
            ("needs_two", former.needs_two && !self.needs_two),
        ];
        is_other
            .into_iter()
            .find_map(|(field, is_other)| is_other.then_some(field))
    }

    fn write(&self, cells: &mut CellWriter<'_>) {
        cells.text("tenant", &self.tenant);
        cells.text("name", &self.name);
        cells.text("description", &self.description);
        cells.optional("administrators", self.administrators.as_ref());
        cells.text("source", &self.source);
        cells.optional("backend", self.backend.as_ref());
        cells.optional("key_store", self.key_store.as_ref());
        cells.optional("schedule", self.schedule.as_ref());
        cells.optional_number("lifetime_days", self.lifetime.map(|days| days.get().into()));
        cells.number("waiting_days", self.waiting.get().into());
        cells.flag("keeps_decryption", self.keeps_decryption);
        cells.flag("needs_two", self.needs_two);
        cells.optional_number("schedule_since", self.schedule_since.map(Timestamp::seconds));
    }

    fn read(id: KeySetId, cells: &mut CellReader<'_>) -> Result<Self, RowProblem> {
        Ok(Self {
            id,
            tenant: cells.parsed("tenant")?,
            name: Name::new("name", cells.text("name")?)?,
            description: Description::new("description", cells.text("description")?)?,
            administrators: optional_name("administrators", cells)?,
            source: named("source", cells.text("source")?, KeySource::NAMES)?,
            backend: optional_name("backend", cells)?,
            key_store: cells.optional_parsed("key_store")?,
            schedule: cells.optional_parsed("schedule")?,
            lifetime: cells
                .optional_number("lifetime_days")?
                .map(LifetimeDays::new)
                .transpose()?,
            waiting: WaitingDays::new(cells.number("waiting_days")?)?,
            keeps_decryption: cells.flag("keeps_decryption")?,
            needs_two: cells.flag("needs_two")?,
            schedule_since: cells.optional_time("schedule_since")?,
        })
    }
}

fn optional_name(column: &'static str, cells: &mut CellReader<'_>) -> Result<Option<Name>, FieldError> {
    cells.optional(column)?.map(|text| Name::new(column, text)).transpose()
}
