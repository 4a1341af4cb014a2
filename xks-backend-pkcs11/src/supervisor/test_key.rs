//! The key that a token is tested with: where it comes from, what is done without one, and that none
//! is left behind.
//!
//! It decides nothing but what is known of the token: keys are served also where the token makes no session
//! key, or no longer has the one that was named.

use cryptoki_sys as ck;
use xks_core::{
    BackendError,
    backend::{BackendErrorKind, KeyUsage},
};

use super::{Supervisor, owner::Owner};
use crate::{
    attribute::{Attribute, Wanted},
    config::{KeyName, TestKey},
    error::{CallError, OpenError},
    gcm::AttemptError,
    health::{Checkup, Depth},
    keys::On,
    module::Access,
    return_code::Remedy,
};

/// The label of the keys that are made here. No external key id has a blank.
const LABEL: &[u8] = b"xks-backend-pkcs11 test key";

/// How many keys with that label are looked at. There are several where processes have crashed.
const MOST_LEFT: usize = 64;

/// The key in use.
pub(super) struct KeyInUse {
    pub(super) handle: ck::CK_OBJECT_HANDLE,
    /// The initialization of the module that the handle is of.
    generation: u64,
    /// It was made by this backend, which destroys it.
    is_own: bool,
}

/// Why there is no key to test with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoTestKey {
    /// None is configured.
    Configured,
    /// The token makes none, or does not encrypt with what it makes.
    Refused(CallError),
    /// The one that is configured is missing, or not fit to be one.
    Unfit(String),
}

impl NoTestKey {
    /// What a test without a key is worth.
    pub(super) fn depth(&self) -> Depth {
        match self {
            Self::Configured => Depth::NoKey("no test key is configured".to_owned()),
            Self::Refused(_) => Depth::WithoutKey,
            Self::Unfit(problem) => Depth::NoKey(format!("test key unusable: {problem}")),
        }
    }
}

impl Supervisor {
    /// Tests the token, with another key where the present one is no good, and without one where there is
    /// none.
    pub(super) fn test_with_any_key(
        &mut self,
        access: &Access<'_>,
        slot: ck::CK_SLOT_ID,
        is_logged_in: bool,
    ) -> Result<Checkup, AttemptError> {
        let mut refusal = None;
        if self.test_key.is_some() {
            match self.test(access, slot) {
                Err(AttemptError::Call(error)) if blames_the_key(&error) => refusal = Some(self.give_up(access, error)),
                outcome => return outcome,
            }
        } else if let Some(NoTestKey::Refused(error)) = &self.no_test_key
            && !self.may_pass(error)
        {
            return self.test(access, slot);
        }
        let none = match self.token.config.test_key.clone() {
            TestKey::None => NoTestKey::Configured,
            TestKey::Named(name) => match self.named_key(access, &name)? {
                Ok(handle) => {
                    self.use_key(access, handle, false);
                    match self.test(access, slot) {
                        Err(AttemptError::Call(error)) if blames_the_key(&error) => {
                            self.give_up(access, error);
                            NoTestKey::Unfit(format!("the token rejects the key with {name} ({error})"))
                        }
                        outcome => return outcome,
                    }
                }
                Err(problem) => NoTestKey::Unfit(problem),
            },
            TestKey::Session => {
                for find in [Self::key_left, Self::key_made] {
                    match find(self, access, is_logged_in) {
                        Ok(Some((handle, is_own))) => self.use_key(access, handle, is_own),
                        Ok(None) => continue,
                        Err(error) => {
                            refusal.get_or_insert(error);
                            continue;
                        }
                    }
                    match self.test(access, slot) {
                        Err(AttemptError::Call(error)) if blames_the_key(&error) => {
                            refusal = Some(self.give_up(access, error));
                        }
                        outcome => return outcome,
                    }
                }
                // There is a session, so that something was refused.
                NoTestKey::Refused(refusal.ok_or_else(|| BackendError::from(BackendErrorKind::Unavailable))?)
            }
        };
        self.go_without(none);
        self.test(access, slot)
    }

