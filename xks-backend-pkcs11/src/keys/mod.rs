//! Which key an external key id names: the cache before the search on the token. A search may take as long as many
//! encryptions, so there is one for each key at a time, and none where the answer is known.

mod on_token;

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use cryptoki_sys as ck;
use xks_core::{BackendError, BackendErrorKind, KeyId, KeyMetadata, KeySpec, KeyUsage};

use self::on_token::{Seen, see};
pub(crate) use self::on_token::{look_at, search};

use crate::{
    config::{KeyLookup, KeyName},
    error::CallError,
    raw::{Attribute, Cryptoki},
};

/// How long it is believed that a key is not there, and that it does not permit something.
pub(crate) const DOUBT_AFTER: Duration = Duration::from_secs(1);
/// How many absent keys are remembered.
const MOST_ABSENT: usize = 1024;
/// How many keys are searched for at once. On SoftHSM2 with a thousand keys a search takes as long as a thousand
/// encryptions, and many at once would take the machine.
const MOST_SEARCHES: usize = 2;
/// How many keys of a token are looked through beforehand.
const MOST_FOREKNOWN: usize = 10_000;

/// A key on the token.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) handle: ck::CK_OBJECT_HANDLE,
    pub(crate) metadata: KeyMetadata,
    /// When its attributes were read.
    pub(crate) read: Instant,
    /// The login that the handle was found in.
    epoch: u64,
}

impl Key {
    pub(crate) fn permits(&self, usage: KeyUsage) -> bool {
        self.metadata.usages().contains(&usage)
    }

    pub(crate) fn is_aes_256(&self) -> bool {
        *self.metadata.spec() == KeySpec::Aes256
    }
}

/// Why there is no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    Absent,
    Several,
    IsTestKey,
}

