//! Key administration: keys are made, listed, destroyed, wrapped and compared on the token.
//!
//! Each call is a job of the same threads and sessions that serve requests, with a deadline of its own. What
//! changes the token is done one at a time.

mod create;
mod create_many;
mod describe;
mod refusal;
mod signing;
mod wrap;

use std::{
    num::NonZeroUsize,
    sync::{Arc, MutexGuard, PoisonError, TryLockError},
    thread,
    time::{Duration, Instant},
};

use cryptoki_sys as ck;
use xks_core::{
    KeyId, async_trait,
    backend::{BackendErrorKind, KeyUsage},
    manage::{Capabilities, KeyDescription, KeyManager, KeyPage, ManageError, ManageErrorKind, NewKey, WrappingKey},
};

pub use self::signing::SigningKey;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use self::wrap::Found;
pub(crate) use self::wrap::Wrappings;
use crate::{
    backend::{Calls, Pkcs11Backend},
    config::{KeyName, LONGEST},
    error::CallError,
    keys::{self, Key, Miss, On, Search as _},
    module::{Access, Module},
    request::{Failed, Search},
    session::{Session, SessionSlot},
    token::{Connection, Token},
};

/// The bytes of an AES-CMAC.
const MAC: usize = 16;

/// How often it is looked whether another change has ended.
const PAUSE: Duration = Duration::from_millis(1);

impl Pkcs11Backend {
    /// Has something done on a session until `deadline`.
    async fn administer<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl FnOnce(&Token, &mut SessionSlot, Instant) -> Result<T, ManageError> + Send + 'static,
    ) -> Result<T, ManageError> {
        let patience = deadline.saturating_duration_since(Instant::now()).min(LONGEST);
        if patience.is_zero() {
            return Err(too_late());
        }
        match &self.calls {
            Calls::Inline(sessions) => sessions.run_within(patience, |session_slot, deadline| {
                Ok(work(&self.token, session_slot, deadline))
            })?,
            Calls::OnThreads(pool) => {
                let token = Arc::clone(&self.token);
                let work = move |session_slot: &mut SessionSlot, deadline| Ok(work(&token, session_slot, deadline));
                pool.run_within(patience, work).await?
            }
        }
    }
}

#[async_trait]
impl KeyManager for Pkcs11Backend {
    /// What the token's mechanisms and the kind of its sessions allow. How keys are wrapped is tried, once
    /// for each initialization of the module: a known key is wrapped under a known RSA key, and what comes
    /// out is opened. That takes the feature `aws-lc-rs`; without it no way of wrapping is found.
    async fn capabilities(&self, deadline: Instant) -> Result<Capabilities, ManageError> {
        self.administer(deadline, Token::capabilities).await
    }

    /// Makes a key with the label as `CKA_LABEL`, and with a `CKA_ID` that begins with `xks key ` and ends
    /// with the token's bytes. It is private (`CKA_PRIVATE`) where the token wants a login, and sensitive in
    /// any case.
    async fn create_key(&self, key: &NewKey, deadline: Instant) -> Result<KeyId, ManageError> {
        let key = key.clone();
        self.administer(deadline, move |token, session_slot, deadline| {
            token.create_key(session_slot, deadline, &key)
        })
        .await
    }

    /// Makes keys as [`create_key`](KeyManager::create_key) does, with one look at the keys that the token
    /// has and one at those that it has then: `C_GenerateKey` and `C_GetAttributeValue` for each key. A token
    /// that has many more keys than are to be made is searched for each of them instead.
    ///
    /// Other changes of the module's tokens wait meanwhile.
    async fn create_keys(&self, keys: &[NewKey], deadline: Instant) -> Vec<Result<KeyId, ManageError>> {
        let new: Arc<[NewKey]> = keys.into();
        let administered = self.administer(deadline, move |token, session_slot, deadline| {
            Ok(token.create_keys(session_slot, deadline, &new))
        });
        match administered.await {
            Ok(outcomes) => outcomes,
            Err(error) => create_many::all_failed(error, keys.len()),
        }
    }

    async fn keys(
        &self,
        after: Option<&KeyId>,
        limit: NonZeroUsize,
        deadline: Instant,
    ) -> Result<KeyPage, ManageError> {
        let after = after.cloned();
        self.administer(deadline, move |token, session_slot, deadline| {
            token.list_keys(session_slot, deadline, after.as_ref(), limit)
        })
        .await
    }

    async fn key(&self, id: &KeyId, deadline: Instant) -> Result<KeyDescription, ManageError> {
        let id = id.clone();
        self.administer(deadline, move |token, session_slot, deadline| {
            token.describe_key(session_slot, deadline, &id)
        })
        .await
    }

    async fn destroy_key(&self, id: &KeyId, deadline: Instant) -> Result<(), ManageError> {
        let id = id.clone();
        self.administer(deadline, move |token, session_slot, deadline| {
            token.destroy_key(session_slot, deadline, &id)
        })
        .await
    }

    async fn wrap_key(
        &self,
        id: &KeyId,
        wrapping_key: &WrappingKey,
        deadline: Instant,
    ) -> Result<Vec<u8>, ManageError> {
        let (id, wrapping_key) = (id.clone(), wrapping_key.clone());
        self.administer(deadline, move |token, session_slot, deadline| {
            token.wrap_key(session_slot, deadline, &id, &wrapping_key)
        })
        .await
    }

