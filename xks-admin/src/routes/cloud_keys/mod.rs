//! KMS keys under management: over external key stores, or with material that is made here and imported.

mod adopt;
mod fields;
mod last_use;
mod materials;

use serde::Deserialize;
use xks_core::KeyId;
use xks_lifecycle::{
    CloudAccountId, CloudKey, CloudKeyId, CloudKeyOrigin, CloudKeyStoreId, CommandError, Description, Entry,
    FieldError, FieldProblem, KeySetId, Snapshot, TenantId, store::Revision,
};

use self::fields::{GivenTags, ImportPatch, NewImport, Policy, Wanted, tags};
use super::{Routes, cloud_key_stores::no_account, resource::Resource};
use crate::{
    call::Call,
    problem::Problem,
    read::{Patch, checked, parse, required},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewCloudKey {
    key_set: Option<KeySetId>,
    alias: Option<String>,
    #[serde(default)]
    description: String,
    /// Over an external key store: the key store in AWS and the managed key.
    cloud_key_store: Option<CloudKeyStoreId>,
    key: Option<String>,
    /// With imported material: how, and in which account and Region.
    import: Option<NewImport>,
    account: Option<CloudAccountId>,
    region: Option<String>,
    #[serde(default)]
    tags: GivenTags,
    policy: Option<Policy>,
    wanted: Option<Wanted>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CloudKeyPatch {
    alias: Patch<String>,
    description: Patch<String>,
    tags: Patch<GivenTags>,
    policy: Patch<Policy>,
    wanted: Patch<Wanted>,
    import: Option<ImportPatch>,
}

impl Resource for CloudKey {
    const PATH: &'static str = "cloud-keys";
    const FILTERS: &'static [&'static str] = &["account", "key_set"];
    type New = NewCloudKey;
    type Patch = CloudKeyPatch;

    fn make(new: NewCloudKey, snapshot: &Snapshot) -> Result<Self, Problem> {
        let key_set = required("key_set", new.key_set)?;
        let alias = checked("alias", &required("alias", new.alias)?)?;
        let mut made = match (new.import, new.cloud_key_store) {
            (Some(import), None) => {
                let account = required("account", new.account)?;
                let account = snapshot.cloud_account(account).ok_or_else(no_account)?;
                let origin = CloudKeyOrigin::External(import.read()?);
                let mut made = Self::new(CloudKeyId::generate()?, key_set, account, alias, origin)?;
                if let Some(region) = new.region {
                    made.region = checked("region", &region)?;
                }
                made
            }
            (Some(_), Some(_)) => return Err(FieldError::new("import", FieldProblem::Unexpected).into()),
            (None, store) => {
                let store = required("cloud_key_store", store)?;
                let store = snapshot.cloud_key_store(store).ok_or_else(no_key_store)?;
                // A key store refers to its account, so that is there.
                let account = snapshot.cloud_account(store.account).ok_or_else(no_key_store)?;
                let key: KeyId = parse("key", &required("key", new.key)?)?;
                let origin = CloudKeyOrigin::ExternalKeyStore {
                    cloud_key_store: store.id,
                    key,
                };
                let mut made = Self::new(CloudKeyId::generate()?, key_set, account, alias, origin)?;
                // AWS KMS makes the keys of a key store in the key store's Region.
                made.region = store.region.clone();
                made
            }
        };
        made.description = Description::new("description", new.description)?;
        made.tags = tags(&new.tags)?;
        if let Some(policy) = new.policy {
            made.policy = policy.read()?;
        }
        if let Some(wanted) = new.wanted {
            made.wanted = wanted.read()?;
        }
        Ok(made)
    }

    fn patch(&mut self, patch: CloudKeyPatch) -> Result<(), FieldError> {
        let alias = |text: String| checked("alias", &text);
        patch.alias.replace("alias", &mut self.alias, alias)?;
        let describe = |text| Description::new("description", text);
        patch
            .description
            .replace("description", &mut self.description, describe)?;
        patch.tags.replace("tags", &mut self.tags, |given| tags(&given))?;
        patch.policy.replace("policy", &mut self.policy, Policy::read)?;
        patch.wanted.replace("wanted", &mut self.wanted, Wanted::read)?;
        match patch.import {
            Some(import) => import.apply(&mut self.origin),
            None => Ok(()),
        }
    }

    fn id(&self) -> CloudKeyId {
        self.id
    }

    fn tenant(&self, snapshot: &Snapshot) -> Option<TenantId> {
        snapshot.key_set(self.key_set).map(|set| set.tenant)
    }

    fn account(&self) -> Option<CloudAccountId> {
        Some(self.account)
    }

    fn key_set(&self) -> Option<KeySetId> {
        Some(self.key_set)
    }

    fn name(&self) -> &str {
        self.alias.as_str()
    }

    fn find(snapshot: &Snapshot, id: CloudKeyId) -> Option<&Entry<Self>> {
        snapshot.cloud_key(id)
    }

    fn all(snapshot: &Snapshot) -> impl Iterator<Item = &Entry<Self>> {
        snapshot.cloud_keys()
    }

    /// A new KMS key with imported material has its first one from the start.
    async fn create(call: &Call, key: Self) -> Result<Revision, CommandError> {
        match key.import() {
            Some(_) => call.commands.create_import(&call.actor, key).await,
            None => call.commands.create(&call.actor, key).await,
        }
    }
}

fn no_key_store() -> FieldError {
    let rule = "must be the id of one of cloud-key-stores".to_owned();
    FieldError::new("cloud_key_store", FieldProblem::Illegal(rule))
}

/// What else there is of KMS keys.
pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/cloud-keys/{id}/last-use", last_use::last_use)
        .merge(materials::routes())
        .merge(adopt::routes())
}
