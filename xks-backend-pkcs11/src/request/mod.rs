//! The way of a request through a token: a session, the key, the call; and what is tried again when a call
//! fails.

mod dates;
mod holding;
mod search;
mod suspect;
mod suspects;

use std::time::Instant;

use cryptoki_sys as ck;
use xks_core::{
    BackendError, KeyId, Zeroizing,
    aad::BoundAad,
    backend::{BackendErrorKind, Encrypted, Iv, KeyMetadata, KeyUsage, Verification, VerifiedEncryption},
};

use self::holding::Wanted;
use self::suspect::Ciphertext;
pub(crate) use self::{search::Search, suspects::Suspects};
use crate::{
    error::{CallError, OpenError},
    gcm::{self, AttemptError},
    keys::{Holding, Key, RECHECK_AFTER},
    module::Access,
    return_code::{Phase, Remedy},
    session::{Session, SessionSlot},
    token::{ANOTHER_TOKEN, Connection, Token},
};

impl Token {
    /// Encrypts under a key.
    pub(crate) fn encrypt(
        &self,
        session_slot: &mut SessionSlot,
        id: &KeyId,
        deadline: Instant,
        aad: BoundAad,
        plaintext: &[u8],
    ) -> Result<Encrypted, BackendError> {
        if let Some(fault) = self.iv_fault() {
            return Err(BackendError::new(BackendErrorKind::Other, fault));
        }
        let sealed = self.with_key(
            session_slot,
            id,
            deadline,
            Some(KeyUsage::Encrypt),
            |module, session, key| self.ivs.seal(module, session, key.handle, aad.as_bytes(), plaintext),
        );
        let sealed = sealed.map_err(Failed::into_error)?;
        Ok(Encrypted::new(sealed.ciphertext, sealed.iv, sealed.tag, aad))
    }

    /// The same, and sees that it decrypts.
    // ENC-10
    pub(crate) fn encrypt_verified(
        &self,
        session_slot: &mut SessionSlot,
        id: &KeyId,
        deadline: Instant,
        aad: BoundAad,
        plaintext: &[u8],
    ) -> Result<VerifiedEncryption, BackendError> {
        let verification = Verification::begin(self.encrypt(session_slot, id, deadline, aad, plaintext)?);
        let (encrypted, aad) = (verification.encrypted(), verification.encrypted().bound_aad());
        let both = gcm::with_tag(encrypted.ciphertext(), encrypted.tag());
        let decrypted = self.decrypt(session_slot, id, deadline, encrypted.iv(), aad.as_bytes(), &both);
        verification.end(decrypted, plaintext)
    }

    /// Decrypts a ciphertext that is followed by its tag.
    pub(crate) fn decrypt(
        &self,
        session_slot: &mut SessionSlot,
        id: &KeyId,
        deadline: Instant,
        iv: &Iv,
        aad: &[u8],
        ciphertext_and_tag: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        let ciphertext = Ciphertext {
            iv,
            aad,
            both: ciphertext_and_tag,
        };
        match self.open(session_slot, id, deadline, ciphertext) {
            Ok(plaintext) => {
                self.suspects.acquit(id, ciphertext);
                Ok(plaintext)
            }
            Err(Failed::With(error)) => Err(error),
            Err(Failed::Suspected(error)) => self.settle(session_slot, id, deadline, ciphertext, error),
        }
    }

