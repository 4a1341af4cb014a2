//! The materials of a KMS key: what is here of them, where they are in AWS, and the commands on them.

use serde::{Deserialize, Serialize};
use xks_byok::{
    jobs::{Intent, Jobs},
    observe::Observed,
    plan::{Availability, availability},
};
use xks_lifecycle::{CloudKey, CloudKeyId, CloudMaterial, CloudMaterialId, Snapshot, WantedMaterial, store::Revision};

use super::fields::Wanted;
use crate::{
    answer::{Answer, Page, Revised},
    call::Call,
    confirmation::Done,
    problem::Problem,
    read::required,
    routes::{
        Routes,
        resource::{Nothing, Resource, id, object},
    },
};

/// The paths of materials.
pub(super) fn routes() -> Routes {
    Routes::new()
        .post("/cloud-keys/{id}/rotate", rotate)
        .get("/cloud-keys/{id}/status", status)
        .get("/cloud-keys/{id}/materials", list)
        .get("/cloud-keys/{id}/materials/{number}", show)
        .post("/cloud-keys/{id}/materials/{number}/remove", remove)
        .post("/cloud-keys/{id}/materials/{number}/upload", upload)
        .post("/cloud-keys/{id}/materials/{number}/set-former", set_former)
        .post("/cloud-keys/{id}/materials/{number}/destroy-material", destroy)
}

/// A material, as it is shown: without what it is.
#[derive(Serialize)]
struct ShownMaterial {
    #[serde(flatten)]
    material: CloudMaterial,
    /// How far it is here.
    state: String,
    /// Whether it is that of the KMS key that the alias leads to, or will.
    is_current: bool,
}

/// All materials of a KMS key, in the order of their numbers.
fn all(snapshot: &Snapshot, key: CloudKeyId) -> Option<Vec<Revised<ShownMaterial>>> {
    snapshot.cloud_key(key)?;
    let last = snapshot.materials_of(key).next_back().map(|material| material.id);
    let shown = snapshot.materials_of(key).map(|entry| Revised {
        revision: entry.revision(),
        record: ShownMaterial {
            state: entry.state().to_string(),
            is_current: Some(entry.id) == last,
            material: (**entry).clone(),
        },
    });
    Some(shown.collect())
}

fn read(call: &Call) -> Result<Vec<Revised<ShownMaterial>>, Problem> {
    let key = id::<CloudKey>(call)?;
    let found = call.commands.read(|snapshot| all(snapshot, key));
    found.ok_or_else(|| Problem::unknown(CloudKey::PATH, call.param(0)))
}

async fn list(call: Call) -> Result<Answer, Problem> {
    Answer::json(&Page::whole(read(&call)?))
}

/// The material that the path names by its number.
fn one(call: &Call) -> Result<Revised<ShownMaterial>, Problem> {
    let number = call.param(1);
    let path = || format!("{}/materials", object(CloudKey::PATH, call.param(0)));
    let mut all = read(call)?.into_iter();
    let found = all.find(|shown| shown.record.material.number.to_string() == number);
    found.ok_or_else(|| Problem::unknown(&path(), number))
}

async fn show(call: Call) -> Result<Answer, Problem> {
    let shown = one(&call)?;
    Ok(Answer::json(&shown)?.at(shown.revision))
}

/// The material as a command has left it.
fn done(call: &Call, material: CloudMaterialId, revision: Revision) -> Result<Done, Problem> {
    let mut all = read(call)?.into_iter();
    let found = all.find(|shown| shown.record.material.id == material);
    let found = found.ok_or_else(|| Problem::unknown("cloud-materials", &material.to_string()))?;
    Ok(Answer::json(&found)?.at(found.revision).done(revision))
}

/// Changes the material that the path names.
async fn change(call: &Call, edit: impl FnOnce(&mut CloudMaterial)) -> Result<Done, Problem> {
    let shown = one(call)?;
    let mut material = shown.record.material;
    let id = material.id;
    edit(&mut material);
    let revision = call
        .commands
        .update_material(&call.actor, material, Some(shown.revision))
        .await?;
    done(call, id, revision)
}

