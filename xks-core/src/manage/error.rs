//! Errors of key administration.

use std::{borrow::Cow, error::Error as StdError, fmt};

use crate::{BackendError, backend::BackendErrorKind, names::named_enum};

/// The kind of failure that a [`KeyManager`](super::KeyManager) met.
///
/// After `Timeout`, `Unavailable` and `Other` the change may have been made, or may still be; after all
/// others it was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ManageErrorKind {
    /// The key manager has no such key.
    KeyNotFound,
    /// The key is disabled.
    KeyDisabled,
    /// The key does not permit this operation.
    KeyUsage,
    /// The key was not created extractable: its material never leaves the key manager.
    NotExtractable,
    /// Another key has the label.
    LabelTaken,
    /// A key with this token exists, and it is not the key that was asked for.
    TokenTaken,
    /// The key manager cannot do this at all, or not with these arguments.
    Unsupported,
    /// The key manager refuses the caller: another role, a card or a second person is needed.
    AccessDenied,
    /// The key manager has no room for another key.
    Full,
    /// The key manager, or the queue before it, is busy. Repeat later.
    Throttled,
    /// The key manager did not answer before the deadline. Repeat.
    Timeout,
    /// The key manager cannot be reached or does not work now. Repeat later.
    Unavailable,
    /// Anything else.
    Other,
}

named_enum! {
    ManageErrorKind, "a kind of management error",
    KeyNotFound => "KeyNotFound",
    KeyDisabled => "KeyDisabled",
    KeyUsage => "KeyUsage",
    NotExtractable => "NotExtractable",
    LabelTaken => "LabelTaken",
    TokenTaken => "TokenTaken",
    Unsupported => "Unsupported",
    AccessDenied => "AccessDenied",
    Full => "Full",
    Throttled => "Throttled",
    Timeout => "Timeout",
    Unavailable => "Unavailable",
    Other => "Other",
}

impl ManageErrorKind {
    /// What an error without words of its own says.
    const fn words(self) -> &'static str {
        match self {
            Self::KeyNotFound => "the key manager has no such key",
            Self::KeyDisabled => "the key is disabled",
            Self::KeyUsage => "the key does not permit this operation",
            Self::NotExtractable => "the key was not created extractable",
            Self::LabelTaken => "another key has this label",
            Self::TokenTaken => "another key was created with this token",
            Self::Unsupported => "the key manager does not support this",
            Self::AccessDenied => "the key manager denies access",
            Self::Full => "the key manager has no room for another key",
            Self::Throttled => "the key manager is busy",
            Self::Timeout => "the key manager did not answer before the deadline",
            Self::Unavailable => "the key manager is not available",
            Self::Other => "the key manager failed",
        }
    }
}

/// The error of a [`KeyManager`](super::KeyManager): a kind for the caller, words and a
/// source for the operator.
///
/// Neither the words nor the source contain key material or credentials.
///
/// ```
/// use xks_core::manage::{ManageError, ManageErrorKind};
///
/// let error = ManageError::new(ManageErrorKind::AccessDenied, "the security world wants an operator card to make keys")
///     .with_source(std::io::Error::other("CKR_USER_NOT_LOGGED_IN"));
/// assert_eq!(error.kind(), ManageErrorKind::AccessDenied);
/// ```
pub struct ManageError {
    kind: ManageErrorKind,
    detail: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl ManageError {
    /// Creates an error of a kind, with words for the operator: what was wrong and what to do.
    #[must_use]
    pub fn new(kind: ManageErrorKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            source: None,
        }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the kind of failure.
    #[must_use]
    pub const fn kind(&self) -> ManageErrorKind {
        self.kind
    }

    /// Returns the error of the keys behind the one that failed so, in a call for
    /// [several](super::KeyManager::create_keys); nothing if it is about that key alone, so that they are
    /// tried.
    #[must_use]
    pub fn for_the_following(&self) -> Option<Self> {
        let is_of_one_key = matches!(self.kind, ManageErrorKind::LabelTaken | ManageErrorKind::TokenTaken);
        (!is_of_one_key).then(|| Self::new(self.kind, "not tried, since a key before it failed"))
    }
}

impl From<ManageErrorKind> for ManageError {
    fn from(kind: ManageErrorKind) -> Self {
        Self::new(kind, "")
    }
}

impl From<BackendErrorKind> for ManageErrorKind {
    fn from(kind: BackendErrorKind) -> Self {
        match kind {
            BackendErrorKind::KeyNotFound => Self::KeyNotFound,
            BackendErrorKind::KeyDisabled => Self::KeyDisabled,
            BackendErrorKind::KeyUsage => Self::KeyUsage,
            BackendErrorKind::AccessDenied => Self::AccessDenied,
            BackendErrorKind::Unsupported => Self::Unsupported,
            BackendErrorKind::Throttled => Self::Throttled,
            BackendErrorKind::Timeout => Self::Timeout,
            BackendErrorKind::Unavailable => Self::Unavailable,
            BackendErrorKind::InvalidCiphertext | BackendErrorKind::Other => Self::Other,
        }
    }
}

impl From<BackendError> for ManageError {
    /// For a manager that is a backend too, whose parts fail with backend errors. The error is the source.
    fn from(error: BackendError) -> Self {
        Self::from(ManageErrorKind::from(error.kind())).with_source(error)
    }
}

impl fmt::Display for ManageError {
    /// The error's own words; those of its kind where it has none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail.is_empty() {
            f.write_str(self.kind.words())
        } else {
            f.write_str(&self.detail)
        }
    }
}

impl fmt::Debug for ManageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManageError")
            .field("kind", &self.kind)
            .field("detail", &self.detail)
            .field("source", &self.source)
            .finish()
    }
}

impl StdError for ManageError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A backend's failure keeps its kind, its words and its cause.
    #[test]
    fn a_backend_error_is_the_source() {
        let error = BackendError::new(BackendErrorKind::Unavailable, "no session").with_source("link down");
        let error = ManageError::from(error);
        assert_eq!(error.kind(), ManageErrorKind::Unavailable);
        assert_eq!(error.to_string(), "the key manager is not available");
        let source = error.source().unwrap();
        assert_eq!(
            (source.to_string(), source.source().unwrap().to_string()),
            ("no session".into(), "link down".into())
        );
        let named = ManageError::new(ManageErrorKind::Full, "2048 objects");
        assert_eq!(named.to_string(), "2048 objects");
    }
}
