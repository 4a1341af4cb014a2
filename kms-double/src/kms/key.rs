//! A KMS key, as it is kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    blob::KeyIdBytes,
    exception::{Exception, ExceptionName},
    materials::Materials,
    multi_region::{self, MultiRegion},
    proxy::ExternalKey,
    seal::KeyMaterial,
    sorted::Named,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) arn: String,
    pub(crate) description: String,
    pub(crate) created: f64,
    pub(crate) status: KeyStatus,
    pub(crate) backing: Backing,
    pub(crate) policy: String,
    pub(crate) ram_policy: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    /// None of a key in one Region.
    #[serde(default)]
    pub(crate) multi_region: Option<MultiRegion>,
}

/// Where the key material of a key is, by its origin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Backing {
    /// `EXTERNAL_KEY_STORE`: behind a proxy, and a layer of KMS's own.
    ExternalKeyStore(ExternalBacking),
    /// `EXTERNAL`: imported.
    Imported(Materials),
    /// `AWS_KMS`: made by KMS.
    Generated(Generated),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Generated {
    pub(crate) materials: Materials,
    /// None while it is off.
    pub(crate) automatic_rotation: Option<AutomaticRotation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AutomaticRotation {
    pub(crate) period_in_days: u32,
    /// When it was turned on, in seconds since 1970.
    pub(crate) since: f64,
}

impl Generated {
    /// With the first material, which is there at once.
    pub(crate) fn new(key_id: &str) -> Result<Self, Exception> {
        let mut materials = Materials::default();
        materials.generate(key_id)?;
        Ok(Self {
            materials,
            automatic_rotation: None,
        })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ExternalBacking {
    pub(crate) key_store_id: String,
    pub(crate) xks_key_id: String,
    pub(crate) material: KeyMaterial,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum KeyStatus {
    Enabled,
    Disabled,
    /// Until this moment, in seconds since 1970.
    PendingDeletion(f64),
    /// A primary key with replicas; when the last one is gone, so many days begin.
    PendingReplicaDeletion(u32),
    /// A replica that is not there yet, until this moment, in seconds since 1970.
    Creating(f64),
}

impl Named for Key {
    fn name(&self) -> &str {
        &self.id
    }

    fn is_name(text: &str) -> bool {
        id_bytes(text).is_some()
    }
}

impl Key {
    /// The external key, of a key in an external key store.
    pub(crate) fn external(&self) -> Option<&ExternalBacking> {
        match &self.backing {
            Backing::ExternalKeyStore(external) => Some(external),
            Backing::Imported(_) | Backing::Generated(_) => None,
        }
    }

    /// The external key, as its proxy is told of it.
    pub(crate) fn external_key(&self) -> Option<ExternalKey<'_>> {
        self.external().map(|external| ExternalKey {
            id: &external.xks_key_id,
            kms_key_arn: Some(&self.arn),
        })
    }

    /// The material, of a key with imported material.
    pub(crate) fn imported(&self) -> Option<&Materials> {
        match &self.backing {
            Backing::Imported(materials) => Some(materials),
            Backing::ExternalKeyStore(_) | Backing::Generated(_) => None,
        }
    }

    pub(crate) fn imported_mut(&mut self) -> Result<&mut Materials, Exception> {
        let wrong_origin = self.wrong_origin();
        match &mut self.backing {
            Backing::Imported(materials) => Ok(materials),
            Backing::ExternalKeyStore(_) | Backing::Generated(_) => Err(wrong_origin),
        }
    }

    /// What KMS has made for a key whose material it makes.
    pub(crate) fn generated(&self) -> Option<&Generated> {
        match &self.backing {
            Backing::Generated(generated) => Some(generated),
            Backing::ExternalKeyStore(_) | Backing::Imported(_) => None,
        }
    }

    pub(crate) fn generated_mut(&mut self) -> Result<&mut Generated, Exception> {
        let wrong_origin = self.wrong_origin();
        match &mut self.backing {
            Backing::Generated(generated) => Ok(generated),
            Backing::ExternalKeyStore(_) | Backing::Imported(_) => Err(wrong_origin),
        }
    }

    /// The material that KMS encrypts with, imported or made by it.
    pub(crate) fn materials(&self) -> Result<&Materials, Exception> {
        match &self.backing {
            Backing::Imported(materials) => Ok(materials),
            Backing::Generated(generated) => Ok(&generated.materials),
            Backing::ExternalKeyStore(_) => Err(self.wrong_origin()),
        }
    }

    /// Rotates to the material that waits for it, or to new material where KMS makes it.
    pub(crate) fn rotate(&mut self, now: f64) -> Result<(), Exception> {
        let wrong_origin = self.wrong_origin();
        match &mut self.backing {
            Backing::Imported(materials) => materials.rotate(now),
            Backing::Generated(generated) => {
                generated.materials.generate(&self.id)?;
                generated.materials.rotate(now)
            }
            Backing::ExternalKeyStore(_) => Err(wrong_origin),
        }
    }

    pub(crate) fn origin(&self) -> &'static str {
        match self.backing {
            Backing::ExternalKeyStore(_) => "EXTERNAL_KEY_STORE",
            Backing::Imported(_) => "EXTERNAL",
            Backing::Generated(_) => "AWS_KMS",
        }
    }

    /// For an operation that is not for keys of this origin.
    pub(crate) fn wrong_origin(&self) -> Exception {
        let (arn, origin) = (&self.arn, self.origin());
        let message = format!("{arn} origin is {origin} which is not valid for this operation.");
        Exception::new(ExceptionName::UnsupportedOperation, message)
    }

    /// Its id without the hyphens, as bytes.
    pub(crate) fn id_bytes(&self) -> Option<KeyIdBytes> {
        id_bytes(&self.id)
    }

    /// When something happens to it next, without anybody asking: its deletion, or the end of a material.
    pub(crate) fn next_due(&self) -> f64 {
        let deletion = match self.status {
            KeyStatus::PendingDeletion(at) | KeyStatus::Creating(at) => Some(at),
            KeyStatus::Enabled | KeyStatus::Disabled | KeyStatus::PendingReplicaDeletion(_) => None,
        };
        let ends = self.imported().into_iter().flat_map(Materials::ends);
        ends.chain(deletion).fold(f64::INFINITY, f64::min)
    }
}

/// The bytes of a key id, where it is one.
pub(crate) fn id_bytes(id: &str) -> Option<KeyIdBytes> {
    let id = id.strip_prefix(multi_region::PREFIX).unwrap_or(id);
    let digits: String = id.chars().filter(|character| *character != '-').collect();
    let number = u128::from_str_radix(&digits, 16).ok()?;
    (digits.len() == 32).then(|| number.to_be_bytes())
}
