//! The search for a KMS key that a job may have made.

use std::collections::BTreeSet;

use super::{keys, tags, unless_missing};
use crate::{
    aws::{KeyMetadata, Operation},
    caller::{CallError, Caller},
};

/// Looks for the KMS keys that carry the tag of an operation, among those that are not `known` by their ids.
/// Oldest first.
///
/// # Errors
/// Of a call.
pub async fn search_operation(
    caller: &Caller,
    known: &BTreeSet<String>,
    tag: (&str, &str),
) -> Result<Vec<KeyMetadata>, CallError> {
    let mut found = Vec::new();
    for key in keys(caller).await? {
        if known.contains(&key.key_id) {
            continue;
        }
        let has_tag = tags(caller, &key.key_id)
            .await?
            .get(tag.0)
            .is_some_and(|value| value == tag.1);
        if !has_tag {
            continue;
        }
        let describe = || caller.kms().describe_key(&key.key_id);
        found.extend(unless_missing(caller.call(Operation::DescribeKey, describe).await)?);
    }
    found.sort_by_key(|key| key.creation_date);
    Ok(found)
}

/// Looks for the KMS key for an external key in a key store, of which AWS makes one at most, among those that
/// are not `known` by their ids.
///
/// # Errors
/// Of a call.
pub async fn search_pair(
    caller: &Caller,
    known: &BTreeSet<String>,
    custom_key_store_id: &str,
    xks_key_id: &str,
) -> Result<Option<KeyMetadata>, CallError> {
    for key in keys(caller).await? {
        if known.contains(&key.key_id) {
            continue;
        }
        let describe = || caller.kms().describe_key(&key.key_id);
        let Some(metadata) = unless_missing(caller.call(Operation::DescribeKey, describe).await)? else {
            continue;
        };
        if metadata.custom_key_store_id.as_deref() == Some(custom_key_store_id)
            && metadata.xks_key_id.as_deref() == Some(xks_key_id)
        {
            return Ok(Some(metadata));
        }
    }
    Ok(None)
}
