//! The codes that a module may return.

use xks_pkcs11_fixture::{Function, sys::*};

/// All but success: those of the standard that are not about signatures, random seeds and the like, what
/// vendors add, and unknown ones.
pub(super) const CODES: [CK_RV; 69] = [
    CKR_CANCEL,
    CKR_HOST_MEMORY,
    CKR_SLOT_ID_INVALID,
    CKR_GENERAL_ERROR,
    CKR_FUNCTION_FAILED,
    CKR_ARGUMENTS_BAD,
    CKR_NO_EVENT,
    CKR_NEED_TO_CREATE_THREADS,
    CKR_CANT_LOCK,
    CKR_ATTRIBUTE_READ_ONLY,
    CKR_ATTRIBUTE_SENSITIVE,
    CKR_ATTRIBUTE_TYPE_INVALID,
    CKR_ATTRIBUTE_VALUE_INVALID,
    CKR_ACTION_PROHIBITED,
    CKR_DATA_INVALID,
    CKR_DATA_LEN_RANGE,
    CKR_DEVICE_ERROR,
    CKR_DEVICE_MEMORY,
    CKR_DEVICE_REMOVED,
    CKR_ENCRYPTED_DATA_INVALID,
    CKR_ENCRYPTED_DATA_LEN_RANGE,
    CKR_AEAD_DECRYPT_FAILED, // 0x42
    CKR_FUNCTION_CANCELED,
    CKR_FUNCTION_NOT_PARALLEL,
    CKR_FUNCTION_NOT_SUPPORTED,
    CKR_KEY_HANDLE_INVALID,
    CKR_KEY_SIZE_RANGE,
    CKR_KEY_TYPE_INCONSISTENT,
    CKR_KEY_NEEDED,
    CKR_KEY_CHANGED,
    CKR_KEY_FUNCTION_NOT_PERMITTED,
    CKR_MECHANISM_INVALID,
    CKR_MECHANISM_PARAM_INVALID,
    CKR_OBJECT_HANDLE_INVALID,
    CKR_OPERATION_ACTIVE,
    CKR_OPERATION_NOT_INITIALIZED,
    CKR_PIN_INCORRECT,
    CKR_PIN_INVALID,
    CKR_PIN_LEN_RANGE,
    CKR_PIN_EXPIRED,
    CKR_PIN_LOCKED,
    CKR_SESSION_CLOSED,
    CKR_SESSION_COUNT,
    CKR_SESSION_HANDLE_INVALID,
    CKR_SESSION_READ_ONLY,
    CKR_SESSION_EXISTS,
    CKR_TEMPLATE_INCONSISTENT,
    CKR_TOKEN_NOT_PRESENT,
    CKR_TOKEN_NOT_RECOGNIZED,
    CKR_TOKEN_WRITE_PROTECTED,
    CKR_USER_ALREADY_LOGGED_IN,
    CKR_USER_NOT_LOGGED_IN,
    CKR_USER_PIN_NOT_INITIALIZED,
    CKR_USER_TYPE_INVALID,
    CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
    CKR_USER_TOO_MANY_TYPES,
    CKR_RANDOM_NO_RNG,
    CKR_BUFFER_TOO_SMALL,
    CKR_CRYPTOKI_NOT_INITIALIZED,
    CKR_CRYPTOKI_ALREADY_INITIALIZED,
    CKR_MUTEX_BAD,
    CKR_FIPS_SELF_TEST_FAILED,
    CKR_FUNCTION_REJECTED,
    CKR_TOKEN_RESOURCE_EXCEEDED,
    CKR_OPERATION_CANCEL_FAILED,
    CKR_VENDOR_DEFINED,
    CKR_VENDOR_DEFINED + 7,
    0x0bad,
    CK_RV::MAX,
];

/// The codes of a failing device or module.
pub(super) const STORMS: [(CK_RV, &str); 7] = [
    (CKR_DEVICE_ERROR, "CKR_DEVICE_ERROR"),
    (CKR_GENERAL_ERROR, "CKR_GENERAL_ERROR"),
    (CKR_FUNCTION_FAILED, "CKR_FUNCTION_FAILED"),
    (CKR_CRYPTOKI_NOT_INITIALIZED, "CKR_CRYPTOKI_NOT_INITIALIZED"),
    (CKR_TOKEN_NOT_PRESENT, "CKR_TOKEN_NOT_PRESENT"),
    (CKR_VENDOR_DEFINED + 0x384, "a vendor's code"),
    (CKR_ARGUMENTS_BAD, "CKR_ARGUMENTS_BAD"),
];

/// The codes that another session, login or search fixes.
pub(super) const fn is_of_a_session(code: CK_RV) -> bool {
    matches!(
        code,
        CKR_SESSION_HANDLE_INVALID
            | CKR_SESSION_CLOSED
            | CKR_OPERATION_ACTIVE
            | CKR_OPERATION_NOT_INITIALIZED
            | CKR_USER_NOT_LOGGED_IN
            | CKR_KEY_HANDLE_INVALID
            | CKR_OBJECT_HANDLE_INVALID
    )
}

/// The codes of failures that may have passed at the next attempt.
pub(super) const fn is_of_the_device(code: CK_RV) -> bool {
    matches!(
        code,
        CKR_DEVICE_ERROR
            | CKR_DEVICE_REMOVED
            | CKR_DEVICE_MEMORY
            | CKR_HOST_MEMORY
            | CKR_TOKEN_NOT_PRESENT
            | CKR_CRYPTOKI_NOT_INITIALIZED
            | CKR_GENERAL_ERROR
            | CKR_FUNCTION_FAILED
    )
}

/// The codes that confirm that a ciphertext or its IV is invalid.
pub(super) const fn blames_the_ciphertext(function: Function, code: CK_RV) -> bool {
    match function {
        Function::C_Decrypt => matches!(
            code,
            CKR_ENCRYPTED_DATA_INVALID
                | CKR_ENCRYPTED_DATA_LEN_RANGE
                | CKR_DATA_INVALID
                | CKR_DATA_LEN_RANGE
                | CKR_AEAD_DECRYPT_FAILED
        ),
        Function::C_DecryptInit => code == CKR_MECHANISM_PARAM_INVALID,
        _ => false,
    }
}

/// The codes of a rejected PIN.
pub(super) const fn is_refusal(code: CK_RV) -> bool {
    matches!(
        code,
        CKR_PIN_INCORRECT | CKR_PIN_INVALID | CKR_PIN_LEN_RANGE | CKR_PIN_EXPIRED | CKR_PIN_LOCKED
    )
}
