//! Key material: where it is, and by what it is recognised.

use std::{fmt, str::FromStr};

use xks_core::{
    KeyId, Zeroizing,
    manage::CreationToken,
    text::{Hex, decode_hex},
};

use crate::{
    CloudKeyId, FieldError, FieldProblem,
    record::{CellReader, CellWriter, RowProblem},
};

/// The material of a version of a key, or of that of a KMS key. Key material is stored sealed, never printed,
/// and wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Material {
    /// A key of the backend.
    Backend {
        /// The id under which the backend knows it; none until it is made.
        key: Option<KeyId>,
        /// By which its creation is repeated; none if it was there before.
        token: Option<CreationToken>,
    },
    /// A key of this store.
    Vault(Zeroizing<[u8; 32]>),
    /// Destroyed.
    Gone,
}

impl Material {
    const KIND: &'static str = "backend, vault, gone";

    const fn kind(&self) -> &'static str {
        match self {
            Self::Backend { .. } => "backend",
            Self::Vault(_) => "vault",
            Self::Gone => "gone",
        }
    }

    /// Returns the id under which a backend knows it, if a backend has it.
    #[must_use]
    pub const fn backend_key(&self) -> Option<&KeyId> {
        match self {
            Self::Backend { key, .. } => key.as_ref(),
            Self::Vault(_) | Self::Gone => None,
        }
    }

    /// What is kept of it when it is to be destroyed. Sealed material is gone with this; a key of a backend
    /// is named until it is gone there too, so that it is neither forgotten nor served elsewhere.
    pub(crate) fn destroyed(&self) -> Self {
        match self {
            Self::Backend { .. } => self.clone(),
            Self::Vault(_) | Self::Gone => Self::Gone,
        }
    }

    /// Whether it may come after `former` in the life of one version or cloud material: a key of a backend
    /// is made, and destroyed; sealed material is destroyed.
    pub(crate) fn may_follow(&self, former: &Self) -> bool {
        match (former, self) {
            (_, Self::Gone) => true,
            (
                Self::Backend { key: None, token },
                Self::Backend {
                    key: Some(_),
                    token: same,
                },
            ) => token == same,
            _ => self == former,
        }
    }

    /// Writes the columns `material_kind`, `backend_key`, `token` and `material`.
    pub(crate) fn write(&self, cells: &mut CellWriter<'_>) {
        let (key, token, vault) = match self {
            Self::Backend { key, token } => (key.as_ref(), token.as_ref(), None),
            Self::Vault(material) => (None, None, Some(&material[..])),
            Self::Gone => (None, None, None),
        };
        cells.text("material_kind", &self.kind());
        cells.optional("backend_key", key);
        cells.optional("token", token);
        cells.secret("material", vault);
    }

    /// Reads what [`write`](Self::write) has written.
    pub(crate) fn read(cells: &mut CellReader<'_>) -> Result<Self, RowProblem> {
        let kind = cells.text("material_kind")?;
        let (key, token) = (cells.optional_parsed("backend_key")?, cells.optional_parsed("token")?);
        Ok(match (kind, cells.optional_secret("material")?) {
            ("backend", None) => Self::Backend { key, token },
            ("vault", Some(bytes)) => Self::Vault(Zeroizing::new(
                <[u8; 32]>::try_from(&bytes[..]).map_err(|error| FieldError::illegal("material", &error))?,
            )),
            ("gone", None) => Self::Gone,
            ("vault", None) => return Err(FieldError::new("material", FieldProblem::Missing).into()),
            ("backend" | "gone", Some(_)) => return Err(FieldError::new("material", FieldProblem::Unexpected).into()),
            _ => return Err(FieldError::new("material_kind", FieldProblem::Unknown(Self::KIND)).into()),
        })
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend { key, token } => f
                .debug_struct("Backend")
                .field("key", key)
                .field("token", token)
                .finish(),
            Self::Vault(_) => f.write_str("Vault"),
            Self::Gone => f.write_str("Gone"),
        }
    }
}

impl serde::Serialize for Material {
    /// Says where the material is, and for a backend under which id.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;

        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", self.kind())?;
        if let Self::Backend { key: Some(key), .. } = self {
            map.serialize_entry("key", key)?;
        }
        map.end()
    }
}

