//! Managed keys for AWS KMS External Key Store (XKS) proxies: what is kept of them, where, and what a command
//! may change.
//!
//! ```text
//! Commands ──▶ key_state::decide(key, command, now) ──▶ Change
//!                                                        │
//!             Repository::commit(snapshot, Changes) ◀────┘
//!               check       references have their targets
//!               seal        secrets, under the data key, for their table, row and column
//!               code        of each row, and of all rows with the revision
//!             Store::commit(rows, expected revision) ──▶ SQLite, PostgreSQL, memory
//! ```
//!
//! # Where to look
//! | to | see |
//! |---|---|
//! | know what is kept | [`Tenant`], [`KeySet`], [`Key`], [`KeyVersion`], [`Schedule`], [`ExternalKeyStore`], [`KeyStoreCredential`], [`CloudAccount`], [`CloudKeyStore`], [`CloudKey`], [`CloudMaterial`], [`Event`] |
//! | open, load and change the state | [`Repository`], [`Snapshot`], [`Changes`] |
//! | make and change keys, as the server's administration does | [`commands::Commands`] |
//! | know what a command does, and what AWS KMS sees of a key | [`key_state`] |
//! | rotate keys by themselves, and know when that will be | [`schedule`] |
//! | serve keys | [`Managed`], over a [`view::View`] |
//! | verify the requests of external key stores | [`ManagedCredentials`] |
//! | do something with each change before its command returns | [`commands::Observer`] |
//! | count encryptions, and what else keys are used for | [`Counts`], [`Usage`] |
//! | know what a reader or a writer of the database can do | [`seal`] |
//! | back the state up, and restore it | [`backup`] |
//! | know how commands are felt on several nodes | [`nodes`] |
//! | keep how far work outside has come | [`jobs`] |
//! | keep the state elsewhere | [`store::Store`], `store_conformance!` |
//!
//! # What is not authenticated
//! Counts and other [claims](store::Claim), and events: a writer of the database can change them. A whole
//! older copy of the database in its place is noticed only by a process that has seen a later revision; a
//! [restored backup](backup) says of itself that it is one.
//!
//! # Features
//! * `postgres`: `store::PostgresStore`. Takes Tokio, and a C compiler for TLS.
//! * `sqlite`: `store::SqliteStore`. Takes a C compiler.
//! * `kill-points`: tests can end the process at each step of a command. Not for production.
//! * `broken-nodes`: tests can break a rule of [`nodes`]. Not for production.
//! * `testkit`: conformance tests for stores. Not for production.

#![forbid(unsafe_code)]

/// Says that a command has come to this step, for tests that end the process there.
macro_rules! kill_point {
    ($point:ident) => {
        #[cfg(feature = "kill-points")]
        crate::kill_point::reach(crate::kill_point::KillPoint::$point);
    };
}

pub mod backup;
mod broken_nodes;
mod change_error;
mod changes;
pub mod commands;
mod counts;
mod credentials;
mod field;
mod id;
pub mod jobs;
pub mod key_state;
#[cfg(feature = "kill-points")]
pub mod kill_point;
mod managed;
pub mod nodes;
mod nouns;
mod record;
mod repository;
pub mod schedule;
pub mod seal;
mod snapshot;
pub mod store;
#[cfg(feature = "testkit")]
pub mod testkit;
mod time;
mod touched;
pub mod view;

#[doc(hidden)]
#[cfg(feature = "testkit")]
pub use xks_core;

pub use self::{
    change_error::ChangeError,
    changes::{Changes, Noun, Removable},
    commands::CommandError,
    counts::{Counts, Usage},
    credentials::ManagedCredentials,
    field::{Description, FieldError, FieldProblem, Name, UnknownName},
    id::{
        CloudAccountId, CloudKeyId, CloudKeyStoreId, CloudMaterialId, JobId, KeySetId, KeyStoreId, RandomError,
        ScheduleId, TenantId, VersionId, generate_key_id,
    },
    managed::Managed,
    nouns::{
        AliasName, AwsAccessKeyId, AwsAccountId, AwsSecret, CheckValue, CloudAccessKey, CloudAccount, CloudCredential,
        CloudKey, CloudKeyOrigin, CloudKeyStore, CloudMaterial, CustomKeyStoreId, CustomKeyStoreName, DeletionDays,
        EndingWithinDays, Event, EventText, ExternalKeyStore, Fingerprint, Import, KeepDays, Key, KeyPolicy, KeySet,
        KeySource, KeyStoreCredential, KeyVersion, KeyVersionId, KmsKeyArn, KmsMaterialId, LifetimeDays, Material,
        MaterialCheck, MaterialState, Minima, Outcome, OverlapMinutes, PrincipalArn, Region, Regions, Restore,
        Rotation, RotationStyle, Schedule, Tags, Tenant, VersionState, VpcEndpointService, WaitingDays, WantedKey,
        WantedKeyStore, WantedMaterial,
    },
    record::{RowError, RowProblem},
    repository::{Repository, RepositoryError},
    snapshot::{Entry, Object, Snapshot},
    time::Timestamp,
    touched::Touched,
};
