//! How a token is found, logged in to and tested: at the start, and whenever it has failed.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use cryptoki_sys as ck;
use xks_core::{BackendError, Zeroizing, backend::BackendErrorKind};

use super::{Supervisor, machine::Connected, test_key::NoTestKey};
use crate::{
    error::{CallError, OpenError},
    gcm::{self, AttemptError},
    health::{Checkup, Depth},
    identity::find_token,
    keys::On,
    module::Access,
    quirks::{IvSource, SessionMode},
    return_code::{Phase, Remedy},
    session::SessionSlot,
    token::{Connection, Token},
    token_info::TokenInfo,
};

/// The additional authenticated data and the plaintext of a test.
const TEST_AAD: &[u8] = b"xks-backend-pkcs11 test";
const TEST_PLAINTEXT: &[u8] = b"not a secret, 32 bytes of length";

/// How often a test's ciphertext is decrypted until it counts as one that cannot be.
const MOST_DECRYPTIONS: u32 = 8;

impl Supervisor {
    /// Finds the token, logs in and tests it; requests are served from then on. An operation may fail in the
    /// test if `is_partial`.
    pub(super) fn connect(&mut self, is_partial: bool) -> Result<Connected, OpenError> {
        let token = Arc::clone(&self.token);
        let initialized = token.module.ensure_initialized();
        initialized.map_err(|source| OpenError::Initialize {
            module: token.config.module.path().to_owned(),
            source,
        })?;
        let access = token.module.enter().ok_or(OpenError::NotInitialized)?;
        self.generation = access.generation();
        let _supervised = token.supervision.begin();
        token.module.close_the_unclosed(&access);
        let (slot, info) = find_token(&access, &token.config.slot, token.known_identity().as_ref())?;
        let read_write = match token.config.quirks.session_mode() {
            SessionMode::Automatic => !info.is_write_protected(),
            SessionMode::ReadWrite => true,
            SessionMode::ReadOnly => false,
        };
        if let Err(error) = access.mechanism_info(slot, ck::CKM_AES_GCM)
            && error.code().0 == ck::CKR_MECHANISM_INVALID
        {
            return Err(OpenError::NoAesGcm {
                is_behind_p11_kit: is_behind_p11_kit(token.config.module.path(), &access, &info),
                token: info.label,
            });
        }

        token.check_pin(&info)?;
        let is_first_time = token.info().is_none();
        if is_first_time && info.wants_login() && token.config.pin.login().is_none() && token.config.is_pin_said {
            tracing::warn!(
                token = info.label,
                "the token requires a login (CKF_LOGIN_REQUIRED), and no PIN is configured: private keys are not \
                 visible"
            );
        }

        // The new keep-alive session is there before the old one goes, so that the login outlives it.
        let mut keep_alive = SessionSlot::new(Arc::clone(&token.module));
        if keep_alive
            .session(&access, slot, read_write)
            .is_err_and(|error| error.says_no_more_sessions())
        {
            self.retire(&access);
        }
        let session = keep_alive.session(&access, slot, read_write)?.handle;
        token.log_in(&access, session, &info)?;
        // Some modules keep a slot's login to themselves until a session asks.
        let is_logged_in = token.is_logged_in(&access, session)?;
        token.supervision.note_return();
        if info.wants_login() && !is_logged_in && !token.config.is_pin_said {
            return Err(OpenError::LoginRequired { token: info.label });
        }
        self.retire(&access);
        if is_first_time {
            self.gives_few_sessions = gives_only_two(&access, slot, read_write)?;
        }
        if self.gives_few_sessions {
            self.health_session = keep_alive;
        } else {
            self.keep_alive = keep_alive;
            self.health_session.session(&access, slot, read_write)?;
        }
        if is_first_time {
            self.insist_on_named_key(&access)?;
        }
        let (tested, connected) = match self.test_with_any_key(&access, slot, is_logged_in) {
            Err(AttemptError::Call(error)) if is_partial && self.is_of_an_operation(&error) => {
                (Ok(Checkup::failed(&error)), Connected::Partly)
            }
            tested => (tested, Connected::Fully),
        };
        let checkup = tested.map_err(|error| match error {
            AttemptError::Call(error) => explain(error),
            AttemptError::IvFault(fault) => {
                token.note_iv_fault(fault);
                OpenError::SelfTest {
                    problem: fault.to_owned(),
                }
            }
            AttemptError::Final(error) => OpenError::SelfTest {
                problem: error.to_string(),
            },
        })?;
        token.note_checkup(checkup);
        let connection = Connection {
            generation: access.generation(),
            slot,
            read_write,
            wants_login: info.wants_login() && token.config.pin.login().is_some(),
            test_key: self.test_key.as_ref().map(|key| key.handle),
        };
        token.supervision.note_return();
        self.preload_keys(&access);
        token.connected(connection, info);
        Ok(connected)
    }

