//! A key, by a handle that the request's own session has seen to be the key's.
//!
//! What is encrypted under a handle that has become another key's, or is another's in this session, would be
//! a ciphertext under another key than the one that was named. So a session looks whose a handle is before it
//! uses it for the first time, and when the module has given out handles since; and after an operation during
//! which it has.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cryptoki_sys as ck;
use xks_core::{BackendError, KeyId, backend::BackendErrorKind};

use super::search::Search;
use crate::{
    config::KeyName,
    error::CallError,
    gcm::AttemptError,
    handles::HandleTime,
    keys::{self, Holding, Key, Miss, NoKey, On},
    module::Access,
    return_code::Remedy,
    session::Session,
    token::{Connection, Token},
};

/// A handle that was found so recently is the key's, unless handles are good in one session alone.
const FRESH: Duration = Duration::from_secs(2);

/// Where and for which key a handle is wanted.
pub(super) struct Wanted<'a> {
    pub(super) access: &'a Access<'a>,
    pub(super) connection: &'a Connection,
    pub(super) id: &'a KeyId,
    pub(super) deadline: Instant,
}

/// Which session has found a key.
enum Origin {
    /// This one, just now: its handle is the key's since then.
    Here(Option<HandleTime>),
    Elsewhere,
}

impl Token {
    /// The key, by its handle in this session.
    pub(super) fn hold(&self, wanted: &Wanted<'_>, session: &mut Session) -> Result<Holding, AttemptError> {
        let now = wanted.access.handles().now();
        if let Some(held) = session.held.get(wanted.id)
            && now.is_some()
            && held.as_of == now
            && held.key.is_current(self.login_epoch())
        {
            return Ok(held.clone());
        }
        let holding = self.hold_again(wanted, session);
        match holding {
            Ok(holding) => Ok(session.held.put(wanted.id, holding).clone()),
            Err(error) => {
                session.held.remove(wanted.id);
                Err(error)
            }
        }
    }

    fn hold_again(&self, wanted: &Wanted<'_>, session: &Session) -> Result<Holding, AttemptError> {
        let Some(name) = self.keys.name(wanted.id) else {
            let detail = "the external key id is not a CKA_ID in hexadecimal";
            return Err(BackendError::new(BackendErrorKind::KeyNotFound, detail).into());
        };
        // What it was replaced by may have another handle; and then others may have what they found since.
        for _ in 0..2 {
            let (key, origin) = self.key(wanted, session, &name)?;
            let (handle, as_of) = match origin {
                Origin::Here(as_of) => (key.handle, as_of),
                Origin::Elsewhere => match self.recognize(wanted, session, &key)? {
                    Some(known) => known,
                    None => {
                        if key.home != session.handle && key.read.elapsed() < FRESH {
                            self.keys.scope.note_refused();
                        }
                        if self.keys.scope.is_session() {
                            return self.find_here(wanted, session, &name, key);
                        }
                        self.keys.forget(wanted.id, &key);
                        continue;
                    }
                },
            };
            return Ok(Holding { key, handle, as_of });
        }
        let (key, _) = self.key(wanted, session, &name)?;
        self.find_here(wanted, session, &name, key)
    }

    /// The key from the cache, or from the token.
    fn key(&self, wanted: &Wanted<'_>, session: &Session, name: &KeyName) -> Result<(Arc<Key>, Origin), AttemptError> {
        let mut search = Noted {
            search: self.search_on(wanted, session, name),
            is_made: false,
        };
        let before = wanted.access.handles().now();
        let found = self.keys.get(
            wanted.id,
            self.login_epoch(),
            wanted.deadline,
            &mut search,
            &self.notifier,
        );
        let key = found.map_err(|none| no_key(none, name))?;
        let origin = if search.is_made && key.home == session.handle {
            Origin::Here(after_one_search(wanted, before))
        } else {
            Origin::Elsewhere
        };
        Ok((key, origin))
    }

    /// The handle by which this session knows a key that another has found, and since when; none if it knows
    /// none.
    fn recognize(
        &self,
        wanted: &Wanted<'_>,
        session: &Session,
        key: &Arc<Key>,
    ) -> Result<Option<(ck::CK_OBJECT_HANDLE, Option<HandleTime>)>, CallError> {
        let on = On {
            cryptoki: wanted.access,
            session: session.handle,
            login_epoch: key.login_epoch,
        };
        let own = session.held.get(wanted.id);
        let is_good_here = !self.keys.scope.is_session() || key.home == session.handle;
        let others = is_good_here.then_some(key.handle);
        let candidates = own.map(|held| held.handle).into_iter().chain(others);
        let mut last = None;
        for handle in candidates {
            if last.replace(handle) == Some(handle) {
                continue;
            }
            let as_of = wanted.access.handles().now();
            // Where handles are good in one session, this is the only one that looks at them from time to
            // time.
            let is_known = own.is_some_and(|held| {
                as_of.is_some()
                    && !self.keys.scope.is_session()
                    && (held.handle, held.as_of, held.key.login_epoch) == (handle, as_of, key.login_epoch)
                    && held.key.identity.is_same(&key.identity)
            });
            if is_known || self.keys.confirms(on, handle, key)? {
                if handle == key.handle && key.home != session.handle {
                    self.keys.scope.note_shared();
                }
                return Ok(Some((handle, as_of)));
            }
        }
        Ok(None)
    }

