//! What a module's return code means: one table, by code and step.

use std::{error::Error as StdError, fmt};

use cryptoki_sys as ckr;
use xks_core::backend::BackendErrorKind;

/// The step of a request in which a module was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// `C_GetFunctionList`, `C_Initialize`, `C_Finalize`.
    Module,
    /// `C_GetSlotList`, `C_GetTokenInfo`, `C_GetMechanismInfo`.
    Token,
    /// `C_OpenSession`, `C_CloseSession`.
    OpenSession,
    /// `C_GetSessionInfo`.
    Session,
    /// `C_Login`.
    Login,
    /// `C_FindObjectsInit`, `C_FindObjects`, `C_FindObjectsFinal`.
    Find,
    /// `C_GetAttributeValue`.
    Attributes,
    /// `C_GenerateKey`, `C_GenerateKeyPair`, `C_CreateObject`, `C_DestroyObject`.
    Generate,
    /// `C_GenerateRandom`.
    Random,
    /// `C_EncryptInit`.
    EncryptInit,
    /// `C_Encrypt`.
    Encrypt,
    /// `C_DecryptInit`.
    DecryptInit,
    /// `C_Decrypt`.
    Decrypt,
    /// `C_SignInit`.
    SignInit,
    /// `C_Sign`.
    Sign,
    /// `C_WrapKey`.
    Wrap,
}

/// What is to be done about a return code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Remedy {
    /// Nothing: the call did what it should.
    Done,
    /// Fail with this kind; another attempt would end in the same way.
    Fail(BackendErrorKind),
    /// The module refuses what every request needs: fail, and mark the key store as misconfigured.
    Misconfigured,
    /// The module refuses the PIN: stay down and say so. A PIN is never tried twice, for HSMs lock.
    PinRefused,
    /// Log in and try once more.
    LogInAgain,
    /// Discard the session and try once more on a new one.
    NewSession,
    /// Forget the key's handle, search for the key, and try once more if it is found.
    SearchAgain,
    /// The module or its device fails: try once more on another session, and count it towards recovery.
    DeviceError,
    /// A wrong tag or a failing module: a wrong tag has some code or other in many modules, and in some the
    /// code that they have for everything. What is known of the vendor decides; else further attempts and
    /// known-answer tests do.
    Ambiguous,
}

impl Remedy {
    /// Returns the kind of error when the remedy allows no other attempt, when there is no time for one, or
    /// when it has failed as well; none if it is no error.
    #[must_use]
    pub const fn kind(self) -> Option<BackendErrorKind> {
        match self {
            Self::Done => None,
            Self::Fail(kind) => Some(kind),
            Self::SearchAgain => Some(BackendErrorKind::KeyNotFound),
            Self::Misconfigured => Some(BackendErrorKind::Other),
            Self::PinRefused | Self::LogInAgain | Self::NewSession | Self::DeviceError | Self::Ambiguous => {
                Some(BackendErrorKind::Unavailable)
            }
        }
    }
}

/// A return code (`CK_RV`), as a module returned it. It prints its name in the standard, or its number if it
/// has none there.
///
/// ```
/// use xks_backend_pkcs11::{Phase, ReturnCode, Remedy};
///
/// let code = ReturnCode::new(0x30);
/// assert_eq!(code.to_string(), "CKR_DEVICE_ERROR");
/// assert_eq!(code.remedy(Phase::Encrypt), Remedy::DeviceError);
/// assert_eq!(ReturnCode::new(0x8000_0001).to_string(), "CKR 0x80000001");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReturnCode(pub(crate) ckr::CK_RV);

