//! The key material of one KMS key of the origin EXTERNAL or AWS_KMS: a set, of which one is current.
//!
//! ```text
//! NEW, the first            → CURRENT
//! NEW, a later one          → PENDING_ROTATION   (one at a time)
//! RotateKeyOnDemand         : PENDING_ROTATION → CURRENT, CURRENT → NON_CURRENT
//! deleted, expired          : CURRENT and NON_CURRENT stay, PENDING_IMPORT, until the same material is back;
//!                             PENDING_ROTATION is forgotten
//! ```
//! Source: ImportKeyMaterial, RotateKeyOnDemand and ListKeyRotations in the AWS KMS API Reference. That an
//! expired material in PENDING_ROTATION is forgotten, and that another new one is refused meanwhile, is our
//! own reading of "not permanently associated … You can delete this key material and import different key
//! material in its place".

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    api::{ImportState, ImportType, KeyMaterialState},
    exception::{Exception, ExceptionName},
    seal::KeyMaterial,
};

/// How often a key can be rotated on demand: the quota that AWS raises for no account.
pub(crate) const MAX_ROTATIONS: usize = 25;

/// The set, oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Materials(Vec<Material>);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Material {
    /// 64 hexadecimal digits, by key and bytes.
    pub(crate) id: String,
    pub(crate) description: Option<String>,
    pub(crate) state: KeyMaterialState,
    /// None while it waits for its import.
    pub(crate) bytes: Option<KeyMaterial>,
    /// None where it does not expire.
    pub(crate) valid_to: Option<f64>,
    /// When it became current; not of the first one.
    pub(crate) rotated: Option<f64>,
}

/// What ImportKeyMaterial says of a material, besides its bytes.
pub(crate) struct Import {
    pub(crate) import_type: Option<ImportType>,
    pub(crate) material_id: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) valid_to: Option<f64>,
    /// Whether the key is a replica, which takes what its primary has.
    pub(crate) is_of_replica: bool,
}

impl Material {
    pub(crate) fn import_state(&self) -> ImportState {
        match self.bytes {
            Some(_) => ImportState::Imported,
            None => ImportState::PendingImport,
        }
    }

    fn is_permanent(&self) -> bool {
        match self.state {
            KeyMaterialState::Current | KeyMaterialState::NonCurrent => true,
            KeyMaterialState::PendingRotation | KeyMaterialState::PendingMultiRegionImportAndRotation => false,
        }
    }
}

