//! What the supervisor does about the token's keys: it looks through them before there are requests, looks at
//! them again from time to time, notices new ones and second ones of a name, and makes the searches that take
//! longer than a request has time.
//!
//! Changes made by others take effect within `key_refresh`. A second key of a name is logged; the known key
//! stays in use until the token is connected again, and then neither is used. Other keys are not affected.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use cryptoki_sys as ck;
use xks_core::KeyId;

use super::Supervisor;
use crate::{
    error::CallError,
    keys::{Identity, Inventory, Key, Miss, On, Search as _},
    module::Access,
    request::Search,
    token::{Connection, Token},
};

/// How long the token's keys may be looked through before there are requests, where a search fits into a
/// request's time.
const LOOKING_THROUGH: Duration = Duration::from_millis(300);

/// The same, where none does: requests would fail until all keys are known.
const LOOKING_THROUGH_MANY: Duration = Duration::from_secs(60);

/// How long keys are looked at again at a time, and searches made.
const AT_A_TIME: Duration = Duration::from_millis(500);

/// How long it is waited before the keys that are left are looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// How many times as long as it took an inventory is waited for before the next: it takes little of a token's
/// time.
const TIMES_AN_INVENTORY: u32 = 20;

/// How often the progress of an inventory is logged.
const SAID: Duration = Duration::from_secs(1);

/// How long the keys that are named in the log are asked for their dates.
const DATES: Duration = Duration::from_millis(100);

/// How many keys, and how many names that several have, are named in the log.
const MOST_NAMED: usize = 100;

/// What is known of the keys beside what requests need.
#[derive(Default)]
pub(super) struct Known {
    /// One that is under way.
    inventory: Option<Inventory>,
    /// When the next begins.
    next: Option<Instant>,
    /// Names that several keys have, as far as that was logged.
    several: HashSet<KeyId>,
    /// The keys have been named in the log.
    are_named: bool,
}

impl Known {
    /// How long the supervisor may wait.
    pub(super) fn interval(&self, interval: Duration) -> Duration {
        if self.inventory.is_some() {
            interval.min(PAUSE)
        } else {
            interval
        }
    }
}

impl Supervisor {
    /// Looks through all keys before there are requests for them. What does not fit into the time follows
    /// later; until then keys are searched for when they are asked for.
    pub(super) fn preload_keys(&mut self, access: &Access<'_>) {
        let token = Arc::clone(&self.token);
        let Some(session) = self.health_session.opened(access) else {
            return;
        };
        let on = On {
            cryptoki: access,
            session: session.handle,
            // In the login that is about to begin.
            login_epoch: token.login_epoch() + 1,
        };
        token.keys.manner.forget();
        self.known_keys.inventory = None;
        let outcome = token
            .keys
            .begin_inventory(on, &HashSet::new())
            .and_then(|mut inventory| {
                let is_slow = inventory.search_took > token.config.deadline / 4;
                let end = inventory.began + if is_slow { LOOKING_THROUGH_MANY } else { LOOKING_THROUGH };
                let mut said = inventory.began;
                let may_go_on = |inventory: &Inventory| {
                    token.supervision.note_return();
                    if said.elapsed() >= SAID {
                        said = Instant::now();
                        token.preloads(inventory.looked_at(), inventory.total);
                    }
                    Instant::now() < end && !token.notifier.is_stopped()
                };
                let is_done = token.keys.go_on(&mut inventory, on, may_go_on)?;
                Ok((inventory, is_done))
            });
        match outcome {
            Ok((inventory, true)) => self.take_over(access, None, inventory),
            Ok((inventory, false)) => self.known_keys.inventory = Some(inventory),
            Err(error) => tracing::debug!(cause = %error, "the token's keys could not be preloaded"),
        }
        self.find_scope(access, on.login_epoch);
    }

    /// Whether the keep-alive session knows a key by the handle that the health session has found.
    fn find_scope(&mut self, access: &Access<'_>, login_epoch: u64) {
        let keys = &self.token.keys;
        let (Some(keep_alive), Some(health_session)) =
            (self.keep_alive.opened(access), self.health_session.opened(access))
        else {
            return;
        };
        let Some(key) = keys.any_found_by(health_session.handle, login_epoch) else {
            return;
        };
        let confirms = |session| {
            let on = On {
                cryptoki: access,
                session,
                login_epoch,
            };
            keys.confirms(on, key.handle, &key)
        };
        let is_known = match confirms(keep_alive.handle) {
            // Some modules blame the session, or the device, which works where the handle was found.
            Err(_) if matches!(confirms(health_session.handle), Ok(true)) => match confirms(keep_alive.handle) {
                Err(_) => Ok(false),
                known => known,
            },
            known => known,
        };
        match is_known {
            Ok(true) => keys.scope.note_all(),
            Ok(false) => keys.scope.note_session(),
            Err(error) => tracing::debug!(cause = %error, "the scope of object handles is unknown"),
        }
    }

