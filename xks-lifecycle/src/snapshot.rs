//! The state at one revision, as nouns.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    str::FromStr as _,
};

use xks_core::{KeyId, key_store::AccessKeyId};

use crate::{
    ChangeError, Changes, CloudAccount, CloudAccountId, CloudKey, CloudKeyId, CloudKeyStore, CloudKeyStoreId,
    ExternalKeyStore, Key, KeySet, KeySetId, KeyStoreCredential, KeyStoreId, KeyVersion, KeyVersionId, Restore,
    Schedule, ScheduleId, Tenant, TenantId, Timestamp, VersionState,
    changes::Put,
    commands::{is_told_by_name, named_version},
    nouns::CloudName,
    record::{Record, RowError, RowProblem, decode, encode},
    seal::{DataKey, RootId, SealError, Sum, Wrapped},
    store::{Head, Revision, Row, Table},
};

/// A record, and the revision that changed it last.
#[derive(Clone, Debug)]
pub struct Entry<T> {
    value: T,
    revision: Revision,
    sum: Sum,
}

impl<T> Entry<T> {
    /// Returns the revision that changed it last: who changes it later says by this what he saw.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }
}

impl<T> std::ops::Deref for Entry<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Lists the records once: the variant of [`Item`], the type, its map.
macro_rules! items {
    ($($(#[$meta:meta])* $variant:ident($record:ty, $id:ty) in $map:ident,)+) => {
        /// The state at one revision. Every row of it was authenticated.
        #[derive(Clone, Default)]
        pub struct Snapshot {
            head: Head,
            sum: Sum,
            $(pub(crate) $map: BTreeMap<$id, Entry<$record>>,)+
            /// Keys of backends whose ids do not tell which version they belong to. It is looked up whether
            /// they still do.
            unnamed: BTreeMap<KeyId, KeyVersionId>,
            /// The versions that are published and not promoted.
            published: BTreeSet<KeyVersionId>,
        }

        /// A record of any kind.
        #[derive(Clone, Debug)]
        pub(crate) enum Item {
            $($variant($record),)+
        }

        impl Item {
            pub(crate) fn object(&self) -> Object {
                match self {
                    $(Self::$variant(record) => object(record),)+
                }
            }

            /// What it refers to: by which field, which row.
            fn references(&self) -> Vec<(&'static str, Object)> {
                match self {
                    $(Self::$variant(record) => record.references(),)+
                }
            }

            /// The field in which it differs from what it is in the snapshot, and may not.
            fn contradicts(&self, snapshot: &Snapshot) -> Option<&'static str> {
                match self {
                    $(Self::$variant(record) => record.contradicts(snapshot.$map.get(&record.id())?),)+
                }
            }

            pub(crate) fn encode(&self, key: &DataKey, revision: Revision) -> Result<(Row<'static>, Sum), SealError> {
                match self {
                    $(Self::$variant(record) => encode(key, record, revision),)+
                }
            }

            fn decode(key: &DataKey, row: &Row<'_>) -> Result<Self, RowProblem> {
                $(if row.table == <$record as Record>::TABLE {
                    return decode(Some(key), row).map(Self::$variant);
                })+
                Err(RowProblem::Unexpected)
            }
        }

        impl Snapshot {
            /// Puts a record in the place of the one with its id.
            pub(crate) fn put(&mut self, item: Item, revision: Revision, sum: Sum) {
                self.sum.toggle(sum);
                self.index(&item);
                let former = match item {
                    $(Item::$variant(value) => {
                        let entry = Entry { revision, sum, value };
                        self.$map.insert(entry.value.id(), entry).map(|former| former.sum)
                    })+
                };
                self.take_out(former);
            }

            /// Takes a row out.
            pub(crate) fn remove(&mut self, table: Table, id: &str) {
                let mut former = None;
                $(if table == <$record as Record>::TABLE {
                    former = <$id>::from_str(id).ok().and_then(|id| self.$map.remove(&id)).map(|former| former.sum);
                })+
                self.take_out(former);
            }

            /// Returns the revision that changed a row last, if it is there.
            pub(crate) fn revision_of(&self, table: Table, id: &str) -> Option<Revision> {
                $(if table == <$record as Record>::TABLE {
                    return self.$map.get(&<$id>::from_str(id).ok()?).map(Entry::revision);
                })+
                None
            }

            /// All references: from which row to which.
            fn references(&self) -> impl Iterator<Item = (Object, Object)> {
                std::iter::empty()$(.chain(self.$map.values().flat_map(|entry| {
                    let targets = entry.value.references().into_iter();
                    targets.map(|(_, target)| (object(&entry.value), target))
                })))+
            }

            /// Returns the part that a row has in the sum.
            pub(crate) fn sum_of(&self, table: Table, id: &str) -> Option<Sum> {
                $(if table == <$record as Record>::TABLE {
                    return self.$map.get(&<$id>::from_str(id).ok()?).map(|entry| entry.sum);
                })+
                None
            }

            /// All rows that are there.
            pub(crate) fn rows(&self) -> impl Iterator<Item = (Table, String)> {
                std::iter::empty()$(.chain(self.$map.keys().map(|id| (<$record as Record>::TABLE, id.to_string()))))+
            }
        }

        $(impl From<$record> for Item {
            fn from(record: $record) -> Self {
                Self::$variant(record)
            }
        })+
    };
}

items! {
    Root(Wrapped, RootId) in roots,
    Tenant(Tenant, TenantId) in tenants,
    KeyStore(ExternalKeyStore, KeyStoreId) in key_stores,
    Credential(KeyStoreCredential, AccessKeyId) in credentials,
    Schedule(Schedule, ScheduleId) in schedules,
    KeySet(KeySet, KeySetId) in key_sets,
    Key(Key, KeyId) in keys,
    Version(KeyVersion, KeyVersionId) in versions,
    Restore(Restore, Revision) in restores,
    CloudAccount(CloudAccount, CloudAccountId) in cloud_accounts,
    CloudKeyStore(CloudKeyStore, CloudKeyStoreId) in cloud_key_stores,
    CloudKey(CloudKey, CloudKeyId) in cloud_keys,
}

impl Item {
    /// Its name in AWS.
    fn cloud_name(&self) -> Option<CloudName<'_>> {
        match self {
            Self::CloudKeyStore(store) => Some(store.cloud_name()),
            Self::CloudKey(key) => Some(key.cloud_name()),
            _ => None,
        }
    }
}

