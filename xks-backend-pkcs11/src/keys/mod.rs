//! Which key an external key id names: the cache before the search on the token. A search may take as long as
//! many encryptions, so there is one for each key at a time, and none where the answer is known.

mod absent;
mod attributes;
mod dates;
mod held;
mod inventory;
mod key;
mod on_token;
mod searches;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

use cryptoki_sys as ck;
use xks_core::{BackendError, KeyId, backend::BackendErrorKind, text::decode_hex};

use self::{absent::Absent, attributes::Manner, searches::Searches};
pub(crate) use self::{
    absent::RECHECK_AFTER,
    held::{Held, Holding},
    inventory::{Inventory, MOST_KEYS, secret_keys},
    key::{Identity, Key},
    on_token::{Exposure, On, USAGES},
};
use crate::{
    config::{KeyLookup, KeyName},
    error::CallError,
    handles::HandleScope,
    return_code::{Phase, ReturnCode},
    threads::Notifier,
};

/// Why there is no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    Absent,
    /// No user is logged in, so private keys are not visible.
    Hidden,
    Several(Vec<Identity>),
    IsTestKey,
}

impl Miss {
    pub(crate) fn error(&self, name: &KeyName) -> BackendError {
        match self {
            Self::Absent => BackendError::new(
                BackendErrorKind::KeyNotFound,
                format!("the token has no key with {name}, or it is not visible to the user"),
            ),
            Self::Hidden => BackendError::new(
                BackendErrorKind::Unavailable,
                format!(
                    "the token shows no key with {name}, but it requires a login and no PIN is configured: private \
                     keys are not visible"
                ),
            ),
            Self::IsTestKey => BackendError::new(
                BackendErrorKind::KeyNotFound,
                format!("the key with {name} is the test key, not an external key"),
            ),
            Self::Several(keys) => {
                let keys: Vec<_> = keys.iter().map(|key| format!("({key})")).collect();
                let keys = keys.join(", ");
                BackendError::new(
                    BackendErrorKind::Other,
                    format!("the token has more than one key with {name}: {keys}: rename or delete all but one"),
                )
            }
        }
    }
}

/// Why [`Keys::get`] gives no key.
pub(crate) enum NoKey {
    Miss(Miss),
    Call(CallError),
    /// Another request's search did not end in time.
    Late,
}

/// What is known of the token's keys.
pub(crate) struct Keys {
    lookup: KeyLookup,
    names: HashMap<KeyId, KeyName>,
    /// The same, by name.
    named: HashMap<KeyName, Vec<KeyId>>,
    /// How the module tells attributes.
    pub(crate) manner: Manner,
    /// Where the module's handles are good.
    pub(crate) scope: HandleScope,
    entries: RwLock<HashMap<KeyId, Arc<Entry>>>,
    searches: Searches,
    absent: Absent,
}

#[derive(Default)]
struct Entry {
    state: Mutex<Known>,
    changed: Condvar,
}

#[derive(Clone, Default)]
enum Known {
    #[default]
    Nothing,
    /// There was a key a moment ago.
    Lost,
    /// A search is under way; it has failed if it takes longer than this.
    Searching {
        until: Instant,
    },
    Key(Arc<Key>),
}

/// The answer of a module for a handle that is no longer a key's.
pub(crate) const fn gone() -> CallError {
    let code = ReturnCode(ck::CKR_KEY_HANDLE_INVALID);
    CallError::new("C_GetAttributeValue", Phase::Attributes, code)
}

/// How a key is looked for on a session.
pub(crate) trait Search {
    /// What an earlier login's key is in this one, if its handle is still its own.
    fn look_again(&mut self, key: &Key) -> Result<Option<Key>, CallError>;
    /// Searches the token; told whether there was a key until now.
    fn search(&mut self, was_there: bool) -> Result<Result<Key, Miss>, CallError>;
}

impl Keys {
    /// For requests that may take as long as `deadline`.
    pub(crate) fn new(lookup: KeyLookup, names: HashMap<KeyId, KeyName>, deadline: Duration) -> Self {
        let mut named: HashMap<_, Vec<_>> = HashMap::new();
        for (id, name) in &names {
            named.entry(name.clone()).or_default().push(id.clone());
        }
        Self {
            lookup,
            names,
            named,
            manner: Manner::default(),
            scope: HandleScope::default(),
            searches: Searches::new(deadline),
            entries: RwLock::default(),
            absent: Absent::default(),
        }
    }

    /// What the key is called on the token; none if nothing there can be called so.
    pub(crate) fn name(&self, id: &KeyId) -> Option<KeyName> {
        if let Some(name) = self.names.get(id) {
            return Some(name.clone());
        }
        match self.lookup {
            KeyLookup::Label => Some(KeyName::Label(id.as_str().to_owned())),
            KeyLookup::Id => from_hex(id.as_str()).map(KeyName::Id),
        }
    }

