//! The AWS KMS External Key Store (XKS) proxy API, for any server and any key manager.
//!
//! AWS KMS can leave its keys to a key manager outside of AWS: for each use of such a key it calls an *external key
//! store proxy* over HTTP. This crate is that proxy without the server: the types of the four operations, the
//! verification of KMS's signatures, the checks that the specification demands, and the trait [`KeyBackend`] behind
//! which a key manager stands.
//!
//! ```text
//! server ──Request──▶ Proxy::handle
//!                       route      is it a path of the API, of a known prefix?     404, 405
//!                       verify     SigV4 over method, path, headers and body       401
//!                       decode     JSON and Base64                                 400
//!                       find key   is it one of this key store?                    404
//!                       authorize  secondary authorization, not for health         403
//!                       limit      sizes                                           501
//!                       call       KeyBackend ──▶ HSM, software keys, ...          400, 429, 500, 503
//!                       check      integrity value, then trial decryption          500
//! server ◀─Response──   encode     JSON; one audit record
//! ```
//!
//! It owns no socket, no runtime, no thread and no file. The server hands over bytes and gets bytes back: `xks-http`
//! does that for every server that speaks the `http` crate's types. `xks-backend-soft` is a backend with software
//! keys, to begin with. A [`Fleet`] makes one backend of several.
//!
//! # Getting started
//! 1. Have a [`KeyBackend`]: write one, or take one of the crates beside this one.
//! 2. Build a [`KeyStore`] for each tenant: prefix, Region, [`Credential`]s, keys.
//! 3. Build a [`Proxy`] from them, and give every request to [`Proxy::handle`].
//!
//! # Requirement ids
//! Ids like ENC-7 or SIG-5 stand for the requirements of the specification, as the project's `docs/requirements.md`
//! lists them. They mark the line that keeps a requirement, and the test that proves it.
//!
//! # Features
//! * `testkit`: what tests of backends and embedders need, see `testkit`. Not for production.

#![forbid(unsafe_code)]

mod aad;
mod api;
mod audit;
mod authorize;
mod backend;
mod ciphertext;
mod credentials;
mod error;
mod fleet;
mod key_id;
mod key_store;
pub mod manage;
mod message;
mod panics;
mod proxy;
mod route;
mod rules;
mod served_by;
pub mod sigv4;
#[cfg(test)]
mod testing;
#[cfg(feature = "testkit")]
pub mod testkit;
mod text;
mod trail;
mod trial;

pub use async_trait::async_trait;
pub use zeroize::Zeroizing;

pub use self::{
    aad::{AadFraming, AadTooLong, BoundAad},
    api::{
        DecryptRequest, EncryptRequest, FleetMember, GetHealthStatusRequest, GetKeyMetadataRequest, Health,
        HealthStatus, KeyMetadata, KeySpec, KeyStatus, KeyUsage, RequestMetadata,
    },
    audit::{AuditRecord, AuditSink, Outcome, TracingAudit},
    authorize::{AllowAll, Authorizer, Decision, Subject},
    backend::{KeyBackend, Limits},
    ciphertext::{CiphertextMetadata, Encrypted, Iv, LengthError, Tag},
    credentials::{AccessKeyId, Credential, CredentialError, SecretAccessKey},
    error::{BackendError, BackendErrorKind, ErrorName},
    fleet::{BreakerState, Disagreement, DisagreementKind, Fleet, FleetBuilder, FleetError, MemberSnapshot},
    key_id::{KeyId, KeyIdError},
    key_store::{KeyStore, KeyStoreBuilder, KeyStoreError, KeyStoreProblem, KeyStores},
    message::{Request, Response, UnreadableBody},
    proxy::{Proxy, ProxyBuilder},
    route::{KeyOperation, Operation, UriPathPrefix, UriPathPrefixError},
    rules::{Rule, Rules},
    trial::{Proven, Trial},
};