    /// Closes the sessions, but not such as the module has closed itself.
    fn retire(&mut self, access: &Access<'_>) {
        self.destroy_test_key(access);
        self.no_test_key = None;
        for session_slot in [&mut self.keep_alive, &mut self.health_session] {
            if let Some(session) = session_slot.opened(access)
                && access
                    .is_logged_in(session.handle)
                    .is_err_and(|error| error.says_session_is_gone())
            {
                session_slot.forget();
            }
            session_slot.close(access);
        }
    }

    /// The known-answer test: two encryptions and a decryption of each. It shows that IVs are made, that they
    /// differ, and that what comes back is what went in. Without a key, it asks what else a request
    /// needs of the token.
    // ENC-6
    pub(super) fn test(&mut self, access: &Access<'_>, slot: ck::CK_SLOT_ID) -> Result<Checkup, AttemptError> {
        let token = Arc::clone(&self.token);
        token.outcomes.begin_test();
        let (mut encryption, mut decryption, mut latency) = (Duration::MAX, Duration::MAX, Duration::ZERO);
        let depth = if let (Some(key), Some(session)) = (&self.test_key, self.health_session.opened(access)) {
            for _ in 0..2 {
                let start = Instant::now();
                let sealed = token.ivs.seal(access, session, key.handle, TEST_AAD, TEST_PLAINTEXT)?;
                let sealed_at = Instant::now();
                token.supervision.note_return();
                let both = gcm::with_tag(&sealed.ciphertext, &sealed.tag);
                let open = || gcm::open(access, session.handle, key.handle, &sealed.iv, TEST_AAD, &both);
                let opened = open().map_err(|error| token.why_not_decrypted(error, open))?;
                let (sealing, opening) = (sealed_at - start, sealed_at.elapsed());
                token.supervision.note_return();
                (encryption, decryption) = (encryption.min(sealing), decryption.min(opening));
                latency = latency.max(sealing).max(opening);
                if *opened != TEST_PLAINTEXT {
                    return Err(AttemptError::Final(BackendError::new(
                        BackendErrorKind::Other,
                        "known-answer test: the decrypted text differs from the encrypted one",
                    )));
                }
            }
            Depth::Full
        } else {
            let start = Instant::now();
            access.token_info(slot)?;
            latency = start.elapsed();
            if let Some(session) = self.health_session.handle_in(access) {
                token.is_logged_in(access, session)?;
                if token.config.quirks.iv_source() == IvSource::TokenRandom {
                    token.ivs.fill(access, session, &mut [0; 12])?;
                }
            }
            // Nothing is known of these.
            (encryption, decryption) = (Duration::ZERO, Duration::ZERO);
            self.no_test_key.as_ref().map_or(Depth::WithoutKey, NoTestKey::depth)
        };
        self.test_what_requests_ask(access)?;
        Ok(Checkup {
            at: Instant::now(),
            latency,
            encryption,
            decryption,
            depth,
        })
    }

