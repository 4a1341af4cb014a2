//! Key material for KMS keys: added, made where its key set says, wrapped for AWS, and destroyed.
//!
//! Material of an HSM is made there for this alone, and leaves it only wrapped under a key of AWS KMS; what
//! is known of it here are codes that the HSM has computed. Material of a vault is wrapped in this process.
//! Neither ever serves an external key store.

mod make;
mod wrap;

use super::{
    Actor, Call, Commands, Decided, ManagedBackend,
    material::{backend_material, vault_material},
    noun::Sealed as _,
};
use crate::{
    ChangeError, Changes, CloudKey, CloudKeyId, CloudMaterial, CloudMaterialId, CommandError, Event, EventText,
    FieldError, FieldProblem, KeySet, KeySetId, KeySource, Material, MaterialState, Object, Outcome, Snapshot,
    WantedKey, WantedMaterial,
    store::{Revision, Table},
};

const ADD: &str = "add-material";

fn object(id: CloudMaterialId) -> Object {
    Object::new(Table::CloudMaterials, &id)
}

fn find(snapshot: &Snapshot, id: CloudMaterialId) -> Result<&CloudMaterial, CommandError> {
    let found = snapshot.cloud_material(id).map(|material| &**material);
    found.ok_or_else(|| CommandError::Unknown(object(id)))
}

fn illegal(field: &'static str, rule: &str) -> CommandError {
    FieldError::new(field, FieldProblem::Illegal(rule.to_owned())).into()
}

fn must_import(key: &CloudKey) -> Result<(), CommandError> {
    let rule = "the cloud key is one of an external key store: AWS imports nothing";
    key.import().map(drop).ok_or_else(|| illegal("origin", rule))
}

fn destroyed() -> CommandError {
    illegal("destroyed", "the material is destroyed")
}

/// What would lose its material for good: a KMS key that AWS is to have, with what it has encrypted.
///
/// Material that is made may be in AWS as soon as there is a KMS key for it, though nothing is noted of its
/// import: the answer was lost, or is on its way.
fn user(snapshot: &Snapshot, material: &CloudMaterial) -> Option<Object> {
    let key = snapshot.cloud_key(material.cloud_key);
    let has_kms_key = material.kms_key.is_some() || key.is_some_and(|key| key.kms_key.is_some());
    let may_be_there = material.kms_material.is_some() || (material.state() == MaterialState::Made && has_kms_key);
    let is_to_be_there = may_be_there && material.wanted == WantedMaterial::Imported;
    let is_kept = key.is_some_and(|key| !matches!(material.wanted_key(key), WantedKey::Deleted(_)));
    (is_to_be_there && is_kept).then(|| Object::new(Table::CloudKeys, &material.cloud_key))
}

impl Commands {
    /// The key set of keys that AWS imports, from which their material comes.
    pub(super) fn material_source(&self, id: KeySetId) -> Result<KeySet, CommandError> {
        let set = self.key_set(id)?;
        match set.source {
            KeySource::Vault => {}
            KeySource::Hsm => drop(self.backends.of(&set)?),
            KeySource::Adopted => {
                let rule = "its keys are adopted: what AWS imports is made, in a key set of hsm or vault";
                return Err(illegal("key_set", rule));
            }
        }
        Ok(set)
    }

    fn material(&self, id: CloudMaterialId) -> Result<CloudMaterial, CommandError> {
        self.read(|snapshot| find(snapshot, id).cloned())
    }

    /// The backend that has a material.
    fn backend_of_material(&self, material: &CloudMaterial) -> Result<&ManagedBackend, CommandError> {
        let unknown = || CommandError::Unknown(Object::new(Table::CloudKeys, &material.cloud_key));
        let set = self.read(|snapshot| snapshot.cloud_key(material.cloud_key).map(|key| key.key_set));
        Ok(self.backends.of(&self.key_set(set.ok_or_else(unknown)?)?)?)
    }

