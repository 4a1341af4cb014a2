//! Reading attributes from modules that tell them in their own ways.
//!
//! By the standard a call that asks for an attribute which the object lacks fills in all others. Some modules
//! fill in none, some leave a length as long as the buffer was, some tell one attribute at a time. So what
//! was not told is asked for alone, and what a module knows of no secret key is asked for once.
//!
//! Only the attributes that an operation needs are read. An attribute that a module does not tell does not
//! count as "no".

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use cryptoki_sys as ck;

use crate::{
    attribute::{AttributeValue, Wanted},
    error::CallError,
    raw::Cryptoki,
};

/// After how many failures at first nothing more is asked of an object.
const MOST_FAILURES: usize = 3;

/// How a module tells attributes, as far as it is known.
#[derive(Debug, Default)]
pub(crate) struct Manner {
    /// What it tells of no AES key.
    unknown: Mutex<Vec<ck::CK_ATTRIBUTE_TYPE>>,
    /// It tells no two attributes in one call.
    is_one_by_one: AtomicBool,
}

/// The attributes that were asked for, as far as the module returned them.
pub(super) struct Told(Vec<(ck::CK_ATTRIBUTE_TYPE, AttributeValue)>);

impl Told {
    pub(super) fn bytes(&self, kind: ck::CK_ATTRIBUTE_TYPE) -> Option<&[u8]> {
        self.value(kind)?.bytes()
    }

    pub(super) fn number(&self, kind: ck::CK_ATTRIBUTE_TYPE) -> Option<ck::CK_ULONG> {
        self.value(kind)?.number()
    }

    pub(super) fn flag(&self, kind: ck::CK_ATTRIBUTE_TYPE) -> Option<bool> {
        self.value(kind)?.flag()
    }

    fn value(&self, kind: ck::CK_ATTRIBUTE_TYPE) -> Option<&AttributeValue> {
        let (_, value) = self.0.iter().find(|(other, _)| *other == kind)?;
        Some(value)
    }
}

impl Manner {
    /// Reads attributes of an object. What the module does not tell, whatever it answers, is left out.
    ///
    /// # Errors
    /// The object, the session or the device fails, or the module tells nothing at all.
    pub(super) fn read(
        &self,
        cryptoki: &Cryptoki,
        session: ck::CK_SESSION_HANDLE,
        object: ck::CK_OBJECT_HANDLE,
        wanted: &[Wanted],
    ) -> Result<Told, CallError> {
        let mut wanted = wanted.to_vec();
        {
            let unknown = self.unknown();
            wanted.retain(|wanted| !unknown.contains(&wanted.kind()));
        }
        let mut failure = None;
        if !self.is_one_by_one.load(Relaxed) {
            match cryptoki.attributes(session, object, &wanted) {
                Ok(values) => return Ok(Self::complete(cryptoki, session, object, &wanted, values)),
                Err(error) if fails_the_object(&error) => return Err(error),
                Err(error) => failure = Some(error),
            }
        }
        let mut told = Vec::with_capacity(wanted.len());
        let mut not_told = Vec::new();
        for wanted in &wanted {
            match cryptoki.attribute(session, object, *wanted) {
                Ok(value) => told.push((wanted.kind(), value)),
                Err(error) if fails_the_object(&error) => return Err(error),
                Err(error) => {
                    not_told.push(wanted.kind());
                    failure = failure.or(Some(error));
                    if told.is_empty() && not_told.len() >= MOST_FAILURES {
                        break;
                    }
                }
            }
        }
        match failure {
            Some(error) if told.is_empty() => Err(error),
            _ => {
                let told = Told(told);
                self.learn(&told, not_told);
                Ok(told)
            }
        }
    }

    /// Asks again for what has no less than the whole room: some modules leave the length as it was given to
    /// them.
    fn complete(
        cryptoki: &Cryptoki,
        session: ck::CK_SESSION_HANDLE,
        object: ck::CK_OBJECT_HANDLE,
        wanted: &[Wanted],
        values: Vec<AttributeValue>,
    ) -> Told {
        let values = wanted.iter().zip(values).map(|(wanted, value)| {
            let is_full = value.bytes().is_some_and(|bytes| bytes.len() == AttributeValue::ROOM);
            let again = is_full.then(|| cryptoki.attribute(session, object, *wanted).ok());
            (wanted.kind(), again.flatten().unwrap_or(value))
        });
        Told(values.collect())
    }

    /// Of an AES key alone: other objects lack some of these attributes by the standard.
    fn learn(&self, told: &Told, not_told: Vec<ck::CK_ATTRIBUTE_TYPE>) {
        if told.number(ck::CKA_KEY_TYPE) != Some(ck::CKK_AES) {
            return;
        }
        if not_told.is_empty() {
            self.is_one_by_one.store(true, Relaxed);
        }
        // What names a key is asked for again and again: that it is not told may pass.
        let names = [ck::CKA_LABEL, ck::CKA_ID];
        let dispensable = not_told.into_iter().filter(|kind| !names.contains(kind));
        self.unknown().extend(dispensable);
    }

    /// Begins with what the standard says: the module may have been replaced.
    pub(crate) fn forget(&self) {
        self.unknown().clear();
        self.is_one_by_one.store(false, Relaxed);
    }

    fn unknown(&self) -> MutexGuard<'_, Vec<ck::CK_ATTRIBUTE_TYPE>> {
        // A list of numbers is always whole.
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether more than an attribute has failed: the object, the session, the login or the device. Every other
/// code may be a module's own for an attribute that it does not tell.
pub(super) const fn fails_the_object(error: &CallError) -> bool {
    matches!(
        error.code().0,
        ck::CKR_OBJECT_HANDLE_INVALID
            | ck::CKR_KEY_HANDLE_INVALID
            | ck::CKR_SESSION_HANDLE_INVALID
            | ck::CKR_SESSION_CLOSED
            | ck::CKR_OPERATION_ACTIVE
            | ck::CKR_OPERATION_NOT_INITIALIZED
            | ck::CKR_USER_NOT_LOGGED_IN
            | ck::CKR_DEVICE_ERROR
            | ck::CKR_DEVICE_REMOVED
            | ck::CKR_DEVICE_MEMORY
            | ck::CKR_HOST_MEMORY
            | ck::CKR_TOKEN_NOT_PRESENT
            | ck::CKR_TOKEN_NOT_RECOGNIZED
            | ck::CKR_TOKEN_RESOURCE_EXCEEDED
            | ck::CKR_SLOT_ID_INVALID
            | ck::CKR_CRYPTOKI_NOT_INITIALIZED
    )
}
