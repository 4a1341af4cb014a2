//! Key stores in AWS: custom key stores of AWS KMS that lead to external key stores.

use serde::Deserialize;
use xks_lifecycle::{
    CloudAccountId, CloudKeyStore, CloudKeyStoreId, Entry, FieldError, FieldProblem, KeyStoreId, Snapshot, TenantId,
    VpcEndpointService,
};

use super::resource::Resource;
use crate::{
    problem::Problem,
    read::{Patch, checked, parse, required},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewCloudKeyStore {
    account: Option<CloudAccountId>,
    region: Option<String>,
    name: Option<String>,
    key_store: Option<KeyStoreId>,
    endpoint: Option<String>,
    vpc: Option<Vpc>,
    wanted: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CloudKeyStorePatch {
    name: Patch<String>,
    endpoint: Patch<String>,
    vpc: Patch<Vpc>,
    wanted: Patch<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vpc {
    name: String,
    owner: Option<String>,
}

impl Vpc {
    fn read(self) -> Result<VpcEndpointService, FieldError> {
        let owner = self.owner.map(|text| checked("vpc_owner", &text)).transpose()?;
        VpcEndpointService::new(&self.name, owner)
    }
}

/// For an account that is not there.
pub(super) fn no_account() -> FieldError {
    let rule = "must be the id of one of cloud-accounts".to_owned();
    FieldError::new("account", FieldProblem::Illegal(rule))
}

impl Resource for CloudKeyStore {
    const PATH: &'static str = "cloud-key-stores";
    const FILTERS: &'static [&'static str] = &["account"];
    type New = NewCloudKeyStore;
    type Patch = CloudKeyStorePatch;

    fn make(new: NewCloudKeyStore, snapshot: &Snapshot) -> Result<Self, Problem> {
        let account = required("account", new.account)?;
        let account = snapshot.cloud_account(account).ok_or_else(no_account)?;
        let name = checked("name", &required("name", new.name)?)?;
        let key_store = required("key_store", new.key_store)?;
        let endpoint = required("endpoint", new.endpoint)?;
        let mut store = Self::new(CloudKeyStoreId::generate()?, account, name, key_store, &endpoint)?;
        if let Some(region) = new.region {
            store.region = checked("region", &region)?;
        }
        store.vpc = new.vpc.map(Vpc::read).transpose()?;
        if let Some(wanted) = new.wanted {
            store.wanted = parse("wanted", &wanted)?;
        }
        Ok(store)
    }

    fn patch(&mut self, patch: CloudKeyStorePatch) -> Result<(), FieldError> {
        let name = |text: String| checked("name", &text);
        patch.name.replace("name", &mut self.name, name)?;
        let endpoint = |text: String| Self::endpoint(&text);
        patch.endpoint.replace("endpoint", &mut self.endpoint, endpoint)?;
        patch.vpc.apply(&mut self.vpc, Vpc::read)?;
        let wanted = |text: String| parse("wanted", &text);
        patch.wanted.replace("wanted", &mut self.wanted, wanted)
    }

    fn id(&self) -> CloudKeyStoreId {
        self.id
    }

    fn tenant(&self, _: &Snapshot) -> Option<TenantId> {
        Some(self.tenant)
    }

    fn account(&self) -> Option<CloudAccountId> {
        Some(self.account)
    }

    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn find(snapshot: &Snapshot, id: CloudKeyStoreId) -> Option<&Entry<Self>> {
        snapshot.cloud_key_store(id)
    }

    fn all(snapshot: &Snapshot) -> impl Iterator<Item = &Entry<Self>> {
        snapshot.cloud_key_stores()
    }
}