    /// The key that is configured by its name, or why it is none to test with.
    pub(super) fn named_key(
        &self,
        access: &Access<'_>,
        name: &KeyName,
    ) -> Result<Result<ck::CK_OBJECT_HANDLE, String>, CallError> {
        let Some(session) = self.health_session.handle_in(access) else {
            return Ok(Err("no session to search for it".to_owned()));
        };
        let on = On {
            cryptoki: access,
            session,
            login_epoch: self.token.login_epoch(),
        };
        Ok(match self.token.keys.search(on, name)? {
            Ok(key) if key.is_aes_256() && key.permits(KeyUsage::Encrypt) && key.permits(KeyUsage::Decrypt) => {
                Ok(key.handle)
            }
            Ok(_) => Err(format!(
                "the key with {name} is not an AES-256 key with CKA_ENCRYPT and CKA_DECRYPT"
            )),
            Err(miss) => Err(miss.error(name).to_string()),
        })
    }

    /// A key that was left on the token: by this backend, before the module was reinitialized; or by a
    /// process of which nothing is known, and which may use it still. Those of processes that have ended are
    /// destroyed.
    fn key_left(
        &mut self,
        access: &Access<'_>,
        _is_logged_in: bool,
    ) -> Result<Option<(ck::CK_OBJECT_HANDLE, bool)>, CallError> {
        let Some(session) = self.health_session.handle_in(access).filter(|_| self.may_keep_objects) else {
            return Ok(None);
        };
        let template = [
            Attribute::Number(ck::CKA_CLASS, ck::CKO_SECRET_KEY),
            Attribute::Bytes(ck::CKA_LABEL, LABEL),
        ];
        let mut chosen = None;
        for handle in access.find(session, &template, MOST_LEFT)? {
            let id = access.attribute(session, handle, Wanted::Bytes(ck::CKA_ID))?;
            let Some(owner) = id.bytes().and_then(Owner::of_id) else {
                continue; // another owner's, whatever its label
            };
            let is_own = owner == self.owner;
            if is_own && !matches!(chosen, Some((_, true))) {
                chosen = Some((handle, true));
            } else if is_own || owner.has_ended() == Some(true) {
                destroy(access, session, handle);
            } else if chosen.is_none()
                && !owner.is_this_process()
                && owner.has_ended().is_none()
                && may_stay(access, session, handle)
            {
                chosen = Some((handle, false));
            }
        }
        Ok(chosen)
    }

    /// A key that is made for the purpose.
    fn key_made(
        &mut self,
        access: &Access<'_>,
        is_logged_in: bool,
    ) -> Result<Option<(ck::CK_OBJECT_HANDLE, bool)>, CallError> {
        let Some(session) = self.health_session.handle_in(access) else {
            return Ok(None);
        };
        let id = self.owner.to_id();
        let names = [
            Attribute::Bytes(ck::CKA_LABEL, LABEL),
            Attribute::Bytes(ck::CKA_ID, &id),
        ];
        // Private objects take a login; with one, some tokens want nothing else, and nShield's module slot,
        // on which a login may be feigned, has none.
        let both = |names| {
            make(access, session, names, is_logged_in)
                .or_else(|error| make(access, session, names, !is_logged_in).map_err(|_| error))
        };
        let handle = match both(&names) {
            Err(error) if is_of_the_template(&error) => both(&[])?,
            made => made?,
        };
        // What lives in the session goes with it, and need not be looked for at the next connection.
        self.may_keep_objects = may_stay(access, session, handle);
        Ok(Some((handle, true)))
    }

    fn use_key(&mut self, access: &Access<'_>, handle: ck::CK_OBJECT_HANDLE, is_own: bool) {
        self.no_test_key = None;
        self.test_key = Some(KeyInUse {
            handle,
            generation: access.generation(),
            is_own,
        });
    }

    /// Tests the token without a key from now on, and logs each new reason once.
    fn go_without(&mut self, none: NoTestKey) {
        let token = self.token.name();
        let is_new = self.reported_no_test_key.as_ref() != Some(&none);
        match &none {
            NoTestKey::Refused(error) if is_new => tracing::warn!(
                token,
                cause = %error,
                "the token does not generate session keys, so there is no known-answer test; health follows the \
                 token's other answers and the requests. To test encryption before the first request, create an \
                 AES-256 key for tests only and name it in `test_key`"
            ),
            NoTestKey::Unfit(problem) if is_new => tracing::warn!(
                token,
                problem,
                "the test key is no longer usable: requests are served, and health is at most DEGRADED; correct \
                 `test_key` or the key"
            ),
            _ => {}
        }
        self.reported_no_test_key = Some(none.clone());
        self.no_test_key = Some(none);
    }

