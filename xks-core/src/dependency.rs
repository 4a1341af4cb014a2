//! What the proxy asks besides key managers: a source of credentials, a policy engine.
//!
//! Most of them know at once, and a [`Reply::Now`] costs no allocation. One that has to ask over a network
//! gives a [`Reply::Later`], a boxed future.

use std::{borrow::Cow, error::Error as StdError, fmt, pin::Pin};

use crate::{BackendError, backend::BackendErrorKind};

/// A reply that is there at once, or comes later.
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "a value is there or it is not")]
pub enum Reply<'a, T> {
    /// The reply.
    Now(T),
    /// The reply, or why there is none. The future is dropped when the request's time is up.
    Later(Pin<Box<dyn Future<Output = Result<T, DependencyError>> + Send + 'a>>),
}

impl<'a, T> Reply<'a, T> {
    /// Returns a reply that comes later.
    pub fn later(reply: impl Future<Output = Result<T, DependencyError>> + Send + 'a) -> Self {
        Self::Later(Box::pin(reply))
    }

    /// Waits for the reply.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn wait(self) -> Result<T, DependencyError> {
        match self {
            Self::Now(reply) => Ok(reply),
            Self::Later(reply) => reply.await,
        }
    }
}

impl<T> From<T> for Reply<'_, T> {
    fn from(reply: T) -> Self {
        Self::Now(reply)
    }
}

impl<T: fmt::Debug> fmt::Debug for Reply<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(reply) => f.debug_tuple("Now").field(reply).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

/// Why there is no reply: KMS is answered `DependencyTimeoutException` or `InternalException`, and the
/// operator's log gets the words and the source.
///
/// Neither the words nor the source may contain credentials or plaintext.
///
/// ```
/// use xks_core::dependency::DependencyError;
///
/// let error = DependencyError::failed("the policy engine refused the connection")
///     .with_source(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
/// assert_eq!(error.to_string(), "the policy engine refused the connection");
/// ```
#[derive(Debug)]
pub struct DependencyError(BackendError);

impl DependencyError {
    /// Creates an error of a dependency that did not reply in time → `DependencyTimeoutException`.
    #[must_use]
    pub fn timeout(detail: impl Into<Cow<'static, str>>) -> Self {
        Self(BackendError::new(BackendErrorKind::Timeout, detail))
    }

    /// Creates an error of one that cannot be reached or is broken → `InternalException`.
    #[must_use]
    pub fn failed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self(BackendError::new(BackendErrorKind::Unavailable, detail))
    }

    /// Returns the same error with its cause.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(self.0.with_source(source))
    }

    /// The failure as the one table of errors knows it, with whose it is for the log.
    pub(crate) fn of(self, whose: &str) -> BackendError {
        self.0.in_the(whose)
    }
}

impl fmt::Display for DependencyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for DependencyError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}
