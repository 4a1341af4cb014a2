//! Keys, and the commands on them.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use xks_core::{KeyId, backend::KeyUsage};
use xks_lifecycle::{
    CommandError, Description, FieldError, FieldProblem, KeySetId, KeyVersion, KmsKeyArn, Minima, Name, Rotation,
    Snapshot, TenantId, Timestamp, VersionId, VersionState, WaitingDays,
    commands::{Adopt, CreateKey, KeyEntry},
    key_state::{KeyCommand, KeyState, StoredState},
    store::Revision,
};

use super::{
    Routes,
    resource::{Limit, Nothing, object},
};
use crate::{
    answer::{Answer, Page},
    call::Call,
    confirmation::Done,
    problem::Problem,
    read::{Patch, metadata, parse, required},
};

pub(super) const PATH: &str = "keys";

/// A key, as answers show it.
#[derive(Serialize)]
pub(super) struct ShownKey {
    id: KeyId,
    key_set: KeySetId,
    name: Name,
    description: Description,
    state: KeyState,
    /// After which time it can be destroyed.
    deleted_after: Option<Timestamp>,
    expires: Option<Timestamp>,
    usages: Box<[KeyUsage]>,
    rotation: Rotation,
    min_encrypt: u32,
    min_decrypt: u32,
    min_kept: u32,
    kms_key: Option<KmsKeyArn>,
    versions: Vec<ShownVersion>,
    revision: Revision,
}

/// A version, as answers show it.
#[derive(Serialize)]
pub(super) struct ShownVersion {
    pub(super) id: VersionId,
    number: u32,
    state: VersionState,
    created: Timestamp,
    promoted: Option<Timestamp>,
    /// The id under which the backend knows it.
    backend_key: Option<KeyId>,
    earlier_encryptions: u64,
}

impl ShownKey {
    pub(super) fn new(entry: KeyEntry) -> Self {
        let KeyEntry {
            key,
            versions,
            state,
            revision,
            ..
        } = entry;
        Self {
            state,
            deleted_after: match key.state {
                StoredState::PendingDeletion { until } => Some(until),
                _ => None,
            },
            min_encrypt: key.minima.encrypt(),
            min_decrypt: key.minima.decrypt(),
            min_kept: key.minima.kept(),
            id: key.id,
            key_set: key.key_set,
            name: key.name,
            description: key.description,
            expires: key.expires,
            usages: key.usages,
            rotation: key.rotation,
            kms_key: key.kms_key,
            versions: versions.iter().map(ShownVersion::new).collect(),
            revision,
        }
    }
}

impl ShownVersion {
    pub(super) fn new(version: &KeyVersion) -> Self {
        Self {
            id: version.id.version,
            number: version.number,
            state: version.state,
            created: version.created,
            promoted: version.promoted,
            backend_key: version.backend_key().cloned(),
            earlier_encryptions: version.earlier_encryptions,
        }
    }
}

/// The paths of keys.
pub(super) fn routes() -> Routes {
    let routes = Routes::new()
        .get("/keys", list)
        .post("/keys", create)
        .get("/keys/{id}", show)
        .patch("/keys/{id}", rename)
        .get("/keys/{id}/usage", usage)
        .post("/keys/{id}/rotate", rotate);
    let routes = command(routes, "activate", |_: Nothing| Ok(KeyCommand::Activate));
    let routes = command(routes, "enable", |_: Nothing| Ok(KeyCommand::Enable));
    let routes = command(routes, "disable", |_: Nothing| Ok(KeyCommand::Disable));
    let routes = command(routes, "deactivate", |_: Nothing| Ok(KeyCommand::Deactivate));
    let routes = command(routes, "cancel-deletion", |_: Nothing| Ok(KeyCommand::CancelDeletion));
    let routes = command(routes, "set-expiry", set_expiry);
    let routes = command(routes, "set-rotation", set_rotation);
    let routes = command(routes, "set-minima", set_minima);
    let routes = command(routes, "schedule-deletion", schedule_deletion);
    command(routes, "destroy", |body: TypedName| {
        let typed_name = body.typed_name;
        Ok(KeyCommand::Destroy { typed_name })
    })
}