    // HLT-1: whether the module finds keys and tells what they are. It is asked when requests are refused for
    // reasons that may be a key's own, or the module's for all keys.
    fn test_what_requests_ask(&self, access: &Access<'_>) -> Result<(), CallError> {
        let token = &self.token;
        let Some(session) = self
            .health_session
            .handle_in(access)
            .filter(|_| token.outcomes.are_some_refused())
        else {
            return Ok(());
        };
        let on = On {
            cryptoki: access,
            session,
            login_epoch: token.login_epoch(),
        };
        match token.keys.are_told(on) {
            Err(error) if token.config.quirks.is_refused(&error) => Err(error),
            // What else may fail is for requests to find out, which try again.
            _ => Ok(()),
        }
    }
}

impl Token {
    /// Why a ciphertext that the token has just made did not decrypt. Decryption may fail now and then, and
    /// requests go on. But if that ciphertext never decrypts, encryption may have computed wrongly, and all
    /// that is encrypted for requests would be lost.
    fn why_not_decrypted(
        &self,
        error: AttemptError,
        again: impl Fn() -> Result<Zeroizing<Vec<u8>>, AttemptError>,
    ) -> AttemptError {
        let first = match error {
            AttemptError::Call(call) if self.may_be_a_wrong_tag(&call) => call,
            other => return other,
        };
        for _ in 1..MOST_DECRYPTIONS {
            match again() {
                Ok(opened) if *opened == TEST_PLAINTEXT => return first.into(),
                Err(AttemptError::Call(call)) if !self.may_be_a_wrong_tag(&call) => return call.into(),
                Err(AttemptError::Call(_)) | Ok(_) => {}
                Err(other) => return other,
            }
        }
        let detail = "known-answer test: the token does not decrypt what it has encrypted";
        BackendError::new(BackendErrorKind::Other, detail)
            .with_source(first)
            .into()
    }

    fn may_be_a_wrong_tag(&self, call: &CallError) -> bool {
        let invalid = Remedy::Fail(BackendErrorKind::InvalidCiphertext);
        let remedy = self.config.quirks.remedy(call);
        call.phase() == Phase::Decrypt && (remedy == Remedy::Ambiguous || remedy == invalid)
    }
}

/// Whether a token of which one session is open gives one more, and not two: that one is for requests.
fn gives_only_two(access: &Access<'_>, slot: ck::CK_SLOT_ID, read_write: bool) -> Result<bool, OpenError> {
    let no_more = |error: &CallError| error.says_no_more_sessions();
    let second = match access.open_session(slot, read_write) {
        Err(error) if no_more(&error) => return Err(OpenError::FewSessions),
        second => second?,
    };
    let third = access.open_session(slot, read_write);
    access.close_session(second)?;
    match third {
        Ok(third) => access.close_session(third)?,
        Err(error) if no_more(&error) => return Ok(true),
        Err(error) => return Err(error.into()),
    }
    Ok(false)
}

/// Whether p11-kit stands in front of the token's own module.
fn is_behind_p11_kit(module: &Path, access: &Access<'_>, info: &TokenInfo) -> bool {
    let (manufacturer, description) = access.library().unwrap_or_default();
    let path = module.to_string_lossy();
    [&*path, &manufacturer, &description, &info.manufacturer]
        .into_iter()
        .map(str::to_lowercase)
        .any(|text| text.contains("p11-kit") || text.contains("pkcs#11 kit"))
}

/// A self-test in which a call fails because the quirks are wrong says so.
fn explain(error: CallError) -> OpenError {
    if matches!(
        error.code().0,
        ck::CKR_MECHANISM_PARAM_INVALID | ck::CKR_MECHANISM_INVALID
    ) {
        return OpenError::SelfTest {
            problem: format!(
                "{error}: the module rejects the AES-GCM parameters; check that `quirks` names the token's vendor"
            ),
        };
    }
    OpenError::TestCall(error)
}
