//! The backends in which keys are made and used.

use std::{collections::BTreeMap, fmt, sync::Arc};

use xks_core::{
    KeyBackend, KeyId,
    manage::{CreationToken, KeyManager},
};

use crate::{CloudMaterialId, FieldError, FieldProblem, KeySet, KeyVersion, KeyVersionId, Name, VersionId};

/// A backend that serves keys, with the manager that makes them. Usually one type is both.
#[derive(Clone)]
pub(crate) struct ManagedBackend {
    pub(crate) name: Name,
    pub(crate) keys: Arc<dyn KeyBackend>,
    pub(crate) manager: Arc<dyn KeyManager>,
}

/// The backends in which keys are made and used, by the names by which key sets call them.
#[derive(Clone, Default)]
pub struct Backends(BTreeMap<Box<str>, ManagedBackend>);

impl Backends {
    /// No backends: there can be key sets of the source `vault` alone.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a backend with its key manager, in place of one of that name.
    #[must_use]
    pub fn with(mut self, name: Name, keys: Arc<dyn KeyBackend>, manager: Arc<dyn KeyManager>) -> Self {
        let backend = ManagedBackend { name, keys, manager };
        self.0.insert(backend.name.as_str().into(), backend);
        self
    }

    /// The backend of a number, in the order of their names.
    pub(crate) fn get(&self, number: usize) -> Option<&dyn KeyBackend> {
        self.all().nth(number)
    }

    pub(crate) fn managed(&self) -> impl Iterator<Item = &ManagedBackend> {
        self.0.values()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &dyn KeyBackend> {
        self.0.values().map(|backend| &*backend.keys)
    }

    /// The number of a key set's backend, in the order of their names.
    pub(crate) fn number_of(&self, set: &KeySet) -> Option<usize> {
        let backend = self.of(set).ok()?;
        self.0.values().position(|known| known.name == backend.name)
    }

    pub(crate) fn number_of_name(&self, name: &str) -> Option<usize> {
        self.0.keys().position(|known| **known == *name)
    }

    /// The backend of a key set: that which it names, or the only one.
    pub(crate) fn of(&self, set: &KeySet) -> Result<&ManagedBackend, FieldError> {
        let known = || self.0.keys().map(|name| &**name).collect::<Vec<_>>().join(", ");
        let illegal = |text| Err(FieldError::new("backend", FieldProblem::Illegal(text)));
        match (&set.backend, self.0.len()) {
            (_, 0) => illegal("the server has no backend in which keys can be made".to_owned()),
            (Some(name), _) => match self.0.get(name.as_str()) {
                Some(backend) => Ok(backend),
                None => illegal(format!("there is no backend `{name}`; there are: {}", known())),
            },
            (None, 1) => match self.0.values().next() {
                Some(backend) => Ok(backend),
                None => illegal(String::new()), // there is one
            },
            (None, _) => illegal(format!("it must name one of the backends: {}", known())),
        }
    }
}

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The label of a version's key in its key manager: deployment, key and version, so that a list of the key
/// manager says what each key is for. An external key id that was not generated may be long, and is cut.
pub(super) fn label(deployment: &Deployment, version: &KeyVersion) -> Result<KeyId, FieldError> {
    const MAX: usize = 80;
    let key = version.id.key.as_str();
    let key = key.get(..MAX).unwrap_or(key); // ASCII
    format!("{deployment}.{key}.{}", version.id.version)
        .parse()
        .map_err(|error| FieldError::illegal("deployment", &error))
}

/// The version that the [`label`] of a key is for: its external key id, and its id.
pub(crate) fn named_version(label: &KeyId) -> Option<(&str, VersionId)> {
    let (key, version) = label.as_str().rsplit_once('.')?;
    let (_deployment, key) = key.split_once('.')?;
    Some((key, version.parse().ok()?))
}

/// Whether the id of a backend's key leads to the version that it belongs to: it was adopted under its own
/// id, or the backend serves it under its label. So an index is needed for other keys alone.
pub(crate) fn is_told_by_name(backend_key: &KeyId, owner: &KeyVersionId) -> bool {
    *backend_key == owner.key || named_version(backend_key) == Some((owner.key.as_str(), owner.version))
}

/// The label of a material's key in its key manager. It is like that of no version.
pub(super) fn material_label(deployment: &Deployment, id: CloudMaterialId) -> Result<KeyId, FieldError> {
    let label = format!("{deployment}.{}", material_name(id));
    label.parse().map_err(|error| FieldError::illegal("deployment", &error))
}

/// By what the label of a material's key says whose it is, behind the deployment's name.
pub(crate) fn material_name(id: CloudMaterialId) -> String {
    format!("{MATERIAL}{id}")
}

/// The material that a label is for, if it is one of a material.
#[must_use]
pub fn material_of_label(label: &str) -> Option<CloudMaterialId> {
    let (_deployment, name) = label.split_once('.')?;
    name.strip_prefix(MATERIAL)?.parse().ok()
}

const MATERIAL: &str = "material.";

/// What distinguishes the keys of this deployment from those of others, in an HSM that several use: 1 to 32
/// characters of `A-Z a-z 0-9 - _`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment(Box<str>);

impl Deployment {
    const MAX: usize = 32;

    /// Checks a name and keeps it.
    ///
    /// # Errors
    /// Of the field `deployment`.
    pub fn new(name: &str) -> Result<Self, FieldError> {
        let error = |problem| Err(FieldError::new("deployment", problem));
        if name.is_empty() || name.len() > Self::MAX {
            return error(FieldProblem::Length { min: 1, max: Self::MAX });
        }
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !name.bytes().all(is_legal) {
            return error(FieldProblem::Illegal(
                "a deployment's name has the characters A-Z a-z 0-9 - _".to_owned(),
            ));
        }
        Ok(Self(name.into()))
    }
}

impl fmt::Display for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A new creation token.
pub(super) fn token() -> Result<CreationToken, crate::RandomError> {
    let mut bytes = [0; 16];
    crate::id::fill_random(&mut bytes)?;
    Ok(CreationToken::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Material, Timestamp};

    #[test]
    fn labels_are_legal_and_say_whose_key_it_is() {
        let longest = Deployment::new(&"d".repeat(32)).unwrap();
        let of = |deployment: &Deployment, key: &str| {
            let id = KeyVersionId::new(key.parse().unwrap(), VersionId::from_bytes([1, 2, 3, 4]));
            let version = KeyVersion::new(id, 1, Material::Gone, Timestamp::MIN).unwrap();
            label(deployment, &version).unwrap().to_string()
        };
        assert_eq!(of(&Deployment::new("prod").unwrap(), "abc"), "prod.abc.01020304");
        let version = VersionId::from_bytes([1, 2, 3, 4]);
        for (key, is_told) in [("abc", true), ("a.b", true), (&*"k".repeat(128), false)] {
            let label: KeyId = of(&longest, key).parse().unwrap();
            let owner = KeyVersionId::new(key.parse().unwrap(), version);
            assert_eq!(is_told_by_name(&label, &owner), is_told, "{label}");
        }
        assert!(of(&longest, &"k".repeat(128)).ends_with("k.01020304"));
        let material = CloudMaterialId::generate().unwrap();
        let label = material_label(&longest, material).unwrap();
        assert_eq!(material_of_label(label.as_str()), Some(material));
        assert_eq!(
            (named_version(&label), material_of_label("prod.abc.01020304")),
            (None, None)
        );
        for bad in ["", "a.b", "ä", &"d".repeat(33)] {
            assert_eq!(Deployment::new(bad).unwrap_err().field(), "deployment", "{bad:?}");
        }
    }
}
