//! Commands on versions: rotation, and the end of single versions.

use xks_core::KeyId;

use super::{
    Actor, Call, Commands, KeyEntry,
    key::object,
    material::{backend_material, vault_material},
};
use crate::{
    CommandError, EventText, KeySource, KeyVersion, KeyVersionId, Material, Outcome, VersionId, VersionState,
    key_state::{KeyCommand, KeyContext, Step, VersionCommand, add_version, decide_all, decide_version},
    store::{Claim, Revision},
};

impl Commands {
    /// Rotates a key: makes a version, publishes it, and promotes it. What was encrypted before stays
    /// readable.
    ///
    /// With several nodes it is promoted when each of them can use it in its own key managers.
    ///
    /// A rotation that was begun and not ended is ended, instead of beginning another one: so the command can
    /// be repeated when it has failed.
    ///
    /// # Errors
    /// [`CommandError`]. If the key manager refuses, a tombstone of the version is left.
    /// [`CommandError::NotConfirmed`] leaves it published.
    pub async fn rotate(&self, actor: &Actor, id: &KeyId, seen: Option<Revision>) -> Result<KeyEntry, CommandError> {
        self.rotate_for(actor, id, seen, None).await
    }

    /// Rotates a key for a reason, which the events say.
    pub(crate) async fn rotate_for(
        &self,
        actor: &Actor,
        id: &KeyId,
        seen: Option<Revision>,
        reason: Option<EventText>,
    ) -> Result<KeyEntry, CommandError> {
        let call = Call {
            reason,
            ..Call::key(actor, "rotate", id)
        };
        let work = async {
            let version = Box::pin(self.published(&call, id, seen)).await?;
            self.usable_everywhere(std::slice::from_ref(&version)).await?;
            let promote = |context: &KeyContext<'_>, now| {
                let command = VersionCommand::Promote;
                Ok(decide_version(context, version.version, &command, now)?)
            };
            self.decide_key(&call, id, None, Outcome::Done, promote).await
        };
        self.recorded(&call, work).await
    }

    /// Makes a version of a key and publishes it: it decrypts, and encrypts when it is promoted.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate).
    pub async fn add_version(
        &self,
        actor: &Actor,
        id: &KeyId,
        seen: Option<Revision>,
    ) -> Result<KeyEntry, CommandError> {
        let call = Call::key(actor, "add-version", id);
        let work = async {
            Box::pin(self.published(&call, id, seen)).await?;
            self.record_nothing(&call).await?;
            self.key(id)
        };
        self.recorded(&call, work).await
    }

    /// Gives a [command](VersionCommand) on a version: `Promote`, `Revoke`, `Restore` or `Destroy`. `seen` is
    /// the revision at which the caller has seen the key.
    ///
    /// # Errors
    /// [`CommandError`]; for `Destroy` as for that of a [key](Self::change_key).
    pub async fn change_version(
        &self,
        actor: &Actor,
        id: &KeyVersionId,
        seen: Option<Revision>,
        command: VersionCommand,
    ) -> Result<KeyEntry, CommandError> {
        let call = Call::key(actor, command.name(), &id.key);
        let work = async {
            let mut encryptions = 0;
            if let VersionCommand::Destroy { .. } = command {
                self.check_destroys(&id.key)?;
                let entry = self.key(&id.key)?;
                if let Some(version) = entry.versions.iter().find(|version| version.id == *id) {
                    encryptions = self.encryptions_of(version).await?;
                }
            }
            if let VersionCommand::Promote = command {
                self.refresh().await?;
                if self.read(|snapshot| snapshot.published().contains(id)) {
                    self.usable_everywhere(std::slice::from_ref(id)).await?;
                }
            }
            let decide = |context: &KeyContext<'_>, now| {
                let context = KeyContext {
                    encryptions,
                    ..context.clone()
                };
                Ok(decide_version(&context, id.version, &command, now)?)
            };
            let entry = self.decide_key(&call, &id.key, seen, Outcome::Done, decide).await?;
            if let VersionCommand::Destroy { .. } = command {
                return self.remove_material(&call, &id.key).await;
            }
            Ok(entry)
        };
        self.recorded(&call, work).await
    }

    /// A version that is newer than the one which encrypts, and published: one that was there, or a new one.
    async fn published(
        &self,
        call: &Call<'_>,
        id: &KeyId,
        seen: Option<Revision>,
    ) -> Result<KeyVersionId, CommandError> {
        self.refresh().await?;
        let entry = self.key(id)?;
        let (entry, version, is_new) = match unfinished(&entry).cloned() {
            Some(version) => (entry, version, false),
            None => {
                let entry = self.begin(call, entry, seen).await?;
                let unknown = || CommandError::Unknown(object(id));
                let version = unfinished(&entry).cloned().ok_or_else(unknown)?;
                (entry, version, true)
            }
        };
        if version.state == VersionState::Pending {
            if !is_new {
                self.take_over(&version.id).await?;
                self.refresh().await?;
                if !self.read(|snapshot| snapshot.is_pending(&version.id)) {
                    self.leave(&version.id).await?; // the one that has made it was quicker
                    return Ok(version.id);
                }
            }
            let work = async {
                let backend_key = if is_new {
                    self.make_new(call, &entry, &version).await?
                } else {
                    self.make_in_backend(&entry, &version).await?
                };
                self.publish(call, &entry, &version, backend_key).await
            };
            Box::pin(self.marked(&version.id, work)).await?;
        }
        Ok(version.id)
    }

    /// Publishes a version that is made, with the known answer for the other nodes.
    async fn publish(
        &self,
        call: &Call<'_>,
        entry: &KeyEntry,
        version: &KeyVersion,
        backend_key: Option<KeyId>,
    ) -> Result<KeyEntry, CommandError> {
        let known_answer = self.read_back_of(entry, version, backend_key.as_ref()).await?;
        let answer = (Outcome::Begun, known_answer.filter(|_| self.node.is_some()));
        let command = VersionCommand::Publish { backend_key };
        let publish = |context: &KeyContext<'_>, now| Ok(decide_version(context, version.id.version, &command, now)?);
        self.decide_with(call, &entry.key.id, None, answer, publish).await
    }

    /// Commits a new version, which is pending.
    async fn begin(&self, call: &Call<'_>, entry: KeyEntry, seen: Option<Revision>) -> Result<KeyEntry, CommandError> {
        let id = &entry.key.id;
        let material = match self.key_set(entry.key.key_set)?.source {
            KeySource::Vault => vault_material()?,
            KeySource::Hsm | KeySource::Adopted => {
                self.backend_of(&entry)?;
                backend_material()?
            }
        };
        let version = VersionId::generate()?;
        let mark = self.mark(&KeyVersionId::new(id.clone(), version));
        let add = |context: &KeyContext<'_>, now| Ok(add_version(context, version, material.clone(), now)?);
        self.decide_with(call, id, seen, (Outcome::Begun, mark), add).await
    }

    /// Makes the key of a version that this command has begun with. Where the key manager refuses, there is
    /// nothing of it, and a tombstone is left. Of a version that an earlier command has begun with, a refusal
    /// would not say that.
    pub(super) async fn make_new(
        &self,
        call: &Call<'_>,
        entry: &KeyEntry,
        version: &KeyVersion,
    ) -> Result<Option<KeyId>, CommandError> {
        match self.make_in_backend(entry, version).await {
            Err(error) if !error.is_unknown() => {
                let command = VersionCommand::Abandon;
                let call = Call::key(call.actor, command.name(), &entry.key.id);
                let abandon =
                    |context: &KeyContext<'_>, now| Ok(decide_version(context, version.id.version, &command, now)?);
                self.decide_key(&call, &entry.key.id, None, Outcome::Done, abandon)
                    .await?;
                Err(error)
            }
            made => made,
        }
    }

    async fn make_in_backend(&self, entry: &KeyEntry, version: &KeyVersion) -> Result<Option<KeyId>, CommandError> {
        if let Material::Vault(_) = version.material {
            return Ok(None);
        }
        self.make(self.backend_of(entry)?, version).await.map(Some)
    }

    async fn read_back_of(
        &self,
        entry: &KeyEntry,
        version: &KeyVersion,
        backend_key: Option<&KeyId>,
    ) -> Result<Option<Claim>, CommandError> {
        match backend_key {
            Some(made) => self.read_back(self.backend_of(entry)?, version, made).await.map(Some),
            None => Ok(None),
        }
    }

    /// Ends what an earlier command has begun with a pending version. With several nodes it is published, and
    /// promoted when somebody rotates or activates the key.
    pub(super) async fn finish_version(
        &self,
        call: &Call<'_>,
        entry: &KeyEntry,
        version: &KeyVersion,
    ) -> Result<KeyEntry, CommandError> {
        let made = self.make_in_backend(entry, version).await?;
        match self.node {
            Some(_) => self.publish(call, entry, version, made).await,
            None => self.take_into_use(call, entry, version, made, false).await,
        }
    }

    /// Publishes a version that is made. Of a key that has none which encrypts, it does, and the key serves
    /// if it shall: with several nodes when each of them can use it.
    pub(super) async fn take_into_use(
        &self,
        call: &Call<'_>,
        entry: &KeyEntry,
        version: &KeyVersion,
        backend_key: Option<KeyId>,
        is_active: bool,
    ) -> Result<KeyEntry, CommandError> {
        if self.node.is_some() {
            self.publish(call, entry, version, backend_key).await?;
            self.usable_everywhere(std::slice::from_ref(&version.id)).await?;
            let steps = in_use(version.id.version, is_active);
            let take = |context: &KeyContext<'_>, now| Ok(decide_all(context, &steps(context), now)?);
            return self.decide_key(call, &entry.key.id, None, Outcome::Done, take).await;
        }
        self.read_back_of(entry, version, backend_key.as_ref()).await?;
        let take = |context: &KeyContext<'_>, now| {
            let steps = into_use(context, version.id.version, backend_key.clone(), is_active);
            Ok(decide_all(context, &steps, now)?)
        };
        self.decide_key(call, &entry.key.id, None, Outcome::Done, take).await
    }
}

