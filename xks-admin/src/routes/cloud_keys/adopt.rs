//! KMS keys that others have made: which there are in a Region, and how one comes under management.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xks_byok::{
    aws::{KeyMetadata, KeyState},
    observe::ImportedKey,
    plan::{availability, refusal},
};
use xks_lifecycle::{
    CloudAccount, CloudAccountId, CloudKey, CloudKeyId, CloudKeyOrigin, Description, FieldError, FieldProblem,
    KeyPolicy, KeySetId, Region, Snapshot, Tags, WantedKey,
};

use super::fields::NewImport;
use crate::{
    answer::{Answer, Page},
    call::Call,
    confirmation::Done,
    problem::Problem,
    read::{checked, parse, required},
    routes::{
        Routes,
        cloud_key_stores::no_account,
        resource::{Resource, done, id},
    },
};

/// The paths.
pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/cloud-accounts/{id}/kms-keys", list)
        .post("/cloud-keys/adopt", adopt)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    region: Option<String>,
}

/// A KMS key in a Region.
#[derive(Serialize)]
struct ShownKey {
    key_id: String,
    arn: String,
    aliases: Vec<String>,
    origin: String,
    state: String,
    status: &'static str,
    /// Why it has this status.
    reason: String,
    /// By which cloud key it is managed.
    cloud_key: Option<CloudKeyId>,
    /// Why it cannot be adopted.
    refusal: Option<&'static str>,
}

/// The KMS keys that are managed: theirs and those of their former materials.
fn managed(snapshot: &Snapshot) -> BTreeMap<String, CloudKeyId> {
    let keys = snapshot.cloud_keys().map(|key| (key.kms_key.as_ref(), key.id));
    let materials = snapshot
        .cloud_materials()
        .map(|material| (material.kms_key.as_ref(), material.cloud_key));
    let all = materials.chain(keys);
    all.filter_map(|(arn, id)| Some((arn?.to_string(), id))).collect()
}

fn region(account: &CloudAccount, given: Option<&str>) -> Result<Region, FieldError> {
    given.map_or_else(|| Ok(account.region.clone()), |text| checked("region", text))
}

/// All KMS keys of an account in a Region: AWS is asked about each of them.
async fn list(call: Call) -> Result<Answer, Problem> {
    let (account, query) = (id::<CloudAccount>(&call)?, call.query::<ListQuery>()?);
    let found = call.commands.read(|snapshot| snapshot.cloud_account(account).cloned());
    let found = found.ok_or_else(|| Problem::unknown(CloudAccount::PATH, call.param(0)))?;
    let region = region(&found, query.region.as_deref())?;
    let found = call.jobs()?.region(account, &region).await?;
    let managed = call.commands.read(managed);
    let shown = found.keys.into_values().map(|key| {
        let status = availability(Some(&key.metadata), &key.materials);
        ShownKey {
            aliases: key.aliases,
            origin: key.metadata.origin.to_string(),
            state: key.metadata.key_state.to_string(),
            status: status.status.as_str(),
            reason: status.reason,
            cloud_key: managed.get(&key.metadata.arn).copied(),
            refusal: refusal(&key.metadata),
            key_id: key.metadata.key_id,
            arn: key.metadata.arn,
        }
    });
    Answer::json(&Page::whole(shown.collect()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Adoption {
    key_set: Option<KeySetId>,
    account: Option<CloudAccountId>,
    region: Option<String>,
    /// Its ARN or id, or an alias.
    kms_key: Option<String>,
    /// Its alias, unless `kms_key` is one.
    alias: Option<String>,
    import: Option<NewImport>,
}

fn illegal(field: &'static str, rule: impl Into<String>) -> FieldError {
    FieldError::new(field, FieldProblem::Illegal(rule.into()))
}

/// What is wanted of an adopted key is what is there.
fn adopted(mut key: CloudKey, found: &ImportedKey) -> Result<CloudKey, FieldError> {
    let metadata: &KeyMetadata = &found.metadata;
    if let Some(reason) = refusal(metadata) {
        return Err(illegal("kms_key", reason));
    }
    if metadata.key_state == KeyState::PendingDeletion {
        return Err(illegal("kms_key", "it is scheduled for deletion: cancel that first"));
    }
    key.description = Description::new("description", metadata.description.clone())?;
    let tags = found.tags.iter().filter(|(name, _)| !name.starts_with("aws:"));
    key.tags = Tags::new(tags.map(|(name, value)| (&**name, &**value)))?;
    if let Some(policy) = &found.policy {
        key.policy = KeyPolicy::json(policy)?;
    }
    if metadata.key_state == KeyState::Disabled {
        key.wanted = WantedKey::Disabled;
    }
    key.kms_key = Some(checked("kms_key", &metadata.arn)?);
    key.is_adopted = true;
    Ok(key)
}

/// Takes a KMS key under management as it is. It changes with its first rotation.
async fn adopt(call: Call) -> Result<Done, Problem> {
    let work = async {
        let body: Adoption = call.body()?;
        let key_set = required("key_set", body.key_set)?;
        let account = required("account", body.account)?;
        let account = call.commands.read(|snapshot| snapshot.cloud_account(account).cloned());
        let account = account.ok_or_else(no_account)?;
        let region = region(&account, body.region.as_deref())?;
        let name = required("kms_key", body.kms_key)?;
        let alias = body.alias.or_else(|| name.starts_with("alias/").then(|| name.clone()));
        let origin = CloudKeyOrigin::External(required("import", body.import)?.read()?);
        let alias = parse("alias", &required("alias", alias)?)?;
        let mut key = CloudKey::new(CloudKeyId::generate()?, key_set, &account, alias, origin)?;
        key.region = region;
        let found = call.jobs()?.kms_key(account.id, &key.region, &name).await?;
        let found = found.ok_or_else(|| illegal("kms_key", "AWS KMS has no such key in this account and Region"))?;
        if let Some(other) = call.commands.read(managed).get(&found.metadata.arn) {
            return Err(illegal("kms_key", format!("it is managed already: cloud-keys/{other}")).into());
        }
        let key = adopted(key, &found)?;
        let id = key.id;
        call.commands.create(&call.actor, key).await?;
        Ok(done::<CloudKey>(&call, id)?.created(format_args!("{}/{id}", CloudKey::PATH)))
    };
    call.command("adopt", CloudKey::PATH, work).await
}
