//! KMS keys under management.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xks_byok::observe::LastUse;
use xks_core::KeyId;
use xks_lifecycle::{
    CloudAccountId, CloudKey, CloudKeyId, CloudKeyOrigin, CloudKeyStoreId, DeletionDays, Description, Entry,
    FieldError, FieldProblem, KeyPolicy, KeySetId, PrincipalArn, Snapshot, Tags, TenantId, Timestamp, WantedKey,
};

use super::{
    Routes,
    resource::{Resource, id},
};
use crate::{
    answer::Answer,
    call::Call,
    problem::Problem,
    read::{Patch, checked, parse, required},
};

/// Tags, as they are shown.
type GivenTags = BTreeMap<String, String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewCloudKey {
    key_set: Option<KeySetId>,
    alias: Option<String>,
    #[serde(default)]
    description: String,
    cloud_key_store: Option<CloudKeyStoreId>,
    key: Option<String>,
    #[serde(default)]
    tags: GivenTags,
    policy: Option<Policy>,
    wanted: Option<Wanted>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CloudKeyPatch {
    alias: Patch<String>,
    description: Patch<String>,
    tags: Patch<GivenTags>,
    policy: Patch<Policy>,
    wanted: Patch<Wanted>,
}

/// Who may do what with a KMS key, in the form in which it is shown.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Policy {
    People(People),
    Json(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct People {
    #[serde(default)]
    administrators: Vec<String>,
    #[serde(default)]
    users: Vec<String>,
}

/// What a KMS key shall be, in the form in which it is shown.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wanted {
    Enabled,
    Disabled,
    Deleted(u64),
}

impl Policy {
    fn read(self) -> Result<KeyPolicy, FieldError> {
        let principals = |field, arns: Vec<String>| -> Result<Vec<PrincipalArn>, FieldError> {
            arns.iter().map(|arn| checked(field, arn)).collect()
        };
        match self {
            Self::People(People { administrators, users }) => Ok(KeyPolicy::People {
                administrators: principals("administrators", administrators)?,
                users: principals("users", users)?,
            }),
            Self::Json(text) => KeyPolicy::json(&text),
        }
    }
}

impl Wanted {
    fn read(self) -> Result<WantedKey, FieldError> {
        Ok(match self {
            Self::Enabled => WantedKey::Enabled,
            Self::Disabled => WantedKey::Disabled,
            Self::Deleted(days) => WantedKey::Deleted(DeletionDays::new(days)?),
        })
    }
}

fn tags(given: &GivenTags) -> Result<Tags, FieldError> {
    Tags::new(given.iter().map(|(key, value)| (&**key, &**value)))
}

fn no_key_store() -> FieldError {
    let rule = "must be the id of one of cloud-key-stores".to_owned();
    FieldError::new("cloud_key_store", FieldProblem::Illegal(rule))
}

impl Resource for CloudKey {
    const PATH: &'static str = "cloud-keys";
    const FILTERS: &'static [&'static str] = &["account", "key_set"];
    type New = NewCloudKey;
    type Patch = CloudKeyPatch;

    fn make(new: NewCloudKey, snapshot: &Snapshot) -> Result<Self, Problem> {
        let key_set = required("key_set", new.key_set)?;
        let alias = checked("alias", &required("alias", new.alias)?)?;
        let store = required("cloud_key_store", new.cloud_key_store)?;
        let store = snapshot.cloud_key_store(store).ok_or_else(no_key_store)?;
        // A key store refers to its account, so that is there.
        let account: CloudAccountId = store.account;
        let account = snapshot.cloud_account(account).ok_or_else(no_key_store)?;
        let key: KeyId = parse("key", &required("key", new.key)?)?;
        let origin = CloudKeyOrigin::ExternalKeyStore {
            cloud_key_store: store.id,
            key,
        };
        let mut made = Self::new(CloudKeyId::generate()?, key_set, account, alias, origin)?;
        // AWS KMS makes the keys of a key store in the key store's Region.
        made.region = store.region.clone();
        made.description = Description::new("description", new.description)?;
        made.tags = tags(&new.tags)?;
        if let Some(policy) = new.policy {
            made.policy = policy.read()?;
        }
        if let Some(wanted) = new.wanted {
            made.wanted = wanted.read()?;
        }
        Ok(made)
    }

    fn patch(&mut self, patch: CloudKeyPatch) -> Result<(), FieldError> {
        let alias = |text: String| checked("alias", &text);
        patch.alias.replace("alias", &mut self.alias, alias)?;
        let describe = |text| Description::new("description", text);
        patch
            .description
            .replace("description", &mut self.description, describe)?;
        patch.tags.replace("tags", &mut self.tags, |given| tags(&given))?;
        patch.policy.replace("policy", &mut self.policy, Policy::read)?;
        patch.wanted.replace("wanted", &mut self.wanted, Wanted::read)
    }

    fn id(&self) -> CloudKeyId {
        self.id
    }

    fn tenant(&self, snapshot: &Snapshot) -> Option<TenantId> {
        snapshot.key_set(self.key_set).map(|set| set.tenant)
    }

    fn account(&self) -> Option<CloudAccountId> {
        Some(self.account)
    }

    fn key_set(&self) -> Option<KeySetId> {
        Some(self.key_set)
    }

    fn name(&self) -> &str {
        self.alias.as_str()
    }

    fn find(snapshot: &Snapshot, id: CloudKeyId) -> Option<&Entry<Self>> {
        snapshot.cloud_key(id)
    }

    fn all(snapshot: &Snapshot) -> impl Iterator<Item = &Entry<Self>> {
        snapshot.cloud_keys()
    }
}

/// What is asked of AWS about a KMS key.
pub(super) fn routes() -> Routes {
    Routes::new().get("/cloud-keys/{id}/last-use", last_use)
}

/// When a KMS key was used last, as both sides know it.
#[derive(Serialize)]
struct ShownLastUse<'u> {
    /// The later one of both.
    latest: Option<Timestamp>,
    /// When the external key was used last.
    external_key: Option<Timestamp>,
    /// What AWS KMS knows.
    aws: Option<ShownUsage<'u>>,
    /// Since when AWS KMS tracks it.
    tracked_since: Option<Timestamp>,
    /// What it says about a deletion.
    advice: String,
}

#[derive(Serialize)]
struct ShownUsage<'u> {
    operation: &'u str,
    time: Option<Timestamp>,
    /// As the proxy's audit record has it.
    kms_request_id: Option<&'u str>,
    cloud_trail_event_id: Option<&'u str>,
}

impl<'u> ShownLastUse<'u> {
    fn new(known: &'u LastUse) -> Self {
        let aws = known.aws.last_usage.as_ref().map(|usage| ShownUsage {
            operation: &usage.operation,
            time: usage.timestamp,
            kms_request_id: usage.kms_request_id.as_deref(),
            cloud_trail_event_id: usage.cloud_trail_event_id.as_deref(),
        });
        Self {
            latest: known.latest(),
            external_key: known.ours,
            aws,
            tracked_since: known.aws.tracking_start_date,
            advice: known.advice(),
        }
    }
}

async fn last_use(call: Call) -> Result<Answer, Problem> {
    let id = id::<CloudKey>(&call)?;
    let known = call.jobs()?.last_use(id).await?;
    Answer::json(&ShownLastUse::new(&known))
}
