//! A loaded module: initialized once for all backends that use it, and again when it has failed for good.
//!
//! Two backends may share a module, each with its own supervisor; they share the gate and the generation.

use std::{
    collections::HashMap,
    ffi::{CStr, CString},
    fmt,
    ops::Deref,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use cryptoki_sys as ck;
use thiserror::Error;

use crate::{
    config::{ModuleSource, SlotSelector},
    error::{CallError, OpenError},
    identity::Identity,
    logins::Logins,
    raw::{CodeNames, Cryptoki, Locking},
    threads::Notifier,
    threads::{Drained, Entry, Gate},
};

/// All modules of the process, by where their function lists are: one library may have many names. None is
/// ever unloaded.
static MODULES: Mutex<Option<HashMap<usize, Arc<Module>>>> = Mutex::new(None);

pub(crate) struct Module {
    path: PathBuf,
    parameters: Option<&'static CStr>,
    cryptoki: Cryptoki,
    gate: Gate,
    /// How many backends have a token that works.
    up: AtomicUsize,
    /// Sessions that could not be closed, and the generation that they are of. Locked for a moment only:
    /// a call inside the gate may wait for this, and never for `state`, which is held while the gate is
    /// drained.
    unclosed: Mutex<Vec<(ck::CK_SESSION_HANDLE, u64)>>,
    was_said_to_have_no_locks: AtomicBool,
    /// What the tokens that were found say of themselves, by what they were asked for.
    identities: Mutex<HashMap<SlotSelector, Identity>>,
    pub(crate) logins: Logins,
    /// Counts the initializations. Handles are good in the generation that they were given out in.
    generation: AtomicU64,
    state: Mutex<State>,
    /// Held while a token is changed.
    pub(crate) changes: Mutex<()>,
}

struct State {
    initialized: Initialized,
    users: Vec<User>,
}

/// A backend.
struct User {
    /// Has it test its token.
    notifier: Arc<Notifier>,
    renew_threads: Option<RenewThreads>,
}

/// Has a backend's threads that called the module end, if they do in time, and others come in their places.
pub(crate) type RenewThreads = Box<dyn Fn(Instant) + Send + Sync>;

/// How long threads may take to end before the module is reinitialized.
const LAST_JOBS: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Initialized {
    No,
    /// By us, so it is ours to finalize.
    Here,
    /// By another component of the process, so it is not.
    Elsewhere,
}

/// Why a module was not reinitialized.
#[derive(Debug, Error)]
pub(crate) enum NotReinitialized {
    #[error("another component of this process initialized the module, and must finalize it")]
    NotOurs,
    #[error("another token of the module is in use")]
    InUse,
    #[error("{0} calls into the module do not return, so it cannot be finalized: restart the process")]
    Wedged(u64),
    #[error("C_Finalize failed")]
    NotFinalized(#[source] CallError),
    #[error(transparent)]
    Call(#[from] CallError),
}

impl Module {
    /// The module from a source, for a backend with this notifier. To be followed by
    /// [`release`](Self::release).
    pub(crate) fn acquire(
        source: &ModuleSource,
        parameters: Option<&str>,
        notifier: &Arc<Notifier>,
    ) -> Result<Arc<Self>, OpenError> {
        let module = Self::loaded(source, parameters)?;
        module.state().users.push(User {
            notifier: Arc::clone(notifier),
            renew_threads: None,
        });
        Ok(module)
    }

    /// Notes how the threads of the backend with this notifier are renewed.
    pub(crate) fn note_threads(&self, notifier: &Arc<Notifier>, renew: RenewThreads) {
        let mut state = self.state();
        if let Some(user) = state
            .users
            .iter_mut()
            .find(|user| Arc::ptr_eq(&user.notifier, notifier))
        {
            user.renew_threads = Some(renew);
        }
    }

    /// Has errors say what the vendor calls return codes of its own.
    pub(crate) fn name_codes(&self, names: CodeNames) {
        self.cryptoki.name_codes(names);
    }

    /// Initializes the module, unless it is.
    pub(crate) fn ensure_initialized(&self) -> Result<(), CallError> {
        let mut state = self.state();
        if state.initialized == Initialized::No {
            self.initialize(&mut state)?;
            self.gate.open();
        }
        Ok(())
    }

    fn loaded(source: &ModuleSource, parameters: Option<&str>) -> Result<Arc<Self>, OpenError> {
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        let modules = modules.get_or_insert_default();
        let path = source.path().to_owned();
        let (cryptoki, address) = match source.load() {
            Ok(loaded) => loaded,
            Err(source) => return Err(OpenError::Load { path, source }),
        };
        if let Some(module) = modules.get(&address) {
            let same = module.parameters.map(CStr::to_bytes) == parameters.map(str::as_bytes);
            return same.then(|| Arc::clone(module)).ok_or(OpenError::Parameters { path });
        }
        let parameters = parameters
            .map(CString::new)
            .transpose()
            .map_err(|_| OpenError::Config("`module_parameters` holds a NUL byte"))?;
        let module = Arc::new(Self {
            path,
            parameters: parameters.map(|text| &*Box::leak(text.into_boxed_c_str())),
            cryptoki,
            gate: Gate::closed(),
            up: AtomicUsize::new(0),
            unclosed: Mutex::default(),
            was_said_to_have_no_locks: AtomicBool::new(false),
            identities: Mutex::default(),
            logins: Logins::default(),
            generation: AtomicU64::new(0),
            state: Mutex::new(State {
                initialized: Initialized::No,
                users: Vec::new(),
            }),
            changes: Mutex::default(),
        });
        modules.insert(address, Arc::clone(&module));
        Ok(module)
    }

    /// Ends the use of the module by a backend whose threads have all ended. The last user finalizes it, if
    /// it is ours.
    pub(crate) fn release(&self, notifier: &Arc<Notifier>) {
        let mut state = self.state();
        state.users.retain(|other| !Arc::ptr_eq(&other.notifier, notifier));
        if !state.users.is_empty() || state.initialized == Initialized::No {
            return;
        }
        let Some(drained) = self.gate.drain(Duration::ZERO) else {
            // Without a backend no call enters.
            self.gate.open();
            return;
        };
        if state.initialized == Initialized::Here
            && let Err(error) = self.finalize(&drained)
        {
            tracing::warn!(module = %self.path.display(), cause = %error, "the PKCS#11 module cannot be finalized");
            drained.open();
            return;
        }
        // The other component may finalize it at any time now.
        state.initialized = Initialized::No;
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many calls are in the module, or about to be.
    pub(crate) fn calls_inside(&self) -> u64 {
        self.gate.inside()
    }

    fn finalize(&self, drained: &Drained<'_>) -> Result<(), CallError> {
        let outcome = self.cryptoki.finalize(drained);
        outcome.or_else(|error| match error.code().0 {
            ck::CKR_CRYPTOKI_NOT_INITIALIZED => Ok(()),
            _ => Err(error),
        })
    }

    /// The way to the module's functions; none while it is not initialized.
    pub(crate) fn enter(&self) -> Option<Access<'_>> {
        let entry = self.gate.enter()?;
        Some(Access {
            cryptoki: &self.cryptoki,
            // It cannot change while we are inside.
            generation: self.generation.load(Ordering::SeqCst),
            _entry: entry,
        })
    }

    /// Notes that one more, or one less, of the module's tokens works.
    pub(crate) fn note_up(&self, is_up: bool) {
        if is_up {
            self.up.fetch_add(1, Ordering::SeqCst);
        } else {
            self.up.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Closes a session, now or when the device works again.
    pub(crate) fn close_session(&self, access: &Access<'_>, session: ck::CK_SESSION_HANDLE) {
        if let Err(error) = access.close_session(session)
            && !error.says_session_is_gone()
        {
            tracing::debug!(cause = %error, "a session could not be closed");
            self.leave_unclosed(session, access.generation());
        }
    }

    /// Has a session closed later, if the module is not finalized before.
    pub(crate) fn leave_unclosed(&self, session: ck::CK_SESSION_HANDLE, generation: u64) {
        self.unclosed().push((session, generation));
    }

    /// Closes the sessions that could not be closed before.
    pub(crate) fn close_the_unclosed(&self, access: &Access<'_>) {
        let unclosed = std::mem::take(&mut *self.unclosed());
        for (session, generation) in unclosed {
            if generation == access.generation() {
                self.close_session(access, session);
            }
        }
    }

    /// Finalizes the module and initializes it again, unless that has happened since `generation`. Waits as
    /// long as `patience` for the calls that are in it.
    pub(crate) fn reinitialize(&self, generation: u64, patience: Duration) -> Result<(), NotReinitialized> {
        self.reinitialize_if(generation, patience, |up| up == 0)
    }

    /// The same, although other tokens of the module may work: their requests wait until those are connected
    /// again.
    pub(crate) fn reinitialize_beside_others(
        &self,
        generation: u64,
        patience: Duration,
    ) -> Result<(), NotReinitialized> {
        let outcome = self.reinitialize_if(generation, patience, |_| true);
        self.state().users.iter().for_each(|user| user.notifier.notify());
        outcome
    }

    fn reinitialize_if(
        &self,
        generation: u64,
        patience: Duration,
        may_be: impl Fn(usize) -> bool,
    ) -> Result<(), NotReinitialized> {
        let mut state = self.state();
        if self.generation.load(Ordering::SeqCst) != generation && state.initialized != Initialized::No {
            return Ok(());
        }
        if !may_be(self.up.load(Ordering::SeqCst)) {
            // Those who believe that their token works look again.
            state.users.iter().for_each(|user| user.notifier.notify());
            return Err(NotReinitialized::InUse);
        }
        if state.initialized == Initialized::Elsewhere {
            // That one may have finalized it, in which case it is ours now.
            self.initialize(&mut state)?;
            return match state.initialized {
                Initialized::Here => Ok(()),
                Initialized::Elsewhere | Initialized::No => Err(NotReinitialized::NotOurs),
            };
        }
        let Some(drained) = self.gate.drain(patience) else {
            let calls = self.gate.inside();
            self.gate.open();
            return Err(NotReinitialized::Wedged(calls));
        };
        // Another token may have been found to work meanwhile.
        if !may_be(self.up.load(Ordering::SeqCst)) {
            drained.open();
            return Err(NotReinitialized::InUse);
        }
        if state.initialized == Initialized::Here {
            // Requests for tokens that work wait for this on their threads.
            if self.up.load(Ordering::SeqCst) == 0 {
                let end = Instant::now() + LAST_JOBS;
                let renewals = state.users.iter().filter_map(|user| user.renew_threads.as_ref());
                renewals.for_each(|renew| renew(end));
            }
            if let Err(error) = self.finalize(&drained) {
                drained.open();
                return Err(NotReinitialized::NotFinalized(error));
            }
            state.initialized = Initialized::No;
        }
        self.initialize(&mut state)?;
        drained.open();
        Ok(())
    }

    /// To be called while no call is inside, or while the module is another component's.
    fn initialize(&self, state: &mut State) -> Result<(), CallError> {
        match self.initialize_cryptoki() {
            Ok(()) => state.initialized = Initialized::Here,
            Err(error) if error.code().0 == ck::CKR_CRYPTOKI_ALREADY_INITIALIZED => {
                if state.initialized == Initialized::Elsewhere {
                    return Ok(());
                }
                tracing::info!(
                    module = %self.path.display(),
                    "another component of this process initialized the PKCS#11 module, and must finalize it"
                );
                state.initialized = Initialized::Elsewhere;
            }
            Err(error) => return Err(error),
        }
        self.generation.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// `C_Initialize` in the first of the ways that the module takes. In all but the first its calls are made
    /// one at a time.
    fn initialize_cryptoki(&self) -> Result<(), CallError> {
        let ways = Locking::ALL
            .into_iter()
            .filter(|way| *way != Locking::NoArguments || self.parameters.is_none());
        let mut refusal = None;
        for way in ways {
            match (self.cryptoki.initialize(self.parameters, way), refusal) {
                (Err(error), _) if error.says_arguments_are_refused() => {
                    refusal.get_or_insert(error);
                }
                (Ok(()), Some(refusal)) => {
                    if !self.was_said_to_have_no_locks.swap(true, Ordering::Relaxed) {
                        tracing::warn!(
                            module = %self.path.display(), cause = %refusal,
                            "the PKCS#11 module rejects CKF_OS_LOCKING_OK: calls are made one at a time, and a call \
                             that hangs blocks all others"
                        );
                    }
                    return Ok(());
                }
                (outcome, _) => return outcome,
            }
        }
        refusal.map_or(Ok(()), Err)
    }

    /// The identity of the token that was the first to be found there.
    pub(crate) fn identity(&self, slot: &SlotSelector) -> Option<Identity> {
        self.identities().get(slot).cloned()
    }

    /// Notes which token was found, unless another was before.
    pub(crate) fn note_identity(&self, slot: &SlotSelector, identity: Identity) {
        self.identities().entry(slot.clone()).or_insert(identity);
    }

    fn identities(&self) -> MutexGuard<'_, HashMap<SlotSelector, Identity>> {
        self.identities.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unclosed(&self) -> MutexGuard<'_, Vec<(ck::CK_SESSION_HANDLE, u64)>> {
        self.unclosed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a panic leaves here is still true.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module")
            .field("path", &self.path)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// The way to a module's functions. While it is held, the module stays initialized.
pub(crate) struct Access<'a> {
    cryptoki: &'a Cryptoki,
    generation: u64,
    _entry: Entry<'a>,
}

impl Access<'_> {
    /// The number of the initialization that this is in.
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }
}

impl Deref for Access<'_> {
    type Target = Cryptoki;

    fn deref(&self) -> &Cryptoki {
        self.cryptoki
    }
}
