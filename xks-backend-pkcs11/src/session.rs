//! A session, and the slot that holds one: it is closed when it is no longer wanted, but only in the
//! generation that it was opened in. Later its handle may be another's.
//!
//! A session of an older initialization is forgotten, never closed; a key handle belongs to a login. No
//! session is closed before its replacement is open: with the last session of a process its login ends, and
//! with it every handle.

use std::sync::Arc;

use cryptoki_sys as ck;
use xks_core::{BackendError, backend::BackendErrorKind};

use crate::{
    error::CallError,
    keys::Held,
    module::{Access, Module},
    threads::{Refusal, Refused, Slot},
};

/// An open session.
pub(crate) struct Session {
    pub(crate) handle: ck::CK_SESSION_HANDLE,
    /// Random bytes of the token for the IVs to come.
    pub(crate) random: Vec<u8>,
    /// The keys that it knows, by the handles that are theirs in it.
    pub(crate) held: Held,
    /// Decryptions that failed in a row, with a code that does not tell whether it was the ciphertext.
    failures: u32,
    generation: u64,
}

impl Session {
    pub(crate) fn new(handle: ck::CK_SESSION_HANDLE, generation: u64) -> Self {
        Self {
            handle,
            random: Vec::new(),
            held: Held::default(),
            failures: 0,
            generation,
        }
    }
}

/// A slot for one session of a module.
pub(crate) struct SessionSlot {
    module: Arc<Module>,
    session: Option<Session>,
}

impl SessionSlot {
    pub(crate) const fn new(module: Arc<Module>) -> Self {
        Self { module, session: None }
    }

    /// The session, opened if there is none of this generation.
    pub(crate) fn session(
        &mut self,
        access: &Access<'_>,
        slot: ck::CK_SLOT_ID,
        read_write: bool,
    ) -> Result<&mut Session, CallError> {
        // One of an older generation is forgotten.
        let kept = self
            .session
            .take()
            .filter(|session| session.generation == access.generation());
        let session = match kept {
            Some(session) => session,
            None => Session::new(access.open_session(slot, read_write)?, access.generation()),
        };
        Ok(self.session.insert(session))
    }

    /// The session that there is, if it is of this generation.
    pub(crate) fn opened(&mut self, access: &Access<'_>) -> Option<&mut Session> {
        self.session
            .as_mut()
            .filter(|session| session.generation == access.generation())
    }

    /// The handle of that session.
    pub(crate) fn handle_in(&self, access: &Access<'_>) -> Option<ck::CK_SESSION_HANDLE> {
        let session = self.session.as_ref();
        session
            .filter(|session| session.generation == access.generation())
            .map(|session| session.handle)
    }

    /// An operation on the session has succeeded.
    pub(crate) fn note_success(&mut self) {
        if let Some(session) = &mut self.session {
            session.failures = 0;
        }
    }

    /// A decryption on the session has failed, with a code that does not tell whether it was the ciphertext.
    pub(crate) fn note_failure(&mut self) {
        if let Some(session) = &mut self.session {
            session.failures += 1;
        }
    }

    /// How many decryptions have failed so, in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.session.as_ref().map_or(0, |session| session.failures)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.session.is_none()
    }

    /// Forgets the session: the module says that it is closed, so that its handle may be given out again.
    pub(crate) fn forget(&mut self) {
        self.session = None;
    }

    /// Closes the session, if there is one, when there is another: with the last one of a process its login
    /// ends. If none is to be had, the slot is empty.
    pub(crate) fn renew(&mut self, access: &Access<'_>, slot: ck::CK_SLOT_ID, read_write: bool) {
        if self.opened(access).is_none() {
            self.forget();
            return;
        }
        let another = access.open_session(slot, read_write).ok();
        self.close(access);
        self.session = another.map(|handle| Session::new(handle, access.generation()));
    }

    /// Closes the session.
    pub(crate) fn close(&mut self, access: &Access<'_>) {
        let session = self.session.take();
        if let Some(session) = session.filter(|session| session.generation == access.generation()) {
            self.module.close_session(access, session.handle);
        }
    }
}

impl Slot for SessionSlot {
    type Error = BackendError;

    fn is_ready(&self) -> bool {
        !self.is_empty()
    }
}

impl From<Refused> for BackendError {
    fn from(Refused { refusal, detail }: Refused) -> Self {
        let kind = match refusal {
            Refusal::Throttled => BackendErrorKind::Throttled,
            Refusal::Unavailable => BackendErrorKind::Unavailable,
            Refusal::Timeout => BackendErrorKind::Timeout,
        };
        Self::new(kind, detail)
    }
}

impl Drop for SessionSlot {
    fn drop(&mut self) {
        if self.session.is_none() {
            return;
        }
        let module = Arc::clone(&self.module);
        if let Some(access) = module.enter() {
            self.close(&access);
        } else if let Some(session) = self.session.take() {
            // Finalization has closed it, or is about to.
            module.leave_unclosed(session.handle, session.generation);
        }
    }
}
