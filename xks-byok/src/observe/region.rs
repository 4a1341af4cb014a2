//! All keys of an account in a Region, as fast as the request quotas allow.

use std::collections::BTreeMap;

use futures_util::{
    StreamExt as _, TryStreamExt as _,
    future::{try_join, try_join4},
    stream,
};

use super::{aliases, import::materials, keys, tags, unless_missing};
use crate::{
    aws::{
        CustomKeyStore, DescribeCustomKeyStoresRequest, KeyListEntry, KeyMetadata, Operation, Origin, Page,
        PageRequest, RotationsListEntry,
    },
    caller::{CallError, Caller},
};

/// How many calls of one operation are under way at once. With answers after 50 ms it is enough for 2000 a
/// second.
const AT_ONCE: usize = 100;

/// What there is in a Region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObservedRegion {
    /// The KMS keys, by their ids.
    pub keys: BTreeMap<String, RegionKey>,
    /// The custom key stores.
    pub key_stores: Vec<CustomKeyStore>,
}

/// A KMS key in a Region.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionKey {
    /// What DescribeKey says.
    pub metadata: KeyMetadata,
    /// Its aliases, of a key among all of its Region.
    pub aliases: Vec<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its materials, if they are imported.
    pub materials: Vec<RotationsListEntry>,
}

/// Reads all keys and key stores of a Region: DescribeKey and ListResourceTags of each key side by side, and
/// ListKeyRotations of those with imported material alone.
///
/// # Errors
/// Of a call. A key that goes meanwhile is left out.
pub async fn region(caller: &Caller) -> Result<ObservedRegion, CallError> {
    let listed = keys(caller).await?;
    let (described, tags, mut aliases, key_stores) = try_join4(
        described(caller, &listed),
        all_tags(caller, &listed),
        aliases(caller),
        key_stores(caller),
    )
    .await?;
    let mut tags = tags;
    let keys = described.into_iter().map(|(metadata, materials)| {
        let id = metadata.key_id.clone();
        let key = RegionKey {
            aliases: aliases.remove(&id).unwrap_or_default(),
            tags: tags.remove(&id).unwrap_or_default(),
            metadata,
            materials,
        };
        (id, key)
    });
    Ok(ObservedRegion {
        keys: keys.collect(),
        key_stores,
    })
}

/// Reads one key as [`region`] reads all, if it is there.
///
/// # Errors
/// Of a call.
pub async fn region_key(caller: &Caller, id: &str) -> Result<ObservedRegion, CallError> {
    let listed = [KeyListEntry::new(id, id)];
    let (described, mut tags) = try_join(described(caller, &listed), all_tags(caller, &listed)).await?;
    let keys = described.into_iter().map(|(metadata, materials)| {
        let key = RegionKey {
            aliases: Vec::new(),
            tags: tags.remove(id).unwrap_or_default(),
            metadata,
            materials,
        };
        (key.metadata.key_id.clone(), key)
    });
    Ok(ObservedRegion {
        keys: keys.collect(),
        key_stores: Vec::new(),
    })
}

async fn described(
    caller: &Caller,
    listed: &[KeyListEntry],
) -> Result<Vec<(KeyMetadata, Vec<RotationsListEntry>)>, CallError> {
    let one = |key: &KeyListEntry| {
        let id = key.key_id.clone();
        async move {
            let describe = || caller.kms().describe_key(&id);
            let Some(metadata) = unless_missing(caller.call(Operation::DescribeKey, describe).await)? else {
                return Ok::<_, CallError>(None);
            };
            let materials = match metadata.origin {
                Origin::External => materials(caller, &id).await?,
                _ => Vec::new(),
            };
            Ok(Some((metadata, materials)))
        }
    };
    let calls: Vec<_> = listed.iter().map(one).collect();
    let found: Vec<Option<_>> = stream::iter(calls).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

async fn all_tags(
    caller: &Caller,
    listed: &[KeyListEntry],
) -> Result<BTreeMap<String, BTreeMap<String, String>>, CallError> {
    let one = |key: &KeyListEntry| {
        let id = key.key_id.clone();
        async move {
            let found = tags(caller, &id).await?;
            Ok::<_, CallError>((id, found))
        }
    };
    let calls: Vec<_> = listed.iter().map(one).collect();
    stream::iter(calls).buffer_unordered(AT_ONCE).try_collect().await
}

async fn key_stores(caller: &Caller) -> Result<Vec<CustomKeyStore>, CallError> {
    let mut found = Vec::new();
    let mut page = PageRequest::first();
    loop {
        let request = DescribeCustomKeyStoresRequest::all(page);
        let call = || caller.kms().describe_custom_key_stores(request.clone());
        let Page { items, next_marker } = caller.call(Operation::DescribeCustomKeyStores, call).await?;
        found.extend(items);
        match next_marker {
            Some(marker) => page = PageRequest::after(marker),
            None => return Ok(found),
        }
    }
}
