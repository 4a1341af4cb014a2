//! What is there in AWS: what one job needs, by counted calls.

mod import;
mod last_use;
mod region;
mod search;

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

pub use self::{
    import::{ImportedKey, ObservedImport, kms_key},
    last_use::{LastUse, last_use},
    region::{ObservedRegion, RegionKey, region, region_key},
    search::{search_operation, search_pair},
};
use crate::{
    aws::{
        AwsError, AwsErrorKind, CustomKeyStore, DescribeCustomKeyStoresRequest, KeyMetadata, ListAliasesRequest,
        Operation, Page, PageRequest,
    },
    caller::{CallError, Caller},
    plan::{Desired, DesiredKey, DesiredKeyStore},
};

/// What was observed of what a job is about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Observed {
    /// The key store, if it is there.
    KeyStore(Option<Box<CustomKeyStore>>),
    /// The KMS key.
    Key(Box<ObservedKey>),
    /// The KMS keys behind an alias, whose material is imported.
    Import(Box<ObservedImport>),
}

/// What was observed of a KMS key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObservedKey {
    /// What DescribeKey says; nothing if there is none.
    pub metadata: Option<KeyMetadata>,
    /// The policy `default`. That of `AWS_RAM` is AWS's own, and left alone.
    pub policy: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The id of the key that the wanted alias belongs to.
    pub alias_target: Option<String>,
    /// The key store that it is in, or shall be in, while there is no key.
    pub key_store: Option<CustomKeyStore>,
}

impl From<Option<CustomKeyStore>> for Observed {
    fn from(observed: Option<CustomKeyStore>) -> Self {
        Self::KeyStore(observed.map(Box::new))
    }
}

impl From<ObservedImport> for Observed {
    fn from(observed: ObservedImport) -> Self {
        Self::Import(Box::new(observed))
    }
}

impl From<ObservedKey> for Observed {
    fn from(observed: ObservedKey) -> Self {
        Self::Key(Box::new(observed))
    }
}

impl Observed {
    /// Returns a hash of all that was observed: who starts a job says by this what was shown.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let hash = Sha256::digest(format!("{self:?}"));
        hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

async fn describe(caller: &Caller, id: &str) -> Result<Option<KeyMetadata>, CallError> {
    let call = || caller.kms().describe_key(id);
    unless_missing(caller.call(Operation::DescribeKey, call).await)
}

/// Reads what a plan needs.
///
/// # Errors
/// Of a call that was not answered as expected. That something is not there is no error.
pub async fn observe(caller: &Caller, desired: &Desired) -> Result<Observed, CallError> {
    match desired {
        Desired::KeyStore(desired) => key_store(caller, desired).await.map(Observed::from),
        Desired::Key(desired) => key(caller, desired).await.map(Observed::from),
        Desired::Import(desired) => import::import(caller, desired).await.map(Observed::from),
    }
}

/// Nothing, where AWS says that it is not there.
fn unless_missing<T>(outcome: Result<T, CallError>) -> Result<Option<T>, CallError> {
    let is_missing = |error: &AwsError| {
        matches!(
            error.kind,
            AwsErrorKind::NotFound | AwsErrorKind::CustomKeyStoreNotFound
        )
    };
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(CallError::Aws(error)) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn describe_key_store(
    caller: &Caller,
    request: DescribeCustomKeyStoresRequest,
) -> Result<Option<CustomKeyStore>, CallError> {
    let call = || caller.kms().describe_custom_key_stores(request.clone());
    let page = unless_missing(caller.call(Operation::DescribeCustomKeyStores, call).await)?;
    Ok(page.and_then(|page| page.items.into_iter().next()))
}

/// By its id, or by its name while that is not known.
async fn key_store(caller: &Caller, desired: &DesiredKeyStore) -> Result<Option<CustomKeyStore>, CallError> {
    let request = match &desired.id {
        Some(id) => DescribeCustomKeyStoresRequest::id(id),
        None => DescribeCustomKeyStoresRequest::name(&desired.name),
    };
    describe_key_store(caller, request).await
}

async fn key(caller: &Caller, desired: &DesiredKey) -> Result<ObservedKey, CallError> {
    let mut observed = ObservedKey::default();
    let by_alias = describe(caller, &desired.alias).await?;
    observed.alias_target = by_alias.as_ref().map(|key| key.key_id.clone());
    observed.metadata = match &desired.arn {
        Some(arn) if by_alias.as_ref().is_some_and(|key| key.arn == *arn) => by_alias,
        Some(arn) => describe(caller, arn).await?,
        // One that is there with this alias may be for this external key, made by somebody else.
        None => by_alias.filter(|key| {
            key.xks_key_id.as_ref() == Some(&desired.xks_key_id)
                && key.custom_key_store_id == desired.custom_key_store_id
        }),
    };
    match &observed.metadata {
        Some(metadata) => {
            observed.policy = policy(caller, &metadata.arn).await?;
            observed.tags = tags(caller, &metadata.arn).await?;
        }
        None => {
            if let Some(id) = &desired.custom_key_store_id {
                observed.key_store = describe_key_store(caller, DescribeCustomKeyStoresRequest::id(id)).await?;
            }
        }
    }
    Ok(observed)
}

/// The policy `default`; nothing if the key is not there.
async fn policy(caller: &Caller, arn: &str) -> Result<Option<String>, CallError> {
    let call = || caller.kms().get_key_policy(arn, "default");
    unless_missing(caller.call(Operation::GetKeyPolicy, call).await)
}

/// The tags of a key; none if it is not there.
pub(crate) async fn tags(caller: &Caller, key_id: &str) -> Result<BTreeMap<String, String>, CallError> {
    let mut tags = BTreeMap::new();
    let mut page = PageRequest::first();
    loop {
        let call = || caller.kms().list_resource_tags(key_id, page.clone());
        let Some(Page { items, next_marker }) = unless_missing(caller.call(Operation::ListResourceTags, call).await)?
        else {
            return Ok(tags);
        };
        tags.extend(items.into_iter().map(|tag| (tag.tag_key, tag.tag_value)));
        match next_marker {
            Some(marker) => page = PageRequest::after(marker),
            None => return Ok(tags),
        }
    }
}

/// All keys of account and Region.
pub(crate) async fn keys(caller: &Caller) -> Result<Vec<crate::aws::KeyListEntry>, CallError> {
    let mut keys = Vec::new();
    let mut page = PageRequest::first().limit(1000);
    loop {
        let call = || caller.kms().list_keys(page.clone());
        let Page { items, next_marker } = caller.call(Operation::ListKeys, call).await?;
        keys.extend(items);
        match next_marker {
            Some(marker) => page = PageRequest::after(marker).limit(1000),
            None => return Ok(keys),
        }
    }
}

/// All aliases of account and Region: their names, by the ids of their keys.
pub(crate) async fn aliases(caller: &Caller) -> Result<BTreeMap<String, Vec<String>>, CallError> {
    let mut aliases: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut page = PageRequest::first().limit(100);
    loop {
        let call = || caller.kms().list_aliases(ListAliasesRequest::all(page.clone()));
        let Page { items, next_marker } = caller.call(Operation::ListAliases, call).await?;
        for alias in items {
            if let Some(key) = alias.target_key_id {
                aliases.entry(key).or_default().push(alias.alias_name);
            }
        }
        match next_marker {
            Some(marker) => page = PageRequest::after(marker).limit(100),
            None => return Ok(aliases),
        }
    }
}
