//! A key on the token that can be recognized outside of it.

use cryptoki_sys as ck;

use super::{
    opening::Opener,
    way::{SESSION_KEY, destroy},
};
use crate::{
    attribute::Attribute,
    error::CallError,
    keys::{On, USAGES},
    manage::{MAC, refusal},
};

/// The value of the key that is brought to tokens. It protects nothing.
const VALUE: [u8; 32] = *b"wrapped for a trial, then opened";

/// What is signed with a key that the token makes.
const MESSAGE: &[u8] = b"wrapped for a trial, then opened";

/// A key on the token, and by what it is recognized.
pub(super) struct KnownKey {
    pub(super) handle: ck::CK_OBJECT_HANDLE,
    by: By,
}

enum By {
    /// Its value is [`VALUE`].
    Value,
    /// The CMAC of [`MESSAGE`] that the token has computed under it.
    Mac(Vec<u8>),
}

impl KnownKey {
    /// Brings a key to the token, or has the token make one, where it takes none that others have made: in
    /// FIPS mode, HSMs reject such.
    ///
    /// # Errors
    /// Without an inner error, the call may succeed another time.
    pub(super) fn new(on: On<'_>, has_login: bool) -> Result<Result<Self, CallError>, CallError> {
        let usages = USAGES.map(|(kind, _)| Attribute::Flag(kind, kind == ck::CKA_ENCRYPT || kind == ck::CKA_SIGN));
        let template = |last| {
            let is_private = Attribute::Flag(ck::CKA_PRIVATE, has_login);
            [&SESSION_KEY[..], &[is_private, last], &usages].concat()
        };
        let brought = template(Attribute::Bytes(ck::CKA_VALUE, &VALUE));
        if let Ok(handle) = on.cryptoki.create_object(on.session, &brought) {
            return Ok(Ok(Self { handle, by: By::Value }));
        }
        let made = template(Attribute::Number(ck::CKA_VALUE_LEN, 32));
        let handle = match on.cryptoki.generate_key(on.session, ck::CKM_AES_KEY_GEN, &made) {
            Ok(handle) => handle,
            Err(error) => return refused(error),
        };
        match on.cryptoki.sign(on.session, handle, ck::CKM_AES_CMAC, MESSAGE, MAC) {
            Ok(mac) => Ok(Ok(Self {
                handle,
                by: By::Mac(mac),
            })),
            Err(error) => {
                destroy(on, handle);
                refused(error)
            }
        }
    }

    /// Whether the value that was opened is the key's.
    pub(super) fn is(&self, opened: &[u8], opener: &Opener) -> bool {
        match &self.by {
            By::Value => opened == VALUE,
            By::Mac(mac) => opener.cmac(opened, MESSAGE).is_some_and(|of_opened| of_opened == *mac),
        }
    }
}

fn refused<T>(error: CallError) -> Result<Result<T, CallError>, CallError> {
    match refusal::of(&error) {
        Some(_) => Ok(Err(error)),
        None => Err(error),
    }
}