/// By what material is recognised. Nothing of the material can be learned from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct MaterialCheck {
    /// The usual check value of a key, which other tools show too.
    pub value: CheckValue,
    /// What the same material has for one [`CloudKey`](crate::CloudKey), and no other.
    pub fingerprint: Fingerprint,
}

impl MaterialCheck {
    /// What the check value is a code of.
    pub const ZEROS: [u8; 16] = [0; 16];

    /// What the fingerprint is a code of. It names the cloud key, so that the fingerprints of two cloud keys
    /// do not show whether they have the same material.
    #[must_use]
    pub fn message(cloud_key: CloudKeyId) -> Vec<u8> {
        format!("xks-lifecycle: fingerprint for cloud-keys/{cloud_key}").into_bytes()
    }

    /// From the AES-CMAC of 16 [zero bytes](Self::ZEROS), and that of the [message](Self::message), both
    /// under the material.
    #[must_use]
    pub const fn new(of_zeros: [u8; 16], of_message: [u8; 16]) -> Self {
        let [a, b, c, ..] = of_zeros;
        Self {
            value: CheckValue([a, b, c]),
            fingerprint: Fingerprint(of_message),
        }
    }
}

/// Defines bytes that are written as hexadecimal digits.
macro_rules! digits {
    ($(#[$meta:meta])* $name:ident, $field:literal, $length:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $length]);

        impl $name {
            /// Returns the bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Hex(&self.0).fmt(f)
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
                let mut bytes = [0; $length];
                let is_legal = !text.bytes().any(|byte| byte.is_ascii_uppercase());
                match decode_hex(text.as_bytes(), &mut bytes) {
                    Ok(()) if is_legal => Ok(Self(bytes)),
                    _ => {
                        let rule = concat!("it has two hexadecimal digits in lower case for each of ", $length, " bytes");
                        Err(FieldError::new($field, FieldProblem::Illegal(rule.to_owned())))
                    }
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

digits! {
    /// The check value of a key: the first three bytes of the AES-CMAC of 16 zero bytes. Different keys have
    /// the same one by chance, so it is for people to compare, and proves nothing.
    CheckValue, "check_value", 3
}
digits! {
    /// The AES-CMAC under the material of a text that names its cloud key: 16 bytes.
    Fingerprint, "fingerprint", 16
}
digits! {
    /// The id that AWS KMS computes from a KMS key and material which it has imported: 64 digits.
    KmsMaterialId, "kms_material", 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_have_one_text() {
        let check = MaterialCheck::new([0xab; 16], [0x0c; 16]);
        assert_eq!(check.value.to_string(), "ababab");
        assert_eq!("ababab".parse(), Ok(check.value));
        assert_eq!(check.fingerprint.to_string().parse(), Ok(check.fingerprint));
        assert!("0f".repeat(32).parse::<KmsMaterialId>().is_ok());
        for bad in ["", "ABABAB", "ababa", "abababab", "ababag"] {
            assert_eq!(bad.parse::<CheckValue>().unwrap_err().field(), "check_value", "{bad}");
        }
    }

    #[test]
    fn material_is_made_and_destroyed_and_never_another() {
        let backend = |key: Option<&str>, token: u8| Material::Backend {
            key: key.map(|key| key.parse().unwrap()),
            token: Some(CreationToken::from([token; 16])),
        };
        let vault = |byte| Material::Vault(Zeroizing::new([byte; 32]));
        let (wanted, made) = (backend(None, 1), backend(Some("a"), 1));
        for (former, next, may) in [
            (&wanted, &made, true),
            (&made, &Material::Gone, true),
            (&vault(1), &Material::Gone, true),
            (&vault(1), &vault(1), true),
            (&made, &wanted, false),
            (&made, &backend(Some("b"), 1), false),
            (&wanted, &backend(Some("a"), 2), false),
            (&vault(1), &vault(2), false),
            (&wanted, &vault(1), false),
            (&Material::Gone, &made, false),
        ] {
            assert_eq!(next.may_follow(former), may, "{former:?} {next:?}");
        }
    }
}
