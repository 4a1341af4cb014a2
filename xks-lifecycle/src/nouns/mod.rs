//! The nouns of administration, one file each: what is kept of a thing, in fields that hold only what is
//! legal.

mod cloud_account;
mod cloud_key;
mod cloud_key_store;
mod cloud_text;
mod credential;
mod event;
mod key;
mod key_set;
mod key_store;
mod restore;
mod schedule;
mod tenant;
mod version;

pub(crate) use self::cloud_text::CloudName;
pub use self::{
    cloud_account::{CloudAccessKey, CloudAccount, CloudCredential},
    cloud_key::{CloudKey, CloudKeyOrigin, DeletionDays, KeyPolicy, Tags, WantedKey},
    cloud_key_store::{CloudKeyStore, VpcEndpointService, WantedKeyStore},
    cloud_text::{
        AliasName, AwsAccessKeyId, AwsAccountId, AwsSecret, CustomKeyStoreId, CustomKeyStoreName, PrincipalArn, Region,
    },
    credential::{KeyStoreCredential, OverlapMinutes},
    event::{Event, EventText, Outcome},
    key::{Key, KmsKeyArn, Minima, Rotation},
    key_set::{KeySet, KeySource, LifetimeDays, WaitingDays},
    key_store::{ExternalKeyStore, Regions},
    restore::Restore,
    schedule::Schedule,
    tenant::Tenant,
    version::{KeyVersion, KeyVersionId, Material, VersionState},
};
