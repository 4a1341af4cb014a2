//! What a proxy answers with status 200, and KMS's checks on it.

use serde::{Deserialize, de::DeserializeOwned};

use super::{
    binary::Binary,
    blob::External,
    failure::{Failure, Fault},
};

/// An answer whose form KMS understands.
pub(crate) fn checked<A: Check>(body: &[u8]) -> Result<A, Fault> {
    let answer: A = serde_json::from_slice(body).map_err(|error| {
        // Its text could quote what was answered, a plaintext too: only the place of the error is reported.
        Fault::malformed(format!(
            "invalid body at line {}, column {}: {}",
            error.line(),
            error.column(),
            match error.classify() {
                serde_json::error::Category::Data => "a field is missing or has the wrong type",
                _ => "not JSON",
            }
        ))
    })?;
    answer.check()?;
    Ok(answer)
}

/// An answer with rules beyond those of its type.
pub(crate) trait Check: DeserializeOwned {
    fn check(&self) -> Result<(), Fault> {
        Ok(())
    }
}

/// The health response of a proxy: itself and its key managers.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Health {
    /// The number of proxies.
    pub xks_proxy_fleet_size: u32,
    /// The proxy's vendor.
    pub xks_proxy_vendor: String,
    /// Its name and version.
    pub xks_proxy_model: String,
    /// The key managers' vendor.
    pub ekm_vendor: String,
    /// One to ten key managers.
    pub ekm_fleet_details: Vec<KeyManager>,
}

/// A key manager behind a proxy.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct KeyManager {
    /// Which one.
    pub id: String,
    /// Its name and version.
    pub model: String,
    /// Its status.
    pub health_status: HealthStatus,
}

/// The status of a key manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
pub enum HealthStatus {
    /// Well.
    Active,
    /// Not well, and serving.
    Degraded,
    /// Not serving.
    Unavailable,
}

impl Check for Health {
    fn check(&self) -> Result<(), Fault> {
        if self.xks_proxy_fleet_size == 0 {
            return Err(Fault::malformed("an xksProxyFleetSize of 0"));
        }
        let managers = &self.ekm_fleet_details;
        if !(1..=10).contains(&managers.len()) {
            return Err(Fault::malformed(format!(
                "{} ekmFleetDetails, expected 1 to 10",
                managers.len()
            )));
        }
        let is_unavailable = |manager: &KeyManager| manager.health_status == HealthStatus::Unavailable;
        if managers.iter().all(is_unavailable) {
            return Err(Fault::new(
                Failure::Unhealthy,
                "no external key manager is available, as the proxy reports",
            ));
        }
        Ok(())
    }
}

/// A proxy's metadata of an external key.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeyMetadata {
    pub(crate) key_spec: String,
    pub(crate) key_usage: Vec<String>,
    pub(crate) key_status: String,
}

impl Check for KeyMetadata {
    fn check(&self) -> Result<(), Fault> {
        // GKM-2
        if self.key_usage.len() > 10 {
            return Err(Fault::malformed(format!(
                "{} values of keyUsage, expected at most 10",
                self.key_usage.len()
            )));
        }
        // GKM-3
        if !["ENABLED", "DISABLED"].contains(&&*self.key_status) {
            return Err(Fault::malformed(format!("the keyStatus {:?}", self.key_status)));
        }
        Ok(())
    }
}

/// A proxy's response to an encryption.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Encrypted {
    ciphertext: Binary,
    initialization_vector: Binary,
    authentication_tag: Binary,
    #[serde(default)]
    ciphertext_metadata: Binary,
    ciphertext_data_integrity_value: Binary,
}

impl Check for Encrypted {}

impl Encrypted {
    /// The parts of the ciphertext, when they have the lengths that they may have, and the integrity value.
    pub(crate) fn parts(self, plaintext: usize) -> Result<(External, Binary), Fault> {
        let wrong = |what: &str, length: usize| Err(Fault::malformed(format!("{what} of {length} bytes")));
        // ENC-6, ENC-7
        if self.ciphertext.len() != plaintext {
            return wrong("for a plaintext of another length, a ciphertext", self.ciphertext.len());
        }
        if ![12, 16].contains(&self.initialization_vector.len()) {
            return wrong("an initializationVector", self.initialization_vector.len());
        }
        if self.ciphertext_metadata.len() > 20 {
            return wrong("ciphertextMetadata", self.ciphertext_metadata.len());
        }
        let Ok(tag) = (*self.authentication_tag).try_into() else {
            return wrong("an authenticationTag", self.authentication_tag.len());
        };
        let external = External {
            ciphertext: self.ciphertext.to_vec(),
            iv: self.initialization_vector.to_vec(),
            tag,
            metadata: self.ciphertext_metadata.to_vec(),
        };
        Ok((external, self.ciphertext_data_integrity_value))
    }
}

/// A proxy's response to a decryption.
#[derive(Deserialize)]
pub(crate) struct Decrypted {
    pub(crate) plaintext: Binary,
}

impl Check for Decrypted {}
