//! The four operations of the API.

use std::fmt;

/// One of the four operations of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "version 1 of the specification has these and no others"
)]
pub enum Operation {
    /// `GetHealthStatus`: about the key managers behind a key store; never put under authorization.
    /// Specification: GetHealthStatus.
    // HLT-2
    GetHealthStatus,
    /// An operation on one external key.
    Key(KeyOperation),
}

/// An operation on one external key: what secondary authorization decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "version 1 of the specification has these and no others"
)]
pub enum KeyOperation {
    /// `GetKeyMetadata`
    GetKeyMetadata,
    /// `Encrypt`
    Encrypt,
    /// `Decrypt`
    Decrypt,
}

impl Operation {
    /// The operation's name in the specification, such as `GetHealthStatus`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GetHealthStatus => "GetHealthStatus",
            Self::Key(operation) => operation.as_str(),
        }
    }
}

impl KeyOperation {
    /// The operation's name in the specification, such as `Encrypt`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GetKeyMetadata => "GetKeyMetadata",
            Self::Encrypt => "Encrypt",
            Self::Decrypt => "Decrypt",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for KeyOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
