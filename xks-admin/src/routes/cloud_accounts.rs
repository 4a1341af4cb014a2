//! Cloud accounts: how AWS is called, and as whom. The secret of an access key is taken and never shown.

use serde::{Deserialize, Deserializer, Serialize};
use xks_byok::{
    accounts::{Configured, iam_policy, partition},
    aws::Identity,
};
use xks_core::Zeroizing;
use xks_lifecycle::{
    AwsSecret, CloudAccessKey, CloudAccount, CloudAccountId, CloudCredential, Description, Entry, FieldError, Name,
    ScheduleId, Snapshot, TenantId,
};

use super::{
    Routes,
    resource::{Resource, id},
};
use crate::{
    answer::Answer,
    call::Call,
    problem::Problem,
    read::{Patch, checked, required},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewCloudAccount {
    tenant: Option<TenantId>,
    name: Option<String>,
    #[serde(default)]
    description: String,
    region: Option<String>,
    #[serde(default)]
    credential: Credential,
    schedule: Option<ScheduleId>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CloudAccountPatch {
    name: Patch<String>,
    description: Patch<String>,
    region: Patch<String>,
    credential: Patch<Credential>,
    schedule: Patch<ScheduleId>,
}

/// As whom AWS is called: in the form in which it is shown, and with the secret.
#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Credential {
    #[default]
    Chain,
    File(String),
    AccessKey(AccessKey),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessKey {
    id: String,
    #[serde(deserialize_with = "wiped")]
    secret: Zeroizing<String>,
}

fn wiped<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

impl Credential {
    fn read(self) -> Result<CloudCredential, FieldError> {
        match self {
            Self::Chain => Ok(CloudCredential::Chain),
            Self::File(path) => CloudCredential::file(&path),
            Self::AccessKey(AccessKey { id, secret }) => Ok(CloudCredential::AccessKey(CloudAccessKey {
                id: checked("access_key", &id)?,
                secret: AwsSecret::new(secret)?,
            })),
        }
    }
}

impl Resource for CloudAccount {
    const PATH: &'static str = "cloud-accounts";
    type New = NewCloudAccount;
    type Patch = CloudAccountPatch;

    fn make(new: NewCloudAccount, _: &Snapshot) -> Result<Self, Problem> {
        let tenant = required("tenant", new.tenant)?;
        let name = required("name", new.name)?;
        let region = checked("region", &required("region", new.region)?)?;
        let mut account = Self::new(CloudAccountId::generate()?, tenant, &name, region)?;
        account.description = Description::new("description", new.description)?;
        account.credential = new.credential.read()?;
        account.schedule = new.schedule;
        Ok(account)
    }

    fn patch(&mut self, patch: CloudAccountPatch) -> Result<(), FieldError> {
        patch
            .name
            .replace("name", &mut self.name, |text| Name::new("name", text))?;
        let describe = |text| Description::new("description", text);
        patch
            .description
            .replace("description", &mut self.description, describe)?;
        let region = |text: String| checked("region", &text);
        patch.region.replace("region", &mut self.region, region)?;
        patch.schedule.apply(&mut self.schedule, Ok)?;
        if !matches!(patch.credential, Patch::Keep) {
            // It would take the place of the credential that is set now.
            self.next = None;
        }
        patch
            .credential
            .replace("credential", &mut self.credential, Credential::read)
    }

    fn id(&self) -> CloudAccountId {
        self.id
    }

    fn tenant(&self, _: &Snapshot) -> Option<TenantId> {
        Some(self.tenant)
    }

    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn find(snapshot: &Snapshot, id: CloudAccountId) -> Option<&Entry<Self>> {
        snapshot.cloud_account(id)
    }

    fn all(snapshot: &Snapshot) -> impl Iterator<Item = &Entry<Self>> {
        snapshot.cloud_accounts()
    }
}

/// What AWS has to allow, and what it says of an account.
pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/cloud-accounts/{id}/iam-policy", policy)
        .get("/cloud-accounts/{id}/principals", principals)
}

/// What else than key stores and their keys the policy shall allow.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyQuery {
    /// That users and roles are picked from a list.
    #[serde(default)]
    principals: bool,
    /// That keys and key stores are found that others have made.
    #[serde(default)]
    adoption: bool,
    /// That material is imported, before there is a KMS key that needs it.
    #[serde(default)]
    import: bool,
}

/// The smallest IAM policy for the account, as AWS reads it: in the Regions of what is kept of it.
async fn policy(call: Call) -> Result<Answer, Problem> {
    let (id, query) = (id::<CloudAccount>(&call)?, call.query::<PolicyQuery>()?);
    let configured = call.commands.read(|snapshot| {
        let account = snapshot.cloud_account(id)?;
        let stores: Vec<_> = snapshot
            .cloud_key_stores()
            .filter(|store| store.account == id)
            .collect();
        let keys = snapshot.cloud_keys().filter(|key| key.account == id);
        let keys: Vec<_> = keys.collect();
        let mut regions = vec![account.region.to_string()];
        regions.extend(stores.iter().map(|store| store.region.to_string()));
        regions.extend(keys.iter().map(|key| key.region.to_string()));
        regions.sort_unstable();
        regions.dedup();
        let mut configured = Configured::nothing();
        partition(&account.region).clone_into(&mut configured.partition);
        configured.account = account.account.as_ref().map(ToString::to_string);
        configured.regions = regions;
        configured.import = query.import || keys.iter().any(|key| key.import().is_some());
        // Where nothing is made yet, what is made first is not known: key stores are what there is by
        // default.
        configured.external_key_stores = !stores.is_empty() || !configured.import;
        configured.vpc_endpoint_services = stores.iter().any(|store| store.vpc.is_some());
        configured.principals = query.principals;
        configured.adoption = query.adoption;
        configured.access_key_rotation = account.schedule.is_some();
        Some(configured)
    });
    let configured = configured.ok_or_else(|| Problem::unknown(CloudAccount::PATH, call.param(0)))?;
    Answer::json(&iam_policy(&configured))
}

/// Who can be named in a key policy.
#[derive(Serialize)]
struct ShownPrincipals {
    items: Vec<ShownPrincipal>,
}

#[derive(Serialize)]
struct ShownPrincipal {
    /// `user` or `role`.
    kind: &'static str,
    name: String,
    arn: String,
}

async fn principals(call: Call) -> Result<Answer, Problem> {
    let id = id::<CloudAccount>(&call)?;
    let found = call.jobs()?.principals(id).await?;
    let shown = |kind| {
        move |identity: Identity| ShownPrincipal {
            kind,
            name: identity.name,
            arn: identity.arn,
        }
    };
    let users = found.users.into_iter().map(shown("user"));
    let roles = found.roles.into_iter().map(shown("role"));
    Answer::json(&ShownPrincipals {
        items: users.chain(roles).collect(),
    })
}