/// The id that the path has, if it is one.
pub(super) fn id(call: &Call) -> Result<KeyId, Problem> {
    let text = call.param(0);
    text.parse().map_err(|_| Problem::unknown(PATH, text))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    tenant: Option<TenantId>,
    key_set: Option<KeySetId>,
    name: Option<String>,
    after: Option<String>,
    #[serde(default)]
    limit: Limit,
}

impl ListQuery {
    /// Which keys are wanted, of those of a key set if one is named.
    fn wants(&self, call: &Call, entry: &KeyEntry) -> bool {
        let of_tenant = |tenant| {
            let set = |snapshot: &Snapshot| snapshot.key_set(entry.key.key_set).map(|set| set.tenant);
            call.commands.read(set) == Some(tenant)
        };
        self.name.as_ref().is_none_or(|name| entry.key.name.as_str() == name) && self.tenant.is_none_or(of_tenant)
    }
}

async fn list(call: Call) -> Result<Answer, Problem> {
    let query: ListQuery = call.query()?;
    let mut after: Option<KeyId> = query.after.as_deref().map(|text| parse("after", text)).transpose()?;
    let more = query.limit.get() + 1;
    let mut found = Vec::new();
    // In parts, so that commands have their turn between them.
    while found.len() < more {
        let part = call.commands.keys(query.key_set, after.as_ref(), more);
        let Some(last) = part.last() else { break };
        after = Some(last.key.id.clone());
        found.extend(
            part.into_iter()
                .filter(|entry| query.wants(&call, entry))
                .map(ShownKey::new),
        );
    }
    Answer::json(&Page::of(found, query.limit.get(), |last| last.id.to_string()))
}

fn shown(entry: KeyEntry) -> Result<Answer, Problem> {
    let revision = entry.revision;
    Ok(Answer::json(&ShownKey::new(entry))?.at(revision))
}

/// A key as a command has left it.
pub(super) fn done(entry: KeyEntry) -> Result<Done, Problem> {
    let revision = entry.revision;
    Ok(shown(entry)?.done(revision))
}

async fn show(call: Call) -> Result<Answer, Problem> {
    shown(call.commands.key(&id(&call)?)?)
}

/// How much a version is used.
#[derive(Serialize)]
struct ShownUsage {
    version: VersionId,
    encryptions: u64,
    decryptions: u64,
    last_used: Option<Timestamp>,
    most_encryptions: u64,
}

