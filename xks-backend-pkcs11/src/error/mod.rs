//! What can go wrong: with a call, and with loading a module; `open.rs` has what can with opening a backend.

mod open;

use std::{error::Error as StdError, fmt};

use cryptoki_sys as ckr;
use thiserror::Error;

pub use self::open::OpenError;
use crate::return_code::{Phase, ReturnCode};

/// A call of the module that did not succeed: which function, and what it returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallError {
    function: &'static str,
    phase: Phase,
    code: ReturnCode,
    /// What the vendor calls the code.
    vendor_name: Option<&'static str>,
}

impl CallError {
    pub(crate) const fn new(function: &'static str, phase: Phase, code: ReturnCode) -> Self {
        Self {
            function,
            phase,
            code,
            vendor_name: None,
        }
    }

    pub(crate) const fn with_vendor_name(self, vendor_name: Option<&'static str>) -> Self {
        Self { vendor_name, ..self }
    }

    /// The function's name in the standard, such as `C_Encrypt`.
    #[must_use]
    pub const fn function(&self) -> &'static str {
        self.function
    }

    /// The step that the function belongs to.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// What the function returned.
    #[must_use]
    pub const fn code(&self) -> ReturnCode {
        self.code
    }
}

impl CallError {
    /// Whether another operation may begin on the session: a short list of what modules were seen to leave
    /// clean. After anything else an operation may still be active.
    pub(crate) const fn leaves_session_usable(&self) -> bool {
        use Phase::{Attributes, Decrypt, DecryptInit, EncryptInit};

        matches!(
            (self.phase, self.code.0),
            (
                EncryptInit | DecryptInit | Attributes,
                ckr::CKR_KEY_FUNCTION_NOT_PERMITTED
                    | ckr::CKR_KEY_TYPE_INCONSISTENT
                    | ckr::CKR_KEY_SIZE_RANGE
                    | ckr::CKR_KEY_HANDLE_INVALID
                    | ckr::CKR_OBJECT_HANDLE_INVALID
                    | ckr::CKR_MECHANISM_INVALID
                    | ckr::CKR_MECHANISM_PARAM_INVALID
            ) | (
                Decrypt,
                ckr::CKR_ENCRYPTED_DATA_INVALID | ckr::CKR_ENCRYPTED_DATA_LEN_RANGE | ckr::CKR_AEAD_DECRYPT_FAILED
            ) | (_, ckr::CKR_USER_NOT_LOGGED_IN)
        )
    }

    /// Whether `C_Initialize` does not take its arguments: another form of them may do.
    pub(crate) const fn says_arguments_are_refused(&self) -> bool {
        matches!(
            self.code.0,
            ckr::CKR_ARGUMENTS_BAD | ckr::CKR_CANT_LOCK | ckr::CKR_NEED_TO_CREATE_THREADS
        )
    }

    /// Whether the token gives no session, because all that it has are in use.
    pub(crate) const fn says_no_more_sessions(&self) -> bool {
        matches!(self.code.0, ckr::CKR_SESSION_COUNT)
    }

    /// Whether the module has no such function.
    pub(crate) const fn says_not_supported(&self) -> bool {
        matches!(self.code.0, ckr::CKR_FUNCTION_NOT_SUPPORTED)
    }

    /// Whether a login came to nothing before the PIN was looked at.
    pub(crate) const fn says_pin_was_not_seen(&self) -> bool {
        self.says_session_is_gone()
            || matches!(
                self.code.0,
                ckr::CKR_DEVICE_REMOVED
                    | ckr::CKR_TOKEN_NOT_PRESENT
                    | ckr::CKR_TOKEN_NOT_RECOGNIZED
                    | ckr::CKR_SLOT_ID_INVALID
                    | ckr::CKR_HOST_MEMORY
                    | ckr::CKR_FUNCTION_NOT_SUPPORTED
                    | ckr::CKR_USER_PIN_NOT_INITIALIZED
                    | ckr::CKR_USER_TYPE_INVALID
                    | ckr::CKR_USER_ANOTHER_ALREADY_LOGGED_IN
                    | ckr::CKR_USER_TOO_MANY_TYPES
                    | ckr::CKR_SESSION_READ_ONLY_EXISTS
            )
    }

    /// Whether the object's handle is, or has become, that of none.
    pub(crate) const fn says_object_is_gone(&self) -> bool {
        matches!(
            self.code.0,
            ckr::CKR_OBJECT_HANDLE_INVALID | ckr::CKR_KEY_HANDLE_INVALID
        )
    }

    /// Whether the session's handle is free now, and may soon be another session's.
    pub(crate) const fn says_session_is_gone(&self) -> bool {
        matches!(
            self.code.0,
            ckr::CKR_SESSION_HANDLE_INVALID | ckr::CKR_SESSION_CLOSED | ckr::CKR_CRYPTOKI_NOT_INITIALIZED
        )
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vendor_name {
            Some(name) => write!(f, "{}: {name} ({})", self.function, self.code),
            None => write!(f, "{}: {}", self.function, self.code),
        }
    }
}

impl StdError for CallError {}

/// Why a library could not be loaded as a PKCS#11 module.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The system's loader refuses it: there is no such file, it is made for another machine, or libraries
    /// that it needs are missing.
    #[error("cannot load the library")]
    Library(#[source] LibraryError),
    /// It is a library, and no PKCS#11 module.
    #[error("not a PKCS#11 module: the library has no C_GetFunctionList")]
    NoFunctionList,
    /// The module does not give out its function list.
    #[error("C_GetFunctionList failed")]
    Call(#[source] CallError),
    /// A version of PKCS#11 before 2.
    #[error("the module implements PKCS#11 {0}.{1}; 2.20 or later is required")]
    Version(u8, u8),
}

/// What the system's loader says of a library that it refuses.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct LibraryError(pub(crate) libloading::Error);
