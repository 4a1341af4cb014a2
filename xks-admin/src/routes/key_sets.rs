//! Key sets.

use serde::{Deserialize, Serialize};
use xks_lifecycle::{
    Description, Entry, FieldError, KeySet, KeySetId, KeyStoreId, LifetimeDays, Name, ScheduleId, Snapshot, TenantId,
    WaitingDays,
};

use super::{
    Routes,
    resource::{Nothing, Resource, id, object},
};
use crate::{
    answer::Answer,
    call::Call,
    problem::Problem,
    read::{Patch, parse, required},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKeySet {
    tenant: Option<TenantId>,
    name: Option<String>,
    #[serde(default)]
    description: String,
    administrators: Option<String>,
    source: Option<String>,
    backend: Option<String>,
    key_store: Option<KeyStoreId>,
    schedule: Option<ScheduleId>,
    lifetime_days: Option<u64>,
    waiting_days: Option<u64>,
    keeps_decryption: Option<bool>,
    needs_two: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct KeySetPatch {
    name: Patch<String>,
    description: Patch<String>,
    administrators: Patch<String>,
    key_store: Patch<KeyStoreId>,
    schedule: Patch<ScheduleId>,
    lifetime_days: Patch<u64>,
    waiting_days: Patch<u64>,
    keeps_decryption: Patch<bool>,
    needs_two: Patch<bool>,
}

impl Resource for KeySet {
    const PATH: &'static str = "key-sets";
    type New = NewKeySet;
    type Patch = KeySetPatch;

    fn make(new: NewKeySet, _: &Snapshot) -> Result<Self, Problem> {
        let tenant = required("tenant", new.tenant)?;
        let source = parse("source", &required("source", new.source)?)?;
        let mut set = Self::new(KeySetId::generate()?, tenant, &required("name", new.name)?, source)?;
        set.description = Description::new("description", new.description)?;
        let name = |field, text: Option<String>| text.map(|text| Name::new(field, text)).transpose();
        set.administrators = name("administrators", new.administrators)?;
        set.backend = name("backend", new.backend)?;
        set.key_store = new.key_store;
        set.schedule = new.schedule;
        set.lifetime = new.lifetime_days.map(LifetimeDays::new).transpose()?;
        if let Some(days) = new.waiting_days {
            set.waiting = WaitingDays::new(days)?;
        }
        set.keeps_decryption = new.keeps_decryption.unwrap_or(set.keeps_decryption);
        set.needs_two = new.needs_two.unwrap_or(set.needs_two);
        Ok(set)
    }

    fn patch(&mut self, patch: KeySetPatch) -> Result<(), FieldError> {
        patch
            .name
            .replace("name", &mut self.name, |text| Name::new("name", text))?;
        let describe = |text| Description::new("description", text);
        patch
            .description
            .replace("description", &mut self.description, describe)?;
        let name = |text| Name::new("administrators", text);
        patch.administrators.apply(&mut self.administrators, name)?;
        patch.key_store.apply(&mut self.key_store, Ok)?;
        patch.schedule.apply(&mut self.schedule, Ok)?;
        patch.lifetime_days.apply(&mut self.lifetime, LifetimeDays::new)?;
        patch
            .waiting_days
            .replace("waiting_days", &mut self.waiting, WaitingDays::new)?;
        patch
            .keeps_decryption
            .replace("keeps_decryption", &mut self.keeps_decryption, Ok)?;
        patch.needs_two.replace("needs_two", &mut self.needs_two, Ok)
    }

    fn id(&self) -> KeySetId {
        self.id
    }

    fn tenant(&self, _: &Snapshot) -> Option<TenantId> {
        Some(self.tenant)
    }

    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn find(snapshot: &Snapshot, id: KeySetId) -> Option<&Entry<Self>> {
        snapshot.key_set(id)
    }

    fn all(snapshot: &Snapshot) -> impl Iterator<Item = &Entry<Self>> {
        snapshot.key_sets()
    }
}

/// The commands on a key set.
pub(super) fn routes() -> Routes {
    Routes::new().ask("/key-sets/{id}/verify-backend", verify_backend)
}

/// What the backend of a key set says of itself.
#[derive(Serialize)]
struct BackendHealth<'h> {
    is_usable: bool,
    vendor: &'h str,
    members: Vec<Member<'h>>,
}

#[derive(Serialize)]
struct Member<'h> {
    id: &'h str,
    model: &'h str,
    status: &'static str,
}

async fn verify_backend(call: Call) -> Result<Answer, Problem> {
    let work = async {
        let id = id::<KeySet>(&call)?;
        let _: Nothing = call.body()?;
        let health = call.commands.verify_backend(&call.actor, id).await?;
        let members = health.members().iter().map(|member| Member {
            id: member.id(),
            model: member.model(),
            status: member.status().as_str(),
        });
        Answer::json(&BackendHealth {
            is_usable: health.is_usable(),
            vendor: health.vendor(),
            members: members.collect(),
        })
    };
    call.command("verify-backend", &object(KeySet::PATH, call.param(0)), work)
        .await
}
