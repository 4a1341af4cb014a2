//! What a module refuses to do for a key's administration, which another attempt does not change.

use std::borrow::Cow;

use cryptoki_sys as ck;
use xks_core::manage::{ManageError, ManageErrorKind};

use crate::{error::CallError, gcm::AttemptError, return_code::Phase};

/// Added where a role is missing.
const ROLE: &str = "the login that this backend has may not do it. Some HSMs want a card, another role or a second person \
                    for it, such as nShield in a FIPS 140 Level 3 Security World: present the card, or use the vendor's \
                    own tools";

/// What kind of refusal a return code is; none if it is none, and another attempt may end otherwise.
pub(super) const fn of(error: &CallError) -> Option<ManageErrorKind> {
    use Phase::{Generate, Wrap};

    Some(match (error.phase(), error.code().0) {
        (Wrap, ck::CKR_KEY_UNEXTRACTABLE | ck::CKR_KEY_NOT_WRAPPABLE | ck::CKR_KEY_FUNCTION_NOT_PERMITTED) => {
            ManageErrorKind::NotExtractable
        }
        // SoftHSM2 says so of OAEP with another hash than SHA-1.
        (
            Wrap,
            ck::CKR_ARGUMENTS_BAD
            | ck::CKR_WRAPPING_KEY_HANDLE_INVALID
            | ck::CKR_WRAPPING_KEY_SIZE_RANGE
            | ck::CKR_WRAPPING_KEY_TYPE_INCONSISTENT,
        ) => ManageErrorKind::Unsupported,
        (Generate, ck::CKR_DEVICE_MEMORY | ck::CKR_TOKEN_RESOURCE_EXCEEDED) => ManageErrorKind::Full,
        (_, ck::CKR_ACTION_PROHIBITED) => ManageErrorKind::AccessDenied,
        (
            _,
            ck::CKR_ATTRIBUTE_READ_ONLY
            | ck::CKR_ATTRIBUTE_TYPE_INVALID
            | ck::CKR_ATTRIBUTE_VALUE_INVALID
            | ck::CKR_CURVE_NOT_SUPPORTED
            | ck::CKR_DOMAIN_PARAMS_INVALID
            | ck::CKR_FUNCTION_NOT_SUPPORTED
            | ck::CKR_KEY_SIZE_RANGE
            | ck::CKR_MECHANISM_INVALID
            | ck::CKR_MECHANISM_PARAM_INVALID
            | ck::CKR_SESSION_READ_ONLY
            | ck::CKR_TEMPLATE_INCOMPLETE
            | ck::CKR_TEMPLATE_INCONSISTENT
            | ck::CKR_TOKEN_WRITE_PROTECTED,
        ) => ManageErrorKind::Unsupported,
        _ => return None,
    })
}

/// The end of what a module refuses; the failure of a call that another attempt may help. Without a login
/// there is none that this backend could renew.
pub(super) fn or_failure<T>(
    call: &CallError,
    has_login: bool,
    what: &'static str,
) -> Result<Result<T, ManageError>, AttemptError> {
    match of(call) {
        Some(kind) => Ok(Err(error(kind, call, what))),
        None if call.code().0 == ck::CKR_USER_NOT_LOGGED_IN && !has_login => {
            Ok(Err(error(ManageErrorKind::AccessDenied, call, what)))
        }
        None => Err((*call).into()),
    }
}

/// The refusal as an error.
fn error(kind: ManageErrorKind, error: &CallError, what: &'static str) -> ManageError {
    let detail: Cow<'static, str> = match kind {
        ManageErrorKind::AccessDenied => format!("{what}: {ROLE}").into(),
        _ => what.into(),
    };
    ManageError::new(kind, detail).with_source(*error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::return_code::ReturnCode;

    #[test]
    fn refusals_are_told_from_failures() {
        let of = |phase, code| of(&CallError::new("C_", phase, ReturnCode(code)));
        for code in [ck::CKR_KEY_UNEXTRACTABLE, ck::CKR_KEY_NOT_WRAPPABLE, 0x68] {
            assert_eq!(of(Phase::Wrap, code), Some(ManageErrorKind::NotExtractable));
        }
        assert_eq!(
            of(Phase::Wrap, ck::CKR_ARGUMENTS_BAD),
            Some(ManageErrorKind::Unsupported)
        );
        assert_eq!(of(Phase::Generate, ck::CKR_DEVICE_MEMORY), Some(ManageErrorKind::Full));
        assert_eq!(
            of(Phase::Generate, ck::CKR_ACTION_PROHIBITED),
            Some(ManageErrorKind::AccessDenied)
        );
        assert_eq!(
            of(Phase::SignInit, ck::CKR_MECHANISM_INVALID),
            Some(ManageErrorKind::Unsupported)
        );
        for phase in [Phase::Generate, Phase::Wrap, Phase::Sign, Phase::Token] {
            for code in [
                ck::CKR_DEVICE_ERROR,
                ck::CKR_GENERAL_ERROR,
                ck::CKR_SESSION_CLOSED,
                ck::CKR_KEY_HANDLE_INVALID,
                ck::CKR_USER_NOT_LOGGED_IN,
                ck::CKR_VENDOR_DEFINED,
            ] {
                assert_eq!(of(phase, code), None, "{code:#x} in {phase:?}");
            }
        }
    }

    #[test]
    fn a_missing_role_is_explained() {
        let call = CallError::new("C_GenerateKey", Phase::Generate, ReturnCode(ck::CKR_ACTION_PROHIBITED));
        let refused = error(ManageErrorKind::AccessDenied, &call, "the token makes no key");
        assert!(refused.to_string().contains("card"), "{refused}");
    }
}
