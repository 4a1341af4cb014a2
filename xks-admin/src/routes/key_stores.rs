//! External key stores.

use serde::Deserialize;
use xks_lifecycle::{
    Entry, ExternalKeyStore, FieldError, KeyStoreId, Name, OverlapMinutes, Regions, ScheduleId, Snapshot, TenantId,
};

use super::{
    Routes,
    resource::{Nothing, Resource, done, id, object},
};
use crate::{
    call::Call,
    confirmation::Done,
    problem::Problem,
    read::{Patch, parse, required},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKeyStore {
    tenant: Option<TenantId>,
    name: Option<String>,
    prefix: Option<String>,
    regions: Option<Vec<String>>,
    schedule: Option<ScheduleId>,
    overlap_minutes: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct KeyStorePatch {
    name: Patch<String>,
    prefix: Patch<String>,
    regions: Patch<Vec<String>>,
    schedule: Patch<ScheduleId>,
    overlap_minutes: Patch<u64>,
}

fn regions(names: &[String]) -> Result<Regions, FieldError> {
    Regions::new(names.iter().map(String::as_str))
}

impl Resource for ExternalKeyStore {
    const PATH: &'static str = "key-stores";
    type New = NewKeyStore;
    type Patch = KeyStorePatch;

    fn make(new: NewKeyStore, _: &Snapshot) -> Result<Self, Problem> {
        let tenant = required("tenant", new.tenant)?;
        let name = required("name", new.name)?;
        let prefix = parse("prefix", &required("prefix", new.prefix)?)?;
        let regions = regions(&required("regions", new.regions)?)?;
        let mut key_store = Self::new(KeyStoreId::generate()?, tenant, &name, prefix, regions)?;
        key_store.schedule = new.schedule;
        if let Some(minutes) = new.overlap_minutes {
            key_store.overlap = OverlapMinutes::new(minutes)?;
        }
        Ok(key_store)
    }

    fn patch(&mut self, patch: KeyStorePatch) -> Result<(), FieldError> {
        patch
            .name
            .replace("name", &mut self.name, |text| Name::new("name", text))?;
        patch
            .prefix
            .replace("prefix", &mut self.prefix, |text| parse("prefix", &text))?;
        let read = |names: Vec<String>| regions(&names);
        patch.regions.replace("regions", &mut self.regions, read)?;
        patch.schedule.apply(&mut self.schedule, Ok)?;
        patch
            .overlap_minutes
            .replace("overlap_minutes", &mut self.overlap, OverlapMinutes::new)
    }

    fn id(&self) -> KeyStoreId {
        self.id
    }

    fn tenant(&self, _: &Snapshot) -> Option<TenantId> {
        Some(self.tenant)
    }

    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn find(snapshot: &Snapshot, id: KeyStoreId) -> Option<&Entry<Self>> {
        snapshot.key_store(id)
    }

    fn all(snapshot: &Snapshot) -> impl Iterator<Item = &Entry<Self>> {
        snapshot.key_stores()
    }
}

/// The commands on an external key store.
pub(super) fn routes() -> Routes {
    Routes::new()
        .post("/key-stores/{id}/block", block)
        .post("/key-stores/{id}/unblock", unblock)
}

async fn block(call: Call) -> Result<Done, Problem> {
    set_blocked(&call, true).await
}

async fn unblock(call: Call) -> Result<Done, Problem> {
    set_blocked(&call, false).await
}

async fn set_blocked(call: &Call, is_blocked: bool) -> Result<Done, Problem> {
    let work = async {
        let (id, seen) = (id::<ExternalKeyStore>(call)?, call.seen()?);
        let _: Nothing = call.body()?;
        let set = match is_blocked {
            true => call.commands.block(&call.actor, id, seen).await,
            false => call.commands.unblock(&call.actor, id, seen).await,
        };
        set.map_err(|error| Problem::from(error).precondition(seen))?;
        done::<ExternalKeyStore>(call, id)
    };
    let command = if is_blocked { "block" } else { "unblock" };
    let object = object(ExternalKeyStore::PATH, call.param(0));
    call.command(command, &object, work).await
}
