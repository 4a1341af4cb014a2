//! Making keys, and taking those under management that others have made.

use xks_core::{KeyId, backend::CiphertextMetadata};

use super::{
    Actor, Call, Commands, Decided, KeyEntry,
    material::{backend_material, check_fit, vault_material},
};
use crate::{
    Changes, CommandError, Description, FieldError, FieldProblem, Key, KeySet, KeySetId, KeySource, KeyVersion,
    KeyVersionId, Material, Name, Object, Outcome, Rotation, Snapshot, Timestamp, VersionId, VersionState,
    generate_key_id,
    key_state::{Change, StoredState},
    store::{Claim, Table},
};

/// A key that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreateKey {
    /// In which key set.
    pub key_set: KeySetId,
    /// What it shall be called.
    pub name: Name,
    /// What it is for.
    pub description: Description,
    /// When it shall expire; if none, as the key set says.
    pub expires: Option<Timestamp>,
    /// When it shall rotate.
    pub rotation: Rotation,
    /// Whether it serves at once, or waits to be activated.
    pub is_active: bool,
}

impl CreateKey {
    /// A key with this name, that expires and rotates as its key set says, and serves at once.
    ///
    /// # Errors
    /// Of the field `name`.
    pub fn new(key_set: KeySetId, name: &str) -> Result<Self, FieldError> {
        Ok(Self {
            key_set,
            name: Name::new("name", name)?,
            description: Description::new("description", "")?,
            expires: None,
            rotation: Rotation::Inherited,
            is_active: true,
        })
    }
}

/// A key of a backend that is to come under management. It serves under the same id, so that the KMS key
/// which uses it goes on, and what it has encrypted stays readable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Adopt {
    /// The key: in which key set, of the source `adopted`; what it is called; and so on.
    pub key: CreateKey,
    /// The id under which the backend serves it, which is the external key id too.
    pub backend_key: KeyId,
    /// How many encryptions were made with it; if that is not known, it is taken for 2^31.
    pub earlier_encryptions: Option<u64>,
    /// The constant metadata that its earlier ciphertexts have.
    pub legacy_metadata: Option<CiphertextMetadata>,
}

impl Adopt {
    /// The encryptions of a key of which they are not known: half of what a key may make.
    pub const UNKNOWN_ENCRYPTIONS: u64 = 1 << 31;

    /// A key that has made an unknown number of encryptions, without metadata.
    #[must_use]
    pub const fn new(key: CreateKey, backend_key: KeyId) -> Self {
        Self {
            key,
            backend_key,
            earlier_encryptions: None,
            legacy_metadata: None,
        }
    }
}

/// A key that has come under management.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Adopted {
    /// The key.
    pub entry: KeyEntry,
    /// What its administrator should know of it.
    pub warnings: Vec<AdoptionWarning>,
}

/// What is doubtful about a key that others have made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum AdoptionWarning {
    /// It can be wrapped.
    #[error("the key is extractable: who may wrap keys in its key manager can take it out")]
    Extractable,
    /// Its value can be read, or its key manager does not tell.
    #[error("the key is not sensitive: who may use it in its key manager can read its value there")]
    NotSensitive,
}

/// The key and its first version, as they are to be.
pub(super) struct New {
    key: Key,
    version: KeyVersion,
    /// Of the process that makes it.
    mark: Option<Claim>,
}

impl New {
    pub(super) fn decide(
        snapshot: &Snapshot,
        spec: &CreateKey,
        id: &KeyId,
        version: KeyVersion,
        now: Timestamp,
    ) -> Result<Self, CommandError> {
        let set = snapshot.key_set(spec.key_set);
        let set = set.ok_or_else(|| CommandError::Unknown(Object::new(Table::KeySets, &spec.key_set)))?;
        if spec.expires.is_some_and(|expires| expires <= now) {
            return Err(FieldError::new("expires", FieldProblem::Past).into());
        }
        let of_set = set.lifetime.map(|days| now.plus_days(days.get()));
        let mut key = Key::new(id.clone(), spec.key_set, spec.name.as_str())?;
        key.description.clone_from(&spec.description);
        key.rotation = spec.rotation;
        key.expires = spec.expires.or(of_set);
        Ok(Self {
            key,
            version,
            mark: None,
        })
    }

    pub(super) fn marked(self, mark: Option<Claim>) -> Self {
        Self { mark, ..self }
    }

    pub(super) fn ready(mut self, spec: &CreateKey) -> Self {
        self.version.state = VersionState::Current;
        self.version.promoted = Some(self.version.created);
        if spec.is_active {
            self.key.state = StoredState::Enabled;
        }
        self
    }

