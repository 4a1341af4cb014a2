//! Commands on external key stores: to block them, and on their credentials.

use std::fmt;

use serde::Serialize;
use thiserror::Error;
use xks_core::{
    Credential, Zeroizing,
    key_store::{AccessKeyId, SecretAccessKey, UriPathPrefix},
};

use super::{Actor, Call, Commands, Decided};
use crate::{
    Changes, CommandError, Event, EventText, ExternalKeyStore, FieldError, KeyStoreCredential, KeyStoreId, Object,
    Outcome, OverlapMinutes, Snapshot, Timestamp,
    id::fill_random,
    store::{Revision, Table},
};

/// A credential with its secret, which no other call returns again.
#[derive(Clone)]
#[non_exhaustive]
pub struct NewCredential {
    /// The credential.
    pub credential: KeyStoreCredential,
    /// The prefix of its key store.
    pub prefix: UriPathPrefix,
    /// The revision that made it.
    pub revision: Revision,
    shared: Credential,
}

impl NewCredential {
    /// Returns the secret, for the administrator who gives it to AWS KMS. Never log it.
    #[must_use]
    pub const fn secret(&self) -> &SecretAccessKey {
        &self.credential.secret
    }

    /// Returns the JSON file that the AWS KMS console takes when an external key store is created. It holds
    /// the secret.
    #[must_use]
    pub fn console_json(&self) -> Zeroizing<String> {
        self.shared.console_json(&self.prefix)
    }
}

impl fmt::Debug for NewCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewCredential")
            .field("credential", &self.credential)
            .field("prefix", &self.prefix)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// A credential as it is: what a list shows of it. Its JSON has no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CredentialEntry {
    /// The credential.
    pub credential: KeyStoreCredential,
    /// Whether KMS may sign with it now.
    pub is_live: bool,
    /// When a request that was signed with it was last verified. What other processes have seen since their
    /// last [`Commands::flush_usage`] is missing.
    pub last_used: Option<Timestamp>,
    /// The revision that has changed it last.
    pub revision: Revision,
}

/// Why a command on credentials is refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CredentialRefused {
    /// There is no room for another one.
    #[error("{key_store} has two live credentials, {former} and {latter}: revoke one, or wait until one has ended")]
    TwoLive {
        /// The key store.
        key_store: Object,
        /// The older one.
        former: AccessKeyId,
        /// The newer one.
        latter: AccessKeyId,
    },
    /// The credential that is to stay was not used yet.
    #[error("no request was signed with {0} yet: give its secret to the external key store in AWS KMS first")]
    Unused(AccessKeyId),
    /// Somebody has the secret already.
    #[error("the secret of {0} was given out before, and is not given out again: rotate the credential")]
    Taken(AccessKeyId),
    /// KMS may not sign with it any more.
    #[error("{0} was revoked or has ended")]
    Ended(AccessKeyId),
    /// There is none to be rotated.
    #[error("{0} has no live credential to rotate: create one")]
    NoneLive(Object),
}

/// What becomes of the credential that there is when another one is made.
#[derive(Clone, Copy)]
enum Former {
    /// It goes on.
    Stays,
    /// It ends after this time.
    Ends(OverlapMinutes),
    /// It goes on until the new one was used, whose secret was not handed out yet.
    Waits,
}

/// The credentials of a key store that change when one is made beside them: as they are, and as they shall
/// be. Those that have ended are revoked with that, so that there are never more than three to look at.
fn make_room(
    snapshot: &Snapshot,
    key_store: KeyStoreId,
    former: Former,
    now: Timestamp,
) -> Result<Vec<(&KeyStoreCredential, KeyStoreCredential)>, CredentialRefused> {
    let object = || Object::new(Table::KeyStores, &key_store);
    let live = snapshot.live_credentials(key_store, now);
    let all = snapshot.credentials().map(|credential| &**credential);
    let ended = all.filter(|known| known.key_store == key_store && !known.is_revoked && !known.is_live(now));
    let mut changed: Vec<_> = ended.map(|ended| (ended, ended.revoked())).collect();
    match (&live[..], former) {
        ([former, latter, ..], _) => {
            return Err(CredentialRefused::TwoLive {
                key_store: object(),
                former: former.access_key_id.clone(),
                latter: latter.access_key_id.clone(),
            });
        }
        ([], Former::Ends(_) | Former::Waits) => return Err(CredentialRefused::NoneLive(object())),
        ([former], Former::Ends(overlap)) => {
            changed.push((former, former.ending(now.plus_seconds(overlap.seconds()))));
        }
        (_, Former::Stays | Former::Waits) => {}
    }
    Ok(changed)
}

fn generate() -> Result<Credential, CommandError> {
    let mut entropy = Zeroizing::new([0; 48]);
    fill_random(&mut *entropy)?;
    Credential::from_entropy(&entropy).map_err(|error| FieldError::illegal("credential", &error).into())
}

