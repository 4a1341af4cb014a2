//! The error of a request, and the one table from a backend's failures to the names that
//! KMS knows.

use std::borrow::Cow;

use crate::{
    BackendError,
    api::{ErrorName, KeyOperation, Operation},
    backend::BackendErrorKind,
    sigv4::Rejection,
    text::ErrorChain,
};

/// The error of a request: a name and a text for KMS, a reason for the log alone.
#[derive(Debug)]
pub(crate) struct Error {
    pub(crate) name: ErrorName,
    pub(crate) message: Cow<'static, str>,
    pub(crate) reason: Option<String>,
}

impl Error {
    pub(crate) const fn new(name: ErrorName, message: &'static str) -> Self {
        Self {
            name,
            message: Cow::Borrowed(message),
            reason: None,
        }
    }

    pub(crate) fn validation(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: ErrorName::Validation,
            message: message.into(),
            reason: None,
        }
    }

    /// Adds a reason, for the log alone.
    pub(crate) fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// A backend's failure as KMS sees it; the backend's own words and all their causes go to the log.
    pub(crate) fn from_backend(operation: Operation, error: &BackendError) -> Self {
        Self::from(wire_name(operation, error.kind())).because(ErrorChain(error).to_string())
    }
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        Self::from(ErrorName::AuthenticationFailed).because(rejection.to_string())
    }
}

impl From<ErrorName> for Error {
    fn from(name: ErrorName) -> Self {
        Self::new(name, name.message())
    }
}

/// The one table from the errors of backends to those for KMS.
///
/// Two rows depend on the operation. Only decrypt knows `InvalidCiphertextException`: anywhere else it
/// means that the key manager is broken. Health is never answered with a name that speaks of one key or
/// one caller.
// HLT-4
fn wire_name(operation: Operation, kind: BackendErrorKind) -> ErrorName {
    use BackendErrorKind as Kind;

    let health = operation == Operation::GetHealthStatus;
    match kind {
        Kind::KeyNotFound if !health => ErrorName::KeyNotFound,
        Kind::KeyUsage if !health => ErrorName::InvalidKeyUsage,
        Kind::AccessDenied if !health => ErrorName::AccessDenied,
        Kind::InvalidCiphertext if operation == Operation::Key(KeyOperation::Decrypt) => ErrorName::InvalidCiphertext,
        Kind::KeyDisabled => ErrorName::InvalidState,
        Kind::Unsupported => ErrorName::UnsupportedOperation,
        Kind::Throttled => ErrorName::Throttling,
        Kind::Timeout => ErrorName::DependencyTimeout,
        Kind::KeyNotFound
        | Kind::KeyUsage
        | Kind::AccessDenied
        | Kind::InvalidCiphertext
        | Kind::Unavailable
        | Kind::Other => ErrorName::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use BackendErrorKind as Kind;

    const KINDS: [Kind; 10] = [
        Kind::KeyNotFound,
        Kind::KeyDisabled,
        Kind::KeyUsage,
        Kind::InvalidCiphertext,
        Kind::AccessDenied,
        Kind::Unsupported,
        Kind::Throttled,
        Kind::Timeout,
        Kind::Unavailable,
        Kind::Other,
    ];

    fn names(operation: Operation) -> [&'static str; 10] {
        KINDS.map(|kind| wire_name(operation, kind).as_str())
    }

    /// The whole table, row by row: DEC-3, DEC-4, ENC-11, GKM-4.
    #[test]
    fn every_kind_of_failure_has_its_name() {
        let key = |invalid_ciphertext| {
            [
                "KeyNotFoundException",
                "InvalidStateException",
                "InvalidKeyUsageException",
                invalid_ciphertext,
                "AccessDeniedException",
                "UnsupportedOperationException",
                "ThrottlingException",
                "DependencyTimeoutException",
                "InternalException",
                "InternalException",
            ]
        };
        let operation = Operation::Key;
        assert_eq!(
            names(operation(KeyOperation::Decrypt)),
            key("InvalidCiphertextException")
        );
        assert_eq!(names(operation(KeyOperation::Encrypt)), key("InternalException"));
        assert_eq!(names(operation(KeyOperation::GetKeyMetadata)), key("InternalException"));
    }

    /// HLT-4: health speaks of no key and no caller.
    #[test]
    fn health_is_never_answered_with_a_name_of_one_key_or_caller() {
        let allowed = [
            ErrorName::InvalidState,
            ErrorName::AuthenticationFailed,
            ErrorName::InvalidUriPath,
            ErrorName::Throttling,
            ErrorName::UnsupportedOperation,
            ErrorName::DependencyTimeout,
            ErrorName::Internal,
        ];
        for kind in KINDS {
            let name = wire_name(Operation::GetHealthStatus, kind);
            assert!(allowed.contains(&name), "{kind:?} must not become {name} for health");
        }
    }

    #[test]
    fn the_log_gets_the_whole_chain() {
        let error = BackendError::from(Kind::Unavailable).with_source("link down");
        assert_eq!(error.to_string(), "the key manager is not available");
        let error = Error::from_backend(Operation::Key(KeyOperation::Encrypt), &error);
        assert_eq!(
            error.reason.as_deref(),
            Some("the key manager is not available: link down")
        );
        assert_eq!(error.message, "the external key manager failed");
    }
}