impl ReturnCode {
    /// Returns the code with this number: `CKR_VENDOR_DEFINED` (0x8000_0000) and above are a vendor's own.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::unnecessary_cast,
        reason = "codes have 32 bits, and CK_RV has as many or more"
    )]
    pub const fn new(number: u64) -> Self {
        Self(number as ckr::CK_RV)
    }

    /// Returns its number.
    #[must_use]
    #[allow(clippy::unnecessary_cast, reason = "CK_RV has 32 or 64 bits")]
    pub const fn number(self) -> u64 {
        self.0 as u64
    }

    /// Returns what to do when a module returns this code in this phase.
    ///
    /// The table knows no vendor. [`Quirks`](crate::Quirks) with a vendor's own meaning of a code, such as
    /// `CKR_FUNCTION_FAILED` for a full queue, take precedence.
    #[must_use]
    pub const fn remedy(self, phase: Phase) -> Remedy {
        use Phase::{Attributes, Decrypt, DecryptInit, EncryptInit, Login, OpenSession, SignInit};

        match (phase, self.0) {
            (_, ckr::CKR_OK) | (Login, ckr::CKR_USER_ALREADY_LOGGED_IN) => Remedy::Done,

            (
                Login,
                ckr::CKR_PIN_INCORRECT
                | ckr::CKR_PIN_INVALID
                | ckr::CKR_PIN_LEN_RANGE
                | ckr::CKR_PIN_EXPIRED
                | ckr::CKR_PIN_LOCKED,
            ) => Remedy::PinRefused,
            // No PIN was looked at, so that none is locked. SoftHSM2 says so while another process writes to
            // the token.
            (Login, ckr::CKR_USER_PIN_NOT_INITIALIZED) => Remedy::DeviceError,

            // NSS says KEY_TYPE_INCONSISTENT for a usage that is not permitted.
            (
                EncryptInit | DecryptInit | SignInit,
                ckr::CKR_KEY_FUNCTION_NOT_PERMITTED | ckr::CKR_KEY_TYPE_INCONSISTENT | ckr::CKR_KEY_SIZE_RANGE,
            ) => Remedy::Fail(BackendErrorKind::KeyUsage),

            // The IV of a decryption is the client's; that of an encryption is ours.
            (DecryptInit, ckr::CKR_MECHANISM_PARAM_INVALID) => Remedy::Fail(BackendErrorKind::InvalidCiphertext),
            (EncryptInit, ckr::CKR_MECHANISM_PARAM_INVALID)
            | (EncryptInit | DecryptInit, ckr::CKR_MECHANISM_INVALID) => Remedy::Misconfigured,

            // NSS says DATA_LEN_RANGE for a ciphertext that is too short.
            (
                Decrypt,
                ckr::CKR_ENCRYPTED_DATA_INVALID
                | ckr::CKR_ENCRYPTED_DATA_LEN_RANGE
                | ckr::CKR_DATA_INVALID
                | ckr::CKR_DATA_LEN_RANGE
                | ckr::CKR_AEAD_DECRYPT_FAILED,
            ) => Remedy::Fail(BackendErrorKind::InvalidCiphertext),
            (_, ckr::CKR_KEY_HANDLE_INVALID | ckr::CKR_OBJECT_HANDLE_INVALID)
            // kryoptic, when another process has deleted the key.
            | (EncryptInit | DecryptInit | SignInit | Attributes, ckr::CKR_GENERAL_ERROR) => Remedy::SearchAgain,

            (_, ckr::CKR_USER_NOT_LOGGED_IN) => Remedy::LogInAgain,

            // An operation stays active on a session when an earlier call on it failed half-way; and it is
            // gone when the session was closed and its handle given out again in the middle of it.
            (
                _,
                ckr::CKR_SESSION_HANDLE_INVALID
                | ckr::CKR_SESSION_CLOSED
                | ckr::CKR_OPERATION_ACTIVE
                | ckr::CKR_OPERATION_NOT_INITIALIZED,
            ) => Remedy::NewSession,

            // All sessions that the token has are in use, by whomever.
            (OpenSession, ckr::CKR_SESSION_COUNT) | (_, ckr::CKR_TOKEN_RESOURCE_EXCEEDED) => {
                Remedy::Fail(BackendErrorKind::Throttled)
            }

            // A wrong tag is GENERAL_ERROR to SoftHSM2, FUNCTION_FAILED to nShield and DEVICE_ERROR to
            // Vault's library (both reported), and may be any other code to others.
            (Decrypt, _) => Remedy::Ambiguous,

            (
                _,
                ckr::CKR_DEVICE_ERROR
                | ckr::CKR_DEVICE_REMOVED
                | ckr::CKR_DEVICE_MEMORY
                | ckr::CKR_HOST_MEMORY
                | ckr::CKR_TOKEN_NOT_PRESENT
                | ckr::CKR_TOKEN_NOT_RECOGNIZED
                | ckr::CKR_SLOT_ID_INVALID
                | ckr::CKR_CRYPTOKI_NOT_INITIALIZED
                | ckr::CKR_GENERAL_ERROR
                | ckr::CKR_FUNCTION_FAILED,
            ) => Remedy::DeviceError,

            // The module works, and refuses what it was asked for: it will at the next attempt too.
            (
                _,
                ckr::CKR_DATA_INVALID
                | ckr::CKR_DATA_LEN_RANGE
                | ckr::CKR_ATTRIBUTE_READ_ONLY
                | ckr::CKR_ATTRIBUTE_SENSITIVE
                | ckr::CKR_ATTRIBUTE_TYPE_INVALID
                | ckr::CKR_ATTRIBUTE_VALUE_INVALID
                | ckr::CKR_TEMPLATE_INCOMPLETE
                | ckr::CKR_TEMPLATE_INCONSISTENT
                | ckr::CKR_FUNCTION_NOT_SUPPORTED
                | ckr::CKR_MECHANISM_INVALID
                | ckr::CKR_MECHANISM_PARAM_INVALID
                | ckr::CKR_KEY_FUNCTION_NOT_PERMITTED
                | ckr::CKR_KEY_TYPE_INCONSISTENT
                | ckr::CKR_KEY_SIZE_RANGE
                | ckr::CKR_ACTION_PROHIBITED
                | ckr::CKR_RANDOM_NO_RNG
                | ckr::CKR_SESSION_READ_ONLY
                | ckr::CKR_TOKEN_WRITE_PROTECTED,
            ) => Remedy::Fail(BackendErrorKind::Other),

            // A parameter of the client's, such as an IV of 16 bytes, that some modules refuse in their own
            // way.
            (DecryptInit, _) => Remedy::Ambiguous,

            // Codes that vendors add, and codes that mean nothing here: after an HSM's restart some modules
            // answer one of these to everything until they are initialized again.
            _ => Remedy::DeviceError,
        }
    }

    /// The name in the standard.
    fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(code, _)| *code == self.0).map(|(_, name)| *name)
    }
}