    /// The key, if it is in the cache.
    pub(crate) fn known(&self, id: &KeyId, login_epoch: u64) -> Option<Arc<Key>> {
        let entry = read(&self.entries).get(id).cloned()?;
        match &*lock(&entry.state) {
            Known::Key(key) if key.login_epoch == login_epoch => Some(Arc::clone(key)),
            Known::Key(_) | Known::Nothing | Known::Lost | Known::Searching { .. } => None,
        }
    }

    /// The key, from the cache or by a search, which is made once at most. Where searches take longer than a
    /// request has time, it is left to the supervisor, which is notified; what it finds is there
    /// for later requests.
    pub(crate) fn get(
        &self,
        id: &KeyId,
        login_epoch: u64,
        deadline: Instant,
        search: &mut impl Search,
        supervisor: &Notifier,
    ) -> Result<Arc<Key>, NoKey> {
        let mut may_be_left = true;
        loop {
            let entry = read(&self.entries).get(id).cloned();
            let entry = match entry {
                Some(entry) => entry,
                None => {
                    if let Some(miss) = self.absent.get(id, login_epoch) {
                        return Err(NoKey::Miss(miss));
                    }
                    Arc::clone(write(&self.entries).entry(id.clone()).or_default())
                }
            };
            let mut state = lock(&entry.state);
            let was = match &*state {
                Known::Key(key) if key.login_epoch == login_epoch => return Ok(Arc::clone(key)),
                Known::Searching { until } => {
                    let (now, until) = (Instant::now(), *until);
                    if now >= deadline {
                        return Err(NoKey::Late);
                    }
                    if now < until {
                        // Whatever the end of it is, the next round sees it.
                        let patience = until.min(deadline) - now;
                        drop(entry.changed.wait_timeout(state, patience));
                        continue;
                    }
                    // That search hangs, on a session of its own. It is left alone with its entry; and the
                    // supervisor may be the one who makes it.
                    may_be_left = false;
                    drop(state);
                    self.remove(id, &entry);
                    continue;
                }
                Known::Key(key) => Some(Some(Arc::clone(key))),
                Known::Lost => Some(None),
                Known::Nothing => None,
            };
            *state = Known::Searching {
                until: Instant::now() + self.searches.patience(),
            };
            drop(state);
            // However the search ends, those who wait for it are woken.
            let ends = SearchEnds::new(self, id, &entry);
            if let Some(Some(key)) = &was
                && let Some(key) = search.look_again(key).map_err(NoKey::Call)?
            {
                return Ok(ends.found(key));
            }
            if may_be_left && self.searches.are_slow() && !self.scope.is_session() && self.searches.leave(id) {
                ends.leave();
                supervisor.notify();
                continue;
            }
            let Some(turn) = self.searches.turn(deadline) else {
                return Err(NoKey::Late);
            };
            let outcome = search.search(was.is_some());
            let took = turn.took();
            return match outcome {
                Ok(Ok(key)) => Ok(ends.found(key)),
                Ok(Err(miss)) => {
                    self.absent.note(id, miss.clone(), login_epoch, took);
                    Err(NoKey::Miss(miss))
                }
                Err(error) => Err(NoKey::Call(error)),
            };
        }
    }

    /// Searches for a key on a session that does not know it by the handle that others do.
    pub(crate) fn find(&self, deadline: Instant, search: &mut impl Search) -> Result<Key, NoKey> {
        let Some(turn) = self.searches.turn(deadline) else {
            return Err(NoKey::Late);
        };
        let outcome = search.search(true);
        turn.took();
        outcome.map_err(NoKey::Call)?.map_err(NoKey::Miss)
    }

    /// Makes the searches that were left to the supervisor, but none after `end`.
    pub(crate) fn make_searches_left(
        &self,
        login_epoch: u64,
        end: Instant,
        mut search: impl FnMut(&KeyId) -> Result<Result<Key, Miss>, CallError>,
    ) -> Result<(), CallError> {
        while Instant::now() < end
            && let Some(id) = self.searches.next_left()
        {
            let entry = read(&self.entries).get(&id).cloned();
            let is_searched = |entry: &Arc<Entry>| matches!(&*lock(&entry.state), Known::Searching { .. });
            let Some(entry) = entry.filter(is_searched) else {
                continue;
            };
            let ends = SearchEnds::new(self, &id, &entry);
            let began = Instant::now();
            let outcome = search(&id)?;
            let took = began.elapsed();
            self.searches.note(took);
            match outcome {
                Ok(key) => drop(ends.found(key)),
                Err(miss) => self.absent.note(&id, miss, login_epoch, took),
            }
        }
        Ok(())
    }

    pub(crate) fn are_searches_left(&self) -> bool {
        self.searches.are_left()
    }

    /// Puts a key in place of whatever was known, unless a search is under way.
    pub(crate) fn put(&self, id: &KeyId, key: Key) -> Arc<Key> {
        let key = Arc::new(key);
        let entry = Arc::clone(write(&self.entries).entry(id.clone()).or_default());
        let mut state = lock(&entry.state);
        if !matches!(&*state, Known::Searching { .. }) {
            state.become_key(&key);
        }
        drop(state);
        self.absent.forget(id);
        key
    }

