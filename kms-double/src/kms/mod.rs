//! AWS KMS as a proxy sees it, and as who imports key material sees it: external key stores, KMS keys in
//! them, KMS keys with imported material or KMS's own, and what is done with those.
//!
//! ```no_run
//! use kms_double::kms::{Caller, Kms, api::*};
//!
//! # async fn doc() -> Result<(), Box<dyn std::error::Error>> {
//! let kms = Kms::builder().build()?;
//! let alice = Caller::new("arn:aws:iam::111122223333:user/Alice");
//!
//! let credential = ProxyCredential::new("BETWEEN2TENAND3TENCHARACTERS", "SomeSecretOf43To64CharactersThatNobodyKnows");
//! let store = CreateCustomKeyStoreRequest::new("mine", "https://xks.example.com", "/mine/kms/xks/v1", credential);
//! let store = kms.create_custom_key_store(&alice, store).await?.custom_key_store_id;
//! kms.connect_custom_key_store(&alice, CustomKeyStoreIdRequest::new(&store)).await?;
//!
//! let key = kms.create_key(&alice, CreateKeyRequest::new(&store, "external-key-1")).await?.key_metadata;
//! let mut encrypt = EncryptRequest::new(&key.key_id, b"a secret");
//! encrypt.encryption_context.insert("project".into(), "nile".into());
//! let blob = kms.encrypt(&alice, encrypt).await?.ciphertext_blob;
//!
//! let mut decrypt = DecryptRequest::new(blob);
//! decrypt.encryption_context.insert("project".into(), "nile".into());
//! assert_eq!(&*kms.decrypt(&alice, decrypt).await?.plaintext, b"a secret");
//! # Ok(())
//! # }
//! ```
//!
//! # What is as in AWS KMS
//! What a proxy is sent and when, signed and within 250 ms; what is checked on its answers; two layers of
//! encryption, the inner one under material of the KMS key that the proxy never sees; the states of key
//! stores and keys; the exceptions, by [one table](Failure::row). The whole life of imported key material:
//! import tokens, unwrapping, expiry, rotation on demand.
//!
//! # What is not
//! * Every caller may do everything, unless [key policies decide](Builder::key_policies_decide); there are no
//!   policies of users and roles, and conditions are left out of account.
//! * A key store is connected, or has failed to be, when [`Kms::connect_custom_key_store`] returns, unless
//!   [`Builder::connecting`] gives it time.
//! * An endpoint may have a port, and with [`Builder::allow_http`] no TLS.
//! * A VPC endpoint service is a name and no more: the proxy is called like any other.
//! * Ciphertext blobs and the AAD of an encryption context have forms of their own, for AWS does not publish
//!   its own.
//! * Automatic rotation is a setting: nothing is rotated by it.
//! * Keys of other origins than AWS_KMS, EXTERNAL_KEY_STORE and EXTERNAL, of other specs than
//!   SYMMETRIC_DEFAULT, and grants.

mod access_keys;
mod aliases;
mod answer;
pub mod api;
mod binary;
mod blob;
mod builder;
mod caller;
mod clock;
mod context;
mod cryptography;
mod exception;
mod external;
mod failure;
mod faults;
mod health;
mod import;
mod imported;
mod key;
mod key_states;
mod key_store;
mod key_store_settings;
mod key_stores;
mod keys;
mod materials;
mod multi_region;
mod operation;
mod page;
mod permissions;
mod policies;
mod policy;
mod principals;
mod proxy;
mod replicas;
mod replication;
mod request_quotas;
mod resources;
mod rotation;
mod seal;
mod sorted;
mod state;
mod state_file;
mod tags;
mod world;
mod wrapping;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};

use zeroize::Zeroizing;

pub use self::{
    access_keys::{AccessKeyMetadata, CallerIdentity, Identity, NewAccessKey, Part, PartRequest},
    answer::{Health, HealthStatus, KeyManager},
    binary::Binary,
    builder::Builder,
    caller::Caller,
    clock::Clock,
    context::EncryptionContext,
    exception::{Exception, ExceptionName},
    failure::{ConnectionErrorCode, Failure, Row, Source},
    faults::{Calls, Faults, Trouble},
    health::HealthCheck,
    principals::PrincipalKind,
    request_quotas::RequestQuotas,
    resources::Resources,
    state_file::BuildError,
};
use self::{
    api::KeyLastUsage, key_store::ProxySettings, proxy::Proxy, replicas::Replicas, request_quotas::Buckets,
    state_file::StateFile,
};

/// The KMS of one account in one Region. Clones share it, and [other Regions](Self::in_region) belong to it.
///
/// Its methods need a tokio runtime. Whoever drops a call leaves things as they were, or as they are after
/// it.
#[derive(Clone, Debug)]
pub struct Kms(Arc<Inner>, Arc<str>);

#[derive(Debug)]
struct Inner {
    settings: Builder,
    state: Mutex<Replicas>,
    state_file: Mutex<Option<StateFile>>,
    /// The clients of the key stores' proxies, with the settings that they were made of.
    proxies: Mutex<HashMap<String, (ProxySettings, Proxy)>>,
    health: Mutex<HashMap<String, HealthCheck>>,
    /// By key ARN.
    last_usage: Mutex<HashMap<String, KeyLastUsage>>,
    /// What is left of the request quotas.
    buckets: Mutex<Buckets>,
    /// The number of operations so far: replicas take turns.
    turn: AtomicU64,
    /// When this process began to serve, in seconds since 1970.
    started: f64,
}

impl Kms {
    /// Returns the KMS of the same account in another Region: with key stores, keys and aliases of its own,
    /// and with the same users, roles and access keys, clock, faults and settings.
    ///
    /// # Errors
    /// `Validation`: that is not a Region's name.
    pub fn in_region(&self, region: &str) -> Result<Self, Exception> {
        replication::check_region(region)?;
        Ok(Self(self.0.clone(), region.into()))
    }

    /// Returns the Region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.1
    }

    /// Returns what goes wrong on purpose, and how often each operation was called.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.0.settings.faults
    }

    /// Returns the clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.settings.clock
    }

    /// Seconds since 1970, to the millisecond.
    fn now(&self) -> f64 {
        self.0.settings.clock.now()
    }

    fn settle_secs(&self) -> f64 {
        self.0.settings.settle.as_secs_f64()
    }

    fn arn(&self, resource: &str) -> String {
        self.arn_in(&self.1, resource)
    }

    fn arn_in(&self, region: &str, resource: &str) -> String {
        format!("arn:aws:kms:{region}:{}:{resource}", self.0.settings.account)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, Exception> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(|_| {
        Exception::new(
            ExceptionName::Internal,
            "the operating system's random number generator failed",
        )
    })?;
    Ok(bytes)
}

/// A random UUID (RFC 9562, version 4).
pub(crate) fn uuid() -> Result<String, Exception> {
    let number = u128::from_be_bytes(*random::<16>()?);
    let number = number & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    Ok(state::hyphenated(number))
}
