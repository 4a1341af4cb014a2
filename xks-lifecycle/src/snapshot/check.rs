//! Whether changes leave a state that is whole.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use super::{
    Item, Object, Snapshot,
    object::{object, object_of},
};
use crate::{ChangeError, Changes, ExternalKeyStore, TenantId, changes::Put, nouns::CloudName, store::Table};

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

    /// Checks that no two materials of a cloud key have the same number.
    fn check_materials(&self, changes: &Changes) -> Result<(), ChangeError> {
        let mut new = HashMap::new();
        for item in changes.items() {
            let Item::CloudMaterial(material) = item else { continue };
            let place = (material.cloud_key, material.number);
            let known = self
                .materials
                .get(&place)
                .copied()
                .filter(|known| *known != material.id);
            if let Some(by) = new.insert(place, material.id).or(known) {
                return Err(ChangeError::Taken {
                    object: object(material),
                    field: "number",
                    by: Object::new(Table::CloudMaterials, &by),
                });
            }
        }
        Ok(())
    }

    /// Checks that the changes leave a state in which every reference has its target, of the same tenant, and
    /// no key of a backend, prefix, name in AWS and number of a material is used twice.
    pub(crate) fn check(&self, changes: &Changes) -> Result<(), ChangeError> {
        let put: HashMap<_, _> = changes.items().map(|item| (item.object(), item)).collect();
        let removed: HashSet<_> = changes.removed.iter().collect();
        let is_there = |object: &Object| self.revision_of(object.0, &object.1).is_some();
        let will_be_there = |object: &Object| put.contains_key(object) || is_there(object) && !removed.contains(object);
        self.check_backend_keys(changes)?;
        self.check_prefixes(changes, &put)?;
        self.check_cloud_names(changes, &put)?;
        self.check_materials(changes)?;
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
