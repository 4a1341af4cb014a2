//! The nouns of administration, one file each: what is kept of a thing, in fields that hold only what is
//! legal.

mod cloud_account;
mod cloud_key;
mod cloud_key_store;
mod cloud_material;
mod cloud_text;
mod credential;
mod event;
mod import;
mod key;
mod key_policy;
mod key_set;
mod key_store;
mod material;
mod restore;
mod schedule;
mod tenant;
mod version;
mod wanted_key;

pub(crate) use self::cloud_text::CloudName;
pub use self::{
    cloud_account::{CloudAccessKey, CloudAccount, CloudCredential},
    cloud_key::{CloudKey, CloudKeyOrigin},
    cloud_key_store::{CloudKeyStore, VpcEndpointService, WantedKeyStore},
    cloud_material::{CloudMaterial, MaterialState, WantedMaterial},
    cloud_text::{
        AliasName, AwsAccessKeyId, AwsAccountId, AwsSecret, CustomKeyStoreId, CustomKeyStoreName, PrincipalArn, Region,
    },
    credential::{KeyStoreCredential, OverlapMinutes},
    event::{Event, EventText, Outcome},
    import::{EndingWithinDays, Import, KeepDays, RotationStyle},
    key::{Key, KmsKeyArn, Minima, Rotation},
    key_policy::{KeyPolicy, Tags},
    key_set::{KeySet, KeySource, LifetimeDays, WaitingDays},
    key_store::{ExternalKeyStore, Regions},
    material::{CheckValue, Fingerprint, KmsMaterialId, Material, MaterialCheck},
    restore::Restore,
    schedule::Schedule,
    tenant::Tenant,
    version::{KeyVersion, KeyVersionId, VersionState},
    wanted_key::{DeletionDays, WantedKey},
};
