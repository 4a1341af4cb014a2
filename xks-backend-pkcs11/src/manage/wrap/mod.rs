//! The wrapping of keys for the import into AWS KMS, under an RSA key that is not the token's.
//!
//! Which ways of wrapping a token has is found out by a [trial](Found::by_trial): the list of its mechanisms
//! tells no hash and no padding, and modules were seen to make something else than a mechanism's name says.

mod known;
// Miri calls no C.
#[cfg_attr(any(miri, not(feature = "aws-lc-rs")), path = "no_opening.rs")]
mod opening;
mod trial;
mod way;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use cryptoki_sys as ck;
use xks_core::{
    KeyId,
    manage::{ManageError, ManageErrorKind, WrappingAlgorithm, WrappingKey},
};

pub(crate) use self::trial::Found;
use self::way::with_public_key;
use super::{has_mechanism, refusal};
use crate::{
    error::CallError,
    keys,
    module::Access,
    request::Failed,
    session::SessionSlot,
    token::{Connection, Token},
};

/// What a token's trial has found, and in which initialization of its module.
#[derive(Debug, Default)]
pub(crate) struct Wrappings(Mutex<Option<(u64, Arc<Found>)>>);

impl Wrappings {
    fn known(&self) -> MutexGuard<'_, Option<(u64, Arc<Found>)>> {
        // What a panic leaves behind is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Token {
    pub(super) fn wrap_key(
        &self,
        session_slot: &mut SessionSlot,
        deadline: Instant,
        id: &KeyId,
        wrapping_key: &WrappingKey,
    ) -> Result<Vec<u8>, ManageError> {
        let algorithm = wrapping_key.algorithm();
        let found = self.with_session(session_slot, deadline, |access, connection, session| {
            let found = self.wrappings(access, connection, session.handle)?;
            Ok((found, connection.wants_login))
        });
        let (found, has_login) = found.map_err(Failed::into_error)?;
        let wrapped = self.with_key(session_slot, id, deadline, None, |access, session, held| {
            let on = self.on(access, session.handle);
            if self.keys.exposure(on, held.handle)?.is_extractable == Some(false) {
                return Ok(Err(ManageErrorKind::NotExtractable.into()));
            }
            let Some(way) = found.way_of(algorithm) else {
                return Ok(Err(unsupported(&found, algorithm)));
            };
            // Its handle may have become another object's, also one of those that are made to wrap it.
            let confirmed = || match self.keys.confirms(on, held.handle, &held.key)? {
                true => Ok(held.handle),
                false => Err(keys::gone()),
            };
            let wrapped = with_public_key(on, wrapping_key.modulus(), |public| {
                way.wrap(on, has_login, public, confirmed)
            });
            match wrapped {
                Ok(wrapped) => Ok(Ok(wrapped)),
                Err(error) => refusal::or_failure(&error, true, "the token does not wrap the key"),
            }
        });
        let wrapped = wrapped.map_err(Failed::into_error)??;
        if wrapped.len() != wrapping_key.wrapped_length() {
            let (is, shall_be) = (wrapped.len(), wrapping_key.wrapped_length());
            let detail = format!("what the token wraps has {is} bytes, and not {shall_be}: it is of no use to AWS KMS");
            return Err(ManageError::new(ManageErrorKind::Other, detail));
        }
        Ok(wrapped)
    }

    /// The ways of wrapping that the token has, tried once for each initialization of the module. Logged
    /// unless they are as before.
    pub(super) fn wrappings(
        &self,
        access: &Access<'_>,
        connection: &Connection,
        session: ck::CK_SESSION_HANDLE,
    ) -> Result<Arc<Found>, CallError> {
        let before = self.wrappings.known().clone();
        if let Some((generation, known)) = &before
            && *generation == access.generation()
        {
            return Ok(Arc::clone(known));
        }
        let on = self.on(access, session);
        let found = Arc::new(Found::by_trial(on, connection.wants_login, |mechanism| {
            has_mechanism(access, connection, mechanism)
        })?);
        if before.is_none_or(|(_, before)| before != found) {
            tracing::info!(
                token = self.name(),
                chosen = found.chosen(),
                rejected = found.rejected(),
                "how keys can be wrapped for AWS KMS, as a trial has shown"
            );
        }
        *self.wrappings.known() = Some((access.generation(), Arc::clone(&found)));
        Ok(found)
    }
}

fn unsupported(found: &Found, algorithm: WrappingAlgorithm) -> ManageError {
    let reasons = found.why_not(algorithm);
    ManageError::new(
        ManageErrorKind::Unsupported,
        format!("the token does not wrap keys by {algorithm}{reasons}"),
    )
}