    pub(super) fn commit(
        self,
        call: &Call<'_>,
        snapshot: &Snapshot,
        now: Timestamp,
        outcome: Outcome,
    ) -> Decided<KeyEntry> {
        let Self { key, version, mark } = self;
        let change = Change {
            key: Some(key.clone()),
            new_versions: vec![version.clone()],
            ..Change::default()
        };
        let event = call.change(now, outcome, None, &change);
        let entry = KeyEntry {
            state: key.state_at(now),
            key: key.clone(),
            versions: vec![version.clone()],
            revision: snapshot.revision().next(),
        };
        let changes = Changes::new().insert(key).insert(version).event(event);
        Decided::change(changes.claim(mark), entry)
    }
}

impl Commands {
    /// Makes a key with its first version. Its external key id is generated, and never given again.
    ///
    /// # Errors
    /// [`CommandError`]. If the key manager refuses, no key is left, but a tombstone of its id. If the key
    /// manager may have made the key, or may still make it, the key stays in the state, serves nothing, and
    /// [`recover`](Self::recover) finishes it. If not every node can use the key
    /// ([`CommandError::NotConfirmed`]), it stays there too, with its version published, until it is
    /// [activated](crate::key_state::KeyCommand::Activate).
    pub async fn create_key(&self, actor: &Actor, spec: CreateKey) -> Result<KeyEntry, CommandError> {
        let id = generate_key_id()?;
        let call = Call::key(actor, "create", &id);
        self.recorded(&call, self.create_by(&call, &id, &spec)).await
    }

    async fn create_by(&self, call: &Call<'_>, id: &KeyId, spec: &CreateKey) -> Result<KeyEntry, CommandError> {
        let set = self.key_set(spec.key_set)?;
        let version = self.first_version(&set, id)?;
        if set.source == KeySource::Vault {
            return self
                .commit(call.actor, |snapshot, now| {
                    let new = New::decide(snapshot, spec, id, version.clone(), now)?.ready(spec);
                    Ok(new.commit(call, snapshot, now, Outcome::Done))
                })
                .await;
        }
        self.backends.of(&set)?;
        let entry = self
            .commit(call.actor, |snapshot, now| {
                let new = New::decide(snapshot, spec, id, version.clone(), now)?;
                let new = new.marked(self.mark(&version.id));
                Ok(new.commit(call, snapshot, now, Outcome::Begun))
            })
            .await?;
        let work = async {
            let made = self.make_new(call, &entry, &version).await?;
            self.take_into_use(call, &entry, &version, made, spec.is_active).await
        };
        Box::pin(self.marked(&version.id, work)).await
    }

    /// A version that is to be made, of a key that is.
    pub(super) fn first_version(&self, set: &KeySet, key: &KeyId) -> Result<KeyVersion, CommandError> {
        let material = match set.source {
            KeySource::Vault => vault_material()?,
            KeySource::Hsm => backend_material()?,
            KeySource::Adopted => {
                let rule = "its keys are adopted, not made".to_owned();
                return Err(FieldError::new("key_set", FieldProblem::Illegal(rule)).into());
            }
        };
        let id = KeyVersionId::new(key.clone(), VersionId::generate()?);
        Ok(KeyVersion::new(id, 1, material, self.now())?)
    }

    /// Takes a key of a backend under management: it is served only by this from now on.
    ///
    /// # Errors
    /// [`CommandError`]: it is under management already, is unknown to the key manager, or cannot serve KMS.
    pub async fn adopt(&self, actor: &Actor, adopt: Adopt) -> Result<Adopted, CommandError> {
        let id = &adopt.backend_key;
        let call = Call::key(actor, "adopt", id);
        let work = async {
            let set = self.key_set(adopt.key.key_set)?;
            if set.source != KeySource::Adopted {
                let rule = format!("its source is `{}`, not `adopted`", set.source);
                return Err(FieldError::new("key_set", FieldProblem::Illegal(rule)).into());
            }
            let backend = self.backends.of(&set)?;
            let described = backend.manager.key(id, self.deadline()).await;
            let described = described.map_err(|error| backend.failed("the key cannot be adopted", error))?;
            check_fit(&described)?;
            let material = Material::Backend {
                key: Some(id.clone()),
                token: None,
            };
            let version_id = KeyVersionId::new(id.clone(), VersionId::generate()?);
            let mut version = KeyVersion::new(version_id, 1, material, self.now())?;
            version.earlier_encryptions = adopt.earlier_encryptions.unwrap_or(Adopt::UNKNOWN_ENCRYPTIONS);
            version.legacy_metadata = adopt.legacy_metadata;
            let entry = self
                .commit(call.actor, |snapshot, now| {
                    let new = New::decide(snapshot, &adopt.key, id, version.clone(), now)?.ready(&adopt.key);
                    Ok(new.commit(&call, snapshot, now, Outcome::Done))
                })
                .await?;
            let extractable = described.is_extractable.then_some(AdoptionWarning::Extractable);
            let readable = (!described.is_sensitive).then_some(AdoptionWarning::NotSensitive);
            Ok(Adopted {
                entry,
                warnings: extractable.into_iter().chain(readable).collect(),
            })
        };
        self.recorded(&call, work).await
    }
}