fn shared(credential: &KeyStoreCredential) -> Result<Credential, FieldError> {
    credential
        .shared()
        .map_err(|error| FieldError::illegal("credential", &error))
}

fn unknown(key_store: KeyStoreId) -> CommandError {
    CommandError::Unknown(Object::new(Table::KeyStores, &key_store))
}

impl Commands {
    /// Blocks an external key store: its keys are served no more, and its health is unchanged. `seen` is the
    /// revision at which the caller has seen it. Returns the revision of it now.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn block(&self, actor: &Actor, id: KeyStoreId, seen: Option<Revision>) -> Result<Revision, CommandError> {
        self.set_blocked(actor, "block", id, seen).await
    }

    /// Lets a blocked external key store serve again. For the rest as [`block`](Self::block).
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn unblock(
        &self,
        actor: &Actor,
        id: KeyStoreId,
        seen: Option<Revision>,
    ) -> Result<Revision, CommandError> {
        self.set_blocked(actor, "unblock", id, seen).await
    }

    async fn set_blocked(
        &self,
        actor: &Actor,
        command: &'static str,
        id: KeyStoreId,
        seen: Option<Revision>,
    ) -> Result<Revision, CommandError> {
        let object = Object::new(Table::KeyStores, &id);
        let edit = |found: &ExternalKeyStore, _| ExternalKeyStore {
            is_blocked: command == "block",
            ..found.clone()
        };
        self.change_one(actor, command, object, seen, Ok(()), edit).await
    }

    /// Makes a credential of an external key store: a generated one, or the one that is given. It is live at
    /// once, beside one other at most.
    ///
    /// # Errors
    /// [`CommandError`]: two are live, or the id that is given was given before.
    pub async fn create_credential(
        &self,
        actor: &Actor,
        key_store: KeyStoreId,
        given: Option<Credential>,
    ) -> Result<NewCredential, CommandError> {
        let shared = given.map_or_else(generate, Ok)?;
        let call = Call::new(
            actor,
            "create",
            &Object::new(Table::Credentials, shared.access_key_id()),
        );
        self.recorded(&call, self.add(&call, key_store, &shared, Former::Stays))
            .await
    }

    /// Makes a credential in the place of the one that an external key store has: the new one is live at
    /// once, and the former ends after the overlap. No request is refused if AWS KMS has the new one by then.
    ///
    /// # Errors
    /// [`CommandError`]: none is live, or two are.
    pub async fn rotate_credential(
        &self,
        actor: &Actor,
        key_store: KeyStoreId,
        overlap: OverlapMinutes,
    ) -> Result<NewCredential, CommandError> {
        self.rotate_by(actor, key_store, Former::Ends(overlap)).await
    }

    /// Makes a credential whose secret is not handed out yet. The former one goes on.
    pub(crate) async fn prepare_credential(&self, actor: &Actor, key_store: KeyStoreId) -> Result<(), CommandError> {
        self.rotate_by(actor, key_store, Former::Waits).await.map(drop)
    }

    async fn rotate_by(
        &self,
        actor: &Actor,
        key_store: KeyStoreId,
        former: Former,
    ) -> Result<NewCredential, CommandError> {
        let shared = generate()?;
        let call = Call::new(actor, "rotate-credential", &Object::new(Table::KeyStores, &key_store));
        self.recorded(&call, self.add(&call, key_store, &shared, former)).await
    }

    async fn add(
        &self,
        call: &Call<'_>,
        key_store: KeyStoreId,
        shared: &Credential,
        former: Former,
    ) -> Result<NewCredential, CommandError> {
        let (id, secret) = (shared.access_key_id(), shared.secret_access_key());
        self.commit(call.actor, |snapshot, now| {
            let prefix = snapshot
                .key_store(key_store)
                .ok_or_else(|| unknown(key_store))?
                .prefix
                .clone();
            let changed = make_room(snapshot, key_store, former, now)?;
            let mut credential = KeyStoreCredential::new(key_store, id.clone(), secret.clone(), now);
            credential.is_untaken = matches!(former, Former::Waits);
            let before: Vec<_> = changed.iter().map(|(former, _)| former).collect();
            let after: Vec<_> = [&credential]
                .into_iter()
                .chain(changed.iter().map(|(_, next)| next))
                .collect();
            let event = Event {
                before: EventText::json(&before).filter(|_| !before.is_empty()),
                after: EventText::json(&after),
                ..call.event(now, Outcome::Done)
            };
            let changes = Changes::new().insert(credential.clone()).event(event);
            let changes = changed
                .into_iter()
                .fold(changes, |changes, (_, next)| changes.update(next));
            let answer = NewCredential {
                credential,
                prefix,
                revision: snapshot.revision().next(),
                shared: shared.clone(),
            };
            Ok(Decided::change(changes, answer))
        })
        .await
    }

    /// Revokes a credential: no request that is signed with it is served from now on, and its id is not given
    /// again. Returns the revision of it now.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn revoke_credential(&self, actor: &Actor, id: &AccessKeyId) -> Result<Revision, CommandError> {
        self.revoke_if(actor, id, |_, _| Ok(())).await
    }

    /// Revokes a credential in the place of which another one was made, once that was used.
    pub(crate) async fn revoke_former(
        &self,
        actor: &Actor,
        former: &AccessKeyId,
        latter: &KeyStoreCredential,
    ) -> Result<(), CommandError> {
        let id = &latter.access_key_id;
        let seen = self.credentials.last_used(latter.key_store, id);
        let used = seen.or(self.repository.last_use(id).await?);
        let is_served = |snapshot: &Snapshot, now| match snapshot.credential(id) {
            Some(latter) if !latter.is_live(now) => Err(CredentialRefused::Ended(id.clone())),
            _ if used.is_none() => Err(CredentialRefused::Unused(id.clone())),
            _ => Ok(()),
        };
        self.revoke_if(actor, former, is_served).await.map(drop)
    }

    async fn revoke_if(
        &self,
        actor: &Actor,
        id: &AccessKeyId,
        is_allowed: impl Fn(&Snapshot, Timestamp) -> Result<(), CredentialRefused> + Send + Sync,
    ) -> Result<Revision, CommandError> {
        let answer = self.change_credential(actor, "revoke", id, |snapshot, found, now| {
            is_allowed(snapshot, now)?;
            Ok(found.revoked())
        });
        Ok(answer.await?.1)
    }

    /// Returns the secret of a credential that a schedule has made. It is given out once.
    ///
    /// # Errors
    /// [`CommandError`]: somebody has it already, or KMS may not sign with it any more.
    pub async fn take_secret(&self, actor: &Actor, id: &AccessKeyId) -> Result<NewCredential, CommandError> {
        let take = |_: &Snapshot, found: &KeyStoreCredential, now| match found {
            found if !found.is_live(now) => Err(CredentialRefused::Ended(id.clone())),
            found if !found.is_untaken => Err(CredentialRefused::Taken(id.clone())),
            found => Ok(KeyStoreCredential {
                is_untaken: false,
                ..found.clone()
            }),
        };
        let (credential, revision) = self.change_credential(actor, "take-secret", id, take).await?;
        let key_store = credential.key_store;
        let prefix = self.read(|snapshot| Some(snapshot.key_store(key_store)?.prefix.clone()));
        Ok(NewCredential {
            prefix: prefix.ok_or_else(|| unknown(key_store))?,
            revision,
            shared: shared(&credential)?,
            credential,
        })
    }

    /// Puts what `edit` makes of a credential in its place. Returns that, and its revision.
    async fn change_credential(
        &self,
        actor: &Actor,
        command: &'static str,
        id: &AccessKeyId,
        edit: impl Fn(&Snapshot, &KeyStoreCredential, Timestamp) -> Result<KeyStoreCredential, CredentialRefused>
        + Send
        + Sync,
    ) -> Result<(KeyStoreCredential, Revision), CommandError> {
        let object = Object::new(Table::Credentials, id);
        let call = Call::new(actor, command, &object);
        let work = async {
            let answer = self
                .commit(call.actor, |snapshot, now| {
                    let unknown = || CommandError::Unknown(object.clone());
                    let found = snapshot.credential(id).ok_or_else(unknown)?;
                    let next = edit(snapshot, found, now)?;
                    if next == **found {
                        return Ok(Decided::nothing(((next, found.revision()), false)));
                    }
                    let event = Event {
                        before: EventText::json(&[&**found]),
                        after: EventText::json(&[&next]),
                        ..call.event(now, Outcome::Done)
                    };
                    let changes = Changes::new().update(next.clone()).event(event);
                    Ok(Decided::change(changes, ((next, snapshot.revision().next()), true)))
                })
                .await?;
            self.unless_changed(&call, answer).await
        };
        self.recorded(&call, work).await
    }

    /// Returns the credentials of an external key store, oldest first, those that were revoked too.
    ///
    /// # Errors
    /// [`CommandError::Unknown`], and those of the store.
    pub async fn credentials(&self, key_store: KeyStoreId) -> Result<Vec<CredentialEntry>, CommandError> {
        let now = self.now();
        let mut entries: Vec<_> = self.read(|snapshot| {
            snapshot.key_store(key_store).ok_or_else(|| unknown(key_store))?;
            let all = snapshot
                .credentials()
                .filter(|credential| credential.key_store == key_store);
            let entries = all.map(|credential| CredentialEntry {
                is_live: credential.is_live(now),
                last_used: self.credentials.last_used(key_store, &credential.access_key_id),
                revision: credential.revision(),
                credential: (**credential).clone(),
            });
            Ok::<_, CommandError>(entries.collect())
        })?;
        entries.sort_by_key(|entry: &CredentialEntry| entry.credential.age());
        for entry in &mut entries {
            let noted = self.repository.last_use(&entry.credential.access_key_id).await?;
            entry.last_used = entry.last_used.max(noted);
        }
        Ok(entries)
    }
}