impl Snapshot {
    /// Returns the revision.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.head.revision
    }

    pub(crate) const fn head(&self) -> &Head {
        &self.head
    }

    pub(crate) fn set_head(&mut self, head: Head) {
        self.head = head;
    }

    pub(crate) const fn sum(&self) -> Sum {
        self.sum
    }

    fn take_out(&mut self, former: Option<Sum>) {
        if let Some(former) = former {
            self.sum.toggle(former);
        }
    }

    /// Authenticates a row, and takes in what it holds.
    pub(crate) fn take(&mut self, key: &DataKey, row: &Row<'_>) -> Result<(), RowError> {
        let (item, sum) = read(key, row)?;
        self.put(item, row.revision, sum);
        Ok(())
    }

    /// Returns a tenant.
    #[must_use]
    pub fn tenant(&self, id: TenantId) -> Option<&Entry<Tenant>> {
        self.tenants.get(&id)
    }

    /// Returns all tenants, in the order of their ids.
    pub fn tenants(&self) -> impl ExactSizeIterator<Item = &Entry<Tenant>> {
        self.tenants.values()
    }

    /// Returns a key set.
    #[must_use]
    pub fn key_set(&self, id: KeySetId) -> Option<&Entry<KeySet>> {
        self.key_sets.get(&id)
    }

    /// Returns all key sets, in the order of their ids.
    pub fn key_sets(&self) -> impl ExactSizeIterator<Item = &Entry<KeySet>> {
        self.key_sets.values()
    }

    /// Returns an external key store.
    #[must_use]
    pub fn key_store(&self, id: KeyStoreId) -> Option<&Entry<ExternalKeyStore>> {
        self.key_stores.get(&id)
    }

    /// Returns all external key stores, in the order of their ids.
    pub fn key_stores(&self) -> impl ExactSizeIterator<Item = &Entry<ExternalKeyStore>> {
        self.key_stores.values()
    }

    /// Returns a credential.
    #[must_use]
    pub fn credential(&self, id: &AccessKeyId) -> Option<&Entry<KeyStoreCredential>> {
        self.credentials.get(id)
    }

    /// Returns all credentials, in the order of their ids.
    pub fn credentials(&self) -> impl ExactSizeIterator<Item = &Entry<KeyStoreCredential>> {
        self.credentials.values()
    }

    /// The credentials of a key store with which KMS may sign at this time, oldest first.
    pub(crate) fn live_credentials(&self, key_store: KeyStoreId, now: Timestamp) -> Vec<&KeyStoreCredential> {
        let all = self.credentials().map(|credential| &**credential);
        let of_store = all.filter(|credential| credential.key_store == key_store);
        let mut live: Vec<_> = of_store.filter(|credential| credential.is_live(now)).collect();
        live.sort_by_key(|credential| credential.age());
        live
    }

    /// Returns a schedule.
    #[must_use]
    pub fn schedule(&self, id: ScheduleId) -> Option<&Entry<Schedule>> {
        self.schedules.get(&id)
    }

    /// Returns all schedules, in the order of their ids.
    pub fn schedules(&self) -> impl ExactSizeIterator<Item = &Entry<Schedule>> {
        self.schedules.values()
    }

    /// Returns a cloud account.
    #[must_use]
    pub fn cloud_account(&self, id: CloudAccountId) -> Option<&Entry<CloudAccount>> {
        self.cloud_accounts.get(&id)
    }

    /// Returns all cloud accounts, in the order of their ids.
    pub fn cloud_accounts(&self) -> impl ExactSizeIterator<Item = &Entry<CloudAccount>> {
        self.cloud_accounts.values()
    }

    /// Returns a key store in AWS.
    #[must_use]
    pub fn cloud_key_store(&self, id: CloudKeyStoreId) -> Option<&Entry<CloudKeyStore>> {
        self.cloud_key_stores.get(&id)
    }

    /// Returns all key stores in AWS, in the order of their ids.
    pub fn cloud_key_stores(&self) -> impl ExactSizeIterator<Item = &Entry<CloudKeyStore>> {
        self.cloud_key_stores.values()
    }

    /// Returns a KMS key.
    #[must_use]
    pub fn cloud_key(&self, id: CloudKeyId) -> Option<&Entry<CloudKey>> {
        self.cloud_keys.get(&id)
    }

    /// Returns all KMS keys, in the order of their ids.
    pub fn cloud_keys(&self) -> impl ExactSizeIterator<Item = &Entry<CloudKey>> {
        self.cloud_keys.values()
    }

    /// Returns a key.
    #[must_use]
    pub fn key(&self, id: &KeyId) -> Option<&Entry<Key>> {
        self.keys.get(id)
    }

    /// Returns all keys, in the order of their ids.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Entry<Key>> {
        self.keys.values()
    }

    /// Returns the versions of a key, in the order of their ids.
    pub fn versions<'s>(&'s self, key: &'s KeyId) -> impl Iterator<Item = &'s Entry<KeyVersion>> {
        let first = KeyVersionId::new(key.clone(), crate::VersionId::from_bytes([0; 4]));
        let of_key = move |(id, _): &(&KeyVersionId, &Entry<KeyVersion>)| id.key == *key;
        self.versions.range(first..).take_while(of_key).map(|(_, entry)| entry)
    }

    /// Returns the restores from backups, in their order. After one, the counts of all versions that it has
    /// brought back are spent, since what they have encrypted after the backup is not known.
    pub fn restores(&self) -> impl DoubleEndedIterator<Item = &Entry<Restore>> + ExactSizeIterator {
        self.restores.values()
    }

    /// Returns whether a restore has brought back a key: versions of it that were made after the backup, and
    /// before the restore, are unknown.
    pub(crate) fn is_restored(&self, key: &KeyId) -> bool {
        let Some(restore) = self.restores().next_back() else {
            return false;
        };
        self.versions(key).any(|version| version.created <= restore.time)
    }

    /// The least number that a new version of a key may have, so that it is not one of a version that is
    /// unknown since a restore.
    pub(crate) fn first_number(&self, key: &KeyId) -> u32 {
        const APART: u32 = 1_000_000; // a year of rotations, one each half minute
        let restores = u32::try_from(self.restores().len()).unwrap_or(u32::MAX);
        match self.is_restored(key) {
            true => restores.saturating_mul(APART).saturating_add(1),
            false => 1,
        }
    }

    /// All keys, each with its versions.
    pub(crate) fn keys_with_versions(&self) -> impl Iterator<Item = (&Entry<Key>, Vec<&Entry<KeyVersion>>)> {
        let mut versions = self.versions.iter().peekable();
        self.keys.values().map(move |key| {
            let of_key = std::iter::from_fn(|| versions.next_if(|(id, _)| id.key == key.id));
            (key, of_key.map(|(_, version)| version).collect())
        })
    }

    /// Returns the names of the roots that open the store.
    pub fn roots(&self) -> impl ExactSizeIterator<Item = &str> {
        self.roots.keys().map(|id| id.0.as_str())
    }

    /// Returns what uses the key of a backend that has this id: a version of a managed key, or a root. Such a
    /// key may be served by nothing else.
    #[must_use]
    pub fn user_of_backend_key(&self, key: &KeyId) -> Option<Object> {
        let root = self.roots.values().find(|root| root.backend_key.as_ref() == Some(key));
        let adopted = || self.versions(key).find(|version| version.backend_key() == Some(key));
        let by_id = |id: &KeyVersionId| {
            self.versions
                .get(id)
                .filter(|version| version.backend_key() == Some(key))
        };
        let named = || {
            let (owner, version) = named_version(key)?;
            by_id(&KeyVersionId::new(owner.parse().ok()?, version))
        };
        let version = || adopted().or_else(named).or_else(|| by_id(self.unnamed.get(key)?));
        root.map(|root| object(&root.value))
            .or_else(|| version().map(|version| object(&version.value)))
    }

    /// The keys of backends under which the data key is wrapped.
    pub(crate) fn root_keys(&self) -> impl Iterator<Item = &KeyId> {
        self.roots.values().filter_map(|root| root.backend_key.as_ref())
    }

    /// Returns the versions that are published and not promoted.
    pub(crate) const fn published(&self) -> &BTreeSet<KeyVersionId> {
        &self.published
    }

    /// Whether a version is being made.
    pub(crate) fn is_pending(&self, id: &KeyVersionId) -> bool {
        let version = self.versions.get(id);
        version.is_some_and(|version| version.state == VersionState::Pending)
    }

    fn index(&mut self, item: &Item) {
        let Item::Version(version) = item else { return };
        if version.state == VersionState::Published {
            self.published.insert(version.id.clone());
        } else {
            self.published.remove(&version.id);
        }
        if let Some(key) = version.backend_key()
            && !is_told_by_name(key, &version.id)
        {
            self.unnamed.insert(key.clone(), version.id.clone());
        }
    }

    /// Checks that no key of a backend comes under management twice.
    fn check_backend_keys(&self, changes: &Changes) -> Result<(), ChangeError> {
        let mut new: HashMap<&KeyId, Object> = HashMap::new();
        for item in changes.items() {
            let key = match item {
                Item::Version(version) => version.backend_key(),
                Item::Root(root) => root.backend_key.as_ref(),
                _ => None,
            };
            let Some(key) = key else { continue };
            let object = item.object();
            let user = self.user_of_backend_key(key).filter(|user| *user != object);
            if let Some(by) = new.insert(key, object).or(user) {
                return Err(ChangeError::BackendKeyTaken { key: key.clone(), by });
            }
        }
        Ok(())
    }

    /// The tenant to whom a row belongs, when it is changed.
    fn tenant_of(&self, changed: &HashMap<Object, &Item>, object: &Object) -> Option<TenantId> {
        let next = |table, id: &dyn fmt::Display| self.tenant_of(changed, &Object::new(table, id));
        let Object(table, id) = object;
        let item = changed.get(object).copied();
        match (table, item) {
            (Table::Tenants, _) => id.parse().ok(),
            (Table::KeyStores, Some(Item::KeyStore(key_store))) => Some(key_store.tenant),
            (Table::KeyStores, _) => self.key_store(id.parse().ok()?).map(|known| known.tenant),
            (Table::Schedules, Some(Item::Schedule(schedule))) => Some(schedule.tenant),
            (Table::Schedules, _) => self.schedule(id.parse().ok()?).map(|known| known.tenant),
            (Table::KeySets, Some(Item::KeySet(set))) => Some(set.tenant),
            (Table::KeySets, _) => self.key_set(id.parse().ok()?).map(|known| known.tenant),
            (Table::CloudAccounts, Some(Item::CloudAccount(account))) => Some(account.tenant),
            (Table::CloudAccounts, _) => self.cloud_account(id.parse().ok()?).map(|known| known.tenant),
            (Table::CloudKeyStores, Some(Item::CloudKeyStore(store))) => Some(store.tenant),
            (Table::CloudKeyStores, _) => self.cloud_key_store(id.parse().ok()?).map(|known| known.tenant),
            (Table::CloudKeys, Some(Item::CloudKey(key))) => next(Table::KeySets, &key.key_set),
            (Table::Keys, Some(Item::Key(key))) => next(Table::KeySets, &key.key_set),
            (Table::Keys, _) => next(Table::KeySets, &self.key(&id.parse().ok()?)?.key_set),
            _ => None, // refers to one thing only
        }
    }

    /// Checks that no two external key stores have the same prefix.
    fn check_prefixes(&self, changes: &Changes, changed: &HashMap<Object, &Item>) -> Result<(), ChangeError> {
        let new = changes.items().filter_map(|item| match item {
            Item::KeyStore(key_store) => Some(key_store),
            _ => None,
        });
        let new: Vec<_> = new.collect();
        let is_kept = |known: &&ExternalKeyStore| {
            let known = object(*known);
            !changed.contains_key(&known) && !changes.removed.contains(&known)
        };
        for (place, key_store) in new.iter().enumerate() {
            let kept = self.key_stores().map(|known| &**known).filter(is_kept);
            let mut others = kept.chain(new.iter().take(place).copied());
            if let Some(by) = others.find(|other| other.prefix == key_store.prefix) {
                let (object, by) = (object(*key_store), object(by));
                let field = "prefix";
                return Err(ChangeError::Taken { object, field, by });
            }
        }
        Ok(())
    }

    /// Checks that no name in AWS, of which there is one in an account and Region, is used twice.
    fn check_cloud_names(&self, changes: &Changes, changed: &HashMap<Object, &Item>) -> Result<(), ChangeError> {
        let mut new: HashMap<_, Object> = HashMap::new();
        for item in changes.items() {
            let Some(name) = item.cloud_name() else { continue };
            let object = item.object();
            let is_kept = |known: &Object| !changed.contains_key(known) && !changes.removed.contains(known);
            let stores = self
                .cloud_key_stores()
                .map(|known| (object_of(known), known.cloud_name()));
            let keys = self.cloud_keys().map(|known| (object_of(known), known.cloud_name()));
            let mut known = stores.chain(keys).filter(|(known, _)| is_kept(known));
            let known = known.find(|(_, other)| *other == name).map(|(known, _)| known);
            if let Some(by) = new.insert(name, object.clone()).or(known) {
                let field = name.field;
                return Err(ChangeError::Taken { object, field, by });
            }
        }
        Ok(())
    }

    /// Checks that the changes leave a state in which every reference has its target, of the same tenant, and
    /// no key of a backend and no prefix is used twice.
    pub(crate) fn check(&self, changes: &Changes) -> Result<(), ChangeError> {
        let put: HashMap<_, _> = changes.items().map(|item| (item.object(), item)).collect();
        let removed: HashSet<_> = changes.removed.iter().collect();
        let is_there = |object: &Object| self.revision_of(object.0, &object.1).is_some();
        let will_be_there = |object: &Object| put.contains_key(object) || is_there(object) && !removed.contains(object);
        self.check_backend_keys(changes)?;
        self.check_prefixes(changes, &put)?;
        self.check_cloud_names(changes, &put)?;
        let mut seen = HashSet::new();
        for (how, item) in &changes.puts {
            let object = item.object();
            match how {
                Put::Insert if is_there(&object) => return Err(ChangeError::Exists(object)),
                Put::Update if !is_there(&object) => return Err(ChangeError::Unknown(object)),
                _ if removed.contains(&object) || !seen.insert(object.clone()) => {
                    return Err(ChangeError::Twice(object));
                }
                _ => {}
            }
            if let Some(field) = item.contradicts(self) {
                return Err(ChangeError::Final { object, field });
            }
            let lost = item.references().into_iter().find(|(_, target)| !will_be_there(target));
            if let Some((field, target)) = lost {
                return Err(ChangeError::Dangling { object, field, target });
            }
            let tenant = self.tenant_of(&put, &object);
            let is_other = |target: &Object| {
                let owner = self.tenant_of(&put, target);
                tenant.is_some() && owner.is_some() && owner != tenant
            };
            if let Some((field, target)) = item.references().into_iter().find(|(_, target)| is_other(target)) {
                return Err(ChangeError::OtherTenant { object, field, target });
            }
        }
        for object in &changes.removed {
            if !is_there(object) {
                return Err(ChangeError::Unknown(object.clone()));
            }
            if !seen.insert(object.clone()) {
                return Err(ChangeError::Twice(object.clone()));
            }
            // What is put was checked above.
            let stays = |user: &Object| !removed.contains(user) && !put.contains_key(user);
            let by = self.references().find(|(user, target)| target == object && stays(user));
            if let Some((by, object)) = by {
                return Err(ChangeError::InUse { object, by });
            }
        }
        Ok(())
    }
}

/// Authenticates a row, and returns what it holds and its part of the sum.
pub(crate) fn read(key: &DataKey, row: &Row<'_>) -> Result<(Item, Sum), RowError> {
    let error = |problem| RowError::new(row.table, &row.id, problem);
    let sum = key.verify(row).ok_or_else(|| error(RowProblem::Edited))?;
    Ok((Item::decode(key, row).map_err(error)?, sum))
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("revision", &self.head.revision)
            .finish_non_exhaustive()
    }
}

fn object<R: Record>(record: &R) -> Object {
    Object::new(R::TABLE, &record.id())
}

fn object_of<R: Record>(entry: &Entry<R>) -> Object {
    object(&entry.value)
}

/// A row, as messages call it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a table and an id name a row")]
pub struct Object(pub Table, pub Box<str>);

impl Object {
    pub(crate) fn new(table: Table, id: &dyn fmt::Display) -> Self {
        Self(table, id.to_string().into())
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.as_str().replace('_', "-"), self.1)
    }
}