    async fn cmac(&self, id: &KeyId, message: &[u8], deadline: Instant) -> Result<[u8; 16], ManageError> {
        let (id, message) = (id.clone(), message.to_vec());
        self.administer(deadline, move |token, session_slot, deadline| {
            token.cmac(session_slot, deadline, &id, &message)
        })
        .await
    }
}

impl Token {
    fn capabilities(&self, session_slot: &mut SessionSlot, deadline: Instant) -> Result<Capabilities, ManageError> {
        let capabilities = self.with_session(session_slot, deadline, |access, connection, session| {
            let has = |mechanism| has_mechanism(access, connection, mechanism);
            let mut capabilities = Capabilities::none();
            if connection.read_write {
                capabilities.create = has(ck::CKM_AES_KEY_GEN)?;
                capabilities.destroy = true;
            }
            capabilities.cmac = has(ck::CKM_AES_CMAC)?;
            capabilities.wrapping = self.wrappings(access, connection, session.handle)?.algorithms();
            Ok(capabilities)
        });
        Ok(capabilities.map_err(Failed::into_error)?)
    }

    fn destroy_key(&self, session_slot: &mut SessionSlot, deadline: Instant, id: &KeyId) -> Result<(), ManageError> {
        let _turn = self.module.take_turn(deadline)?;
        let mut was_attempted = false;
        let outcome = self.with_key(session_slot, id, deadline, None, |access, session, held| {
            let on = self.on(access, session.handle);
            // Its handle may have become another object's.
            if !self.keys.confirms(on, held.handle, &held.key)? {
                return Err(keys::gone().into());
            }
            was_attempted = true;
            match access.destroy_object(session.handle, held.handle) {
                Err(error) => refusal::or_failure(&error, true, "the token does not destroy the key"),
                Ok(()) => {
                    session.held.remove(id);
                    self.keys.forget(id, &held.key);
                    Ok(Ok(()))
                }
            }
        });
        match outcome.map_err(Failed::into_error) {
            Ok(destroyed) => destroyed,
            // An attempt that failed may have destroyed it.
            Err(error) if was_attempted && error.kind() == BackendErrorKind::KeyNotFound => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn cmac(
        &self,
        session_slot: &mut SessionSlot,
        deadline: Instant,
        id: &KeyId,
        message: &[u8],
    ) -> Result<[u8; MAC], ManageError> {
        let has_cmac = self.with_session(session_slot, deadline, |access, connection, _| {
            Ok(has_mechanism(access, connection, ck::CKM_AES_CMAC)?)
        });
        if !has_cmac.map_err(Failed::into_error)? {
            return Err(ManageError::new(
                ManageErrorKind::Unsupported,
                "the token computes no AES-CMAC (CKM_AES_CMAC)",
            ));
        }
        let usage = Some(KeyUsage::Sign);
        let mac = self.with_key(
            session_slot,
            id,
            deadline,
            usage,
            |access, session, held| match access.sign(session.handle, held.handle, ck::CKM_AES_CMAC, message, MAC) {
                Ok(mac) => Ok(Ok(mac)),
                Err(error) => refusal::or_failure(&error, true, "the token computes no CMAC under the key"),
            },
        );
        let mac = mac.map_err(Failed::into_error)??;
        mac.try_into().map_err(|mac: Vec<u8>| {
            let detail = format!("the token computes a CMAC of {} bytes, and not of {MAC}", mac.len());
            ManageError::new(ManageErrorKind::Other, detail)
        })
    }
}

impl Module {
    /// To be held while the module's tokens are changed: SoftHSM2 fails some of the keys that are made at one
    /// time, and what is made twice at one time has to be made once.
    fn take_turn(&self, deadline: Instant) -> Result<MutexGuard<'_, ()>, ManageError> {
        loop {
            match self.changes.try_lock() {
                Ok(turn) => return Ok(turn),
                Err(TryLockError::Poisoned(turn)) => return Ok(PoisonError::into_inner(turn)),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return Err(too_late()),
                Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            }
        }
    }
}

/// Where a key is made or looked for.
struct Here<'a> {
    access: &'a Access<'a>,
    connection: &'a Connection,
    on: On<'a>,
    deadline: Instant,
}

impl Token {
    /// A session's slot on the token.
    fn here<'a>(
        &self,
        access: &'a Access<'a>,
        connection: &'a Connection,
        session: &Session,
        deadline: Instant,
    ) -> Here<'a> {
        Here {
            access,
            connection,
            on: self.on(access, session.handle),
            deadline,
        }
    }

    /// The key with this name. It is absent only if the token can be seen and the user is logged in.
    fn look_for(&self, here: &Here<'_>, name: &KeyName) -> Result<Result<Key, Miss>, CallError> {
        let mut search = Search {
            token: self,
            access: here.access,
            session: here.on.session,
            connection: here.connection,
            name,
            deadline: here.deadline,
        };
        search.search(false)
    }

    fn on<'a>(&self, access: &'a Access<'_>, session: ck::CK_SESSION_HANDLE) -> On<'a> {
        On {
            cryptoki: access,
            session,
            login_epoch: self.login_epoch(),
        }
    }
}

fn has_mechanism(
    access: &Access<'_>,
    connection: &Connection,
    mechanism: ck::CK_MECHANISM_TYPE,
) -> Result<bool, CallError> {
    match access.mechanism_info(connection.slot, mechanism) {
        Ok(_) => Ok(true),
        Err(error) if refusal::of(&error).is_some() => Ok(false),
        Err(error) => Err(error),
    }
}

fn too_late() -> ManageError {
    ManageErrorKind::Timeout.into()
}
