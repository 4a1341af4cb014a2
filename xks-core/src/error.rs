//! What can go wrong: the twelve names that KMS knows, the kinds that a backend may report, and the one
//! table between them.

use std::{borrow::Cow, error::Error as StdError, fmt};

use crate::route::{KeyOperation, Operation};

/// The `errorName` of an answer that is not a success: the whole vocabulary of the specification (section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "version 1 of the specification has these twelve and no others"
)]
pub enum ErrorName {
    /// 400: an input is missing or malformed.
    Validation,
    /// 400: the key or the key store is disabled, deactivated or blocked.
    InvalidState,
    /// 400, decrypt only: ciphertext, IV, AAD, metadata or tag is not what encrypt returned.
    InvalidCiphertext,
    /// 400: the key does not support the operation.
    InvalidKeyUsage,
    /// 401: the SigV4 signature is not valid.
    AuthenticationFailed,
    /// 403: secondary authorization said no.
    AccessDenied,
    /// 404: no such external key in this key store.
    KeyNotFound,
    /// 404: the path is not one of the API's, or its prefix is unknown.
    InvalidUriPath,
    /// 429: too many requests, or a quota is spent.
    Throttling,
    /// 501: not implemented, or a size above what is supported.
    UnsupportedOperation,
    /// 503: a dependency did not answer in time.
    DependencyTimeout,
    /// 500: anything else, a failing key manager among them.
    Internal,
}

impl ErrorName {
    /// All twelve, in the order of the specification's table.
    pub const ALL: [Self; 12] = [
        Self::Validation,
        Self::InvalidState,
        Self::InvalidCiphertext,
        Self::InvalidKeyUsage,
        Self::AuthenticationFailed,
        Self::AccessDenied,
        Self::KeyNotFound,
        Self::InvalidUriPath,
        Self::Throttling,
        Self::UnsupportedOperation,
        Self::DependencyTimeout,
        Self::Internal,
    ];

    /// The name on the wire, such as `KeyNotFoundException`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Validation => "ValidationException",
            Self::InvalidState => "InvalidStateException",
            Self::InvalidCiphertext => "InvalidCiphertextException",
            Self::InvalidKeyUsage => "InvalidKeyUsageException",
            Self::AuthenticationFailed => "AuthenticationFailedException",
            Self::AccessDenied => "AccessDeniedException",
            Self::KeyNotFound => "KeyNotFoundException",
            Self::InvalidUriPath => "InvalidUriPathException",
            Self::Throttling => "ThrottlingException",
            Self::UnsupportedOperation => "UnsupportedOperationException",
            Self::DependencyTimeout => "DependencyTimeoutException",
            Self::Internal => "InternalException",
        }
    }

    /// The HTTP status that goes with the name.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Validation | Self::InvalidState | Self::InvalidCiphertext | Self::InvalidKeyUsage => 400,
            Self::AuthenticationFailed => 401,
            Self::AccessDenied => 403,
            Self::KeyNotFound | Self::InvalidUriPath => 404,
            Self::Throttling => 429,
            Self::Internal => 500,
            Self::UnsupportedOperation => 501,
            Self::DependencyTimeout => 503,
        }
    }

    /// What KMS is told unless the pipeline knows something more precise.
    const fn message(self) -> &'static str {
        match self {
            Self::Validation => "an input is missing or malformed",
            Self::InvalidState => "the external key is disabled or blocked",
            Self::InvalidCiphertext => "the ciphertext, or what authenticates it, is not valid",
            Self::InvalidKeyUsage => "the external key does not support this operation",
            Self::AuthenticationFailed => "the request could not be authenticated",
            Self::AccessDenied => "the request is not authorized",
            Self::KeyNotFound => "the external key does not exist",
            Self::InvalidUriPath => "the URI path is not valid",
            Self::Throttling => "too many requests",
            Self::UnsupportedOperation => "the operation, or the size of an input, is not supported",
            Self::DependencyTimeout => "the external key manager did not answer in time",
            Self::Internal => "the external key manager failed",
        }
    }
}

impl fmt::Display for ErrorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a request is not answered with success: a name and a text for KMS, a reason for the log alone.
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

    /// The same error, with something that only the log is told.
    pub(crate) fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// A backend's failure as KMS sees it; the backend's own words and all their causes go to the log.
    pub(crate) fn from_backend(operation: Operation, error: &BackendError) -> Self {
        Self::from(wire_name(operation, error.kind)).because(with_all_causes(error))
    }
}

/// A backend's own words and all their causes: for the log.
pub(crate) fn with_all_causes(error: &BackendError) -> String {
    let mut reason = error.to_string();
    let mut cause = StdError::source(error);
    while let Some(error) = cause {
        reason = format!("{reason}: {error}");
        cause = error.source();
    }
    reason
}

impl From<ErrorName> for Error {
    fn from(name: ErrorName) -> Self {
        Self::new(name, name.message())
    }
}

