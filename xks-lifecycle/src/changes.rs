//! What one commit is to change.

use crate::{
    CloudAccount, CloudAccountId, CloudKey, CloudKeyId, CloudKeyStore, CloudKeyStoreId, CloudMaterial, CloudMaterialId,
    Event, ExternalKeyStore, Key, KeySet, KeySetId, KeyStoreCredential, KeyStoreId, KeyVersion, Schedule, ScheduleId,
    Tenant, TenantId,
    seal::Wrapped,
    snapshot::{Item, Object},
    store::{Claim, Table},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    Insert,
    Update,
    Either,
}

/// What one commit changes. Keys, versions and credentials are never removed, so that no id is given twice.
#[derive(Clone, Debug, Default)]
#[must_use = "changes do nothing until they are committed"]
pub struct Changes {
    pub(crate) puts: Vec<(Put, Item)>,
    pub(crate) removed: Vec<Object>,
    pub(crate) events: Vec<Event>,
    /// Claims that begin with it: known answers, and marks of what is being made.
    pub(crate) claims: Vec<Claim>,
    /// Whether there may be such claims, since there are several nodes.
    pub(crate) has_nodes: bool,
    /// The claim under which all of it is changed.
    pub(crate) condition: Option<Claim>,
}

/// What is kept under management: a record of any kind.
#[derive(Clone, Debug)]
pub struct Noun(Item);

/// The id of what can be removed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removable(Object);

impl Removable {
    pub(crate) const fn object(&self) -> &Object {
        &self.0
    }
}

macro_rules! from {
    ($($record:ty),+ ; $($id:ty => $table:ident),+) => {
        $(impl From<$record> for Noun {
            fn from(record: $record) -> Self {
                Self(record.into())
            }
        })+
        $(impl From<$id> for Removable {
            fn from(id: $id) -> Self {
                Self(Object::new(Table::$table, &id))
            }
        })+
    };
}

from! {
    Tenant, ExternalKeyStore, KeyStoreCredential, Schedule, KeySet, Key, KeyVersion, CloudAccount, CloudKeyStore,
    CloudKey, CloudMaterial;
    TenantId => Tenants, KeyStoreId => KeyStores, ScheduleId => Schedules, KeySetId => KeySets,
    CloudAccountId => CloudAccounts, CloudKeyStoreId => CloudKeyStores, CloudKeyId => CloudKeys
}

impl Changes {
    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record whose id must be new.
    pub fn insert(mut self, record: impl Into<Noun>) -> Self {
        self.puts.push((Put::Insert, record.into().0));
        self
    }

    /// Puts a record in the place of the one with its id.
    pub fn update(mut self, record: impl Into<Noun>) -> Self {
        self.puts.push((Put::Update, record.into().0));
        self
    }

    /// Makes what a command [decided](crate::key_state::decide) to change.
    pub fn apply(self, change: crate::key_state::Change) -> Self {
        let crate::key_state::Change {
            key,
            versions,
            new_versions,
        } = change;
        let changes = key.into_iter().fold(self, Self::update);
        let changes = versions.into_iter().fold(changes, Self::update);
        new_versions.into_iter().fold(changes, Self::insert)
    }

    /// Makes these changes too.
    pub fn and(mut self, others: Self) -> Self {
        self.puts.extend(others.puts);
        self.removed.extend(others.removed);
        self.events.extend(others.events);
        self.claims.extend(others.claims);
        self
    }

    /// Removes what has this id and is not used.
    pub fn remove(mut self, id: impl Into<Removable>) -> Self {
        self.removed.push(id.into().0);
        self
    }

    /// Appends an event, which gets the revision.
    pub fn event(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }

    pub(crate) fn under(self, claim: Option<&Claim>, has_nodes: bool) -> Self {
        let condition = claim.cloned();
        Self {
            condition,
            has_nodes,
            ..self
        }
    }

    pub(crate) fn claim(mut self, claim: Option<Claim>) -> Self {
        self.claims.extend(claim);
        self
    }

    pub(crate) fn put_root(mut self, root: Wrapped) -> Self {
        self.puts.push((Put::Either, root.into()));
        self
    }

    pub(crate) fn remove_root(mut self, name: &str) -> Self {
        self.removed.push(Object::new(Table::Roots, &name));
        self
    }

    /// Removes what is left of destroyed materials, with the cloud key that they were for.
    pub(crate) fn remove_materials(mut self, ids: impl IntoIterator<Item = CloudMaterialId>) -> Self {
        let objects = ids.into_iter().map(|id| Object::new(Table::CloudMaterials, &id));
        self.removed.extend(objects);
        self
    }

    pub(crate) fn items(&self) -> impl ExactSizeIterator<Item = &Item> {
        self.puts.iter().map(|(_, item)| item)
    }

    pub(crate) fn into_items(self) -> impl Iterator<Item = Item> {
        self.puts.into_iter().map(|(_, item)| item)
    }
}
