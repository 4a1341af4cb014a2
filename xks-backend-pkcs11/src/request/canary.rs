//! Whether a decryption has failed because of its ciphertext or because of the module, where the module's code does not
//! tell: a canary is encrypted and decrypted, and lives or does not.

use cryptoki_sys as ck;
use xks_core::{BackendError, BackendErrorKind, KeyId, KeyUsage};

use super::{Tried, failure};
use crate::{
    error::CallError,
    gcm::{self, Setback},
    keys::Holding,
    return_code::Verdict,
    session::Place,
    token::Token,
};

/// A trouble that has just passed leaves no trace for the canary. What fails so often, each time with a token that is well
/// right after, and while nobody else has met with a trouble, is the ciphertext.
const PROOFS: u32 = 3;

/// What is encrypted, and its additional authenticated data.
const CANARY: &[u8] = b"xks canary";

impl Token {
    /// Settles what a failure of a decryption means that may be the ciphertext's or the module's; as `mend`.
    pub(super) fn settle(
        &self,
        place: &mut Place,
        id: &KeyId,
        key: Option<&Holding>,
        error: &CallError,
        tried: &mut Tried,
    ) -> Result<bool, BackendError> {
        let canary = match self.ask_canary(place, key) {
            Ok(true) => {
                tried.ambiguous += 1;
                return if tried.ambiguous < PROOFS {
                    Ok(true)
                } else if self.troubles() == tried.troubles {
                    Err(BackendError::invalid_ciphertext())
                } else {
                    Err(failure(Verdict::Unwell, error))
                };
            }
            Ok(false) => return Err(failure(Verdict::Unwell, error)),
            Err(setback) => self.failed_call(setback)?,
        };
        match self.config.quirks.verdict(&canary) {
            // What the request had is gone since, and has to be had again, for either of them.
            verdict @ (Verdict::NewSession | Verdict::LogInAgain | Verdict::SearchAgain)
                if canary.code().0 != ck::CKR_GENERAL_ERROR =>
            {
                let is_mended = self.mend(place, id, key, &canary, verdict, tried)?;
                if is_mended {
                    Ok(true)
                } else {
                    Err(failure(verdict, &canary))
                }
            }
            verdict => {
                if !canary.leaves_session_usable() {
                    self.discard_session(place, &canary);
                }
                if verdict == Verdict::Fail(BackendErrorKind::Throttled) {
                    return Err(failure(verdict, &canary));
                }
                self.note_unwell(&canary);
                Err(failure(Verdict::Unwell, &canary))
            }
        }
    }

    /// Whether a decryption has failed because of its ciphertext or because of the module: right after, something is
    /// encrypted and decrypted with the same key, or with the test key where that one may not. If that goes well, it
    /// was the ciphertext.
    fn ask_canary(&self, place: &mut Place, key: Option<&Holding>) -> Result<bool, Setback> {
        let (connection, access) = self.enter()?;
        let own = key
            .filter(|key| key.key.permits(KeyUsage::Encrypt))
            .map(|key| key.handle);
        let mut sing = |key| {
            let session = self.session(place, &access, &connection)?;
            let Some(key) = key else {
                // All that can be done without a key: whether the token answers.
                access.token_info(connection.slot)?;
                return Ok(true);
            };
            let sealed = self.ivs.seal(&access, session, key, CANARY, CANARY)?;
            let both = gcm::with_tag(&sealed.ciphertext, &sealed.tag);
            let opened = gcm::open(&access, session.handle, key, &sealed.iv, CANARY, &both)?;
            Ok(*opened == CANARY)
        };
        let has = |sung: &Result<bool, Setback>, verdict| matches!(sung, Err(Setback::Call(canary)) if self.config.quirks.verdict(canary) == verdict);
        let mut is_own = own.is_some();
        let mut sung = sing(own.or(connection.test_key));
        if is_own && has(&sung, Verdict::Fail(BackendErrorKind::KeyUsage)) {
            // The key may not encrypt any more, which was not known yet.
            is_own = false;
            sung = sing(connection.test_key);
        }
        if !is_own && has(&sung, Verdict::SearchAgain) {
            // The test key went with the session that it was made in, and the attendant does not know it yet.
            self.bell.ring();
            sung = sing(None);
        }
        sung
    }
}
