//! The AWS KMS External Key Store (XKS) proxy API, for any server and any key manager.
//!
//! AWS KMS can leave its keys to a key manager outside of AWS: for each use of such a key it calls an
//! *external key store proxy* over HTTP. This crate is that proxy without the server: it verifies KMS's
//! signatures, checks requests as the specification demands, and calls the key manager behind the trait
//! [`KeyBackend`].
//!
//! ```
//! use std::sync::Arc;
//! use xks_backend_soft::{SoftBackend, SoftKey};
//! use xks_core::{Credential, KeyStore, KeyStores, Proxy, Request};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     tracing_subscriber::fmt().init(); // without a subscriber there is no audit log
//!
//!     let backend = Arc::new(SoftBackend::new().with_key("my-key".parse()?, SoftKey::generate()?));
//!     let key_store = KeyStore::builder("/my-key-store".parse()?, backend)
//!         .region("eu-central-1".parse()?)
//!         .credential(Credential::new("BETWEEN2TENAND3TENCHARACTERS", "s".repeat(43))?)
//!         .keys(["my-key".parse()?])
//!         .build()?;
//!     let proxy = Proxy::new(KeyStores::new([key_store])?);
//!
//!     // Here `xks-http` or your own server hands over each request as it came.
//!     let response = proxy.handle(Request::new("POST", "/my-key-store/kms/xks/v1/health", b"{}")).await;
//!     assert_eq!(response.status(), 401); // this one is not signed
//!     Ok(())
//! }
//! ```
//!
//! # The way of a request
//! ```text
//! server ──Request──▶ Proxy::handle
//!                       route      is it a path of the API, of a known prefix?     404, 405
//!                       verify     SigV4 over method, path, headers and body       401
//!                       decode     JSON and Base64                                 400
//!                       find key   is it one of this key store?                    404
//!                       authorize  secondary authorization, not for health         403
//!                       limit      sizes                                           501
//!                       call       KeyBackend ──▶ HSM, software keys, ...          400, 429, 500, 503
//!                       check      integrity value, then the verification          500
//! server ◀─Response──   encode     JSON; one audit record
//! ```
//! The crate owns no socket, runtime, thread or file: the server hands over bytes and gets bytes back.
//!
//! # Where to look
//! | to | see |
//! |---|---|
//! | connect a key manager | [`KeyBackend`] and [`backend`]; the crates `xks-backend-soft` and `xks-backend-pkcs11` |
//! | use several key managers as one | [`fleet`] |
//! | set up prefixes, Regions, credentials and keys | [`KeyStore`] and [`key_store`] |
//! | decide who may use a key | [`authorize`] |
//! | keep records of requests | [`audit`] |
//! | read ciphertexts of AWS's sample proxy | [`aad`] |
//! | serve HTTP | the crate `xks-http` |
//! | create, list, destroy and export keys | [`manage`] |
//! | put a layer around a key manager | [`backend::Layered`] |
//! | show errors and bytes in logs | [`text`] |
//! | say what time it is | [`timer`] |
//! | test any of it | `testkit` |
//!
//! # Features
//! * `serde`: `Serialize` and `Deserialize` for ids, prefixes, Regions, states, usages, statuses and
//!   framings, as the texts that they are. Nothing that is secret has them.
//! * `testkit`: conformance tests for backends, a client and a signer, see `testkit`. Not for production.
//! * `testkit-manage`: conformance tests for key managers too. Takes a C compiler: AWS-LC unwraps what they
//!   wrap.

#![forbid(unsafe_code)]

pub mod aad;
pub mod api;
pub mod audit;
pub mod authorize;
pub mod backend;
pub mod context;
pub mod dependency;
mod error;
pub mod fleet;
mod key_id;
pub mod key_store;
pub mod manage;
mod message;
mod names;
mod panics;
mod persistent_map;
mod proxy;
mod route;
pub mod sigv4;
#[cfg(test)]
mod testing;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod text;
pub mod timer;
mod trail;

pub use async_trait::async_trait;
pub use zeroize::Zeroizing;

pub use self::{
    backend::{BackendError, KeyBackend},
    key_id::KeyId,
    key_store::{Credential, KeyStore, KeyStores},
    message::{Request, Response},
    proxy::{Proxy, ProxyBuilder},
};
