//! The operations of AWS KMS, IAM and STS that a key manager needs: [`Kms`], [`Iam`], and [`Connector`],
//! which makes both for an account's credentials and a Region.
//!
//! Requests and responses have AWS's names for their fields, in snake case. States and other values that AWS
//! may add to are enums that keep a text that they do not know, in `Other`.
//!
//! # One call is one request
//! A list is read a [`Page`] at a time, so that callers count calls against the [quota](Operation::quota) of
//! the operation. An implementation may repeat a read that has failed, and never an operation that
//! [creates](Operation::is_creating): its effect is unknown when its answer is
//! [lost](AwsErrorKind::AnswerLost), and a second one would make a second object.

mod access_keys;
mod connector;
mod error;
mod error_kind;
mod iam;
mod import;
mod key_stores;
mod keys;
mod kms;
mod open_enum;
mod operation;
mod page;
mod purpose;

pub use self::{
    access_keys::{AccessKey, AccessKeyMetadata, AccessKeyStatus, CallerIdentity, Identity, NewAccessKey},
    connector::{AwsCredentials, Connector},
    error::AwsError,
    error_kind::AwsErrorKind,
    iam::Iam,
    import::{
        ExpirationModel, GetParametersForImportRequest, ImportKeyMaterialRequest, ImportParameters, ImportState,
        ImportType, IncludeKeyMaterial, KeyMaterialState, ListKeyRotationsRequest, RotationType, RotationsListEntry,
        WrappingAlgorithm, WrappingKeySpec,
    },
    key_stores::{
        ConnectionErrorCode, ConnectionState, Connectivity, CreateCustomKeyStoreRequest, CustomKeyStore,
        CustomKeyStoreType, DescribeCustomKeyStoresRequest, ProxyConfiguration, ProxyCredential,
        UpdateCustomKeyStoreRequest,
    },
    keys::{
        AliasListEntry, CreateKeyRequest, KeyLastUsage, KeyListEntry, KeyManager, KeyMetadata, KeyState, LastUsage,
        ListAliasesRequest, Origin, PutKeyPolicyRequest, ScheduledKeyDeletion, Tag,
    },
    kms::Kms,
    operation::{Operation, Service},
    page::{Page, PageRequest},
    purpose::Purpose,
};
