//! The one table of operations: names, IAM actions, request quotas, and which of them create something.

use std::fmt;

use super::Purpose::{self, AccessKeyRotation, Adoption, ExternalKeyStore, Import, Principals};

/// A service of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Service {
    /// AWS KMS.
    Kms,
    /// AWS Identity and Access Management.
    Iam,
    /// AWS Security Token Service.
    Sts,
}

macro_rules! operations {
    ($($variant:ident $service:ident $prefix:literal $quota:expr, $creates:literal, [$($purpose:ident)*];)+) => {
        /// An operation of AWS.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Operation {
            $(#[doc = concat!("`", $prefix, ":", stringify!($variant), "`.")] $variant,)+
        }

        impl Operation {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the name, such as `CreateKey`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant),)+
                }
            }

            /// Returns the IAM action that allows it, such as `kms:CreateKey`.
            #[must_use]
            pub const fn action(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($prefix, ":", stringify!($variant)),)+
                }
            }

            /// Returns the service that it belongs to.
            #[must_use]
            pub const fn service(self) -> Service {
                match self {
                    $(Self::$variant => Service::$service,)+
                }
            }

            /// Returns the default request quota of AWS KMS: requests a second for an account and Region.
            /// Each operation is counted by itself. Nothing for IAM and STS, which publish none.
            #[must_use]
            pub const fn quota(self) -> Option<u32> {
                match self {
                    $(Self::$variant => $quota,)+
                }
            }

            /// Returns whether it must not be repeated before it is known that it was not done: a second one
            /// makes a second object, or fails because of the first.
            #[must_use]
            pub const fn is_creating(self) -> bool {
                match self {
                    $(Self::$variant => $creates,)+
                }
            }

            /// Returns the purposes that need it: the statements of the IAM policy that allow it.
            #[must_use]
            pub const fn purposes(self) -> &'static [Purpose] {
                match self {
                    $(Self::$variant => &[$($purpose),*],)+
                }
            }
        }
    };
}

// Quotas: AWS KMS Developer Guide, "Request quotas for each AWS KMS API operation".
operations! {
    CreateKey Kms "kms" Some(5), true, [ExternalKeyStore Import];
    DescribeKey Kms "kms" Some(2000), false, [ExternalKeyStore Import Adoption];
    ListKeys Kms "kms" Some(500), false, [ExternalKeyStore Import Adoption];
    ListAliases Kms "kms" Some(500), false, [ExternalKeyStore Import Adoption];
    CreateAlias Kms "kms" Some(5), true, [ExternalKeyStore Import];
    UpdateAlias Kms "kms" Some(5), false, [ExternalKeyStore Import];
    DeleteAlias Kms "kms" Some(15), false, [ExternalKeyStore Import];
    GetKeyPolicy Kms "kms" Some(1000), false, [ExternalKeyStore Import Adoption];
    PutKeyPolicy Kms "kms" Some(15), false, [ExternalKeyStore Import];
    ListKeyPolicies Kms "kms" Some(100), false, [ExternalKeyStore Import Adoption];
    ListResourceTags Kms "kms" Some(2000), false, [ExternalKeyStore Import Adoption];
    TagResource Kms "kms" Some(10), false, [ExternalKeyStore Import];
    UntagResource Kms "kms" Some(5), false, [ExternalKeyStore Import];
    UpdateKeyDescription Kms "kms" Some(5), false, [ExternalKeyStore Import];
    EnableKey Kms "kms" Some(5), false, [ExternalKeyStore Import];
    DisableKey Kms "kms" Some(5), false, [ExternalKeyStore Import];
    ScheduleKeyDeletion Kms "kms" Some(15), false, [ExternalKeyStore Import];
    CancelKeyDeletion Kms "kms" Some(5), false, [ExternalKeyStore Import];
    GetKeyLastUsage Kms "kms" Some(5), false, [ExternalKeyStore Import Adoption];
    GetParametersForImport Kms "kms" Some(1), true, [Import];
    ImportKeyMaterial Kms "kms" Some(15), true, [Import];
    DeleteImportedKeyMaterial Kms "kms" Some(15), false, [Import];
    RotateKeyOnDemand Kms "kms" Some(5), true, [Import];
    ListKeyRotations Kms "kms" Some(100), false, [Import Adoption];
    CreateCustomKeyStore Kms "kms" Some(5), true, [ExternalKeyStore];
    UpdateCustomKeyStore Kms "kms" Some(5), false, [ExternalKeyStore];
    ConnectCustomKeyStore Kms "kms" Some(5), false, [ExternalKeyStore];
    DisconnectCustomKeyStore Kms "kms" Some(5), false, [ExternalKeyStore];
    DescribeCustomKeyStores Kms "kms" Some(5), false, [ExternalKeyStore Adoption];
    DeleteCustomKeyStore Kms "kms" Some(5), false, [ExternalKeyStore];
    GetUser Iam "iam" None, false, [Principals];
    ListUsers Iam "iam" None, false, [Principals];
    ListRoles Iam "iam" None, false, [Principals];
    ListAccessKeys Iam "iam" None, false, [AccessKeyRotation];
    CreateAccessKey Iam "iam" None, true, [AccessKeyRotation];
    UpdateAccessKey Iam "iam" None, false, [AccessKeyRotation];
    DeleteAccessKey Iam "iam" None, false, [AccessKeyRotation];
    GetCallerIdentity Sts "sts" None, false, []; // needs no permission
}

impl Operation {
    /// Returns whether it changes nothing, so that it may be repeated at any time.
    #[must_use]
    pub fn is_read(self) -> bool {
        // GetParametersForImport changes nothing that is kept; it is counted as creating because its quota is
        // the scarcest.
        ["Get", "List", "Describe"]
            .iter()
            .any(|verb| self.name().starts_with(verb))
            && !self.is_creating()
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.action())
    }
}