impl fmt::Display for ReturnCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "CKR {:#010x}", self.0),
        }
    }
}

impl fmt::Debug for ReturnCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReturnCode({self})")
    }
}

impl StdError for ReturnCode {}

macro_rules! names {
    ($($name:ident)*) => {
        /// The codes that a module may return in one of the [`Phase`]s, and what the standard calls them.
        const NAMES: &[(ckr::CK_RV, &str)] = &[$((ckr::$name, stringify!($name))),*];
    };
}

names! {
    CKR_OK CKR_CANCEL CKR_HOST_MEMORY CKR_SLOT_ID_INVALID CKR_GENERAL_ERROR CKR_FUNCTION_FAILED CKR_ARGUMENTS_BAD
    CKR_NEED_TO_CREATE_THREADS CKR_CANT_LOCK CKR_ATTRIBUTE_SENSITIVE CKR_ATTRIBUTE_TYPE_INVALID CKR_ATTRIBUTE_VALUE_INVALID CKR_ACTION_PROHIBITED
    CKR_DATA_INVALID CKR_DATA_LEN_RANGE CKR_DEVICE_ERROR CKR_DEVICE_MEMORY CKR_DEVICE_REMOVED
    CKR_ENCRYPTED_DATA_INVALID CKR_ENCRYPTED_DATA_LEN_RANGE CKR_AEAD_DECRYPT_FAILED CKR_FUNCTION_CANCELED
    CKR_FUNCTION_NOT_SUPPORTED CKR_KEY_HANDLE_INVALID CKR_KEY_SIZE_RANGE CKR_KEY_TYPE_INCONSISTENT CKR_KEY_NEEDED
    CKR_KEY_CHANGED CKR_KEY_FUNCTION_NOT_PERMITTED CKR_MECHANISM_INVALID CKR_MECHANISM_PARAM_INVALID
    CKR_OBJECT_HANDLE_INVALID CKR_OPERATION_ACTIVE CKR_OPERATION_NOT_INITIALIZED CKR_PIN_INCORRECT CKR_PIN_INVALID
    CKR_PIN_LEN_RANGE CKR_PIN_EXPIRED CKR_PIN_LOCKED CKR_SESSION_CLOSED CKR_SESSION_COUNT CKR_SESSION_HANDLE_INVALID
    CKR_SESSION_PARALLEL_NOT_SUPPORTED CKR_SESSION_READ_ONLY CKR_SESSION_READ_WRITE_SO_EXISTS
    CKR_TEMPLATE_INCOMPLETE CKR_TEMPLATE_INCONSISTENT CKR_TOKEN_NOT_PRESENT CKR_TOKEN_NOT_RECOGNIZED
    CKR_TOKEN_WRITE_PROTECTED CKR_USER_ALREADY_LOGGED_IN CKR_USER_NOT_LOGGED_IN CKR_USER_PIN_NOT_INITIALIZED
    CKR_USER_TYPE_INVALID CKR_USER_ANOTHER_ALREADY_LOGGED_IN CKR_USER_TOO_MANY_TYPES CKR_RANDOM_NO_RNG
    CKR_BUFFER_TOO_SMALL CKR_CRYPTOKI_NOT_INITIALIZED CKR_CRYPTOKI_ALREADY_INITIALIZED CKR_MUTEX_BAD
    CKR_MUTEX_NOT_LOCKED CKR_FIPS_SELF_TEST_FAILED CKR_FUNCTION_REJECTED CKR_TOKEN_RESOURCE_EXCEEDED
    CKR_OPERATION_CANCEL_FAILED CKR_KEY_EXHAUSTED CKR_KEY_UNEXTRACTABLE CKR_KEY_NOT_WRAPPABLE
    CKR_WRAPPING_KEY_HANDLE_INVALID CKR_WRAPPING_KEY_SIZE_RANGE CKR_WRAPPING_KEY_TYPE_INCONSISTENT
    CKR_ATTRIBUTE_READ_ONLY CKR_CURVE_NOT_SUPPORTED CKR_DOMAIN_PARAMS_INVALID
}

