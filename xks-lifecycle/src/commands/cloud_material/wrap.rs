//! Material is known again by its codes, and leaves wrapped: where it is, and for AWS KMS alone.

use sha2::{Digest as _, Sha256};
use xks_backend_soft::KeyMaterial;
use xks_core::{
    KeyId, Zeroizing,
    manage::{ManageError, WrappingAlgorithm, WrappingKey},
    text::Hex,
};

use super::{destroyed, illegal, object};
use crate::{
    CloudKeyId, CloudMaterial, CloudMaterialId, CommandError, EventText, Material, MaterialCheck, MaterialState,
    commands::{Actor, Call, Commands, ManagedBackend},
};

/// What a vault's material cannot do in this build.
fn vault_failed(source: ManageError) -> CommandError {
    CommandError::Manager {
        backend: "vault".to_owned(),
        action: "material that is kept sealed cannot be wrapped",
        source,
    }
}

impl Commands {
    /// What a key manager says of the material of a key.
    pub(super) async fn hsm_check(
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
}

/// The codes of material that is here.
pub(super) fn vault_check(
    cloud_key: CloudKeyId,
    material: &Zeroizing<[u8; 32]>,
) -> Result<MaterialCheck, CommandError> {
    let material = KeyMaterial::from(material.clone());
    let cmac = |message: &[u8]| material.cmac(message).map_err(vault_failed);
    let zeros = cmac(&MaterialCheck::ZEROS)?;
    Ok(MaterialCheck::new(zeros, cmac(&MaterialCheck::message(cloud_key))?))
}