    /// Does what is due.
    pub(super) fn see_to_keys(&mut self) {
        let token = Arc::clone(&self.token);
        let Some(access) = token.module.enter() else {
            return;
        };
        let Some(connection) = token.connection_in(access.generation()) else {
            return;
        };
        let _supervised = token.supervision.begin();
        let done = self
            .make_searches(&access, &connection)
            .and_then(|()| self.refresh_keys(&access, &connection))
            .and_then(|()| self.go_on_with_inventory(&access, &connection));
        if let Err(error) = done {
            tracing::debug!(cause = %error, "the token's keys could not be refreshed");
            self.known_keys.inventory = None;
            if !error.leaves_session_usable() {
                token.notifier.notify();
            }
        }
    }

    /// Makes the searches that take longer than a request has time.
    fn make_searches(&mut self, access: &Access<'_>, connection: &Connection) -> Result<(), CallError> {
        let token = Arc::clone(&self.token);
        let end = Instant::now() + AT_A_TIME;
        let outcome = token
            .keys
            .make_searches_left(token.login_epoch(), end, |id| self.search(access, connection, id));
        if token.keys.are_searches_left() {
            token.notifier.notify();
        }
        outcome
    }

    fn search(
        &mut self,
        access: &Access<'_>,
        connection: &Connection,
        id: &KeyId,
    ) -> Result<Result<Key, Miss>, CallError> {
        let (Some(session), Some(name)) = (self.health_session.opened(access), self.token.keys.name(id)) else {
            return Ok(Err(Miss::Absent));
        };
        let mut search = Search {
            token: &self.token,
            access,
            session: session.handle,
            connection,
            name: &name,
            deadline: Instant::now() + LOOKING_THROUGH_MANY,
        };
        search.search(true)
    }

