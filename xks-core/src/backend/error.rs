//! The error of a backend: a kind for KMS, words and a source for the operator's log.

use std::{borrow::Cow, error::Error as StdError, fmt};

use crate::names::named_enum;

/// The kind of failure that a [`KeyBackend`](crate::KeyBackend) met; each is mapped to one
/// [`ErrorName`](crate::api::ErrorName).
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

// Their names in logs and serialized records.
named_enum! {
    BackendErrorKind, "a kind of backend error",
    KeyNotFound => "KeyNotFound",
    KeyDisabled => "KeyDisabled",
    KeyUsage => "KeyUsage",
    InvalidCiphertext => "InvalidCiphertext",
    AccessDenied => "AccessDenied",
    Unsupported => "Unsupported",
    Throttled => "Throttled",
    Timeout => "Timeout",
    Unavailable => "Unavailable",
    Other => "Other",
}

impl BackendErrorKind {
    /// The text of an error without words of its own.
    const fn words(self) -> &'static str {
        match self {
            Self::KeyNotFound => "the key manager has no such key",
            Self::KeyDisabled => "the key is disabled",
            Self::KeyUsage => "the key does not permit this operation",
            Self::InvalidCiphertext => "the ciphertext does not authenticate",
            Self::AccessDenied => "the key manager denied access to the key",
            Self::Unsupported => "the key manager does not support this operation, or not at this size",
            Self::Throttled => "the key manager has too many requests",
            Self::Timeout => "the key manager did not answer in time",
            Self::Unavailable => "the key manager is not available",
            Self::Other => "the key manager failed, and did not say why",
        }
    }
}

/// The error of a [`KeyBackend`](crate::KeyBackend): a kind for KMS, words and a source
/// for the operator's log.
///
/// Neither the words nor the source may contain plaintext, key material or credentials.
///
/// ```
/// use xks_core::{BackendError, backend::BackendErrorKind};
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
    /// Creates an error of a kind, with words for the log: what was wrong and what to do.
    #[must_use]
    pub fn new(kind: BackendErrorKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            source: None,
        }
    }

    /// Creates the one error for a ciphertext that does not authenticate. It says nothing about why, on
    /// purpose.
    #[must_use]
    pub const fn invalid_ciphertext() -> Self {
        Self {
            kind: BackendErrorKind::InvalidCiphertext,
            detail: Cow::Borrowed(BackendErrorKind::InvalidCiphertext.words()),
            source: None,
        }
    }

    /// Adds the cause, for failures of transport or device; ignored for
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

    /// Returns the kind of failure.
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
            f.write_str(self.kind.words())
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

    #[test]
    fn invalid_ciphertext_takes_no_source() {
        let error = BackendError::invalid_ciphertext().with_source("padding at byte 7");
        assert!(StdError::source(&error).is_none());
        assert!(!format!("{error} {error:?}").contains("byte 7"));
    }
}