    /// Forgets a key, unless another has been found in its place since.
    pub(crate) fn forget(&self, id: &KeyId, key: &Arc<Key>) {
        key.outdate();
        let entry = read(&self.entries).get(id).cloned();
        if let Some(entry) = entry {
            let mut state = lock(&entry.state);
            // What another session has read of it since has the same handle, which is as void.
            if let Known::Key(current) = &*state
                && (Arc::ptr_eq(current, key) || self.has_same_handle(current, key))
            {
                current.outdate();
                *state = Known::Lost;
            }
        }
    }

    fn has_same_handle(&self, one: &Key, other: &Key) -> bool {
        let is_good_in_both = !self.scope.is_session() || one.home == other.home;
        is_good_in_both && (one.handle, one.login_epoch) == (other.handle, other.login_epoch)
    }

    /// The handles that are known in this login, and good in this session.
    pub(crate) fn handles(&self, session: ck::CK_SESSION_HANDLE, login_epoch: u64) -> HashSet<ck::CK_OBJECT_HANDLE> {
        let is_session = self.scope.is_session();
        let is_good = |key: &Key| key.login_epoch == login_epoch && (!is_session || key.home == session);
        let entries = read(&self.entries);
        let handles = entries.values().filter_map(|entry| match &*lock(&entry.state) {
            Known::Key(key) if is_good(key) => Some(key.handle),
            _ => None,
        });
        handles.collect()
    }

    /// Some key that was found in this session and login.
    pub(crate) fn any_found_by(&self, session: ck::CK_SESSION_HANDLE, login_epoch: u64) -> Option<Arc<Key>> {
        let entries = read(&self.entries);
        entries.values().find_map(|entry| match &*lock(&entry.state) {
            Known::Key(key) if key.login_epoch == login_epoch && key.home == session => Some(Arc::clone(key)),
            _ => None,
        })
    }

    /// The keys of this login that were last looked at before `age` ago.
    pub(crate) fn older_than(&self, age: Duration, login_epoch: u64) -> Vec<(KeyId, Arc<Key>)> {
        let entries = read(&self.entries);
        let keys = entries.iter().filter_map(|(id, entry)| match &*lock(&entry.state) {
            Known::Key(key) if key.login_epoch == login_epoch && key.read.elapsed() >= age => {
                Some((id.clone(), Arc::clone(key)))
            }
            _ => None,
        });
        keys.collect()
    }

    /// Puts what was read of a key again in place of `old`, unless something else has come there since.
    pub(crate) fn update(&self, id: &KeyId, old: &Arc<Key>, new: Key) -> Arc<Key> {
        let new = Arc::new(new);
        let entry = read(&self.entries).get(id).cloned();
        if let Some(entry) = entry {
            let mut state = lock(&entry.state);
            if matches!(&*state, Known::Key(key) if Arc::ptr_eq(key, old)) {
                state.become_key(&new);
            }
        }
        old.outdate();
        new
    }

    /// Ids that name nothing leave no entry behind.
    fn remove(&self, id: &KeyId, entry: &Arc<Entry>) {
        let mut entries = write(&self.entries);
        if entries.get(id).is_some_and(|current| Arc::ptr_eq(current, entry)) {
            entries.remove(id);
        }
    }
}

impl Known {
    fn become_key(&mut self, key: &Arc<Key>) {
        if let Self::Key(old) = self {
            old.outdate();
        }
        *self = Self::Key(Arc::clone(key));
    }
}

/// The end of a search.
struct SearchEnds<'a> {
    keys: &'a Keys,
    id: &'a KeyId,
    entry: &'a Arc<Entry>,
    found: Option<Arc<Key>>,
    is_left: bool,
}

impl<'a> SearchEnds<'a> {
    const fn new(keys: &'a Keys, id: &'a KeyId, entry: &'a Arc<Entry>) -> Self {
        Self {
            keys,
            id,
            entry,
            found: None,
            is_left: false,
        }
    }

    fn found(mut self, key: Key) -> Arc<Key> {
        let key = Arc::new(key);
        self.found = Some(Arc::clone(&key));
        key
    }

    /// It ends elsewhere.
    fn leave(mut self) {
        self.is_left = true;
    }
}

impl Drop for SearchEnds<'_> {
    fn drop(&mut self) {
        if self.is_left {
            return;
        }
        let known = match self.found.take() {
            Some(key) => {
                // Also when it took so long that others no longer waited.
                write(&self.keys.entries)
                    .entry(self.id.clone())
                    .or_insert_with(|| Arc::clone(self.entry));
                Known::Key(key)
            }
            None => {
                self.keys.remove(self.id, self.entry);
                Known::Nothing
            }
        };
        *lock(&self.entry.state) = known;
        self.entry.changed.notify_all();
    }
}

/// Two digits for each byte, in lower case alone: a key has one external key id.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0; text.len() / 2];
    let is_lower_case = !text.bytes().any(|digit| digit.is_ascii_uppercase());
    (is_lower_case && decode_hex(text, &mut bytes).is_ok()).then_some(bytes)
}

// What a panic leaves behind in these is whole.

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
