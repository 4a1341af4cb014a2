//! AES-GCM on a session: where the IV comes from, and where it and the tag are in what the module returns.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CKR_RANDOM_NO_RNG};
use xks_core::{
    BackendError, Zeroizing,
    backend::{BackendErrorKind, Iv, Tag},
};

use crate::{
    error::CallError,
    quirks::IvSource,
    raw::{Cryptoki, Gcm},
    session::Session,
};

/// The length of a tag, in bytes.
pub(crate) const TAG: usize = 16;
/// The length of an IV that is ours to choose, in bytes.
const IV: usize = 12;
/// How many IVs are fetched from the token at once, so that an HSM at the end of a network is asked once in a
/// while.
const STOCK: usize = 32;

/// What a request comes to when it does not succeed.
pub(crate) enum AttemptError {
    /// The module said no; what that means is the table's to say.
    Call(CallError),
    /// The module's IVs cannot be relied on: what was returned must not be used, and nothing more be
    /// encrypted. Specification: Encrypt.
    // ENC-6
    IvFault(&'static str),
    /// The answer is clear.
    Final(BackendError),
}

impl From<CallError> for AttemptError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<BackendError> for AttemptError {
    fn from(error: BackendError) -> Self {
        Self::Final(error)
    }
}

/// What an encryption makes.
pub(crate) struct Sealed {
    pub(crate) ciphertext: Vec<u8>,
    pub(crate) iv: Iv,
    pub(crate) tag: Tag,
}

/// Where a token's IVs come from, and what is watched of them.
pub(crate) struct Ivs {
    source: IvSource,
    /// How many IVs are remembered.
    memory: usize,
    watched: Mutex<Watched>,
    /// The token gives no random bytes, which was logged.
    has_no_random: AtomicBool,
}

/// What must not come again, on whichever session.
#[derive(Default)]
struct Watched {
    /// The IVs of the last encryptions.
    recent: VecDeque<Iv>,
    /// The first bytes that the token's random source last gave.
    random: Option<[u8; IV]>,
}

impl Ivs {
    /// For so many sessions: encryptions that began before the source broke may still end after it did.
    pub(crate) fn new(source: IvSource, sessions: usize) -> Self {
        Self {
            source,
            memory: sessions.saturating_mul(2).clamp(32, 256),
            watched: Mutex::default(),
            has_no_random: AtomicBool::new(false),
        }
    }

    /// Encrypts, with an IV that was never used before.
    // ENC-6
    pub(crate) fn seal(
        &self,
        cryptoki: &Cryptoki,
        session: &mut Session,
        key: CK_OBJECT_HANDLE,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Sealed, AttemptError> {
        let mut iv = [0; IV];
        let given = match self.source {
            IvSource::TokenRandom => {
                iv = self.random(cryptoki, session)?;
                &mut iv[..]
            }
            IvSource::SystemRandom => {
                of_the_system(&mut iv)?;
                &mut iv
            }
            IvSource::WrittenBack => &mut iv,
            IvSource::Appended(_) => &mut [],
        };
        let gcm = Gcm {
            iv: given,
            iv_bits: self.source.bits(),
            aad,
        };
        let mut output = cryptoki.gcm_encrypt(session.handle, key, gcm, plaintext)?;

        if output.len() != plaintext.len() + TAG + self.source.appended() {
            return Err(unusable(
                "the output of an encryption has the wrong length: check that `quirks` names the token's vendor",
            ));
        }
        let appended = output.split_off(plaintext.len() + TAG);
        // The buffer also where the IV was ours: a module that makes its own all the same writes it there.
        let made = if appended.is_empty() { &iv[..] } else { &appended };
        let iv = self.accept(made)?;
        let tag = output.get(plaintext.len()..).unwrap_or_default();
        let tag = Tag::try_from(tag).map_err(|_| unusable("the tag of an encryption has the wrong length"))?;
        output.truncate(plaintext.len());
        Ok(Sealed {
            ciphertext: output,
            iv,
            tag,
        })
    }

    /// An IV from the token's random source. A source that repeats itself is noticed before its bytes are
    /// used.
    fn random(&self, cryptoki: &Cryptoki, session: &mut Session) -> Result<[u8; IV], AttemptError> {
        if session.random.is_empty() {
            let mut fresh = vec![0; IV * STOCK];
            self.fill(cryptoki, session.handle, &mut fresh)?;
            let (ivs, _) = fresh.as_chunks::<IV>();
            let first = ivs.first().copied();
            let repeats = ivs.iter().zip(ivs.iter().skip(1)).any(|(iv, next)| iv == next);
            if repeats || std::mem::replace(&mut self.watched().random, first) == first {
                return Err(AttemptError::IvFault(
                    "the token's random number generator repeats itself",
                ));
            }
            session.random = fresh;
        }
        let Some((_, next)) = session.random.split_last_chunk::<IV>() else {
            return Err(unusable("C_GenerateRandom returned too few bytes"));
        };
        let next = *next;
        session.random.truncate(session.random.len() - IV);
        Ok(next)
    }

    /// Random bytes of the token; those of the system where the token has none to give.
    pub(crate) fn fill(
        &self,
        cryptoki: &Cryptoki,
        session: CK_SESSION_HANDLE,
        bytes: &mut [u8],
    ) -> Result<(), AttemptError> {
        match cryptoki.random(session, bytes) {
            Err(error) if error.says_not_supported() || error.code().0 == CKR_RANDOM_NO_RNG => {
                if !self.has_no_random.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "the token has no random number generator: using the operating system's \
                         for IVs");
                }
                of_the_system(bytes)
            }
            outcome => Ok(outcome?),
        }
    }

