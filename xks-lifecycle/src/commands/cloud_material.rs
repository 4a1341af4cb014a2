//! Key material for KMS keys: added, made where its key set says, wrapped for AWS, and destroyed.
//!
//! Material of an HSM is made there for this alone, and leaves it only wrapped under a key of AWS KMS; what
//! is known of it here are codes that the HSM has computed. Material of a vault is wrapped in this process.
//! Neither ever serves an external key store.

use sha2::{Digest as _, Sha256};
use xks_backend_soft::KeyMaterial;
use xks_core::{
    KeyId, Zeroizing,
    backend::KeyUsage,
    manage::{ManageError, ManageErrorKind, NewKey, WrappingAlgorithm, WrappingKey},
    text::Hex,
};

use super::{
    Actor, Call, Commands, Decided, ManagedBackend,
    backends::material_label,
    material::{backend_material, vault_material},
};
use crate::{
    ChangeError, Changes, CloudKey, CloudKeyId, CloudMaterial, CloudMaterialId, CommandError, Event, EventText,
    FieldError, FieldProblem, KeySet, KeySetId, KeySource, Material, MaterialCheck, MaterialState, Object, Outcome,
    Snapshot, WantedKey, WantedMaterial,
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

fn destroyed() -> CommandError {
    illegal("destroyed", "the material is destroyed")
}

/// What a vault's material cannot do in this build.
fn vault_failed(source: ManageError) -> CommandError {
    CommandError::Manager {
        backend: "vault".to_owned(),
        action: "material that is kept sealed cannot be wrapped",
        source,
    }
}

/// What the KMS key of a material shall be.
fn wanted_key(snapshot: &Snapshot, material: &CloudMaterial) -> Option<WantedKey> {
    let key = snapshot.cloud_key(material.cloud_key)?;
    let is_current = material.retired.is_none() || key.kms_key == material.kms_key;
    Some(if is_current { key.wanted } else { material.former })
}

/// What would lose its material for good: a KMS key that AWS is to have, with what it has encrypted.
fn user(snapshot: &Snapshot, material: &CloudMaterial) -> Option<Object> {
    let is_to_be_there = material.kms_material.is_some() && material.wanted == WantedMaterial::Imported;
    let is_kept = !matches!(wanted_key(snapshot, material), None | Some(WantedKey::Deleted(_)));
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

    /// Adds material to a cloud key: the start of a rotation, which a job goes on with. It is made by
    /// [`make_material`](Self::make_material).
    ///
    /// As long as the newest material was not imported it is that one: a command that is given again begins
    /// no second rotation.
    ///
    /// # Errors
    /// [`CommandError`]: the cloud key is not of the origin `external`, or is to be deleted; its key set has no
    /// backend.
    pub async fn add_material(&self, actor: &Actor, id: CloudKeyId) -> Result<CloudMaterial, CommandError> {
        let key_object = Object::new(Table::CloudKeys, &id);
        let call = Call::new(actor, ADD, &key_object);
        let find_key = |snapshot: &Snapshot| -> Result<CloudKey, CommandError> {
            let key = snapshot.cloud_key(id);
            let key = key.ok_or_else(|| CommandError::Unknown(key_object.clone()))?;
            if key.import().is_none() {
                return Err(illegal(
                    "origin",
                    "the cloud key is one of an external key store: AWS imports nothing",
                ));
            }
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
            let set = self.material_source(self.read(find_key)?.key_set)?;
            let material = match set.source {
                KeySource::Vault => vault_material()?,
                KeySource::Hsm | KeySource::Adopted => backend_material()?,
            };
            let new = CloudMaterial::new(CloudMaterialId::generate()?, id, 1, material, self.now())?;
            let answer = self.commit(actor, |snapshot, now| {
                find_key(snapshot)?;
                let newest = snapshot.materials_of(id).next_back();
                let is_begun = |newest: &CloudMaterial| {
                    newest.state() != MaterialState::Destroyed
                        && newest.kms_material.is_none()
                        && newest.wanted == WantedMaterial::Imported
                };
                if let Some(begun) = newest.filter(|newest| is_begun(newest)) {
                    return Ok(Decided::nothing(((**begun).clone(), false)));
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

    /// Makes material that was added, or finds what an earlier call has made: in the key manager of its key
    /// set, where it is read back. Material of a vault is there; its codes are computed.
    ///
    /// # Errors
    /// [`CommandError`]: the key manager cannot wrap keys, or makes one that does not fit;
    /// [`CommandError::UnderWay`]: another node is making it. The command can be given again.
    pub async fn make_material(&self, actor: &Actor, id: CloudMaterialId) -> Result<CloudMaterial, CommandError> {
        self.make_material_by(actor, "make", id).await
    }

    pub(super) async fn make_material_by(
        &self,
        actor: &Actor,
        command: &'static str,
        id: CloudMaterialId,
    ) -> Result<CloudMaterial, CommandError> {
        let call = Call::new(actor, command, &object(id));
        let work = async {
            self.refresh().await?;
            let material = self.material(id)?;
            if material.state() != MaterialState::Pending {
                return self.nothing_to_make(&call, material).await;
            }
            self.take_over(&id).await?;
            self.refresh().await?;
            let material = self.material(id)?;
            if material.state() != MaterialState::Pending {
                self.leave(&id).await?; // the one that has made it was quicker
                return self.nothing_to_make(&call, material).await;
            }
            Box::pin(self.marked(&id, self.finish_material(&call, &material))).await
        };
        self.recorded(&call, work).await
    }

    async fn nothing_to_make(&self, call: &Call<'_>, material: CloudMaterial) -> Result<CloudMaterial, CommandError> {
        if material.state() == MaterialState::Destroyed {
            return Err(destroyed());
        }
        self.record_nothing(call).await?;
        Ok(material)
    }

    async fn finish_material(&self, call: &Call<'_>, material: &CloudMaterial) -> Result<CloudMaterial, CommandError> {
        let (key, check) = match &material.material {
            Material::Vault(bytes) => (None, vault_check(material.cloud_key, bytes)?),
            Material::Backend { .. } => {
                let backend = self.backend_of_material(material)?;
                self.must_wrap(backend).await?;
                let made = self.make_key(backend, &self.new_import(material)?).await?;
                let check = self.read_back_import(backend, material, &made).await?;
                (Some(made), check)
            }
            Material::Gone => return Err(destroyed()),
        };
        kill_point!(ReadBack);
        self.commit(call.actor, |snapshot, now| {
            let found = find(snapshot, material.id)?;
            match found.state() {
                MaterialState::Pending => {}
                MaterialState::Made => return Ok(Decided::nothing(found.clone())),
                MaterialState::Destroyed => return Err(destroyed()),
            }
            let mut made = found.clone();
            made.check = Some(check);
            if let Material::Backend { key: known, .. } = &mut made.material {
                known.clone_from(&key);
            }
            let event = Event {
                before: EventText::json(found),
                after: EventText::json(&made),
                ..call.event(now, Outcome::Done)
            };
            Ok(Decided::change(Changes::new().update(made.clone()).event(event), made))
        })
        .await
    }

    /// What a key manager is asked to make for a material.
    fn new_import(&self, material: &CloudMaterial) -> Result<NewKey, CommandError> {
        let Material::Backend { token: Some(token), .. } = &material.material else {
            let problem = "has no creation token in the state";
            let key = object(material.id).to_string().into();
            return Err(CommandError::Unfit { key, problem });
        };
        let label = material_label(&self.deployment, material.id)?;
        Ok(NewKey::for_import(*token, label))
    }

    /// Checks, before a key is made that would lead nowhere, that a key manager can wrap it.
    async fn must_wrap(&self, backend: &ManagedBackend) -> Result<(), CommandError> {
        const ACTION: &str = "keys for the import into AWS KMS cannot be made";
        let can = backend.manager.capabilities(self.deadline()).await;
        let can = can.map_err(|error| backend.failed(ACTION, error))?;
        let lacking = match (can.wrapping.is_empty(), can.cmac) {
            (true, _) => "it cannot wrap keys under those of AWS KMS: choose a key set of another backend, or a vault",
            (false, false) => "it computes no AES-CMAC: choose a key set of another backend, or a vault",
            (false, true) => return Ok(()),
        };
        Err(backend.failed(ACTION, ManageError::new(ManageErrorKind::Unsupported, lacking)))
    }

    /// Checks that a key which was made is the one that was asked for, and good for imports alone.
    async fn read_back_import(
        &self,
        backend: &ManagedBackend,
        material: &CloudMaterial,
        made: &KeyId,
    ) -> Result<MaterialCheck, CommandError> {
        let described = backend.manager.key(made, self.deadline()).await;
        let described = described.map_err(|error| backend.failed("a new key could not be read back", error))?;
        let usages = described.metadata.usages();
        let serves = [KeyUsage::Encrypt, KeyUsage::Decrypt]
            .iter()
            .any(|usage| usages.contains(usage));
        let is_other = match &material.material {
            Material::Backend { token, .. } => described.token.is_some() && described.token != *token,
            Material::Vault(_) | Material::Gone => true,
        };
        let problem = match described.is_extractable {
            _ if is_other => "was made with another creation token",
            _ if serves => "may encrypt or decrypt, though it was made for imports alone",
            _ if !usages.contains(&KeyUsage::Sign) => "computes no AES-CMAC, though it was made to",
            false => "cannot be wrapped, though it was made to be",
            true => return self.hsm_check(backend, material.cloud_key, made).await,
        };
        let key = made.as_str().into();
        Err(CommandError::Unfit { key, problem })
    }

    /// What a key manager says of the material of a key.
    async fn hsm_check(
        &self,
        backend: &ManagedBackend,
        cloud_key: CloudKeyId,
        key: &KeyId,
    ) -> Result<MaterialCheck, CommandError> {
        let failed = |error| backend.failed("the material's check value cannot be computed", error);
        let cmac = async |message: &[u8]| {
            backend
                .manager
                .cmac(key, message, self.deadline())
                .await
                .map_err(failed)
        };
        let zeros = cmac(&MaterialCheck::ZEROS).await?;
        Ok(MaterialCheck::new(
            zeros,
            cmac(&MaterialCheck::message(cloud_key)).await?,
        ))
    }

    /// Material that can be wrapped, with its codes.
    fn made(&self, id: CloudMaterialId) -> Result<(CloudMaterial, MaterialCheck), CommandError> {
        let material = self.material(id)?;
        match (material.state(), material.check) {
            (MaterialState::Made, Some(check)) => Ok((material, check)),
            (MaterialState::Destroyed, _) => Err(destroyed()),
            _ => Err(illegal("material", "the material is not made yet")),
        }
    }

    /// Returns the algorithms by which material can be wrapped, best first.
    ///
    /// # Errors
    /// [`CommandError`]: it is not there, or destroyed; its key manager does not answer. Without the feature
    /// `aws-lc-rs` of `xks-backend-soft` material of a vault is not wrapped.
    pub async fn wrappings_of(&self, id: CloudMaterialId) -> Result<Vec<WrappingAlgorithm>, CommandError> {
        let (material, _) = self.made(id)?;
        match &material.material {
            Material::Vault(_) => Ok(KeyMaterial::wrappings().to_vec()),
            Material::Backend { .. } => {
                let backend = self.backend_of_material(&material)?;
                let can = backend.manager.capabilities(self.deadline()).await;
                let can = can.map_err(|error| backend.failed("how it wraps keys is not known", error))?;
                let best_first = WrappingAlgorithm::ALL.into_iter();
                Ok(best_first
                    .filter(|algorithm| can.wrapping.contains(algorithm))
                    .collect())
            }
            Material::Gone => Err(destroyed()),
        }
    }

    /// Wraps material for the import into AWS KMS, where it is: what `ImportKeyMaterial` takes. The
    /// owner of the private key of `wrapping_key` can unwrap it: an event says which key it was.
    ///
    /// # Errors
    /// [`CommandError`]: it is not made, or destroyed; the key manager cannot wrap, or has other material now
    /// than it had made.
    pub async fn wrap_material(
        &self,
        actor: &Actor,
        id: CloudMaterialId,
        wrapping_key: &WrappingKey,
    ) -> Result<Vec<u8>, CommandError> {
        let sha = Sha256::digest(wrapping_key.spki_der());
        let how = format!(
            "{} under RSA_{} with SHA-256 {}",
            wrapping_key.algorithm(),
            wrapping_key.bits(),
            Hex(&sha)
        );
        let call = Call {
            reason: Some(EventText::cut(&how)),
            ..Call::new(actor, "wrap", &object(id))
        };
        let work = async {
            let (material, check) = self.made(id)?;
            let (now, wrapped) = match &material.material {
                Material::Vault(bytes) => {
                    let now = vault_check(material.cloud_key, bytes)?;
                    (
                        now,
                        KeyMaterial::from(bytes.clone())
                            .wrap(wrapping_key)
                            .map_err(vault_failed)?,
                    )
                }
                Material::Backend { key: Some(key), .. } => {
                    let backend = self.backend_of_material(&material)?;
                    let now = self.hsm_check(backend, material.cloud_key, key).await?;
                    let wrapped = backend.manager.wrap_key(key, wrapping_key, self.deadline()).await;
                    (
                        now,
                        wrapped.map_err(|error| backend.failed("material could not be wrapped", error))?,
                    )
                }
                Material::Backend { key: None, .. } | Material::Gone => return Err(destroyed()),
            };
            let problem = match () {
                () if now != check => "has other material than it was made with: AWS KMS would not take it",
                () if wrapped.len() != wrapping_key.wrapped_length() => "was wrapped to another length than it has",
                () => {
                    self.record_nothing(&call).await?;
                    return Ok(wrapped);
                }
            };
            let key = object(id).to_string().into();
            Err(CommandError::Unfit { key, problem })
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
    /// [`CommandError`]: it is to be in AWS, in a KMS key that is not to be deleted; the key manager fails.
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

/// The codes of material that is here.
fn vault_check(cloud_key: CloudKeyId, material: &Zeroizing<[u8; 32]>) -> Result<MaterialCheck, CommandError> {
    let material = KeyMaterial::from(material.clone());
    let cmac = |message: &[u8]| material.cmac(message).map_err(vault_failed);
    let zeros = cmac(&MaterialCheck::ZEROS)?;
    Ok(MaterialCheck::new(zeros, cmac(&MaterialCheck::message(cloud_key))?))
}
