//! What is there of KMS keys whose material is imported.

use std::collections::BTreeMap;

use super::{describe, policy, tags, unless_missing};
use crate::{
    aws::{KeyMetadata, ListKeyRotationsRequest, Operation, Origin, Page, PageRequest, RotationsListEntry},
    caller::{CallError, Caller},
    plan::DesiredImport,
};

/// What was observed of the KMS keys behind an alias.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObservedImport {
    /// The KMS key of the material that it is about, or one that may become its.
    pub key: Option<ImportedKey>,
    /// The key that the alias leads to.
    pub alias_target: Option<KeyMetadata>,
    /// Other KMS keys which had the alias, and are not let go yet.
    pub formers: Vec<KeyMetadata>,
}

/// A KMS key with its materials.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportedKey {
    /// What DescribeKey says.
    pub metadata: KeyMetadata,
    /// The policy `default`. That of `AWS_RAM` is AWS's own, and left alone.
    pub policy: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// All of its materials.
    pub materials: Vec<RotationsListEntry>,
}

impl ImportedKey {
    /// A key without policy, tags and materials.
    #[must_use]
    pub const fn new(metadata: KeyMetadata) -> Self {
        Self {
            metadata,
            policy: None,
            tags: BTreeMap::new(),
            materials: Vec::new(),
        }
    }
}

pub(super) async fn import(caller: &Caller, desired: &DesiredImport) -> Result<ObservedImport, CallError> {
    let mut observed = ObservedImport::default();
    if desired.former.is_none() {
        observed.alias_target = describe(caller, &desired.alias).await?;
    }
    let by_alias = observed.alias_target.clone();
    let find = async |arn: &str| match &by_alias {
        Some(key) if key.arn == arn => Ok(Some(key.clone())),
        _ => describe(caller, arn).await,
    };
    if let Some(arn) = desired.candidate()
        && let Some(metadata) = find(arn).await?
    {
        let is_imported = metadata.origin == Origin::External;
        let mut key = ImportedKey::new(metadata);
        key.policy = policy(caller, arn).await?;
        key.tags = tags(caller, arn).await?;
        if is_imported {
            key.materials = materials(caller, arn).await?;
        }
        observed.key = Some(key);
    }
    for arn in desired.formers() {
        observed.formers.extend(find(arn).await?);
    }
    Ok(observed)
}

/// Reads a KMS key with policy, tags and materials; nothing if it is not there. `id` is an id, an ARN or an
/// alias.
///
/// # Errors
/// Of a call.
pub async fn kms_key(caller: &Caller, id: &str) -> Result<Option<ImportedKey>, CallError> {
    let Some(metadata) = describe(caller, id).await? else {
        return Ok(None);
    };
    let (arn, is_imported) = (metadata.arn.clone(), metadata.origin == Origin::External);
    let mut key = ImportedKey::new(metadata);
    key.policy = policy(caller, &arn).await?;
    key.tags = tags(caller, &arn).await?;
    if is_imported {
        key.materials = materials(caller, &arn).await?;
    }
    Ok(Some(key))
}

/// All materials of a key of origin EXTERNAL; none if it is not there.
pub(super) async fn materials(caller: &Caller, id: &str) -> Result<Vec<RotationsListEntry>, CallError> {
    let mut found = Vec::new();
    let mut page = PageRequest::first();
    loop {
        let request = ListKeyRotationsRequest::all(id, page);
        let call = || caller.kms().list_key_rotations(request.clone());
        let Some(Page { items, next_marker }) = unless_missing(caller.call(Operation::ListKeyRotations, call).await)?
        else {
            return Ok(found);
        };
        found.extend(items);
        match next_marker {
            Some(marker) => page = PageRequest::after(marker),
            None => return Ok(found),
        }
    }
}