#[cfg(test)]
mod tests {
    use ckr::*;

    use super::*;
    use Phase::*;

    const PHASES: [Phase; 16] = [
        Module,
        Token,
        OpenSession,
        Session,
        Login,
        Find,
        Attributes,
        Generate,
        Random,
        EncryptInit,
        Encrypt,
        DecryptInit,
        SignInit,
        Sign,
        Wrap,
        Decrypt,
    ];
    const INIT: [Phase; 2] = [EncryptInit, DecryptInit];

    #[track_caller]
    fn assert_remedy(phases: &[Phase], codes: &[CK_RV], remedy: Remedy) {
        for &phase in phases {
            for &code in codes {
                assert_eq!(
                    ReturnCode(code).remedy(phase),
                    remedy,
                    "{} in {phase:?}",
                    ReturnCode(code)
                );
            }
        }
    }

    #[test]
    fn success_is_success() {
        assert_remedy(&PHASES, &[CKR_OK], Remedy::Done);
        assert_remedy(&[Login], &[CKR_USER_ALREADY_LOGGED_IN], Remedy::Done);
    }

    #[test]
    fn a_key_that_may_not_is_told_from_a_key_that_is_gone() {
        let usage = Remedy::Fail(BackendErrorKind::KeyUsage);
        let codes = [
            CKR_KEY_FUNCTION_NOT_PERMITTED,
            CKR_KEY_TYPE_INCONSISTENT,
            CKR_KEY_SIZE_RANGE,
        ];
        assert_remedy(&INIT, &codes, usage);
        let codes = [CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID];
        assert_remedy(&PHASES, &codes, Remedy::SearchAgain);
        assert_remedy(&INIT, &[CKR_GENERAL_ERROR], Remedy::SearchAgain);
        assert_remedy(&[Attributes], &[CKR_GENERAL_ERROR], Remedy::SearchAgain);
        assert_eq!(Remedy::SearchAgain.kind(), Some(BackendErrorKind::KeyNotFound));
    }

    #[test]
    fn a_bad_parameter_is_the_clients_on_decrypt_and_ours_on_encrypt() {
        let invalid = Remedy::Fail(BackendErrorKind::InvalidCiphertext);
        assert_remedy(&[DecryptInit], &[CKR_MECHANISM_PARAM_INVALID], invalid);
        assert_remedy(&[EncryptInit], &[CKR_MECHANISM_PARAM_INVALID], Remedy::Misconfigured);
        assert_remedy(&INIT, &[CKR_MECHANISM_INVALID], Remedy::Misconfigured);
        assert_eq!(Remedy::Misconfigured.kind(), Some(BackendErrorKind::Other));
    }

    #[test]
    fn wrong_tags_are_recognised_or_suspected() {
        let codes = [
            CKR_ENCRYPTED_DATA_INVALID,
            CKR_ENCRYPTED_DATA_LEN_RANGE,
            CKR_DATA_INVALID,
            CKR_DATA_LEN_RANGE,
            0x42,
        ];
        assert_remedy(&[Decrypt], &codes, Remedy::Fail(BackendErrorKind::InvalidCiphertext));
        let codes = [
            CKR_GENERAL_ERROR,
            CKR_FUNCTION_FAILED,
            CKR_DEVICE_ERROR,
            CKR_TOKEN_NOT_PRESENT,
            CKR_SIGNATURE_INVALID,
        ];
        assert_remedy(&[Decrypt], &codes, Remedy::Ambiguous);
    }

