//! Whether a decryption has failed because of its ciphertext or because of the device, where the module's
//! code does not tell. What makes a ciphertext invalid is in [`track_record`](crate::track_record); here is
//! how it is found out:
//!
//! 1. The decryption is repeated, on another session. If it succeeds, the ciphertext is good, and the device
//!    has failed.
//! 2. A plaintext of the same length is encrypted with the same additional data under the same key (under the
//!    test key if that one may not encrypt), and decrypted. If that fails, so does the device.
//! 3. The same with another tag has to be refused, and with the same code: any other code than that for wrong
//!    tags is the device's.
//! 4. The first two in turn, until the ciphertext is confirmed as invalid.
//!
//! A device that fails makes the request `Unavailable`, so that KMS or a fleet tries again. The calls are
//! counted, and slow ones for as many as a fast module would have made meanwhile. When more bad ciphertexts
//! come than calls may be spent on or waited for, or the module is too slow for all the repetitions, it is
//! not known whose fault it is: the request fails in a way that is tried again, and the next one for this
//! ciphertext goes on from there ([`suspects`](super::suspects)).
//!
//! The limits: 10 000 module calls a second for all suspect ciphertexts, slow calls counted as many as keep
//! one session busy. Beyond that, up to half of the sessions wait for more. Otherwise, or when the deadline
//! comes first, the ciphertext may be valid: the error is `Throttled` or `Unavailable`. The last 256 suspects
//! are remembered for a minute.

use std::time::{Duration, Instant};

use cryptoki_sys as ck;
use xks_core::{
    BackendError, KeyId, Zeroizing,
    backend::{BackendErrorKind, Iv, KeyUsage},
};

use super::{Failed, Tried, failure};
use crate::{
    error::CallError,
    fingerprint::Fingerprint,
    gcm::{self, AttemptError, Sealed},
    module::Access,
    return_code::Remedy,
    session::{Session, SessionSlot},
    token::Token,
    track_record::{CALLS_PER_SECOND, Seen},
};

/// How many calls each step takes: an operation, an encryption with new random bytes for IVs, another
/// session, in which the key has to be recognized.
const OPERATION: u32 = 2;
const ENCRYPTION: u32 = 3;
const SESSION: u32 = 4;

/// A session that has shown nothing but failures for so many decryptions is replaced: it may be what fails.
const MOST_ON_A_SESSION: u32 = 64;

/// Something to decrypt.
#[derive(Clone, Copy)]
pub(super) struct Ciphertext<'a> {
    pub(super) iv: &'a Iv,
    pub(super) aad: &'a [u8],
    /// Followed by its tag.
    pub(super) both: &'a [u8],
}

/// A request whose decryption has failed, and what it may still use.
struct Series<'a> {
    token: &'a Token,
    session_slot: &'a mut SessionSlot,
    id: &'a KeyId,
    deadline: Instant,
    ciphertext: Ciphertext<'a>,
    fingerprint: Fingerprint,
    seen: Seen,
    calls: u32,
    /// The step that took longest.
    longest: Duration,
}

/// What is known to decrypt.
enum KnownAnswer {
    Own(Sealed),
    /// Under the test key.
    Test(Sealed),
    /// There is no key to encrypt with: all that can be found out is whether the token answers.
    Token,
}

/// What is done to a known answer before it is decrypted.
#[derive(Clone, Copy)]
enum Change {
    None,
    /// So that it authenticates no more.
    All,
}

type Opened = Result<Zeroizing<Vec<u8>>, Failed>;

/// Why a series ends without an answer of the module's.
enum End {
    With(BackendError),
    /// There are no more calls, or there is no more time.
    OutOfMeans,
}

impl From<BackendError> for End {
    fn from(error: BackendError) -> Self {
        Self::With(error)
    }
}

impl Token {
    /// The plaintext of a ciphertext whose decryption has failed with an ambiguous code, or what that means.
    pub(super) fn settle(
        &self,
        session_slot: &mut SessionSlot,
        id: &KeyId,
        deadline: Instant,
        ciphertext: Ciphertext<'_>,
        error: CallError,
    ) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        let (fingerprint, now) = (self.suspects.fingerprint(id, ciphertext), Instant::now());
        let mut seen = self.suspects.recall(fingerprint, error, now).unwrap_or(Seen {
            error,
            failures: 0,
            answers: 0,
        });
        seen.failures = seen.failures.saturating_add(1);
        session_slot.note_failure();
        let mut series = Series {
            token: self,
            session_slot,
            id,
            deadline,
            ciphertext,
            fingerprint,
            seen,
            calls: 0,
            longest: Duration::ZERO,
        };
        match series.run() {
            Ok(plaintext) => {
                // The ciphertext is a good one, so it was the device.
                self.note_device_error();
                self.record.give_back(series.calls);
                self.suspects.acquit(id, ciphertext);
                Ok(plaintext)
            }
            Err(End::With(error)) => Err(error),
            Err(End::OutOfMeans) => Err(series.without_more()),
        }
    }
}