    fn open(
        &self,
        session_slot: &mut SessionSlot,
        id: &KeyId,
        deadline: Instant,
        ciphertext: Ciphertext<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, Failed> {
        let Ciphertext { iv, aad, both } = ciphertext;
        self.with_key(
            session_slot,
            id,
            deadline,
            Some(KeyUsage::Decrypt),
            |module, session, key| gcm::open(module, session.handle, key.handle, iv, aad, both),
        )
    }

    /// What a key is, and what it may do.
    pub(crate) fn key_metadata(
        &self,
        session_slot: &mut SessionSlot,
        id: &KeyId,
        deadline: Instant,
    ) -> Result<KeyMetadata, BackendError> {
        self.with_key(session_slot, id, deadline, None, |_, _, held| {
            Ok(held.key.metadata.clone())
        })
        .map_err(Failed::into_error)
    }

    /// A key's metadata, if they are known and were read not too long ago.
    pub(crate) fn known_metadata(&self, id: &KeyId) -> Option<KeyMetadata> {
        let key = self.keys.known(id, self.login_epoch())?;
        let is_fresh = self.is_connected() && !self.is_outdated(&key);
        is_fresh.then(|| key.metadata.clone())
    }

    /// What was not read again for so long is not being refreshed.
    fn is_outdated(&self, key: &Key) -> bool {
        key.read.elapsed() >= self.config.key_refresh.saturating_mul(2)
    }

    /// Does something with a key, again where that may help. Encryptions take a new IV each time.
    pub(crate) fn with_key<T>(
        &self,
        session_slot: &mut SessionSlot,
        id: &KeyId,
        deadline: Instant,
        usage: Option<KeyUsage>,
        mut work: impl FnMut(&Access<'_>, &mut Session, &Holding) -> Result<T, AttemptError>,
    ) -> Result<T, Failed> {
        let done = self.with_remedies(session_slot, Some(id), deadline, |session_slot, used| {
            self.attempt(session_slot, id, deadline, usage, used, &mut work)
        })?;
        // Metadata may have come from the cache, which confirms nothing.
        if usage.is_some() {
            self.note_served();
            session_slot.note_success();
        }
        Ok(done)
    }

    /// Does something on a session, again where that may help.
    pub(crate) fn with_session<T>(
        &self,
        session_slot: &mut SessionSlot,
        deadline: Instant,
        mut work: impl FnMut(&Access<'_>, &Connection, &mut Session) -> Result<T, AttemptError>,
    ) -> Result<T, Failed> {
        self.with_remedies(session_slot, None, deadline, |session_slot, _| {
            let (connection, access) = self.enter()?;
            let session = self.session(session_slot, &access, &connection)?;
            work(&access, &connection, session)
        })
    }

    /// Attempts something, and notes the key that was used. What fails for a reason that another session,
    /// another search or another login may remedy is attempted again, once for each of them, as long as there
    /// is time.
    fn with_remedies<T>(
        &self,
        session_slot: &mut SessionSlot,
        id: Option<&KeyId>,
        deadline: Instant,
        mut attempt: impl FnMut(&mut SessionSlot, &mut Option<Holding>) -> Result<T, AttemptError>,
    ) -> Result<T, Failed> {
        let mut tried = Tried::default();
        loop {
            let mut used = None;
            let error = match attempt(session_slot, &mut used) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let error = self.failed_call(error)?;
            let (remedy, key) = (self.config.quirks.remedy(&error), id.zip(used.as_ref()));
            if remedy == Remedy::Ambiguous {
                return Err(Failed::Suspected(error));
            }
            if !self.recover(session_slot, key, &error, remedy, &mut tried)? {
                // A remedy that has been tried is none: it may be the code that this module has for a wrong
                // tag.
                let is_remedied = matches!(remedy, Remedy::SearchAgain | Remedy::NewSession | Remedy::LogInAgain);
                return Err(match error.phase() {
                    Phase::Decrypt if is_remedied => Failed::Suspected(error),
                    _ => self
                        .with_dates(session_slot, key, &error, failure(remedy, &error))
                        .into(),
                });
            }
            if Instant::now() >= deadline {
                let detail = "a call failed, and the deadline left no time for another attempt";
                let late = BackendError::new(BackendErrorKind::Timeout, detail).with_source(error);
                return Err(late.into());
            }
        }
    }

    /// The call that failed. The error is one that no other attempt fixes.
    fn failed_call(&self, error: AttemptError) -> Result<CallError, BackendError> {
        match error {
            AttemptError::Call(error) => Ok(error),
            AttemptError::Final(error) => Err(error),
            AttemptError::IvFault(fault) => {
                self.note_iv_fault(fault);
                Err(BackendError::new(BackendErrorKind::Other, fault))
            }
        }
    }

    fn attempt<T>(
        &self,
        session_slot: &mut SessionSlot,
        id: &KeyId,
        deadline: Instant,
        usage: Option<KeyUsage>,
        used: &mut Option<Holding>,
        work: &mut impl FnMut(&Access<'_>, &mut Session, &Holding) -> Result<T, AttemptError>,
    ) -> Result<T, AttemptError> {
        let (connection, access) = self.enter()?;
        let session = self.session(session_slot, &access, &connection)?;
        let wanted = Wanted {
            access: &access,
            connection: &connection,
            id,
            deadline,
        };
        let mut held = self.hold(&wanted, session)?;
        let must_recheck = match usage {
            Some(usage) => !held.key.permits(usage) && held.key.read.elapsed() >= RECHECK_AFTER,
            None => self.is_outdated(&held.key),
        };
        if must_recheck {
            held = self.look_again(&wanted, session, &held)?;
        }
        let Some(usage) = usage else {
            return work(&access, session, used.insert(held));
        };
        check(&held.key, usage)?;
        let held = used.insert(held);
        let outcome = work(&access, session, held);
        self.if_still_its(&wanted, session, held, outcome)
    }

    /// The session of a slot. None is opened while another token is in the slot.
    fn session<'p>(
        &self,
        session_slot: &'p mut SessionSlot,
        access: &Access<'_>,
        connection: &Connection,
    ) -> Result<&'p mut Session, AttemptError> {
        if session_slot.opened(access).is_none() {
            self.confirm_token(access, connection)?;
        }
        Ok(session_slot.session(access, connection.slot, connection.read_write)?)
    }

    fn confirm_token(&self, access: &Access<'_>, connection: &Connection) -> Result<(), BackendError> {
        if self.is_another_in(access, connection.slot) {
            self.notifier.notify();
            return Err(BackendError::new(BackendErrorKind::Unavailable, ANOTHER_TOKEN));
        }
        Ok(())
    }

    /// Opens a session where there is none; false if the token has no more of them to give. What else may be
    /// wrong is for a request to find out.
    pub(crate) fn prepare(&self, session_slot: &mut SessionSlot) -> bool {
        if !session_slot.is_empty() {
            return true;
        }
        let Ok((connection, access)) = self.enter() else {
            return true;
        };
        let opened = self.session(session_slot, &access, &connection);
        !matches!(opened, Err(AttemptError::Call(error)) if error.says_no_more_sessions())
    }

    /// Does what the remedy asks for; says whether another attempt is worth while. An error is the end of
    /// the request.
    fn recover(
        &self,
        session_slot: &mut SessionSlot,
        key: Option<(&KeyId, &Holding)>,
        error: &CallError,
        remedy: Remedy,
        tried: &mut Tried,
    ) -> Result<bool, BackendError> {
        let is_refused_at_the_door = remedy == Remedy::Fail(BackendErrorKind::Throttled)
            && !matches!(error.phase(), Phase::Encrypt | Phase::Decrypt);
        if !error.leaves_session_usable() && !is_refused_at_the_door {
            self.discard_session(session_slot, error);
        }
        match remedy {
            Remedy::SearchAgain => {
                if let Some((id, held)) = key {
                    self.keys.forget(id, &held.key);
                }
                if error.code().0 == ck::CKR_GENERAL_ERROR {
                    self.note_device_error(); // perhaps
                }
                if tried.search.first() {
                    return Ok(true);
                }
                if error.phase() == Phase::Decrypt {
                    return Ok(false);
                }
                // The key was found, and its new handle is no better.
                self.note_device_failure(error);
                Err(failure(Remedy::DeviceError, error))
            }
            Remedy::NewSession => Ok(tried.session.first()),
            Remedy::LogInAgain => {
                let is_worth_a_login = tried.login.first();
                if is_worth_a_login {
                    // One that is older than the login may know nothing of it, and take no other.
                    self.discard_session(session_slot, error);
                    self.log_in_again(session_slot)?;
                }
                Ok(is_worth_a_login)
            }
            Remedy::DeviceError => {
                self.note_device_failure(error);
                Ok(tried.device_error.first())
            }
            Remedy::Misconfigured => {
                self.notifier.notify();
                // The token has been tested. Of a key that another process is writing to, SoftHSM2 says so
                // for a moment.
                if let Some((id, held)) = key {
                    self.keys.forget(id, &held.key);
                }
                Ok(tried.search.first())
            }
            Remedy::Done | Remedy::Fail(_) | Remedy::PinRefused | Remedy::Ambiguous => Ok(false),
        }
    }

    /// Another session, if there is one, in place of one that an error has spoilt.
    fn discard_session(&self, session_slot: &mut SessionSlot, error: &CallError) {
        let Some(access) = self.module.enter().filter(|_| !error.says_session_is_gone()) else {
            session_slot.forget();
            return;
        };
        match self.connection_in(access.generation()) {
            Some(connection) if !self.is_another_in(&access, connection.slot) => {
                session_slot.renew(&access, connection.slot, connection.read_write);
            }
            _ => session_slot.close(&access),
        }
    }

    fn log_in_again(&self, session_slot: &mut SessionSlot) -> Result<(), BackendError> {
        let (connection, access) = self.enter()?;
        self.confirm_token(&access, &connection)?;
        let fault = |error: CallError| failure(Remedy::LogInAgain, &error);
        let session = session_slot
            .session(&access, connection.slot, connection.read_write)
            .map_err(fault)?;
        if self.config.pin.login().is_none() {
            return Err(BackendError::new(
                BackendErrorKind::Unavailable,
                "the token requires a login, and no PIN is configured",
            ));
        }
        let outcome = match self.info() {
            Some(info) => self.log_in(&access, session.handle, &info),
            None => Err(OpenError::NotInitialized), // not after a connection
        };
        outcome.map_err(|error| {
            self.notifier.notify();
            BackendError::new(BackendErrorKind::Unavailable, "the token logged out the user").with_source(error)
        })
    }
}

/// What has been tried to recover a request.
#[derive(Default)]
struct Tried {
    search: Once,
    session: Once,
    login: Once,
    device_error: Once,
}

/// What a request comes to when no remedy helps.
pub(crate) enum Failed {
    With(BackendError),
    /// It may be the ciphertext, or the device.
    Suspected(CallError),
}

impl Failed {
    pub(crate) fn into_error(self) -> BackendError {
        match self {
            Self::With(error) => error,
            Self::Suspected(error) => failure(Remedy::DeviceError, &error),
        }
    }
}

impl From<BackendError> for Failed {
    fn from(error: BackendError) -> Self {
        Self::With(error)
    }
}

#[derive(Default)]
struct Once(bool);

impl Once {
    fn first(&mut self) -> bool {
        !std::mem::replace(&mut self.0, true)
    }
}

// ENC-11, DEC-4: known before the token is asked, and whatever code the module would have for it.
fn check(key: &Key, usage: KeyUsage) -> Result<(), BackendError> {
    let problem = if !key.is_aes_256() {
        format!("the key is not AES-256 but {}", key.metadata.spec().as_str())
    } else if !key.permits(usage) {
        let attribute = match usage {
            KeyUsage::Encrypt => "CKA_ENCRYPT",
            KeyUsage::Sign => "CKA_SIGN",
            _ => "CKA_DECRYPT",
        };
        format!("the key does not permit this operation: {attribute} is false")
    } else {
        return Ok(());
    };
    Err(BackendError::new(BackendErrorKind::KeyUsage, problem))
}

fn failure(remedy: Remedy, error: &CallError) -> BackendError {
    let kind = remedy.kind().unwrap_or(BackendErrorKind::Other);
    if kind == BackendErrorKind::InvalidCiphertext {
        return BackendError::invalid_ciphertext();
    }
    let detail = match remedy {
        Remedy::Misconfigured => {
            "the module rejects the AES-GCM parameters: check that `quirks` names the token's vendor".into()
        }
        _ => error.to_string(),
    };
    match remedy {
        Remedy::Misconfigured => BackendError::new(kind, detail).with_source(*error),
        _ => BackendError::new(kind, detail),
    }
}
