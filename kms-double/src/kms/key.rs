//! A KMS key, as it is kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    blob::KeyIdBytes,
    exception::{Exception, ExceptionName},
    materials::Materials,
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
}

/// Where the key material of a key is, by its origin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Backing {
    /// `EXTERNAL_KEY_STORE`: behind a proxy, and a layer of KMS's own.
    ExternalKeyStore(ExternalBacking),
    /// `EXTERNAL`: imported.
    Imported(Materials),
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
            Backing::Imported(_) => None,
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
            Backing::ExternalKeyStore(_) => None,
        }
    }

    pub(crate) fn imported_mut(&mut self) -> Result<&mut Materials, Exception> {
        match &mut self.backing {
            Backing::Imported(materials) => Ok(materials),
            Backing::ExternalKeyStore(_) => Err(not_imported(&self.arn)),
        }
    }

    /// Its id without the hyphens, as bytes.
    pub(crate) fn id_bytes(&self) -> Option<KeyIdBytes> {
        id_bytes(&self.id)
    }

    /// When something happens to it next, without anybody asking: its deletion, or the end of a material.
    pub(crate) fn next_due(&self) -> f64 {
        let deletion = match self.status {
            KeyStatus::PendingDeletion(at) => Some(at),
            KeyStatus::Enabled | KeyStatus::Disabled => None,
        };
        let ends = self.imported().into_iter().flat_map(Materials::ends);
        ends.chain(deletion).fold(f64::INFINITY, f64::min)
    }
}

/// The bytes of a key id, where it is one.
pub(crate) fn id_bytes(id: &str) -> Option<KeyIdBytes> {
    let digits: String = id.chars().filter(|character| *character != '-').collect();
    let number = u128::from_str_radix(&digits, 16).ok()?;
    (digits.len() == 32).then(|| number.to_be_bytes())
}

/// For what is done with imported material alone.
pub(crate) fn not_imported(arn: &str) -> Exception {
    let message = format!("{arn} origin is EXTERNAL_KEY_STORE which is not valid for this operation.");
    Exception::new(ExceptionName::UnsupportedOperation, message)
}