    /// Searches on this session for a key that it knows by no handle of another's.
    fn find_here(
        &self,
        wanted: &Wanted<'_>,
        session: &Session,
        name: &KeyName,
        known: Arc<Key>,
    ) -> Result<Holding, AttemptError> {
        let before = wanted.access.handles().now();
        let mut search = self.search_on(wanted, session, name);
        let found = self.keys.find(wanted.deadline, &mut search);
        let key = found.map_err(|none| {
            if matches!(none, NoKey::Miss(_)) {
                self.keys.forget(wanted.id, &known);
            }
            no_key(none, name)
        })?;
        let (handle, as_of) = (key.handle, after_one_search(wanted, before));
        let is_same = known.is_current(self.login_epoch()) && key.identity.is_same(&known.identity);
        let key = if is_same { known } else { self.keys.put(wanted.id, key) };
        Ok(Holding { key, handle, as_of })
    }

    /// What the key is now, by the handle that this session has of it.
    pub(super) fn look_again(
        &self,
        wanted: &Wanted<'_>,
        session: &mut Session,
        holding: &Holding,
    ) -> Result<Holding, AttemptError> {
        let on = On {
            cryptoki: wanted.access,
            session: session.handle,
            login_epoch: self.login_epoch(),
        };
        let name = self.keys.name(wanted.id);
        let seen = match name {
            Some(name) => self.keys.look_at(on, holding.handle, &name)?,
            None => None,
        };
        match seen {
            Some(key) => {
                let key = self.keys.update(wanted.id, &holding.key, key);
                let holding = Holding { key, ..holding.clone() };
                Ok(session.held.put(wanted.id, holding).clone())
            }
            None => {
                session.held.remove(wanted.id);
                self.keys.forget(wanted.id, &holding.key);
                self.hold(wanted, session)
            }
        }
    }

    /// What an operation has come to, if the handle was the key's until its end: the module may have given it
    /// to another object meanwhile.
    pub(super) fn if_still_its<T>(
        &self,
        wanted: &Wanted<'_>,
        session: &mut Session,
        holding: &Holding,
        outcome: Result<T, AttemptError>,
    ) -> Result<T, AttemptError> {
        let now = wanted.access.handles().now();
        if now.is_some() && now == holding.as_of {
            return outcome;
        }
        if let Err(AttemptError::Call(error)) = &outcome
            && !matches!(self.config.quirks.remedy(error), Remedy::Fail(_) | Remedy::Ambiguous)
        {
            return outcome; // it says nothing of the key
        }
        let on = On {
            cryptoki: wanted.access,
            session: session.handle,
            login_epoch: holding.key.login_epoch,
        };
        if self.keys.confirms(on, holding.handle, &holding.key)? {
            let holding = Holding {
                as_of: now,
                ..holding.clone()
            };
            session.held.put(wanted.id, holding);
            return outcome;
        }
        tracing::warn!(
            key = %wanted.id,
            "the handle of a key now belongs to another object: searching for the key again"
        );
        Err(keys::gone().into())
    }

    fn search_on<'a>(&'a self, wanted: &'a Wanted<'a>, session: &Session, name: &'a KeyName) -> Search<'a> {
        Search {
            token: self,
            access: wanted.access,
            session: session.handle,
            connection: wanted.connection,
            name,
            deadline: wanted.deadline,
        }
    }
}

/// The time of the handles after a search that was the only one, if it was.
fn after_one_search(wanted: &Wanted<'_>, before: Option<HandleTime>) -> Option<HandleTime> {
    let alone = before.map(HandleTime::after_one);
    wanted.access.handles().now().filter(|now| alone == Some(*now))
}

fn no_key(none: NoKey, name: &KeyName) -> AttemptError {
    match none {
        NoKey::Call(error) => AttemptError::Call(error),
        NoKey::Miss(miss) => AttemptError::Final(miss.error(name)),
        NoKey::Late => AttemptError::Final(BackendError::new(
            BackendErrorKind::Timeout,
            "the search for the key did not end within the deadline",
        )),
    }
}

/// A search, and whether it was made.
struct Noted<S> {
    search: S,
    is_made: bool,
}

impl<S: keys::Search> keys::Search for Noted<S> {
    fn look_again(&mut self, key: &Key) -> Result<Option<Key>, CallError> {
        self.search.look_again(key)
    }

    fn search(&mut self, was_there: bool) -> Result<Result<Key, Miss>, CallError> {
        self.is_made = true;
        self.search.search(was_there)
    }
}