    #[test]
    fn only_decrypt_blames_the_ciphertext() {
        for phase in PHASES
            .into_iter()
            .filter(|phase| !matches!(phase, DecryptInit | Decrypt))
        {
            for code in 0..0x300 {
                let remedy = ReturnCode(code).remedy(phase);
                assert_ne!(
                    remedy.kind(),
                    Some(BackendErrorKind::InvalidCiphertext),
                    "{code:#x} in {phase:?}"
                );
                assert_ne!(remedy, Remedy::Ambiguous, "{code:#x} in {phase:?}");
            }
        }
    }

    #[test]
    fn what_another_session_may_fix_is_tried_again() {
        assert_remedy(&PHASES, &[CKR_USER_NOT_LOGGED_IN], Remedy::LogInAgain);
        let codes = [
            CKR_SESSION_HANDLE_INVALID,
            CKR_SESSION_CLOSED,
            CKR_OPERATION_ACTIVE,
            CKR_OPERATION_NOT_INITIALIZED,
        ];
        assert_remedy(&PHASES, &codes, Remedy::NewSession);
        let codes = [
            CKR_DEVICE_ERROR,
            CKR_DEVICE_REMOVED,
            CKR_TOKEN_NOT_PRESENT,
            CKR_CRYPTOKI_NOT_INITIALIZED,
            CKR_DEVICE_MEMORY,
            CKR_HOST_MEMORY,
            CKR_SLOT_ID_INVALID,
        ];
        let but_decrypt = &PHASES[..15];
        assert_remedy(but_decrypt, &codes, Remedy::DeviceError);
        let codes = [CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED];
        assert_remedy(
            &[OpenSession, Login, Find, Random, Encrypt],
            &codes,
            Remedy::DeviceError,
        );
        for remedy in [
            Remedy::LogInAgain,
            Remedy::NewSession,
            Remedy::DeviceError,
            Remedy::Ambiguous,
        ] {
            assert_eq!(remedy.kind(), Some(BackendErrorKind::Unavailable));
        }
    }

    #[test]
    fn a_refused_pin_is_never_tried_again() {
        let codes = [
            CKR_PIN_INCORRECT,
            CKR_PIN_INVALID,
            CKR_PIN_LEN_RANGE,
            CKR_PIN_EXPIRED,
            CKR_PIN_LOCKED,
        ];
        assert_remedy(&[Login], &codes, Remedy::PinRefused);
        assert_remedy(&[Login], &[CKR_USER_PIN_NOT_INITIALIZED], Remedy::DeviceError);
    }

    /// What is in no table is suspected like a device error: tried on another session, and counted towards
    /// recovery.
    #[test]
    fn unknown_codes_are_suspected_like_device_errors() {
        let others: Vec<_> = PHASES
            .into_iter()
            .filter(|phase| !matches!(phase, Decrypt | DecryptInit))
            .collect();
        let codes = [
            CKR_ARGUMENTS_BAD,
            CKR_BUFFER_TOO_SMALL,
            CKR_FUNCTION_CANCELED,
            0xC0,
            0x0bad,
            CKR_VENDOR_DEFINED,
            CKR_VENDOR_DEFINED + 0x384,
            CK_RV::MAX,
        ];
        assert_remedy(&others, &codes, Remedy::DeviceError);
        assert_remedy(&[Decrypt, DecryptInit], &codes, Remedy::Ambiguous);
    }

    #[test]
    fn what_a_module_refuses_fails_at_once() {
        let codes = [
            CKR_ATTRIBUTE_SENSITIVE,
            CKR_TEMPLATE_INCONSISTENT,
            CKR_FUNCTION_NOT_SUPPORTED,
        ];
        let phases = [Find, Attributes, Generate, Random, EncryptInit, Encrypt, DecryptInit];
        assert_remedy(&phases, &codes, Remedy::Fail(BackendErrorKind::Other));
        assert_remedy(&[Encrypt], &[CKR_DATA_LEN_RANGE], Remedy::Fail(BackendErrorKind::Other));
    }

    #[test]
    fn codes_print_their_names() {
        assert_eq!(format!("{:?}", ReturnCode(0)), "ReturnCode(CKR_OK)");
        assert_eq!(ReturnCode(0x203).to_string(), "CKR_KEY_EXHAUSTED");
        assert_eq!(ReturnCode(0x4).to_string(), "CKR 0x00000004");
        for (index, (code, name)) in NAMES.iter().enumerate() {
            assert!(
                NAMES[..index].iter().all(|(other, _)| other != code),
                "{name} stands there twice"
            );
        }
    }
}