async fn usage(call: Call) -> Result<Answer, Problem> {
    let usage = call.commands.usage(&id(&call)?).await?;
    let shown = usage.into_iter().map(|of| ShownUsage {
        version: of.version.version,
        encryptions: of.usage.encryptions,
        decryptions: of.usage.decryptions,
        last_used: of.usage.last_used,
        most_encryptions: of.most_encryptions,
    });
    Answer::json(&Page::whole(shown.collect()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    key_set: Option<KeySetId>,
    name: Option<String>,
    #[serde(default)]
    description: String,
    expires: Option<String>,
    rotation: Option<String>,
    is_active: Option<bool>,
    /// How many are made, 1 to 1000: they are called by the name and a number.
    count: Option<u64>,
    /// The key of the backend that is to be adopted.
    backend_key: Option<String>,
    earlier_encryptions: Option<u64>,
    legacy_metadata: Option<String>,
}

impl NewKey {
    fn key(&self) -> Result<CreateKey, FieldError> {
        let name = required("name", self.name.as_deref())?;
        let mut key = CreateKey::new(required("key_set", self.key_set)?, name)?;
        key.description = Description::new("description", &self.description)?;
        let expires = self.expires.as_deref();
        key.expires = expires.map(|text| Timestamp::parse("expires", text)).transpose()?;
        if let Some(rotation) = &self.rotation {
            key.rotation = read_rotation(rotation)?;
        }
        key.is_active = self.is_active.unwrap_or(key.is_active);
        Ok(key)
    }

    /// So many keys, if a number is given.
    fn keys(&self) -> Result<Option<Vec<CreateKey>>, FieldError> {
        const MAX: u64 = 1000;
        let Some(count) = self.count else { return Ok(None) };
        if !(1..=MAX).contains(&count) {
            return Err(FieldError::new("count", FieldProblem::Range { min: 1, max: MAX }));
        }
        let (key, name) = (self.key()?, required("name", self.name.as_deref())?);
        let numbered = |number| {
            let mut key = key.clone();
            key.name = Name::new("name", format!("{name} {number}"))?;
            Ok(key)
        };
        (1..=count).map(numbered).collect::<Result<_, _>>().map(Some)
    }

    fn adopt(&self, backend_key: &str) -> Result<Adopt, FieldError> {
        if self.count.is_some() {
            return Err(FieldError::new("count", FieldProblem::Unexpected));
        }
        let mut adopt = Adopt::new(self.key()?, parse("backend_key", backend_key)?);
        adopt.earlier_encryptions = self.earlier_encryptions;
        let legacy = self.legacy_metadata.as_deref();
        adopt.legacy_metadata = legacy.map(|text| metadata("legacy_metadata", text)).transpose()?;
        Ok(adopt)
    }

    /// A key that is made, and not adopted.
    fn check_made(&self) -> Result<(), FieldError> {
        let only_adopted = [
            ("earlier_encryptions", self.earlier_encryptions.is_some()),
            ("legacy_metadata", self.legacy_metadata.is_some()),
        ];
        match only_adopted.into_iter().find(|(_, is_given)| *is_given) {
            Some((field, _)) => Err(FieldError::new(field, FieldProblem::Unexpected)),
            None => Ok(()),
        }
    }
}

/// A key that has come under management.
#[derive(Serialize)]
struct Adopted {
    #[serde(flatten)]
    key: ShownKey,
    /// What its administrator should know of it.
    warnings: Vec<String>,
}

async fn create(call: Call) -> Result<Done, Problem> {
    let work = async {
        let new: NewKey = call.body()?;
        let Some(backend_key) = &new.backend_key else {
            new.check_made()?;
            if let Some(keys) = new.keys()? {
                return create_many(&call, &keys).await;
            }
            let entry = call.commands.create_key(&call.actor, new.key()?).await?;
            let id = entry.key.id.clone();
            return Ok(done(entry)?.created(format_args!("{PATH}/{id}")));
        };
        let adopted = call.commands.adopt(&call.actor, new.adopt(backend_key)?).await?;
        let (id, revision) = (adopted.entry.key.id.clone(), adopted.entry.revision);
        let answer = Answer::json(&Adopted {
            key: ShownKey::new(adopted.entry),
            warnings: adopted.warnings.iter().map(ToString::to_string).collect(),
        });
        Ok(answer?.at(revision).done(revision).created(format_args!("{PATH}/{id}")))
    };
    call.command("create", PATH, work).await
}

/// Makes many keys. If one fails, its problem says how many were made.
async fn create_many(call: &Call, keys: &[CreateKey]) -> Result<Done, Problem> {
    let (mut made, mut failed, mut last) = (Vec::new(), None, Revision::default());
    for outcome in call.commands.create_keys(&call.actor, keys).await {
        match outcome {
            Ok(entry) => {
                last = last.max(entry.revision);
                made.push(ShownKey::new(entry));
            }
            Err(CommandError::AnotherFailed) => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    match failed {
        None => Ok(Answer::json(&Page::whole(made))?.done(last).created(PATH)),
        Some(error) => Err(Problem::from(error).partly(made.len(), keys.len())),
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct KeyPatch {
    name: Patch<String>,
    description: Patch<String>,
}

async fn rename(call: Call) -> Result<Done, Problem> {
    let work = async {
        let id = id(&call)?;
        let unknown = || Problem::unknown(PATH, call.param(0));
        let found = call.commands.key(&id).map_err(|_| unknown())?;
        let (mut name, mut description) = (found.key.name, found.key.description);
        let patch: KeyPatch = call.body()?;
        patch.name.replace("name", &mut name, |text| Name::new("name", text))?;
        let describe = |text| Description::new("description", text);
        patch.description.replace("description", &mut description, describe)?;
        let seen = call.seen()?;
        // What is not in the patch stays as it was read, so it must not have changed.
        let read = Some(seen.unwrap_or(found.revision));
        let rename = KeyCommand::Rename { name, description };
        let renamed = call.commands.change_key(&call.actor, &id, read, rename).await;
        done(renamed.map_err(|error| Problem::from(error).precondition(seen))?)
    };
    call.command("rename", &object(PATH, call.param(0)), work).await
}

async fn rotate(call: Call) -> Result<Done, Problem> {
    let work = async {
        let (id, seen) = (id(&call)?, call.seen()?);
        let _: Nothing = call.body()?;
        let rotated = call.commands.rotate(&call.actor, &id, seen).await;
        done(rotated.map_err(|error| Problem::from(error).precondition(seen))?)
    };
    call.command("rotate", &object(PATH, call.param(0)), work).await
}

/// Adds the path of a command on a key, which ends with the command's name. `read` makes the command of the
/// body.
fn command<B>(routes: Routes, name: &'static str, read: fn(B) -> Result<KeyCommand, FieldError>) -> Routes
where
    B: DeserializeOwned + Send + 'static,
{
    let handler = async move |call: Call| {
        let work = async {
            let (id, seen) = (id(&call)?, call.seen()?);
            let command = read(call.body()?)?;
            let changed = call.commands.change_key(&call.actor, &id, seen, command).await;
            done(changed.map_err(|error| Problem::from(error).precondition(seen))?)
        };
        call.command(name, &object(PATH, call.param(0)), work).await
    };
    routes.post(&format!("/keys/{{id}}/{name}"), handler)
}

/// When a key expires: a time, or `null` for never.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expiry {
    #[serde(default)]
    expires: Patch<String>,
}

fn set_expiry(Expiry { expires }: Expiry) -> Result<KeyCommand, FieldError> {
    let expires = match expires {
        Patch::Keep => required("expires", None)?,
        Patch::Remove => None,
        Patch::Set(text) => Some(Timestamp::parse("expires", &text)?),
    };
    Ok(KeyCommand::SetExpiry(expires))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RotationBody {
    rotation: Option<String>,
}

/// `inherited`, `never`, or the id of a schedule.
pub(super) fn read_rotation(text: &str) -> Result<Rotation, FieldError> {
    let rule = "it is `inherited`, `never`, or the id of a schedule".to_owned();
    text.parse()
        .map_err(|_| FieldError::new("rotation", FieldProblem::Illegal(rule)))
}

fn set_rotation(RotationBody { rotation }: RotationBody) -> Result<KeyCommand, FieldError> {
    let rotation = read_rotation(&required("rotation", rotation)?)?;
    Ok(KeyCommand::SetRotation(rotation))
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct MinimaBody {
    min_encrypt: Option<u32>,
    min_decrypt: Option<u32>,
    min_kept: Option<u32>,
}

fn set_minima(body: MinimaBody) -> Result<KeyCommand, FieldError> {
    let encrypt = required("min_encrypt", body.min_encrypt)?;
    let decrypt = required("min_decrypt", body.min_decrypt)?;
    let kept = required("min_kept", body.min_kept)?;
    Ok(KeyCommand::SetMinima(Minima::new(encrypt, decrypt, kept)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deletion {
    waiting_days: Option<u64>,
}

fn schedule_deletion(Deletion { waiting_days }: Deletion) -> Result<KeyCommand, FieldError> {
    let days = waiting_days.map(WaitingDays::new).transpose()?;
    Ok(KeyCommand::ScheduleDeletion(days))
}

/// The key's name, typed by who destroys what may be needed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TypedName {
    pub(super) typed_name: Option<String>,
}