impl Miss {
    pub(crate) fn error(&self, name: &KeyName) -> BackendError {
        match self {
            Self::Absent => BackendError::new(
                BackendErrorKind::KeyNotFound,
                format!("the token has no key with {name}, or the user may not see it"),
            ),
            Self::IsTestKey => BackendError::new(
                BackendErrorKind::KeyNotFound,
                format!("the key with {name} is the one that the token is tested with, and is no external key"),
            ),
            Self::Several => BackendError::new(
                BackendErrorKind::Other,
                format!("the token has more than one key with {name}: rename or delete all but one"),
            ),
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
    /// How long a search may take before others no longer wait for it.
    patience: Duration,
    entries: RwLock<HashMap<KeyId, Arc<Entry>>>,
    /// When each search that is under way began.
    searches: Mutex<Vec<Instant>>,
    search_ended: Condvar,
    absent: Mutex<HashMap<KeyId, (Miss, Instant, u64)>>,
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
    /// Somebody is searching, and does so in vain if it takes longer than this.
    Searching {
        until: Instant,
    },
    Key(Arc<Key>),
}

impl Keys {
    /// For requests that may take as long as `deadline`.
    pub(crate) fn new(lookup: KeyLookup, names: HashMap<KeyId, KeyName>, deadline: Duration) -> Self {
        Self {
            lookup,
            names,
            // Whoever comes when the first request's time is over has half of its own left for a search.
            patience: deadline.saturating_mul(3) / 2,
            searches: Mutex::default(),
            search_ended: Condvar::new(),
            entries: RwLock::default(),
            absent: Mutex::default(),
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
    pub(crate) fn known(&self, id: &KeyId, epoch: u64) -> Option<Arc<Key>> {
        let entry = read(&self.entries).get(id).cloned()?;
        match &*lock(&entry.state) {
            Known::Key(key) if key.epoch == epoch => Some(Arc::clone(key)),
            Known::Key(_) | Known::Nothing | Known::Lost | Known::Searching { .. } => None,
        }
    }

    /// The key, from the cache or by `search`, which is called at most once, and told whether there was a key until now.
    pub(crate) fn get(
        &self,
        id: &KeyId,
        epoch: u64,
        deadline: Instant,
        search: impl FnOnce(bool) -> Result<Result<Key, Miss>, CallError>,
    ) -> Result<Arc<Key>, NoKey> {
        let (entry, was_there) = loop {
            let entry = read(&self.entries).get(id).cloned();
            let entry = match entry {
                Some(entry) => entry,
                None => {
                    if let Some(miss) = self.known_miss(id, epoch) {
                        return Err(NoKey::Miss(miss));
                    }
                    Arc::clone(write(&self.entries).entry(id.clone()).or_default())
                }
            };
            let mut state = lock(&entry.state);
            match &*state {
                Known::Key(key) if key.epoch == epoch => return Ok(Arc::clone(key)),
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
                    // That search hangs, on a session of its own. It is left alone with its entry.
                    drop(state);
                    let mut entries = write(&self.entries);
                    if entries.get(id).is_some_and(|current| Arc::ptr_eq(current, &entry)) {
                        entries.remove(id);
                    }
                }
                Known::Key(_) | Known::Lost | Known::Nothing => {
                    let was_there = !matches!(&*state, Known::Nothing);
                    *state = Known::Searching {
                        until: Instant::now() + self.patience,
                    };
                    drop(state);
                    break (entry, was_there);
                }
            }
        };
        // However the search ends, those who wait for it are woken.
        let mut search_ends = SearchEnds {
            keys: self,
            id,
            entry: &entry,
            found: None,
        };
        let Some(turn) = self.search_turn(deadline) else {
            return Err(NoKey::Late);
        };
        let outcome = search(was_there);
        drop(turn);
        match outcome {
            Ok(Ok(key)) => {
                let key = Arc::new(key);
                search_ends.found = Some(Arc::clone(&key));
                Ok(key)
            }
            Ok(Err(miss)) => {
                self.note_miss(id, miss.clone(), epoch);
                Err(NoKey::Miss(miss))
            }
            Err(error) => Err(NoKey::Call(error)),
        }
    }

    /// Waits until fewer than the most searches are under way; none if that takes too long.
    fn search_turn(&self, deadline: Instant) -> Option<SearchTurn<'_>> {
        let mut searches = lock(&self.searches);
        loop {
            let now = Instant::now();
            // Those that hang are not waited for.
            let under_way = searches
                .iter()
                .filter(|began| now.duration_since(**began) < self.patience);
            if under_way.count() < MOST_SEARCHES {
                searches.push(now);
                return Some(SearchTurn { keys: self, began: now });
            }
            if now >= deadline {
                return None;
            }
            (searches, _) = self
                .search_ended
                .wait_timeout(searches, deadline - now)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Puts keys that were looked through beforehand where no search has been yet.
    pub(crate) fn foreknow(&self, keys: Vec<(KeyId, Key)>) {
        for (id, key) in keys {
            let entry = Arc::clone(write(&self.entries).entry(id).or_default());
            let mut state = lock(&entry.state);
            if !matches!(&*state, Known::Searching { .. }) {
                *state = Known::Key(Arc::new(key));
            }
        }
    }

    /// Looks through the token's keys, so that not each of them has to be searched for: all of them within `patience`,
    /// or none, since a name that two keys have would not be noticed otherwise.
    pub(crate) fn look_through(
        &self,
        cryptoki: &Cryptoki,
        session: ck::CK_SESSION_HANDLE,
        epoch: u64,
        patience: Duration,
    ) -> Result<Vec<(KeyId, Key)>, CallError> {
        let end = Instant::now() + patience;
        let template = [
            Attribute::Number(ck::CKA_CLASS, ck::CKO_SECRET_KEY),
            Attribute::Flag(ck::CKA_TOKEN, true),
        ];
        let handles = cryptoki.find(session, &template, MOST_FOREKNOWN)?;
        if handles.len() >= MOST_FOREKNOWN {
            return Ok(Vec::new());
        }
        let mut found: HashMap<KeyId, Option<Key>> = HashMap::new();
        for handle in handles {
            if Instant::now() >= end {
                return Ok(Vec::new());
            }
            let seen = see(cryptoki, session, handle, epoch)?;
            for id in self.ids(&seen) {
                // None: two keys have the name.
                let key = if found.contains_key(&id) {
                    None
                } else {
                    Some(seen.key.clone())
                };
                found.insert(id, key);
            }
        }
        Ok(found.into_iter().filter_map(|(id, key)| Some((id, key?))).collect())
    }

    /// The external key ids that a key has.
    fn ids(&self, seen: &Seen) -> Vec<KeyId> {
        let text = match self.lookup {
            KeyLookup::Label => seen
                .label
                .bytes()
                .and_then(|label| String::from_utf8(label.to_vec()).ok()),
            KeyLookup::Id => seen.id.bytes().map(to_hex),
        };
        let by_lookup = text
            .and_then(|text| text.parse().ok())
            .filter(|id| !self.names.contains_key(id));
        let by_name = self
            .names
            .iter()
            .filter(|(_, name)| seen.has(name))
            .map(|(id, _)| id.clone());
        by_name.chain(by_lookup).collect()
    }

    /// Forgets a key, unless another has been found in its place since.
    pub(crate) fn forget(&self, id: &KeyId, handle: ck::CK_OBJECT_HANDLE) {
        let entry = read(&self.entries).get(id).cloned();
        if let Some(entry) = entry {
            let mut state = lock(&entry.state);
            if matches!(&*state, Known::Key(key) if key.handle == handle) {
                *state = Known::Lost;
            }
        }
    }

    /// The keys of this login that were last looked at before `age` ago.
    pub(crate) fn older_than(&self, age: Duration, epoch: u64) -> Vec<(KeyId, Arc<Key>)> {
        let entries = read(&self.entries);
        let keys = entries.iter().filter_map(|(id, entry)| match &*lock(&entry.state) {
            Known::Key(key) if key.epoch == epoch && key.read.elapsed() >= age => Some((id.clone(), Arc::clone(key))),
            _ => None,
        });
        keys.collect()
    }

    /// Puts what was read of a key anew in place of `old`, unless something else has come there since.
    pub(crate) fn update(&self, id: &KeyId, old: &Arc<Key>, new: Key) {
        let entry = read(&self.entries).get(id).cloned();
        if let Some(entry) = entry {
            let mut state = lock(&entry.state);
            if matches!(&*state, Known::Key(key) if Arc::ptr_eq(key, old)) {
                *state = Known::Key(Arc::new(new));
            }
        }
    }

    fn known_miss(&self, id: &KeyId, epoch: u64) -> Option<Miss> {
        let absent = lock(&self.absent);
        let (miss, since, noted_in) = absent.get(id)?;
        (*noted_in == epoch && since.elapsed() < DOUBT_AFTER).then(|| miss.clone())
    }

    fn note_miss(&self, id: &KeyId, miss: Miss, epoch: u64) {
        let mut absent = lock(&self.absent);
        if absent.len() >= MOST_ABSENT {
            absent.clear();
        }
        absent.insert(id.clone(), (miss, Instant::now(), epoch));
    }
}

struct SearchTurn<'a> {
    keys: &'a Keys,
    began: Instant,
}

impl Drop for SearchTurn<'_> {
    fn drop(&mut self) {
        let mut searches = lock(&self.keys.searches);
        if let Some(index) = searches.iter().position(|began| *began == self.began) {
            searches.swap_remove(index);
        }
        drop(searches);
        self.keys.search_ended.notify_all();
    }
}

struct SearchEnds<'a> {
    keys: &'a Keys,
    id: &'a KeyId,
    entry: &'a Arc<Entry>,
    found: Option<Arc<Key>>,
}

impl Drop for SearchEnds<'_> {
    fn drop(&mut self) {
        let known = match self.found.take() {
            Some(key) => {
                // Also when it took so long that others no longer waited.
                write(&self.keys.entries)
                    .entry(self.id.clone())
                    .or_insert_with(|| Arc::clone(self.entry));
                Known::Key(key)
            }
            None => {
                // Ids that name nothing leave no entry behind.
                let mut entries = write(&self.keys.entries);
                if entries.get(self.id).is_some_and(|entry| Arc::ptr_eq(entry, self.entry)) {
                    entries.remove(self.id);
                }
                Known::Nothing
            }
        };
        *lock(&self.entry.state) = known;
        self.entry.changed.notify_all();
    }
}

/// Two digits for each byte, in lower case alone: a key has one external key id.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| match byte {
        b'A'..=b'F' => None,
        byte => char::from(*byte).to_digit(16),
    };
    let digits = text.as_bytes().chunks(2);
    let bytes = digits.map(|digits| match digits {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    });
    bytes.collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

// What a panic leaves behind in these is whole.

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