impl Series<'_> {
    fn run(&mut self) -> Result<Zeroizing<Vec<u8>>, End> {
        let error = self.seen.error;
        let mut known: Option<KnownAnswer> = None;
        let mut is_session_new = false;
        loop {
            if self.token.record.condemns(&self.seen, Instant::now()) {
                self.token
                    .suspects
                    .remember(self.fingerprint, self.seen, Instant::now());
                return Err(BackendError::invalid_ciphertext().into());
            }
            if !std::mem::replace(&mut is_session_new, true) {
                // The former one may be what fails.
                self.step(SESSION, |series| {
                    series.token.discard_session(series.session_slot, &error);
                    Ok(())
                })?;
            }
            if self.seen.wants_answer() {
                let mut answer = match known.take() {
                    Some(answer) => answer,
                    None => self.step(ENCRYPTION, Self::known_answer)?,
                };
                self.step(OPERATION, |series| series.test(&mut answer))?;
                if !self.token.record.is_bad_tag(error, Instant::now()) {
                    self.step(OPERATION, |series| series.compare_bad_tag(&answer))?;
                }
                known = Some(answer);
                continue;
            }
            match self.step(OPERATION, |series| Ok(series.decrypt(series.ciphertext)))? {
                Ok(plaintext) => return Ok(plaintext),
                Err(Failed::Suspected(again)) if again == error => self.seen.failures += 1,
                Err(Failed::Suspected(other)) => return Err(self.device_failed(&other)),
                Err(Failed::With(error)) => return Err(error.into()),
            }
        }
    }

    /// Does something, if there are calls and time for it.
    fn step<T>(&mut self, calls: u32, step: impl FnOnce(&mut Self) -> Result<T, End>) -> Result<T, End> {
        let record = &self.token.record;
        let Some(latest) = self.deadline.checked_sub(self.longest) else {
            return Err(End::OutOfMeans);
        };
        if Instant::now() >= latest || !record.take(calls, latest) {
            return Err(End::OutOfMeans);
        }
        let start = Instant::now();
        let outcome = step(self);
        let took = start.elapsed();
        self.calls = self.calls.saturating_add(record.charge(calls, took));
        self.longest = self.longest.max(took);
        outcome
    }

    fn decrypt(&mut self, ciphertext: Ciphertext<'_>) -> Result<Zeroizing<Vec<u8>>, Failed> {
        self.token.open(self.session_slot, self.id, self.deadline, ciphertext)
    }

    /// Something that decrypts, in all that a module may look at like the ciphertext.
    fn known_answer(&mut self) -> Result<KnownAnswer, End> {
        let (plaintext, aad) = (self.plaintext(), self.ciphertext.aad);
        let (token, usage) = (self.token, Some(KeyUsage::Encrypt));
        let sealed = token.with_key(
            self.session_slot,
            self.id,
            self.deadline,
            usage,
            |access, session, key| token.ivs.seal(access, session, key.handle, aad, &plaintext),
        );
        match sealed {
            Ok(sealed) => Ok(KnownAnswer::Own(sealed)),
            Err(Failed::With(error)) if error.kind() == BackendErrorKind::KeyUsage => self.answer_of_test_key(),
            Err(Failed::With(error)) => Err(error.into()),
            Err(Failed::Suspected(error)) => Err(self.device_failed(&error)),
        }
    }

    fn answer_of_test_key(&mut self) -> Result<KnownAnswer, End> {
        let (plaintext, aad) = (self.plaintext(), self.ciphertext.aad);
        let token = self.token;
        let sealed =
            self.with_test_key(|access, session, key| token.ivs.seal(access, session, key, aad, &plaintext))?;
        Ok(match sealed {
            Some(Ok(sealed)) => KnownAnswer::Test(sealed),
            Some(Err(error)) => return Err(self.device_failed(&error)),
            None => KnownAnswer::Token,
        })
    }

    /// Does something with the test key; none if there is no such key. A session or a login that is gone is
    /// had again.
    fn with_test_key<T>(
        &mut self,
        mut work: impl FnMut(&Access<'_>, &mut Session, ck::CK_OBJECT_HANDLE) -> Result<T, AttemptError>,
    ) -> Result<Option<Result<T, CallError>>, End> {
        let mut tried = Tried::default();
        loop {
            let attempt = {
                let (connection, access) = self.token.enter()?;
                let Some(key) = connection.test_key else {
                    return Ok(None);
                };
                self.token
                    .session(self.session_slot, &access, &connection)
                    .and_then(|session| work(&access, session, key))
            };
            let error = match attempt {
                Ok(done) => return Ok(Some(Ok(done))),
                Err(error) => self.token.failed_call(error)?,
            };
            match self.token.config.quirks.remedy(&error) {
                Remedy::SearchAgain => {
                    // The test key went with the session that it was made in, and the supervisor does not
                    // know it yet.
                    self.token.notifier.notify();
                    return Ok(None);
                }
                remedy @ (Remedy::NewSession | Remedy::LogInAgain)
                    if self
                        .token
                        .recover(self.session_slot, None, &error, remedy, &mut tried)? => {}
                remedy @ Remedy::Fail(_) => return Err(failure(remedy, &error).into()),
                _ => return Ok(Some(Err(error))),
            }
        }
    }

    /// A known answer has to come back.
    fn test(&mut self, answer: &mut KnownAnswer) -> Result<(), End> {
        let is_right = match self.open(answer, Change::None)? {
            Some(Ok(opened)) => *opened == self.plaintext(),
            Some(Err(Failed::Suspected(error))) => return Err(self.device_failed(&error)),
            Some(Err(Failed::With(error))) if error.kind() == BackendErrorKind::InvalidCiphertext => false,
            Some(Err(Failed::With(error))) => return Err(error.into()),
            None => {
                *answer = KnownAnswer::Token;
                let (connection, access) = self.token.enter()?;
                if let Err(error) = access.token_info(connection.slot) {
                    return Err(self.device_failed(&error));
                }
                true
            }
        };
        if !is_right {
            self.token.note_device_error();
            let detail = "known-answer test: the decrypted text differs from the encrypted one";
            return Err(BackendError::new(BackendErrorKind::Unavailable, detail).into());
        }
        self.seen.answers += 1;
        Ok(())
    }

    /// A known answer that was changed has to be refused, and as the ciphertext was.
    fn compare_bad_tag(&mut self, answer: &KnownAnswer) -> Result<(), End> {
        match self.open(answer, Change::All)? {
            Some(Err(Failed::Suspected(error))) => {
                self.token.record.note_bad_tag(error, Instant::now());
                if error == self.seen.error {
                    return Ok(());
                }
            }
            Some(Err(Failed::With(error))) if error.kind() == BackendErrorKind::InvalidCiphertext => {}
            Some(Err(Failed::With(error))) => return Err(error.into()),
            Some(Ok(_)) => {
                tracing::error!(
                    token = self.token.name(),
                    "the module decrypts a changed ciphertext: it does not authenticate; do not use this module"
                );
                let detail = "the module decrypts a changed ciphertext";
                return Err(BackendError::new(BackendErrorKind::Other, detail).into());
            }
            None => return Ok(()),
        }
        let error = self.seen.error;
        Err(self.device_failed(&error))
    }

    /// Decrypts a known answer, as it is or changed; none if there is no key for it.
    fn open(&mut self, answer: &KnownAnswer, change: Change) -> Result<Option<Opened>, End> {
        let (KnownAnswer::Own(sealed) | KnownAnswer::Test(sealed)) = answer else {
            return Ok(None);
        };
        let mut both = gcm::with_tag(&sealed.ciphertext, &sealed.tag);
        let iv = match change {
            Change::None => &sealed.iv,
            Change::All => {
                both.iter_mut().for_each(|byte| *byte ^= 0x55);
                self.ciphertext.iv
            }
        };
        let known = Ciphertext {
            iv,
            both: &both,
            ..self.ciphertext
        };
        if matches!(answer, KnownAnswer::Own(_)) {
            return Ok(Some(self.decrypt(known)));
        }
        let Ciphertext { iv, aad, both } = known;
        let opened = self.with_test_key(|access, session, key| gcm::open(access, session.handle, key, iv, aad, both));
        Ok(match opened {
            Ok(opened) => opened.map(|opened| opened.map_err(Failed::Suspected)),
            Err(End::With(error)) => Some(Err(error.into())),
            Err(end) => return Err(end),
        })
    }

    /// As long as what the ciphertext may have been made from.
    fn plaintext(&self) -> Vec<u8> {
        vec![0x5a; self.ciphertext.both.len().saturating_sub(gcm::TAG)]
    }

    fn device_failed(&self, error: &CallError) -> End {
        self.token.note_device_failure(error);
        failure(Remedy::DeviceError, error).into()
    }

    /// Why it is not known whose fault it is.
    fn without_more(&mut self) -> BackendError {
        let (record, now, error) = (&self.token.record, Instant::now(), self.seen.error);
        self.token.suspects.remember(self.fingerprint, self.seen, now);
        if self.session_slot.failures() >= MOST_ON_A_SESSION {
            self.token.discard_session(self.session_slot, &error);
        }
        let (kind, detail) = if record.is_suspected(now) {
            let detail = "the device fails: an invalid ciphertext cannot be told from a valid one".to_owned();
            (BackendErrorKind::Unavailable, detail)
        } else if now + self.longest >= self.deadline {
            let detail = "the module is too slow: the deadline leaves no time to tell an invalid ciphertext from a \
                          failing device"
                .to_owned();
            (BackendErrorKind::Unavailable, detail)
        } else {
            let detail = format!(
                "too many decryptions fail: checking them would take more than {CALLS_PER_SECOND} calls a second"
            );
            (BackendErrorKind::Throttled, detail)
        };
        BackendError::new(kind, detail).with_source(error)
    }
}
