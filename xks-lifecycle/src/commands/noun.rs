//! Tenants, key sets, external key stores, schedules and what is kept of AWS: made, changed and removed as
//! they are.

use serde::Serialize;

use super::{
    Actor, Call, Commands, Decided,
    seen::{Seen, shown},
};
use crate::{
    Changes, CloudAccount, CloudAccountId, CloudKey, CloudKeyId, CloudKeyOrigin, CloudKeyStore, CloudKeyStoreId,
    CloudMaterial, CommandError, Entry, Event, EventText, ExternalKeyStore, FieldError, FieldProblem, KeySet, KeySetId,
    KeySource, KeyStoreId, Material, Noun, Object, Outcome, Removable, Schedule, ScheduleId, Snapshot, Tenant,
    TenantId, Timestamp,
    store::{Revision, Table},
};

/// What is made, changed and removed as a whole: a [`Tenant`], a [`KeySet`], an [`ExternalKeyStore`],
/// a [`Schedule`], a [`CloudAccount`], a [`CloudKeyStore`], a [`CloudKey`].
#[expect(private_bounds, reason = "only for types of this crate")]
pub trait Administered: Sealed + Serialize + Into<Noun> + Clone + PartialEq + Send + Sync + 'static {
    /// By what it is called.
    type Id: Copy + Into<Removable> + Send + Sync;
}

pub(super) trait Sealed: Sized {
    fn object(&self) -> Object;
    fn find<'s>(snapshot: &'s Snapshot, object: &Object) -> Option<&'s Entry<Self>>;
    /// The record with the times that commands set, in the place of what it was.
    fn stamped(self, _former: Option<&Self>, _now: Timestamp) -> Self {
        self
    }
    /// Checks what only the server knows.
    fn check(&self, _commands: &Commands) -> Result<(), CommandError> {
        Ok(())
    }
    /// Checks what depends on the time, in the place of what it was.
    fn check_at(&self, _former: Option<&Self>, _now: Timestamp) -> Result<(), CommandError> {
        Ok(())
    }
    /// Removes it, with what is left of what belonged to it.
    fn removed(&self, _snapshot: &Snapshot, id: Removable) -> Changes {
        Changes::new().remove(id)
    }
}

macro_rules! administered {
    ($($record:ty, $id:ty, $table:ident, $one:ident, { $($check:tt)* })+) => {
        $(impl Administered for $record {
            type Id = $id;
        }

        impl Sealed for $record {
            fn object(&self) -> Object {
                Object::new(Table::$table, &self.id)
            }

            fn find<'s>(snapshot: &'s Snapshot, object: &Object) -> Option<&'s Entry<Self>> {
                snapshot.$one(object.1.parse().ok()?)
            }

            $($check)*
        })+
    };
}

administered! {
    Tenant, TenantId, Tenants, tenant, {}
    ExternalKeyStore, KeyStoreId, KeyStores, key_store, {
        fn stamped(self, former: Option<&Self>, now: Timestamp) -> Self {
            let known = former.map(|former| (former.schedule, former.schedule_since));
            let schedule_since = since(known, self.schedule, now);
            Self { schedule_since, ..self }
        }
    }
    Schedule, ScheduleId, Schedules, schedule, {
        fn stamped(self, former: Option<&Self>, now: Timestamp) -> Self {
            let same = former.filter(|former| former.timing == self.timing);
            let since = same.map_or(now, |former| former.since);
            Self { since, ..self }
        }
    }
    CloudAccount, CloudAccountId, CloudAccounts, cloud_account, {
        fn stamped(self, former: Option<&Self>, now: Timestamp) -> Self {
            let known = former.map(|former| (former.schedule, former.schedule_since));
            let schedule_since = since(known, self.schedule, now);
            Self { schedule_since, ..self }
        }
    }
    CloudKeyStore, CloudKeyStoreId, CloudKeyStores, cloud_key_store, {}
    CloudKey, CloudKeyId, CloudKeys, cloud_key, {
        fn stamped(mut self, former: Option<&Self>, now: Timestamp) -> Self {
            let former = former.and_then(CloudKey::import);
            let known = former.map(|former| (former.rotation, former.rotation_since));
            if let CloudKeyOrigin::External(import) = &mut self.origin {
                import.rotation_since = since(known, import.rotation, now);
            }
            self
        }

        fn check(&self, commands: &Commands) -> Result<(), CommandError> {
            let Some(import) = self.import() else { return Ok(()) };
            import.check()?;
            commands.material_source(self.key_set).map(drop)
        }

        fn check_at(&self, former: Option<&Self>, now: Timestamp) -> Result<(), CommandError> {
            let end = |key: &Self| key.import().and_then(|import| import.expires);
            match end(self) {
                // One that has passed meanwhile is kept, so that other fields can be changed.
                Some(end_now) if end_now <= now && former.and_then(end) != Some(end_now) => {
                    Err(FieldError::new("expires", FieldProblem::Past).into())
                }
                _ => Ok(()),
            }
        }

        fn removed(&self, snapshot: &Snapshot, id: Removable) -> Changes {
            let materials = snapshot.materials_of(self.id);
            let gone = materials.filter(|material| material.material == Material::Gone);
            Changes::new().remove_materials(gone.map(|material| material.id)).remove(id)
        }
    }
    KeySet, KeySetId, KeySets, key_set, {
        fn stamped(self, former: Option<&Self>, now: Timestamp) -> Self {
            let known = former.map(|former| (former.schedule, former.schedule_since));
            let schedule_since = since(known, self.schedule, now);
            Self { schedule_since, ..self }
        }

        fn check(&self, commands: &Commands) -> Result<(), CommandError> {
            if self.source != KeySource::Vault {
                commands.backends.of(self)?;
            }
            Ok(())
        }
    }
}

