//! The nouns of administration, one file each: what is kept of a thing, in fields that hold only what is
//! legal.

mod credential;
mod event;
mod key;
mod key_set;
mod key_store;
mod restore;
mod schedule;
mod tenant;
mod version;

pub use self::{
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