    /// Whether a key may be made a moment later.
    fn may_pass(&self, error: &CallError) -> bool {
        matches!(
            self.token.config.quirks.remedy(error),
            Remedy::DeviceError
                | Remedy::NewSession
                | Remedy::LogInAgain
                | Remedy::SearchAgain
                | Remedy::Fail(BackendErrorKind::Throttled)
        )
    }

    fn give_up(&mut self, access: &Access<'_>, error: CallError) -> CallError {
        self.destroy_test_key(access);
        error
    }

    /// Destroys the key that was made, if its handle is still good, so that none is left where session
    /// objects stay.
    pub(super) fn destroy_test_key(&mut self, access: &Access<'_>) {
        let Some(key) = self.test_key.take() else { return };
        let session = self.health_session.handle_in(access);
        if let Some(session) = session.filter(|_| key.is_own && key.generation == access.generation()) {
            destroy(access, session, key.handle);
        }
    }

    /// For the first connection: a key that is configured and is not there is a mistake that is reported at
    /// once.
    pub(super) fn insist_on_named_key(&self, access: &Access<'_>) -> Result<(), OpenError> {
        let TestKey::Named(name) = &self.token.config.test_key else {
            return Ok(());
        };
        match self.named_key(access, name)? {
            Ok(_) => Ok(()),
            Err(problem) => Err(OpenError::TestKey { problem }),
        }
    }
}

/// Whether an object may outlive its session, as far as the module tells.
fn may_stay(access: &Access<'_>, session: ck::CK_SESSION_HANDLE, handle: ck::CK_OBJECT_HANDLE) -> bool {
    let is_on_token = access.attribute(session, handle, Wanted::Flag(ck::CKA_TOKEN));
    is_on_token.map_or(true, |is_on_token| is_on_token.flag() != Some(false))
}

fn destroy(access: &Access<'_>, session: ck::CK_SESSION_HANDLE, handle: ck::CK_OBJECT_HANDLE) {
    if let Err(error) = access.destroy_object(session, handle) {
        tracing::debug!(cause = %error, "a test key was not destroyed");
    }
}

/// An AES-256 key that dies with the session.
fn make(
    access: &Access<'_>,
    session: ck::CK_SESSION_HANDLE,
    names: &[Attribute<'_>],
    is_private: bool,
) -> Result<ck::CK_OBJECT_HANDLE, CallError> {
    let template = [
        Attribute::Flag(ck::CKA_TOKEN, false),
        Attribute::Flag(ck::CKA_PRIVATE, is_private),
        Attribute::Flag(ck::CKA_SENSITIVE, true),
        Attribute::Flag(ck::CKA_EXTRACTABLE, false),
        Attribute::Flag(ck::CKA_ENCRYPT, true),
        Attribute::Flag(ck::CKA_DECRYPT, true),
        Attribute::Number(ck::CKA_VALUE_LEN, 32),
    ];
    access.generate_key(session, ck::CKM_AES_KEY_GEN, &[&template, names].concat())
}

/// Whether a failed operation is the key's fault, so that it says nothing of the token.
fn blames_the_key(error: &CallError) -> bool {
    use crate::return_code::Phase::{DecryptInit, EncryptInit};

    matches!(
        (error.phase(), error.code().0),
        (_, ck::CKR_KEY_HANDLE_INVALID | ck::CKR_OBJECT_HANDLE_INVALID)
            | (
                EncryptInit | DecryptInit,
                ck::CKR_KEY_FUNCTION_NOT_PERMITTED
                    | ck::CKR_KEY_TYPE_INCONSISTENT
                    | ck::CKR_KEY_SIZE_RANGE
                    | ck::CKR_ACTION_PROHIBITED
            )
    )
}

fn is_of_the_template(error: &CallError) -> bool {
    matches!(
        error.code().0,
        ck::CKR_ATTRIBUTE_TYPE_INVALID
            | ck::CKR_ATTRIBUTE_VALUE_INVALID
            | ck::CKR_ATTRIBUTE_READ_ONLY
            | ck::CKR_TEMPLATE_INCONSISTENT
            | ck::CKR_TEMPLATE_INCOMPLETE
    )
}