impl Sealed for CloudMaterial {
    fn object(&self) -> Object {
        Object::new(Table::CloudMaterials, &self.id)
    }

    fn find<'s>(snapshot: &'s Snapshot, object: &Object) -> Option<&'s Entry<Self>> {
        snapshot.cloud_material(object.1.parse().ok()?)
    }
}

/// Since when something has a schedule, of which is known which it had before, and since when. What a new
/// one has is newer than itself.
fn since<T: Copy + PartialEq>(known: Option<(T, Option<Timestamp>)>, schedule: T, now: Timestamp) -> Option<Timestamp> {
    let (former, since) = known?;
    if former == schedule { since } else { Some(now) }
}

impl Commands {
    /// Makes a tenant, a key set, an external key store or a schedule. Returns the revision.
    ///
    /// # Errors
    /// [`CommandError`]: its id is taken, it refers to what is not there, or a key set's backend is unknown.
    pub async fn create<T: Administered>(&self, actor: &Actor, record: T) -> Result<Revision, CommandError> {
        let object = record.object();
        let call = Call::new(actor, "create", &object);
        let work = async {
            record.check(self)?;
            self.commit(call.actor, |snapshot, now| {
                let record = record.clone().stamped(None, now);
                record.check_at(None, now)?;
                let event = Event {
                    after: EventText::json(&record),
                    ..call.event(now, Outcome::Done)
                };
                let changes = Changes::new().insert(record).event(event);
                Ok(Decided::change(changes, snapshot.revision().next()))
            })
            .await
        };
        self.recorded(&call, work).await
    }

    /// Puts a tenant, a key set, an external key store or a schedule in the place of the one with its id.
    /// `seen` is the revision at which the caller has seen that. Returns the revision of it now.
    ///
    /// # Errors
    /// [`CommandError`]: it was changed since, or a field that cannot be changed is another.
    pub async fn update<T: Administered>(
        &self,
        actor: &Actor,
        record: T,
        seen: Option<Revision>,
    ) -> Result<Revision, CommandError> {
        let object = record.object();
        let checked = record.check(self);
        let edit = |found: &T, now| record.clone().stamped(Some(found), now);
        self.change_one(actor, "update", object, seen, checked, edit).await
    }

    /// Puts what `edit` makes of a record in its place, if it was `checked`.
    pub(super) async fn change_one<T: Sealed + Serialize + Into<Noun> + Clone + PartialEq + Send + Sync>(
        &self,
        actor: &Actor,
        command: &'static str,
        object: Object,
        seen: Option<Revision>,
        checked: Result<(), CommandError>,
        edit: impl Fn(&T, Timestamp) -> T + Send + Sync,
    ) -> Result<Revision, CommandError> {
        let call = Call::new(actor, command, &object);
        let work = async {
            checked?;
            let mut seen = Seen::new(object.clone(), seen);
            let answer = self
                .commit(call.actor, |snapshot, now| {
                    let found = T::find(snapshot, &object).ok_or_else(|| CommandError::Unknown(object.clone()))?;
                    let record = edit(found, now);
                    let has_work = **found != record;
                    seen.check(found.revision(), || shown(&**found), has_work)?;
                    if !has_work {
                        return Ok(Decided::nothing((found.revision(), false)));
                    }
                    record.check_at(Some(found), now)?;
                    let event = Event {
                        before: EventText::json(&**found),
                        after: EventText::json(&record),
                        ..call.event(now, Outcome::Done)
                    };
                    let changes = Changes::new().update(record).event(event);
                    Ok(Decided::change(changes, (snapshot.revision().next(), true)))
                })
                .await?;
            self.unless_changed(&call, answer).await
        };
        self.recorded(&call, work).await
    }

    /// Removes a tenant, a key set, an external key store or a schedule that nothing refers to. Returns the
    /// revision.
    ///
    /// # Errors
    /// [`CommandError`]: it is not there, was changed since, or is in use, by what.
    pub async fn remove<T: Administered>(
        &self,
        actor: &Actor,
        id: T::Id,
        seen: Option<Revision>,
    ) -> Result<Revision, CommandError> {
        let removable: Removable = id.into();
        let object = removable.object().clone();
        let call = Call::new(actor, "remove", &object);
        let work = async {
            let mut seen = Seen::new(object.clone(), seen);
            self.commit(call.actor, |snapshot, now| {
                let found = T::find(snapshot, &object).ok_or_else(|| CommandError::Unknown(object.clone()))?;
                seen.check(found.revision(), || shown(&**found), true)?;
                let event = Event {
                    before: EventText::json(&**found),
                    ..call.event(now, Outcome::Done)
                };
                let changes = found.removed(snapshot, id.into()).event(event);
                Ok(Decided::change(changes, snapshot.revision().next()))
            })
            .await
        };
        self.recorded(&call, work).await
    }

    /// Records that nothing was to be done, if so.
    pub(super) async fn unless_changed<T>(
        &self,
        call: &Call<'_>,
        (answer, is_changed): (T, bool),
    ) -> Result<T, CommandError> {
        if !is_changed {
            self.record_nothing(call).await?;
        }
        Ok(answer)
    }
}
