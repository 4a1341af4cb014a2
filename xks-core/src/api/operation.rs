//! The four operations of the API.

use std::{fmt, str::FromStr};

use super::UnknownName;
use crate::names::{named_enum, serde_as_text};

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

named_enum! {
    KeyOperation, "an operation on a key",
    GetKeyMetadata => "GetKeyMetadata",
    Encrypt => "Encrypt",
    Decrypt => "Decrypt",
}

const GET_HEALTH_STATUS: &str = "GetHealthStatus";

impl Operation {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::GetHealthStatus,
        Self::Key(KeyOperation::GetKeyMetadata),
        Self::Key(KeyOperation::Encrypt),
        Self::Key(KeyOperation::Decrypt),
    ];

    /// Returns the operation's name in the specification, such as `GetHealthStatus`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GetHealthStatus => GET_HEALTH_STATUS,
            Self::Key(operation) => operation.as_str(),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Operation {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        const NAMES: &[&str] = &[GET_HEALTH_STATUS, "GetKeyMetadata", "Encrypt", "Decrypt"];
        match text {
            GET_HEALTH_STATUS => Ok(Self::GetHealthStatus),
            text => text
                .parse()
                .map(Self::Key)
                .map_err(|_| UnknownName::new("an operation", NAMES)),
        }
    }
}

serde_as_text! { Operation }