    /// Material of the source of a key set, which is to be made.
    fn new_material(&self, id: CloudKeyId, set: KeySetId) -> Result<CloudMaterial, CommandError> {
        let material = match self.material_source(set)?.source {
            KeySource::Vault => vault_material()?,
            KeySource::Hsm | KeySource::Adopted => backend_material()?,
        };
        Ok(CloudMaterial::new(
            CloudMaterialId::generate()?,
            id,
            1,
            material,
            self.now(),
        )?)
    }

    /// Makes a cloud key of the origin `external` with its first material, both in one commit. Returns the
    /// revision.
    ///
    /// # Errors
    /// [`CommandError`]: as those of [`create`](Self::create), and of [`add_material`](Self::add_material).
    pub async fn create_import(&self, actor: &Actor, key: CloudKey) -> Result<Revision, CommandError> {
        let object = Object::new(Table::CloudKeys, &key.id);
        let call = Call::new(actor, "create", &object);
        let work = async {
            key.check(self)?;
            must_import(&key)?;
            let material = self.new_material(key.id, key.key_set)?;
            self.commit(actor, |snapshot, now| {
                key.check_at(None, now)?;
                let key = key.clone().stamped(None, now);
                let mut material = material.clone();
                material.created = now;
                let created = Event {
                    after: EventText::json(&key),
                    ..call.event(now, Outcome::Done)
                };
                let added = Event {
                    after: EventText::json(&material),
                    ..Call::new(actor, ADD, &object).event(now, Outcome::Done)
                };
                let changes = Changes::new().insert(key).insert(material);
                let changes = changes.event(created).event(added);
                Ok(Decided::change(changes, snapshot.revision().next()))
            })
            .await
        };
        self.recorded(&call, work).await
    }

    /// Adds material to a cloud key: the start of a rotation, which a job goes on with. It is made by
    /// [`make_material`](Self::make_material).
    ///
    /// As long as the newest material was not imported it is that one: a command that is given again begins
    /// no second rotation.
    ///
    /// # Errors
    /// [`CommandError`]: the cloud key is not of the origin `external`, or is to be deleted; the end of its
    /// material has passed; its key set has no backend.
    pub async fn add_material(&self, actor: &Actor, id: CloudKeyId) -> Result<CloudMaterial, CommandError> {
        let key_object = Object::new(Table::CloudKeys, &id);
        let call = Call::new(actor, ADD, &key_object);
        let find_key = |snapshot: &Snapshot| -> Result<CloudKey, CommandError> {
            let key = snapshot.cloud_key(id);
            let key = key.ok_or_else(|| CommandError::Unknown(key_object.clone()))?;
            must_import(key)?;
            if let WantedKey::Deleted(_) = key.wanted {
                return Err(illegal(
                    "wanted",
                    "the cloud key is to be deleted, and gets no material",
                ));
            }
            Ok((**key).clone())
        };
        let work = async {
            self.refresh().await?;
            let new = self.new_material(id, self.read(find_key)?.key_set)?;
            let answer = self.commit(actor, |snapshot, now| {
                let key = find_key(snapshot)?;
                let newest = snapshot.materials_of(id).next_back();
                let is_begun = |newest: &CloudMaterial| {
                    newest.state() != MaterialState::Destroyed
                        && newest.kms_material.is_none()
                        && newest.wanted == WantedMaterial::Imported
                };
                if let Some(begun) = newest.filter(|newest| is_begun(newest)) {
                    return Ok(Decided::nothing(((**begun).clone(), false)));
                }
                if key.import().is_some_and(|import| import.has_ended(now)) {
                    return Err(illegal(
                        "expires",
                        "it has passed: set a later end of the material, or none",
                    ));
                }
                let mut material = new.clone();
                material.number = newest.map_or(1, |newest| newest.number.saturating_add(1));
                material.created = now;
                let event = Event {
                    after: EventText::json(&material),
                    ..call.event(now, Outcome::Done)
                };
                let changes = Changes::new().insert(material.clone()).event(event);
                Ok(Decided::change(changes, (material, true)))
            });
            let answer = answer.await?;
            self.unless_changed(&call, answer).await
        };
        self.recorded(&call, work).await
    }

