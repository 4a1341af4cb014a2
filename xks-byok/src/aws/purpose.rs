//! What an account is used for: a statement of the IAM policy each.

use std::fmt;

/// A purpose that an account's credentials serve. The IAM policy has one statement for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// External key stores, and KMS keys in them.
    ExternalKeyStore,
    /// KMS keys with imported material.
    Import,
    /// Users and roles can be picked for key policies.
    Principals,
    /// The rotation of the account's own access key.
    AccessKeyRotation,
    /// Keys and key stores that others made are found and shown.
    Adoption,
}

impl Purpose {
    /// All of them, in the order of the policy.
    pub const ALL: [Self; 5] = [
        Self::ExternalKeyStore,
        Self::Import,
        Self::Principals,
        Self::AccessKeyRotation,
        Self::Adoption,
    ];

    /// Returns the `Sid` of its statement in the IAM policy.
    #[must_use]
    pub const fn sid(self) -> &'static str {
        match self {
            Self::ExternalKeyStore => "ExternalKeyStore",
            Self::Import => "Import",
            Self::Principals => "Principals",
            Self::AccessKeyRotation => "AccessKeyRotation",
            Self::Adoption => "Adoption",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sid())
    }
}