    /// An IV that is all zeros was never made by anybody, and one of the last ones again is a repetition.
    fn accept(&self, iv: &[u8]) -> Result<Iv, AttemptError> {
        if iv.iter().all(|byte| *byte == 0) {
            return Err(AttemptError::IvFault(
                "the module returned an IV of zeros: it does not generate IVs as `quirks` says",
            ));
        }
        let iv = Iv::try_from(iv).map_err(|_| unusable("the module returned an IV of the wrong length"))?;
        let mut watched = self.watched();
        if watched.recent.contains(&iv) {
            return Err(AttemptError::IvFault(
                "an encryption had the same IV as a recent one: the source of IVs is broken",
            ));
        }
        if watched.recent.len() >= self.memory {
            watched.recent.pop_front();
        }
        watched.recent.push_back(iv);
        Ok(iv)
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        // Two values, each of them whole.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Decrypts a ciphertext that is followed by its tag.
pub(crate) fn open(
    cryptoki: &Cryptoki,
    session: CK_SESSION_HANDLE,
    key: CK_OBJECT_HANDLE,
    iv: &Iv,
    aad: &[u8],
    ciphertext_and_tag: &[u8],
) -> Result<Zeroizing<Vec<u8>>, AttemptError> {
    let mut buffer = [0; 16];
    let length = iv.as_bytes().len();
    let given = buffer.get_mut(..length).unwrap_or_default();
    given.copy_from_slice(iv.as_bytes());
    let gcm = Gcm {
        iv: given,
        iv_bits: length * 8,
        aad,
    };
    let plaintext = cryptoki.gcm_decrypt(session, key, gcm, ciphertext_and_tag)?;
    if plaintext.len() + TAG != ciphertext_and_tag.len() {
        return Err(unusable("the output of a decryption has the wrong length"));
    }
    Ok(plaintext)
}

fn of_the_system(bytes: &mut [u8]) -> Result<(), AttemptError> {
    getrandom::fill(bytes).map_err(|_| {
        let detail = "the operating system's random number generator failed";
        AttemptError::Final(BackendError::new(BackendErrorKind::Unavailable, detail))
    })
}

fn unusable(detail: &'static str) -> AttemptError {
    AttemptError::Final(BackendError::new(BackendErrorKind::Other, detail))
}

/// A ciphertext followed by its tag, as modules take it.
pub(crate) fn with_tag(ciphertext: &[u8], tag: &Tag) -> Vec<u8> {
    [ciphertext, tag.as_bytes()].concat()
}