    /// Looks again at the keys that have not been looked at for a while.
    fn refresh_keys(&mut self, access: &Access<'_>, connection: &Connection) -> Result<(), CallError> {
        let token = Arc::clone(&self.token);
        let login_epoch = token.login_epoch();
        let end = Instant::now() + AT_A_TIME;
        let mut keys = token.keys.older_than(token.config.key_refresh, login_epoch);
        keys.sort_unstable_by_key(|(_, key)| key.read);
        for (id, old) in keys {
            // There may be many keys, and something that cannot wait. The others come next time.
            if token.notifier.is_notified() || Instant::now() >= end {
                return Ok(());
            }
            let (Some(session), Some(name)) = (self.health_session.opened(access), token.keys.name(&id)) else {
                return Ok(());
            };
            let on = On {
                cryptoki: access,
                session: session.handle,
                login_epoch,
            };
            let seen = if token.keys.scope.is_session() && old.home != on.session {
                self.search(access, connection, &id).map(Result::ok)
            } else {
                token.keys.look_at(on, old.handle, &name)
            };
            token.supervision.note_return();
            match seen {
                Ok(Some(new)) => {
                    if !new.identity.is_same(&old.identity) {
                        tracing::warn!(
                            key = %id, former_identity = %old.identity, identity = %new.identity,
                            "a key was replaced by another one of the same name"
                        );
                    }
                    token.keys.update(&id, &old, new);
                }
                // The next request searches.
                Ok(None) => token.keys.forget(&id, &old),
                Err(error) => {
                    tracing::debug!(cause = %error, key = %id, "a key could not be refreshed");
                    token.keys.forget(&id, &old);
                    if !error.leaves_session_usable() {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Looks through the keys that are new, if it is time to.
    fn go_on_with_inventory(&mut self, access: &Access<'_>, connection: &Connection) -> Result<(), CallError> {
        let token = Arc::clone(&self.token);
        let Some(session) = self.health_session.opened(access) else {
            return Ok(());
        };
        let on = On {
            cryptoki: access,
            session: session.handle,
            login_epoch: token.login_epoch(),
        };
        let is_due = self.known_keys.next.is_none_or(|next| Instant::now() >= next);
        let inventory = self
            .known_keys
            .inventory
            .take()
            .filter(|inventory| inventory.login_epoch == on.login_epoch);
        let mut inventory = match inventory {
            Some(inventory) => inventory,
            None if is_due => {
                let known = token.keys.handles(on.session, on.login_epoch);
                token.keys.begin_inventory(on, &known)?
            }
            None => return Ok(()),
        };
        let end = Instant::now() + AT_A_TIME;
        let may_go_on = |_: &Inventory| {
            token.supervision.note_return();
            Instant::now() < end && !token.notifier.is_notified()
        };
        if token.keys.go_on(&mut inventory, on, may_go_on)? {
            self.take_over(access, Some(connection), inventory);
            // Keys that were deleted and made again look the same for a moment.
            if token.keys.scope.is_session() {
                self.find_scope(access, on.login_epoch);
            }
        } else {
            self.known_keys.inventory = Some(inventory);
        }
        Ok(())
    }

    /// Has requests find what an inventory has found. Without a connection there are none yet.
    fn take_over(&mut self, access: &Access<'_>, connection: Option<&Connection>, inventory: Inventory) {
        let token = Arc::clone(&self.token);
        let (login_epoch, total, took) = (inventory.login_epoch, inventory.total, inventory.began.elapsed());
        let interval = token.config.key_refresh.max(took.saturating_mul(TIMES_AN_INVENTORY));
        self.known_keys.next = Some(Instant::now() + interval);
        let found = inventory.found(|identity| token.is_test_key(identity));
        if !std::mem::replace(&mut self.known_keys.are_named, true) {
            let session = self.health_session.handle_in(access).unwrap_or(ck::CK_INVALID_HANDLE);
            let on = On {
                cryptoki: access,
                session,
                login_epoch,
            };
            tell_of(&token, on, &found.keys, total, took);
        }
        for (id, several) in found.several {
            self.warn_of_several(&id, &Miss::Several(several));
        }
        for (id, key) in found.keys {
            let known = token.keys.known(&id, login_epoch);
            let is_another = known.is_some_and(|known| known.handle != key.handle);
            if is_another && self.known_keys.several.contains(&id) {
                continue;
            }
            match connection.filter(|_| is_another) {
                None => drop(token.keys.put(&id, key)),
                // By another handle: it may be a second key of the name. The one that is known goes on to
                // serve.
                Some(connection) => match self.search(access, connection, &id) {
                    Ok(Ok(key)) => drop(token.keys.put(&id, key)),
                    Ok(Err(miss)) => self.warn_of_several(&id, &miss),
                    Err(error) => tracing::debug!(cause = %error, key = %id, "the search for a second key failed"),
                },
            }
        }
    }

    fn warn_of_several(&mut self, id: &KeyId, miss: &Miss) {
        let Some(name) = self.token.keys.name(id).filter(|_| matches!(miss, Miss::Several(_))) else {
            return;
        };
        let said = &mut self.known_keys.several;
        if said.len() < MOST_NAMED && said.insert(id.clone()) {
            let problem = miss.error(&name).to_string();
            let outcome = if self.token.keys.known(id, self.token.login_epoch()).is_some() {
                "requests use the known key now, and are rejected after a restart; rename or delete all but one"
            } else {
                "requests for this key are rejected, other keys are served; rename or delete all but one"
            };
            tracing::warn!(token = self.token.name(), key = %id, problem, "several keys have the same name: \
                 {outcome}");
        }
    }
}

/// Names the keys that are there at the start.
fn tell_of(token: &Token, on: On<'_>, keys: &[(KeyId, Key)], total: usize, took: Duration) {
    tracing::info!(
        token = token.name(),
        keys = total,
        took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "the token's keys were preloaded"
    );
    let mut keys: Vec<_> = keys.iter().collect();
    keys.sort_unstable_by_key(|(id, _)| (!token.config.key_names.contains_key(id), id.as_str()));
    let began = Instant::now();
    for (id, key) in keys.iter().take(MOST_NAMED) {
        let is_time_left = began.elapsed() < DATES;
        let dates = is_time_left.then(|| token.keys.dates(on, key.handle, key));
        let dates = dates.filter(|dates| !dates.are_none());
        let usages: Vec<_> = key.metadata.usages().iter().map(|usage| usage.as_str()).collect();
        let identity: &Identity = &key.identity;
        tracing::info!(
            token = token.name(), key = %id, %identity, spec = key.metadata.spec().as_str(),
            usages = usages.join(" "), dates = dates.map(tracing::field::display), "a key of the token"
        );
        if let Some(dates) = dates.and_then(|dates| dates.against(SystemTime::now())) {
            tracing::warn!(token = token.name(), key = %id, "{dates}: some modules reject a key outside its \
                 validity dates");
        }
    }
}