/// The one table from what a backend reports to what KMS is told.
///
/// Two rows depend on the operation. Only decrypt knows `InvalidCiphertextException`: anywhere else it
/// means that the key manager is broken. Health is never answered with a name that speaks of one key or
/// one caller (HLT-4).
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

/// What kind of failure a [`KeyBackend`](crate::KeyBackend) met; each is mapped to one of the [`ErrorName`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendErrorKind {
    /// The key manager has no such key → `KeyNotFoundException`.
    KeyNotFound,
    /// The key exists and is disabled, deactivated, expired or blocked → `InvalidStateException`.
    KeyDisabled,
    /// The key exists and does not permit this operation → `InvalidKeyUsageException`.
    KeyUsage,
    /// The tag does not fit → `InvalidCiphertextException`. Opaque: carries no source.
    InvalidCiphertext,
    /// The key manager itself refused the caller → `AccessDeniedException`.
    AccessDenied,
    /// The key manager cannot do this, or not at this size → `UnsupportedOperationException`.
    Unsupported,
    /// The key manager, or the queue before it, is full → `ThrottlingException`.
    Throttled,
    /// The key manager did not answer in time → `DependencyTimeoutException`.
    Timeout,
    /// The key manager cannot be reached or is broken; another one may do → `InternalException`.
    Unavailable,
    /// Anything else → `InternalException`.
    Other,
}

/// Why a [`KeyBackend`](crate::KeyBackend) could not do what it was asked: a kind for KMS, words and a source
/// for the operator's log.
///
/// Neither the words nor the source may contain plaintext, key material or credentials.
///
/// ```
/// use xks_core::{BackendError, BackendErrorKind};
///
/// let error = BackendError::new(BackendErrorKind::Unavailable, "no session to the HSM")
///     .with_source(std::io::Error::other("CKR_DEVICE_ERROR"));
/// assert_eq!(error.to_string(), "no session to the HSM"); // the log gets the causes too
/// ```
pub struct BackendError {
    kind: BackendErrorKind,
    detail: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl BackendError {
    /// An error of a kind, with words for the log: what was wrong and what to do.
    #[must_use]
    pub fn new(kind: BackendErrorKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            source: None,
        }
    }

    /// The one error for a ciphertext that does not authenticate. It says nothing about why, on purpose.
    #[must_use]
    pub const fn invalid_ciphertext() -> Self {
        Self {
            kind: BackendErrorKind::InvalidCiphertext,
            detail: Cow::Borrowed("the ciphertext does not authenticate"),
            source: None,
        }
    }

    /// The same error with its cause, for failures of transport or device; ignored for
    /// [`InvalidCiphertext`](BackendErrorKind::InvalidCiphertext), which stays opaque.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        if self.kind != BackendErrorKind::InvalidCiphertext {
            self.source = Some(source.into());
        }
        self
    }

    /// The same error, with the place it happened in for the log.
    pub(crate) fn in_the(mut self, place: &str) -> Self {
        self.detail = format!("{place}: {self}").into();
        self
    }

    /// What kind of failure this is.
    #[must_use]
    pub const fn kind(&self) -> BackendErrorKind {
        self.kind
    }
}

impl From<BackendErrorKind> for BackendError {
    fn from(kind: BackendErrorKind) -> Self {
        Self::new(kind, "")
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail.is_empty() {
            write!(f, "{:?}", self.kind)
        } else {
            f.write_str(&self.detail)
        }
    }
}

impl fmt::Debug for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendError")
            .field("kind", &self.kind)
            .field("detail", &self.detail)
            .field("source", &self.source)
            .finish()
    }
}

impl StdError for BackendError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
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
    fn names_statuses_and_texts_are_the_specifications() {
        let statuses = ErrorName::ALL.map(ErrorName::status);
        assert_eq!(statuses, [400, 400, 400, 400, 401, 403, 404, 404, 429, 501, 503, 500]);
        for name in ErrorName::ALL {
            assert!(name.as_str().ends_with("Exception"));
            assert!(name.message().len() < 512);
            assert!(name.message().bytes().all(|byte| (0x20..=0x7e).contains(&byte)));
        }
    }

    #[test]
    fn invalid_ciphertext_takes_no_source() {
        let error = BackendError::invalid_ciphertext().with_source("padding at byte 7");
        assert!(StdError::source(&error).is_none());
        assert!(!format!("{error} {error:?}").contains("byte 7"));
    }

    #[test]
    fn the_log_gets_the_whole_chain() {
        let error = BackendError::from(Kind::Unavailable).with_source("link down");
        assert_eq!(error.to_string(), "Unavailable");
        let error = Error::from_backend(Operation::Key(KeyOperation::Encrypt), &error);
        assert_eq!(error.reason.as_deref(), Some("Unavailable: link down"));
        assert_eq!(error.message, "the external key manager failed");
    }
}
