//! Versions of a key, and the commands on them.

use serde::de::DeserializeOwned;
use xks_lifecycle::{KeyVersionId, VersionId, commands::KeyEntry, key_state::VersionCommand};

use super::{
    Routes,
    keys::{self, ShownVersion, TypedName, done},
    resource::{Nothing, object},
};
use crate::{
    answer::{Answer, Page},
    call::Call,
    confirmation::Done,
    problem::Problem,
};

/// The paths of versions.
pub(super) fn routes() -> Routes {
    let routes = Routes::new()
        .get("/keys/{id}/versions", list)
        .post("/keys/{id}/versions", add)
        .get("/keys/{id}/versions/{version}", show);
    let routes = command(routes, "promote", |_: Nothing| VersionCommand::Promote);
    let routes = command(routes, "revoke", |_: Nothing| VersionCommand::Revoke);
    let routes = command(routes, "restore", |_: Nothing| VersionCommand::Restore);
    command(routes, "destroy-version", |body: TypedName| {
        let typed_name = body.typed_name;
        VersionCommand::Destroy { typed_name }
    })
}

/// The id of a version that the path has, if it is one.
fn id(call: &Call) -> Result<KeyVersionId, Problem> {
    let (key, text) = (keys::id(call)?, call.param(1));
    let version: VersionId = text.parse().map_err(|_| unknown(call))?;
    Ok(KeyVersionId::new(key, version))
}

fn unknown(call: &Call) -> Problem {
    Problem::unknown(
        &format!("{}/versions", object(keys::PATH, call.param(0))),
        call.param(1),
    )
}

/// All versions, in the order of their numbers.
async fn list(call: Call) -> Result<Answer, Problem> {
    let entry = call.commands.key(&keys::id(&call)?)?;
    let versions = entry.versions.iter().map(ShownVersion::new);
    Ok(Answer::json(&Page::whole(versions.collect()))?.at(entry.revision))
}

async fn show(call: Call) -> Result<Answer, Problem> {
    let id = id(&call)?;
    let KeyEntry { versions, revision, .. } = call.commands.key(&id.key)?;
    let version = versions.into_iter().find(|version| version.id == id);
    let version = version.ok_or_else(|| unknown(&call))?;
    Ok(Answer::json(&ShownVersion::new(&version))?.at(revision))
}

async fn add(call: Call) -> Result<Done, Problem> {
    let work = async {
        let (id, seen) = (keys::id(&call)?, call.seen()?);
        let _: Nothing = call.body()?;
        let added = call.commands.add_version(&call.actor, &id, seen).await;
        let entry = added.map_err(|error| Problem::from(error).precondition(seen))?;
        let newest = entry.versions.last().map(|version| version.id.version);
        let place = newest.map(|version| format!("{}/{id}/versions/{version}", keys::PATH));
        Ok(done(entry)?.created(place.unwrap_or_default()))
    };
    call.command("add-version", &object(keys::PATH, call.param(0)), work)
        .await
}

/// Adds the path of a command on a version, which ends with the command's name.
fn command<B>(routes: Routes, name: &'static str, read: fn(B) -> VersionCommand) -> Routes
where
    B: DeserializeOwned + Send + 'static,
{
    let handler = async move |call: Call| {
        let work = async {
            let (id, seen) = (id(&call)?, call.seen()?);
            let command = read(call.body()?);
            let changed = call.commands.change_version(&call.actor, &id, seen, command).await;
            done(changed.map_err(|error| Problem::from(error).precondition(seen))?)
        };
        call.command(name, &object(keys::PATH, call.param(0)), work).await
    };
    routes.post(&format!("/keys/{{id}}/versions/{{version}}/{name}"), handler)
}