/// Adds a material, which a job makes and imports.
async fn rotate(call: Call) -> Result<Done, Problem> {
    let work = async {
        let key = id::<CloudKey>(&call)?;
        let _: Nothing = call.body()?;
        let material = call.commands.add_material(&call.actor, key).await?;
        let revision = call.commands.revision();
        done(&call, material.id, revision)
    };
    call.command("rotate", &object(CloudKey::PATH, call.param(0)), work)
        .await
}

async fn want(call: Call, command: &str, wanted: WantedMaterial) -> Result<Done, Problem> {
    let work = async {
        let _: Nothing = call.body()?;
        change(&call, |material| material.wanted = wanted).await
    };
    call.command(command, &object(CloudKey::PATH, call.param(0)), work)
        .await
}

async fn remove(call: Call) -> Result<Done, Problem> {
    want(call, "remove-material", WantedMaterial::Removed).await
}

async fn upload(call: Call) -> Result<Done, Problem> {
    want(call, "upload", WantedMaterial::Imported).await
}

/// Destroys it here. What is in AWS stays.
async fn destroy(call: Call) -> Result<Done, Problem> {
    let work = async {
        let material = one(&call)?.record.material.id;
        let _: Nothing = call.body()?;
        call.commands.destroy_material(&call.actor, material).await?;
        let revision = call.commands.revision();
        done(&call, material, revision)
    };
    call.command("destroy-material", &object(CloudKey::PATH, call.param(0)), work)
        .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Former {
    former: Option<Wanted>,
}

/// Sets what the KMS key of a former material shall be.
async fn set_former(call: Call) -> Result<Done, Problem> {
    let work = async {
        let body: Former = call.body()?;
        let former = required("former", body.former)?.read()?;
        change(&call, |material| material.want_former(former)).await
    };
    call.command("set-former", &object(CloudKey::PATH, call.param(0)), work)
        .await
}

/// How a KMS key and those of its former materials are in AWS.
#[derive(Serialize)]
struct ShownStatus {
    #[serde(flatten)]
    current: ShownAvailability,
    /// What differs from what is wanted, and what a job would ask or wait for.
    drift: Vec<ShownDrift>,
    formers: Vec<ShownFormer>,
}

#[derive(Serialize)]
struct ShownDrift {
    what: String,
    wanted: String,
    found: String,
}

#[derive(Serialize)]
struct ShownAvailability {
    status: &'static str,
    reason: String,
}

#[derive(Serialize)]
struct ShownFormer {
    number: u32,
    kms_key: String,
    #[serde(flatten)]
    availability: ShownAvailability,
}

impl From<Availability> for ShownAvailability {
    fn from(found: Availability) -> Self {
        Self {
            status: found.status.as_str(),
            reason: found.reason,
        }
    }
}

/// What AWS says of the KMS key of a key or material.
fn of(found: &Observed) -> ShownAvailability {
    let found = match found {
        Observed::Import(found) => {
            let key = found.key.as_ref();
            availability(key.map(|key| &key.metadata), key.map_or(&[], |key| &key.materials))
        }
        Observed::Key(found) => availability(found.metadata.as_ref(), &[]),
        _ => availability(None, &[]),
    };
    found.into()
}

async fn observed(jobs: &Jobs, key: CloudKeyId, formers: Vec<CloudMaterial>) -> Result<ShownStatus, Problem> {
    let preview = jobs.preview(Intent::CloudKey(key)).await?;
    let drift = preview.plan.drift.iter().map(|drift| ShownDrift {
        what: drift.what.clone(),
        wanted: drift.wanted.clone(),
        found: drift.found.clone(),
    });
    let drift = drift.collect();
    let mut shown = Vec::new();
    for material in formers {
        let Some(kms_key) = &material.kms_key else { continue };
        let preview = jobs.preview(Intent::CloudMaterial(material.id)).await?;
        shown.push(ShownFormer {
            number: material.number,
            kms_key: kms_key.to_string(),
            availability: of(&preview.found),
        });
    }
    Ok(ShownStatus {
        current: of(&preview.found),
        drift,
        formers: shown,
    })
}

/// Asks AWS: a call or more for each KMS key.
async fn status(call: Call) -> Result<Answer, Problem> {
    let key = id::<CloudKey>(&call)?;
    let all = read(&call)?.into_iter().map(|shown| shown.record.material);
    let formers = all.filter(|material| material.retired.is_some()).collect();
    Answer::json(&observed(call.jobs()?, key, formers).await?)
}
