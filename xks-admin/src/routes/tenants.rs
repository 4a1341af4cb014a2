//! Tenants.

use serde::Deserialize;
use xks_lifecycle::{Description, Entry, FieldError, Name, Snapshot, Tenant, TenantId};

use super::resource::Resource;
use crate::{
    problem::Problem,
    read::{Patch, required},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTenant {
    name: Option<String>,
    #[serde(default)]
    description: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TenantPatch {
    name: Patch<String>,
    description: Patch<String>,
}

impl Resource for Tenant {
    const PATH: &'static str = "tenants";
    type New = NewTenant;
    type Patch = TenantPatch;

    fn make(new: NewTenant, _: &Snapshot) -> Result<Self, Problem> {
        let mut tenant = Self::new(TenantId::generate()?, &required("name", new.name)?)?;
        tenant.description = Description::new("description", new.description)?;
        Ok(tenant)
    }

    fn patch(&mut self, patch: TenantPatch) -> Result<(), FieldError> {
        patch
            .name
            .replace("name", &mut self.name, |text| Name::new("name", text))?;
        let describe = |text| Description::new("description", text);
        patch
            .description
            .replace("description", &mut self.description, describe)
    }

    fn id(&self) -> TenantId {
        self.id
    }

    fn tenant(&self, _: &Snapshot) -> Option<TenantId> {
        Some(self.id)
    }

    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn find(snapshot: &Snapshot, id: TenantId) -> Option<&Entry<Self>> {
        snapshot.tenant(id)
    }

    fn all(snapshot: &Snapshot) -> impl Iterator<Item = &Entry<Self>> {
        snapshot.tenants()
    }
}
