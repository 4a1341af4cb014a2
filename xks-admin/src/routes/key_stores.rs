//! External key stores.

use serde::Deserialize;
use xks_lifecycle::{Entry, ExternalKeyStore, FieldError, KeyStoreId, Name, Regions, Snapshot, TenantId};

use super::resource::Resource;
use crate::{
    problem::Problem,
    read::{Patch, parse, required},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKeyStore {
    tenant: Option<TenantId>,
    name: Option<String>,
    prefix: Option<String>,
    regions: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct KeyStorePatch {
    name: Patch<String>,
    prefix: Patch<String>,
    regions: Patch<Vec<String>>,
}

fn regions(names: &[String]) -> Result<Regions, FieldError> {
    Regions::new(names.iter().map(String::as_str))
}

impl Resource for ExternalKeyStore {
    const PATH: &'static str = "key-stores";
    type New = NewKeyStore;
    type Patch = KeyStorePatch;

    fn make(new: NewKeyStore) -> Result<Self, Problem> {
        let tenant = required("tenant", new.tenant)?;
        let name = required("name", new.name)?;
        let prefix = parse("prefix", &required("prefix", new.prefix)?)?;
        let regions = regions(&required("regions", new.regions)?)?;
        Ok(Self::new(KeyStoreId::generate()?, tenant, &name, prefix, regions)?)
    }

    fn patch(&mut self, patch: KeyStorePatch) -> Result<(), FieldError> {
        patch
            .name
            .replace("name", &mut self.name, |text| Name::new("name", text))?;
        patch
            .prefix
            .replace("prefix", &mut self.prefix, |text| parse("prefix", &text))?;
        patch
            .regions
            .replace("regions", &mut self.regions, |names| regions(&names))
    }

    fn id(&self) -> KeyStoreId {
        self.id
    }

    fn tenant(&self) -> TenantId {
        self.tenant
    }

    fn name(&self) -> &Name {
        &self.name
    }

    fn find(snapshot: &Snapshot, id: KeyStoreId) -> Option<&Entry<Self>> {
        snapshot.key_store(id)
    }

    fn all(snapshot: &Snapshot) -> impl Iterator<Item = &Entry<Self>> {
        snapshot.key_stores()
    }
}
