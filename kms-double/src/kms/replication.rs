//! The operations on keys in several Regions.

use std::collections::BTreeMap;

use super::{
    Kms,
    api::{Empty, KeyState, ReplicateKeyRequest, ReplicateKeyResponse, Tag, UpdatePrimaryRegionRequest},
    caller::Caller,
    exception::{Exception, ExceptionName},
    key::{Backing, Key, KeyStatus},
    materials::Materials,
    multi_region::MultiRegion,
    operation::Operation,
    policy::{Proposal, default_policy},
    tags::{add_tags, check_description},
    world::World,
};

impl Kms {
    /// Makes a replica of a primary key in another Region. It is Creating at first; then it is Enabled, or it
    /// waits for the import of its key material.
    ///
    /// # Errors
    /// As AWS documents them for ReplicateKey.
    pub async fn replicate_key(
        &self,
        caller: &Caller,
        request: ReplicateKeyRequest,
    ) -> Result<ReplicateKeyResponse, Exception> {
        self.operate("ReplicateKey", caller, async |operation| {
            let there = self.in_region(&request.replica_region)?;
            self.check_replica_region(&there, caller)?;
            let description = request.description.clone().unwrap_or_default();
            check_description(&description)?;
            let mut tags = BTreeMap::new();
            add_tags(&mut tags, request.tags.as_deref().unwrap_or_default())?;
            let account = &self.0.settings.account;
            let policy = request.policy.clone().unwrap_or_else(|| default_policy(account));
            let proposal = Proposal {
                text: &policy,
                bypasses_lockout_check: request.bypass_policy_lockout_safety_check == Some(true),
                caller,
                account,
                now: self.now(),
            };
            operation.read(|state| proposal.check(state))?;
            operation.change_world(|world| {
                let primary = self.primary(operation, world, &request.key_id)?;
                let there_already = world.region(&there.1);
                if there_already.keys().get(&primary.id).is_some() {
                    let message = format!("{} has a replica in {} already", primary.arn, there.1);
                    return Err(Exception::new(ExceptionName::AlreadyExists, message));
                }
                if there_already.keys().len() >= self.0.settings.resources.keys {
                    let message = "The account has as many KMS keys in the replica's Region as it may have";
                    return Err(Exception::new(ExceptionName::LimitExceeded, message));
                }
                let replica = Key {
                    arn: there.arn(&format!("key/{}", primary.id)),
                    description,
                    created: self.now(),
                    status: KeyStatus::Creating(self.now() + self.settle_secs()),
                    backing: match &primary.backing {
                        Backing::Imported(materials) => {
                            Backing::Imported(Materials::like(materials, &Materials::default()))
                        }
                        backing => backing.clone(),
                    },
                    policy: policy.clone(),
                    ram_policy: None,
                    tags: tags.clone(),
                    multi_region: Some(MultiRegion {
                        own: there.1.to_string(),
                        primary: self.1.to_string(),
                        replicas: Vec::new(),
                    }),
                    id: primary.id.clone(),
                };
                let id = replica.id.clone();
                world.region_mut(&there.1).put_key(replica);
                world.relate(self.now(), &[]);
                let state = world.region(&there.1);
                Ok(ReplicateKeyResponse {
                    replica_key_metadata: there.described_key(state, state.key_by_id(&id)?),
                    replica_policy: policy,
                    replica_tags: tags
                        .into_iter()
                        .map(|(tag_key, tag_value)| Tag { tag_key, tag_value })
                        .collect(),
                })
            })
        })
        .await
    }

    /// Makes a replica the primary key, and the primary key a replica. AWS KMS takes some seconds.
    ///
    /// # Errors
    /// As AWS documents them for UpdatePrimaryRegion.
    pub async fn update_primary_region(
        &self,
        caller: &Caller,
        request: UpdatePrimaryRegionRequest,
    ) -> Result<Empty, Exception> {
        self.operate("UpdatePrimaryRegion", caller, async |operation| {
            let there = self.in_region(&request.primary_region)?;
            self.0.settings.faults.check_there(&there.1)?;
            there.check_quota(operation.name)?;
            operation.change_world(|world| {
                let primary = self.primary(operation, world, &request.key_id)?;
                let state = world.region(&there.1);
                let replica = state.keys().get(&primary.id).filter(|replica| replica.is_replica());
                let replica = replica.ok_or_else(|| {
                    let message = format!("{} has no replica in {}", primary.arn, there.1);
                    Exception::new(ExceptionName::NotFound, message)
                })?;
                operation.check_permission(operation.name, replica)?;
                if state.key_state(replica) != KeyState::Enabled {
                    let message = format!("{} has to be enabled for this operation.", replica.arn);
                    return Err(Exception::new(ExceptionName::InvalidState, message));
                }
                for region in [&self.1, &there.1] {
                    world.region_mut(region).change_key(&primary.id, |key| {
                        if let Some(regions) = &mut key.multi_region {
                            regions.primary = there.1.to_string();
                        }
                        Ok(())
                    })?;
                }
                Ok(Empty {})
            })
        })
        .await
    }

    /// A primary key of this Region, in a state for the operation.
    fn primary(&self, operation: Operation<'_>, world: &World, named: &str) -> Result<Key, Exception> {
        let state = world.region(&self.1);
        let key = operation.key_by_id(state, named)?;
        let is_primary = key.multi_region.as_ref().map(MultiRegion::is_primary);
        let why = match is_primary {
            Some(true) => return Ok(key.clone()),
            Some(false) => "is a replica key: call the Region of its primary key",
            None => "is not a multi-Region key, and can never be one",
        };
        let message = format!("{} {why}", key.arn);
        Err(Exception::new(ExceptionName::UnsupportedOperation, message))
    }

    /// A replica needs the permission and the quota of CreateKey in its Region: "counts as one ReplicateKey
    /// request and two CreateKey requests".
    fn check_replica_region(&self, there: &Self, caller: &Caller) -> Result<(), Exception> {
        let faults = &self.0.settings.faults;
        faults.check_allowed("CreateKey", caller)?;
        faults.check_there(&there.1)?;
        there.check_quota("CreateKey")?;
        there.check_quota("CreateKey")
    }
}

/// `^([a-z]+-){2,3}\d+$`, of at most 32 characters: `RegionType` in AWS's API model.
pub(crate) fn check_region(region: &str) -> Result<(), Exception> {
    let mut parts: Vec<_> = region.split('-').collect();
    let number = parts.pop().unwrap_or_default();
    let is_legal = (2..=3).contains(&parts.len())
        && parts
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase()))
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit());
    match is_legal && region.len() <= 32 {
        true => Ok(()),
        false => Err(Exception::validation(format!("{region:?} is not a Region"))),
    }
}
