//! Material is made: in the key manager of its key set, where it is read back; that of a vault is there.

use xks_core::{
    KeyId,
    backend::KeyUsage,
    manage::{ManageError, ManageErrorKind, NewKey},
};

use super::{destroyed, find, object, wrap::vault_check};
use crate::{
    Changes, CloudMaterial, CloudMaterialId, CommandError, Event, EventText, Material, MaterialCheck, MaterialState,
    Outcome,
    commands::{Actor, Call, Commands, Decided, ManagedBackend, backends::material_label},
};

impl Commands {
    /// Makes material that was added, or finds what an earlier call has made: in the key manager of its key
    /// set, where it is read back. Material of a vault is there; its codes are computed.
    ///
    /// # Errors
    /// [`CommandError`]: the key manager cannot wrap keys, or makes one that does not fit;
    /// [`CommandError::UnderWay`]: another node is making it. The command can be given again.
    pub async fn make_material(&self, actor: &Actor, id: CloudMaterialId) -> Result<CloudMaterial, CommandError> {
        self.make_material_by(actor, "make", id).await
    }

    pub(in crate::commands) async fn make_material_by(
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
    pub(super) fn new_import(&self, material: &CloudMaterial) -> Result<NewKey, CommandError> {
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
}
