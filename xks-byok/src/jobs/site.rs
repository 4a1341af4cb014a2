//! Where a job works: its account and Region, as a caller, and what is wanted there.

use std::{collections::BTreeSet, sync::Arc};

use xks_core::Zeroizing;
use xks_lifecycle::{CloudAccount, CloudAccountId, CloudCredential, CloudKeyOrigin, Region, Snapshot, commands::Actor};

use super::{Intent, JobError, Jobs, import::Materials};
use crate::{
    accounts::parse_csv,
    apply::{Target, proxy_credential},
    aws::{AccessKey, AwsCredentials, ProxyCredential},
    caller::Caller,
    plan::{Desired, Undesirable},
};

/// Where a job works.
pub(super) struct Site {
    pub(super) caller: Caller,
    pub(super) account: CloudAccountId,
    pub(super) region: Region,
}

/// Account and Region of what a job is about.
fn place(state: &Snapshot, intent: Intent) -> Result<(CloudAccountId, Region), Undesirable> {
    let found = match intent {
        Intent::CloudKeyStore(id) => state
            .cloud_key_store(id)
            .map(|store| (store.account, store.region.clone())),
        Intent::CloudKey(id) => state.cloud_key(id).map(|key| (key.account, key.region.clone())),
        Intent::CloudMaterial(id) => {
            let material = state.cloud_material(id);
            let key = material.and_then(|material| state.cloud_key(material.cloud_key));
            key.map(|key| (key.account, key.region.clone()))
        }
        Intent::CloudAccount(id) | Intent::Orphans(id) => {
            state.cloud_account(id).map(|account| (id, account.region.clone()))
        }
    };
    found.ok_or_else(|| Undesirable::Unknown(intent.to_string()))
}

/// The credentials of an account.
///
/// # Errors
/// The file cannot be read, or is another one.
pub(super) fn credentials(account: &CloudAccount) -> Result<AwsCredentials, JobError> {
    match &account.credential {
        CloudCredential::Chain => Ok(AwsCredentials::Chain),
        CloudCredential::AccessKey(key) => Ok(AwsCredentials::AccessKey(AccessKey::new(
            key.id.as_str(),
            key.secret.expose(),
        ))),
        CloudCredential::File(path) => {
            let text = std::fs::read(&**path).map(Zeroizing::new);
            let text = text.map_err(|problem| JobError::File {
                path: path.to_string(),
                problem: format!("{problem}; make it readable for this process"),
            })?;
            Ok(AwsCredentials::AccessKey(parse_csv(&text)?))
        }
        _ => Ok(AwsCredentials::Chain),
    }
}

impl Jobs {
    /// A caller for account and Region of what a job is about. The number of an account that is not known yet
    /// is asked for, and kept.
    pub(super) async fn site(&self, intent: Intent, actor: &Actor) -> Result<Site, JobError> {
        let (account, region, found) = self.commands.read(|state| {
            let (account, region) = place(state, intent)?;
            let found = state.cloud_account(account).map(|entry| (**entry).clone());
            let found = found.ok_or_else(|| Undesirable::Unknown(format!("cloud-accounts/{account}")))?;
            Ok::<_, Undesirable>((account, region, found))
        })?;
        let credentials = credentials(&found)?;
        if found.account.is_none() {
            let iam = self.connector.iam(&credentials, region.as_str()).await?;
            let identity = iam.get_caller_identity().await?;
            let mut found = found;
            found.account = Some(identity.account.parse()?);
            self.commands.update(actor, found, None).await?;
        }
        let kms = self.connector.kms(&credentials, region.as_str()).await?;
        let place = format!("{account}/{region}");
        let caller = Caller::new(kms, Arc::clone(&self.quotas), place);
        Ok(Site {
            caller,
            account,
            region,
        })
    }

    pub(super) fn desired(&self, intent: Intent) -> Result<Desired, Undesirable> {
        let now = self.commands.now();
        self.commands.read(|state| match intent {
            Intent::CloudKeyStore(id) => Desired::key_store(state, id, now),
            Intent::CloudKey(id) => Desired::key(state, id, now),
            Intent::CloudMaterial(id) => Desired::material(state, id, now),
            Intent::CloudAccount(_) | Intent::Orphans(_) => Err(Undesirable::Unplanned(intent.to_string())),
        })
    }

    /// What a step works on, as the state knows it.
    pub(super) fn target(&self, intent: Intent, desired: &Desired) -> Target {
        let (id, credential) = match (intent, desired) {
            (Intent::CloudKeyStore(store), Desired::KeyStore(desired)) => {
                let credential = || -> Option<ProxyCredential> {
                    self.commands.read(|state| {
                        let ours = state.cloud_key_store(store)?.key_store;
                        let id = desired.access_key_id.as_ref()?.parse().ok()?;
                        let found = state.credential(&id).filter(|found| found.key_store == ours)?;
                        Some(proxy_credential(found.access_key_id.as_ref(), found.secret.expose()))
                    })
                };
                (desired.id.clone(), credential())
            }
            (_, Desired::Key(desired)) => (desired.arn.clone(), None),
            (_, Desired::Import(desired)) => (desired.candidate().map(str::to_owned), None),
            (_, Desired::KeyStore(_)) => (None, None),
        };
        Target {
            id,
            credential,
            operation_tag: self.settings.operation_tag.clone(),
            wrapper: Some(Arc::new(Materials {
                commands: Arc::clone(&self.commands),
                actor: self.actor.clone(),
            })),
        }
    }

    /// The ids of the KMS keys that are known in account and Region.
    pub(super) fn known_keys(&self, site: &Site) -> BTreeSet<String> {
        self.commands.read(|state| {
            let here = state
                .cloud_keys()
                .filter(|key| (key.account, &key.region) == (site.account, &site.region));
            let arns = here.flat_map(|key| {
                let of_materials = state
                    .materials_of(key.id)
                    .filter_map(|material| material.kms_key.as_ref());
                key.kms_key.as_ref().into_iter().chain(of_materials)
            });
            let ids = arns.filter_map(|arn| Some(arn.to_string().rsplit('/').next()?.to_owned()));
            ids.collect()
        })
    }
}

/// Whether a job of a KMS key depends on what a job of a key store does.
pub(super) fn depends_on(state: &Snapshot, intent: Intent, other: Intent) -> bool {
    let (Intent::CloudKey(key), Intent::CloudKeyStore(store)) = (intent, other) else {
        return false;
    };
    state.cloud_key(key).is_some_and(|key| match &key.origin {
        CloudKeyOrigin::ExternalKeyStore { cloud_key_store, .. } => *cloud_key_store == store,
        _ => false,
    })
}
