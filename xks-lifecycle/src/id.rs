//! Ids: 120 random bits, written as 24 characters of `a-z 2-7`, each kind a type of its own.

use std::{fmt, str::FromStr};

use xks_core::KeyId;

use crate::field::{FieldError, FieldProblem};

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Three groups of five bytes, eight characters each.
const BYTES: usize = 15;
const LENGTH: usize = BYTES / 5 * 8;

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system's random source failed: {0}")]
pub struct RandomError(getrandom::Error);

/// Fills `bytes` from the operating system's random source.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), RandomError> {
    getrandom::fill(bytes).map_err(RandomError)
}

/// Returns random bytes that are no secret.
fn random<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    fill_random(&mut bytes)?;
    Ok(bytes)
}

fn encode(bytes: [u8; BYTES]) -> [u8; LENGTH] {
    let mut text = [0; LENGTH];
    for (group, characters) in bytes.as_chunks::<5>().0.iter().zip(text.as_chunks_mut::<8>().0) {
        let bits = group.iter().fold(0, |bits: u64, byte| bits << 8 | u64::from(*byte));
        for (place, character) in characters.iter_mut().enumerate() {
            let symbol = bits >> (35 - 5 * place) & 31;
            *character = ALPHABET.get(symbol as usize).copied().unwrap_or_default(); // 5 bits: always there
        }
    }
    text
}

fn decode(text: &str) -> Option<[u8; BYTES]> {
    let text: &[u8; LENGTH] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; BYTES];
    for (characters, group) in text.as_chunks::<8>().0.iter().zip(bytes.as_chunks_mut::<5>().0) {
        let mut bits = 0u64;
        for character in characters {
            let symbol = match character {
                b'a'..=b'z' => character - b'a',
                b'2'..=b'7' => character - b'2' + 26,
                _ => return None,
            };
            bits = bits << 5 | u64::from(symbol);
        }
        let [_, _, _, low @ ..] = bits.to_be_bytes();
        *group = low;
    }
    Some(bytes)
}

/// Generates an external key id: 24 characters, never given twice.
///
/// # Errors
/// [`RandomError`].
pub fn generate_key_id() -> Result<KeyId, RandomError> {
    loop {
        // All 24 characters are legal in a key id, so the first text is taken.
        let id = str::from_utf8(&encode(random()?))
            .ok()
            .and_then(|text| KeyId::new(text).ok());
        if let Some(id) = id {
            return Ok(id);
        }
    }
}

/// Defines an id.
macro_rules! id {
    ($(#[$meta:meta])* $name:ident, $field:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; BYTES]);

        impl $name {
            /// Generates an id from the operating system's random source.
            ///
            /// # Errors
            /// [`RandomError`].
            pub fn generate() -> Result<Self, RandomError> {
                random().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                encode(self.0).iter().try_for_each(|character| fmt::Write::write_char(f, char::from(*character)))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = FieldError;

            fn from_str(text: &str) -> Result<Self, FieldError> {
                let problem = FieldProblem::Id { length: LENGTH };
                decode(text).map(Self).ok_or(FieldError::new($field, problem))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// Names a [`Tenant`](crate::Tenant).
    ///
    /// ```
    /// use xks_lifecycle::TenantId;
    ///
    /// let id = TenantId::generate()?;
    /// assert_eq!(id.to_string().len(), 24);
    /// assert_eq!(id.to_string().parse::<TenantId>()?, id);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    TenantId, "tenant"
}
id! {
    /// Names a [`KeySet`](crate::KeySet).
    KeySetId, "key_set"
}
id! {
    /// Names an [`ExternalKeyStore`](crate::ExternalKeyStore).
    KeyStoreId, "key_store"
}
id! {
    /// Names a schedule.
    ScheduleId, "schedule"
}
id! {
    /// Names a [`CloudAccount`](crate::CloudAccount).
    CloudAccountId, "account"
}
id! {
    /// Names a [`CloudKeyStore`](crate::CloudKeyStore).
    CloudKeyStoreId, "cloud_key_store"
}
id! {
    /// Names a [`CloudKey`](crate::CloudKey).
    CloudKeyId, "cloud_key"
}
id! {
    /// Names a [`CloudMaterial`](crate::CloudMaterial).
    CloudMaterialId, "cloud_material"
}
id! {
    /// Names a job.
    JobId, "job"
}

/// Names a version of a key: 32 random bits, which a ciphertext carries.
///
/// Random and not an ordinal: after a restore from a backup an ordinal would be given twice, and a ciphertext
/// would be opened with the wrong version. It is unique among the versions of its key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId(u32);

impl VersionId {
    /// Generates an id from the operating system's random source.
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn generate() -> Result<Self, RandomError> {
        random().map(Self::from_bytes)
    }

    /// The id that a ciphertext carries.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(u32::from_be_bytes(bytes))
    }

    /// Returns the bytes that a ciphertext carries.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VersionId({self})")
    }
}

impl FromStr for VersionId {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_legal = text.len() == 8 && text.bytes().all(is_hex);
        let number = u32::from_str_radix(text, 16).ok().filter(|_| is_legal);
        let problem = || FieldProblem::Illegal("a version id has 8 hex digits in lower case".to_owned());
        number.map(Self).ok_or_else(|| FieldError::new("version", problem()))
    }
}

impl serde::Serialize for VersionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_text() {
        for byte in 0..=u8::MAX {
            let id = TenantId([byte; BYTES]);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        let mut bytes = [0; BYTES];
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = place as u8 * 17;
        }
        // RFC 4648 Base32 of these bytes, in lower case
        assert_eq!(TenantId(bytes).to_string(), "aaisem2ekvthpcezvk54zxpo");
        for bad in [
            "",
            "AAISEM2EKVTHPCEZVK54ZXPO",
            "aaisem2ekvthpcezvk54zxp",
            "aaisem2ekvthpcezvk54zxp1",
        ] {
            assert_eq!(bad.parse::<TenantId>().unwrap_err().field(), "tenant", "{bad:?}");
        }
    }

    #[test]
    fn generated_ids_differ() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| KeySetId::generate().unwrap()).collect();
        assert_eq!(ids.len(), 1000);
        assert_eq!(generate_key_id().unwrap().as_str().len(), 24);
        assert_ne!(generate_key_id().unwrap(), generate_key_id().unwrap());
    }

    #[test]
    fn a_version_id_has_one_text() {
        let id = VersionId::from_bytes([0, 0xc0, 0xde, 1]);
        assert_eq!(
            (id.to_string().as_str(), id.to_bytes()),
            ("00c0de01", [0, 0xc0, 0xde, 1])
        );
        assert_eq!("00c0de01".parse(), Ok(id));
        for bad in ["", "00C0DE01", "+0c0de01", "0c0de01", "000c0de01"] {
            assert_eq!(bad.parse::<VersionId>().unwrap_err().field(), "version", "{bad:?}");
        }
    }
}