    /// Notes where material is in AWS, and what it and its KMS key shall be: `kms_key`, `kms_material`,
    /// `imported`, `valid_to`, `wanted`, `former` and `retired` of `material`. `seen` is the revision at
    /// which the caller has seen it. Returns the revision of it now.
    ///
    /// # Errors
    /// [`CommandError`]: it was changed since, or a field that cannot be changed is another.
    pub async fn update_material(
        &self,
        actor: &Actor,
        material: CloudMaterial,
        seen: Option<Revision>,
    ) -> Result<Revision, CommandError> {
        let edit = |found: &CloudMaterial, _| CloudMaterial {
            id: found.id,
            cloud_key: found.cloud_key,
            number: found.number,
            created: found.created,
            material: found.material.clone(),
            check: found.check,
            destroyed: found.destroyed,
            ..material.clone()
        };
        self.change_one(actor, "update", object(material.id), seen, Ok(()), edit)
            .await
    }

    /// Destroys material here for good; what is in AWS stays. First the state has its tombstone, then it is
    /// destroyed in its key manager. If that fails the command can be given again.
    ///
    /// # Errors
    /// [`CommandError`]: it is to be in AWS, or may be there, in a KMS key that is not to be deleted; the key
    /// manager fails.
    pub async fn destroy_material(&self, actor: &Actor, id: CloudMaterialId) -> Result<CloudMaterial, CommandError> {
        let call = Call::new(actor, "destroy", &object(id));
        let work = async {
            self.refresh().await?;
            if let Material::Backend { .. } = self.material(id)?.material {
                self.backend_of_material(&self.material(id)?)?;
            }
            let answer = self.commit(actor, |snapshot, now| {
                let found = find(snapshot, id)?;
                if found.state() == MaterialState::Destroyed {
                    return Ok(Decided::nothing(((), false)));
                }
                if let Some(by) = user(snapshot, found) {
                    let object = object(id);
                    return Err(ChangeError::InUse { object, by }.into());
                }
                let mut gone = found.clone();
                gone.destroyed = Some(now);
                gone.material = found.material.destroyed();
                gone.wanted = WantedMaterial::Removed;
                let event = Event {
                    before: EventText::json(found),
                    after: EventText::json(&gone),
                    ..call.event(now, Outcome::Done)
                };
                Ok(Decided::change(Changes::new().update(gone).event(event), ((), true)))
            });
            let ((), is_changed) = answer.await?;
            if !is_changed && self.material(id)?.material == Material::Gone {
                self.record_nothing(&call).await?;
            }
            self.remove_from_manager(&call, id).await
        };
        self.recorded(&call, work).await
    }

    /// Goes on with a destruction that was begun.
    pub(super) async fn finish_destruction(
        &self,
        actor: &Actor,
        id: CloudMaterialId,
    ) -> Result<CloudMaterial, CommandError> {
        let call = Call::new(actor, "recover", &object(id));
        self.recorded(&call, self.remove_from_manager(&call, id)).await
    }

    /// Destroys in its key manager what belongs to a tombstone, and lets the state forget it.
    async fn remove_from_manager(&self, call: &Call<'_>, id: CloudMaterialId) -> Result<CloudMaterial, CommandError> {
        let material = self.material(id)?;
        if material.material == Material::Gone {
            return Ok(material);
        }
        let backend = self.backend_of_material(&material)?;
        self.destroy(backend, &material.material, || self.new_import(&material))
            .await?;
        self.commit(call.actor, |snapshot, now| {
            let found = find(snapshot, id)?;
            let mut gone = found.clone();
            gone.material = Material::Gone;
            if gone == *found {
                return Ok(Decided::nothing(gone));
            }
            let event = Event {
                before: EventText::json(found),
                after: EventText::json(&gone),
                ..call.event(now, Outcome::Done)
            };
            Ok(Decided::change(Changes::new().update(gone.clone()).event(event), gone))
        })
        .await
    }
}