/// What takes a version into use that is made, with the key if this shall serve.
pub(super) fn into_use(
    context: &KeyContext<'_>,
    version: VersionId,
    backend_key: Option<KeyId>,
    is_active: bool,
) -> Vec<Step> {
    let mut steps = vec![Step::Version(version, VersionCommand::Publish { backend_key })];
    steps.extend(in_use(version, is_active)(context));
    steps
}

/// What takes a version into use that is published.
pub(super) fn in_use(version: VersionId, is_active: bool) -> impl Fn(&KeyContext<'_>) -> Vec<Step> + Send + Sync {
    move |context| {
        let is_current = |known: &&KeyVersion| known.state == VersionState::Current;
        let promote = !context.versions.iter().any(is_current);
        let promote = promote.then_some(Step::Version(version, VersionCommand::Promote));
        let activate = is_active.then_some(Step::Key(KeyCommand::Activate));
        promote.into_iter().chain(activate).collect()
    }
}

/// The version that a rotation has begun with: pending, or published and newer than the one that encrypts.
pub(super) fn unfinished(entry: &KeyEntry) -> Option<&KeyVersion> {
    let current = entry
        .versions
        .iter()
        .find(|version| version.state == VersionState::Current);
    let current = current.map_or(0, |version| version.number);
    let pending = entry
        .versions
        .iter()
        .find(|version| version.state == VersionState::Pending);
    let is_next = |version: &&KeyVersion| version.state == VersionState::Published && version.number > current;
    pending.or_else(|| entry.versions.iter().rfind(is_next))
}