/// The id of a material: AWS says that it depends on the key and the material, and not how.
pub(crate) fn material_id(key_id: &str, bytes: &[u8]) -> String {
    let mut hash = Sha256::new_with_prefix(b"key material of ");
    hash.update(key_id);
    hash.update(bytes);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Materials {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Material> {
        self.0.iter()
    }

    /// What waits for a rotation.
    pub(crate) fn not_permanent_mut(&mut self) -> impl Iterator<Item = &mut Material> {
        self.0.iter_mut().filter(|material| !material.is_permanent())
    }

    /// Those of a replica: the same as those of the primary, of which each Region has imported its own.
    pub(crate) fn like(primary: &Self, own: &Self) -> Self {
        let material = |material: &Material| {
            let own = own.by_id(&material.id);
            Material {
                bytes: own.and_then(|own| own.bytes.clone()),
                valid_to: own.and_then(|own| own.valid_to),
                description: own.and_then(|own| own.description.clone()),
                ..material.clone()
            }
        };
        Self(primary.iter().map(material).collect())
    }

    /// Whether two keys have the same materials in the same states.
    pub(crate) fn are_as(&self, other: &Self) -> bool {
        let same = |(one, other): (&Material, &Material)| (&one.id, one.state) == (&other.id, other.state);
        self.0.len() == other.0.len() && self.iter().zip(other.iter()).all(same)
    }

    pub(crate) fn current(&self) -> Option<&Material> {
        self.0
            .iter()
            .find(|material| material.state == KeyMaterialState::Current)
    }

    pub(crate) fn by_id(&self, id: &str) -> Option<&Material> {
        self.0.iter().find(|material| material.id == id)
    }

    /// Whether the key can be used: there is material, and none of what belongs to the key for good is
    /// missing.
    pub(crate) fn are_complete(&self) -> bool {
        let mut permanent = self.0.iter().filter(|material| material.is_permanent()).peekable();
        permanent.peek().is_some() && permanent.all(|material| material.bytes.is_some())
    }

    /// When the first of what belongs to the key for good expires.
    pub(crate) fn earliest_end(&self) -> Option<f64> {
        let permanent = self.0.iter().filter(|material| material.is_permanent());
        permanent
            .filter_map(|material| material.valid_to)
            .min_by(f64::total_cmp)
    }

    /// When each of those that expire does so.
    pub(crate) fn ends(&self) -> impl Iterator<Item = f64> {
        self.0.iter().filter_map(|material| material.valid_to)
    }

    /// Takes away what has expired.
    pub(crate) fn expire(&mut self, now: f64) {
        self.remove(|material| material.has_expired_by(now));
    }

    /// Takes in material of a key. Returns its id.
    pub(crate) fn import(&mut self, key_id: &str, bytes: KeyMaterial, import: Import) -> Result<String, Exception> {
        let id = material_id(key_id, bytes.as_bytes());
        let import_type = import.import_type.unwrap_or(match self.0.is_empty() {
            true => ImportType::NewKeyMaterial,
            false => ImportType::ExistingKeyMaterial,
        });
        if import.material_id.is_some() && import_type == ImportType::NewKeyMaterial {
            return Err(Exception::validation(
                "KeyMaterialId cannot be specified with the ImportType NEW_KEY_MATERIAL",
            ));
        }
        if import.material_id.as_ref().is_some_and(|wanted| *wanted != id) {
            return Err(incorrect(
                "the key material does not have the KeyMaterialId of the request",
            ));
        }
        let known = self.0.iter_mut().find(|material| material.id == id);
        match (import_type, known) {
            (ImportType::ExistingKeyMaterial, Some(known)) => {
                (known.bytes, known.valid_to) = (Some(bytes), import.valid_to);
                known.description = import.description.or_else(|| known.description.take());
            }
            (ImportType::ExistingKeyMaterial, None) => {
                return Err(incorrect(
                    "the key material is not associated with the KMS key; import the same as before, or say \
                     NEW_KEY_MATERIAL",
                ));
            }
            (ImportType::NewKeyMaterial, Some(_)) => {
                return Err(incorrect(
                    "NEW_KEY_MATERIAL is expected, and this material is already associated with the KMS key",
                ));
            }
            (ImportType::NewKeyMaterial, None) if import.is_of_replica => {
                return Err(Exception::new(
                    ExceptionName::UnsupportedOperation,
                    "New key material cannot be imported into a replica key: import it into the primary key first",
                ));
            }
            (ImportType::NewKeyMaterial, None) => {
                let state = match self.current() {
                    None => KeyMaterialState::Current,
                    Some(_) => KeyMaterialState::PendingRotation,
                };
                if self.0.iter().any(|material| !material.is_permanent()) {
                    return Err(Exception::new(
                        ExceptionName::InvalidState,
                        "There is key material in PENDING_ROTATION already: rotate the key, or delete that material",
                    ));
                }
                self.0.push(Material {
                    id: id.clone(),
                    description: import.description,
                    state,
                    bytes: Some(bytes),
                    valid_to: import.valid_to,
                    rotated: None,
                });
            }
        }
        Ok(id)
    }

    /// Takes in new material of KMS's own: the current one, or one to rotate to.
    pub(crate) fn generate(&mut self, key_id: &str) -> Result<(), Exception> {
        let new = Import {
            import_type: Some(ImportType::NewKeyMaterial),
            material_id: None,
            description: None,
            valid_to: None,
            is_of_replica: false,
        };
        self.import(key_id, KeyMaterial::generate()?, new).map(drop)
    }

    /// Deletes one material, by default the current one. Returns its id; none where there never was any.
    pub(crate) fn delete(&mut self, id: Option<&str>) -> Result<Option<String>, Exception> {
        let found = match id {
            Some(id) => Some(self.by_id(id).ok_or_else(|| {
                let message = format!("The KMS key has no key material {id}");
                Exception::new(ExceptionName::NotFound, message)
            })?),
            None => self.current(),
        };
        let Some(id) = found.map(|material| material.id.clone()) else {
            return Ok(None);
        };
        self.remove(|material| material.id == id);
        Ok(Some(id))
    }

    /// Makes the material that waits for it the current one.
    pub(crate) fn rotate(&mut self, now: f64) -> Result<(), Exception> {
        if self.rotations().count() >= MAX_ROTATIONS {
            return Err(Exception::new(
                ExceptionName::LimitExceeded,
                format!("The KMS key has been rotated on demand {MAX_ROTATIONS} times"),
            ));
        }
        let is_not_everywhere =
            |material: &Material| material.state == KeyMaterialState::PendingMultiRegionImportAndRotation;
        if self.0.iter().any(is_not_everywhere) {
            return Err(Exception::new(
                ExceptionName::InvalidState,
                "The key material is not imported into all replica keys yet",
            ));
        }
        if self.0.iter().all(Material::is_permanent) {
            return Err(Exception::new(
                ExceptionName::InvalidState,
                "There is no key material in PENDING_ROTATION: import NEW_KEY_MATERIAL first",
            ));
        }
        for material in &mut self.0 {
            match material.state {
                KeyMaterialState::Current => material.state = KeyMaterialState::NonCurrent,
                KeyMaterialState::NonCurrent | KeyMaterialState::PendingMultiRegionImportAndRotation => (),
                KeyMaterialState::PendingRotation => {
                    (material.state, material.rotated) = (KeyMaterialState::Current, Some(now));
                }
            }
        }
        Ok(())
    }

    /// Those that came by a rotation.
    pub(crate) fn rotations(&self) -> impl Iterator<Item = &Material> {
        self.0.iter().filter(|material| material.rotated.is_some())
    }

    fn remove(&mut self, is_wanted: impl Fn(&Material) -> bool) {
        self.0.retain_mut(|material| {
            if !is_wanted(material) {
                return true;
            }
            (material.bytes, material.valid_to) = (None, None);
            material.is_permanent()
        });
    }
}

impl Material {
    fn has_expired_by(&self, now: f64) -> bool {
        self.valid_to.is_some_and(|valid_to| valid_to <= now)
    }
}

fn incorrect(message: &str) -> Exception {
    Exception::new(ExceptionName::IncorrectKeyMaterial, message)
}
