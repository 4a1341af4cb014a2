//! What administration shows of AWS besides jobs: what there is in a Region, who can be named in a key
//! policy, and when a KMS key was last used.

use std::{collections::BTreeSet, sync::Arc};

use xks_lifecycle::{CloudAccountId, CloudKeyId, CloudKeyOrigin, Region};

use super::{Intent, JobError, Jobs, site::credentials};
use crate::{
    aws::{Identity, Page, PageRequest},
    caller::Caller,
    observe::{ImportedKey, LastUse, ObservedRegion, kms_key, last_use, region},
    plan::Undesirable,
};

/// Who can be named in a key policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Principals {
    /// The users.
    pub users: Vec<Identity>,
    /// The roles.
    pub roles: Vec<Identity>,
}

impl Jobs {
    /// Reads all keys and key stores of an account in a Region, at the pace of its request quotas: for 10 000
    /// keys five seconds, and a hundred if their material is imported.
    ///
    /// # Errors
    /// The account is not there, or a call of AWS.
    pub async fn region(&self, account: CloudAccountId, name: &Region) -> Result<ObservedRegion, JobError> {
        let found = self.account(account)?;
        let kms = self.connector.kms(&credentials(&found)?, name.as_str()).await?;
        let caller = Caller::new(kms, Arc::clone(&self.quotas), format!("{account}/{name}"));
        Ok(region(&caller).await?)
    }

    /// Reads one KMS key of an account in a Region: by its id, its ARN or an alias. Returns nothing if it is
    /// not there.
    ///
    /// # Errors
    /// The account is not there, or a call of AWS.
    pub async fn kms_key(
        &self,
        account: CloudAccountId,
        name: &Region,
        id: &str,
    ) -> Result<Option<ImportedKey>, JobError> {
        let found = self.account(account)?;
        let kms = self.connector.kms(&credentials(&found)?, name.as_str()).await?;
        let caller = Caller::new(kms, Arc::clone(&self.quotas), format!("{account}/{name}"));
        Ok(kms_key(&caller, id).await?)
    }

    /// Returns the ids of the KMS keys in a Region that a job has made and the state does not know: what is
    /// left where a state was restored, or a record removed. None of them is deleted by itself.
    #[must_use]
    pub fn orphans(&self, found: &ObservedRegion) -> Vec<String> {
        // A KMS key whose creation was not answered is searched for by the id of its material.
        let (known, sought): (BTreeSet<_>, BTreeSet<_>) = self.commands.read(|state| {
            let of_keys = state.cloud_keys().filter_map(|key| key.kms_key.as_ref());
            let of_materials = state.cloud_materials().filter_map(|material| material.kms_key.as_ref());
            let known = of_keys.chain(of_materials).map(ToString::to_string);
            let without = state.cloud_materials().filter(|material| material.kms_key.is_none());
            (
                known.collect(),
                without.map(|material| material.id.to_string()).collect(),
            )
        });
        let ours = found.keys.iter().filter(|(_, key)| {
            let tag = key.tags.get(&self.settings.operation_tag);
            tag.is_some_and(|tag| !sought.contains(tag)) && !known.contains(&key.metadata.arn)
        });
        ours.map(|(id, _)| id.clone()).collect()
    }

    /// Lists who can be named in a key policy.
    ///
    /// # Errors
    /// The account is not there, or a call of AWS.
    pub async fn principals(&self, account: CloudAccountId) -> Result<Principals, JobError> {
        let found = self.account(account)?;
        let iam = self.connector.iam(&credentials(&found)?, found.region.as_str()).await?;
        let mut principals = Principals::default();
        let mut page = PageRequest::first();
        loop {
            let Page { items, next_marker } = iam.list_users(page).await?;
            principals.users.extend(items);
            let Some(marker) = next_marker else { break };
            page = PageRequest::after(marker);
        }
        let mut page = PageRequest::first();
        loop {
            let Page { items, next_marker } = iam.list_roles(page).await?;
            principals.roles.extend(items);
            let Some(marker) = next_marker else { break };
            page = PageRequest::after(marker);
        }
        Ok(principals)
    }

    /// Returns when a KMS key was last used, as AWS knows it and as the counts of its external key do: what
    /// to know before a deletion.
    ///
    /// # Errors
    /// It is not there, or not in AWS yet, or a call of AWS.
    pub async fn last_use(&self, id: CloudKeyId) -> Result<LastUse, JobError> {
        let unknown = |what: &str| Undesirable::Unknown(format!("{what} of cloud-keys/{id}"));
        let found = self
            .commands
            .read(|state| state.cloud_key(id).map(|entry| (**entry).clone()));
        let found = found.ok_or_else(|| unknown("record"))?;
        let arn = found.kms_key.as_ref().ok_or_else(|| unknown("KMS key"))?.to_string();
        let ours = match &found.origin {
            CloudKeyOrigin::ExternalKeyStore { key, .. } => {
                let versions = self.commands.usage(key).await?;
                versions.iter().filter_map(|version| version.usage.last_used).max()
            }
            _ => None, // AWS uses imported material by itself
        };
        let site = self.site(Intent::CloudKey(id), &self.actor).await?;
        Ok(last_use(&site.caller, &arn, ours).await?)
    }
}
