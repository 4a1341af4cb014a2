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
//!   SYMMETRIC_DEFAULT, multi-Region keys, and grants.

mod access_keys;
mod aliases;
mod answer;
pub mod api;
mod binary;
mod blob;
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
mod key_stores;
mod keys;
mod materials;
mod page;
mod permissions;
mod policies;
mod policy;
mod principals;
mod proxy;
mod replicas;
mod request_quotas;
mod resources;
mod rotation;
mod seal;
mod sorted;
mod state;
mod state_file;
mod tags;
mod wrapping;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use zeroize::Zeroizing;

pub use self::{
    access_keys::{AccessKeyMetadata, CallerIdentity, Identity, NewAccessKey, Part, PartRequest},
    answer::{Health, HealthStatus, KeyManager},
    binary::Binary,
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
    api::KeyLastUsage,
    key_store::ProxySettings,
    proxy::{Operation, Proxy},
    replicas::Replicas,
    request_quotas::Buckets,
    state::State,
    state_file::StateFile,
};
use crate::wire::{Client, Credential, Endpoint, EndpointError, Http, Tls};

/// A KMS of one account in one Region. Clones share it.
///
/// Its methods need a tokio runtime. Whoever drops a call leaves things as they were, or as they are after
/// it.
#[derive(Clone, Debug)]
pub struct Kms(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Builder,
    state: Mutex<Replicas>,
    state_file: Mutex<Option<StateFile>>,
    /// The clients of the key stores' proxies, with the settings that they were made of.
    proxies: Mutex<HashMap<String, (ProxySettings, Proxy)>>,
    health: Mutex<HashMap<String, HealthCheck>>,
    /// By key id.
    last_usage: Mutex<HashMap<String, KeyLastUsage>>,
    /// What is left of the request quotas.
    buckets: Mutex<Buckets>,
    /// The number of operations so far: replicas take turns.
    turn: AtomicU64,
    /// When this process began to serve, in seconds since 1970.
    started: f64,
}

/// Makes a [`Kms`].
#[derive(Clone, Debug)]
pub struct Builder {
    region: String,
    account: String,
    timeout: Duration,
    http: Http,
    tls: Tls,
    is_http_allowed: bool,
    state_file: Option<PathBuf>,
    clock: Clock,
    settle: Duration,
    connecting: Duration,
    do_policies_decide: bool,
    resources: Resources,
    quotas: Option<RequestQuotas>,
    faults: Faults,
}

impl Kms {
    /// Starts with an account and a Region of AWS's documentation.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            region: "us-east-1".into(),
            account: "111122223333".into(),
            timeout: Endpoint::TIMEOUT,
            http: Http::One,
            tls: Tls::default(),
            is_http_allowed: false,
            state_file: None,
            clock: Clock::default(),
            settle: Duration::ZERO,
            connecting: Duration::ZERO,
            do_policies_decide: false,
            resources: Resources::default(),
            quotas: None,
            faults: Faults::default(),
        }
    }
}

impl Builder {
    /// Sets the Region, by default `us-east-1`.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// Sets the account, by default `111122223333`.
    #[must_use]
    pub fn account(mut self, account: impl Into<String>) -> Self {
        self.account = account.into();
        self
    }

    /// Sets the time limit for a proxy's answer, by default 250 ms, opening a connection included.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the version of HTTP that proxies are called by, by default HTTP/1.1.
    #[must_use]
    pub fn http(mut self, http: Http) -> Self {
        self.http = http;
        self
    }

    /// Sets how proxies are called over TLS: trusted roots, and the client certificate.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// Takes key stores whose endpoint begins with `http://` too. AWS KMS never does.
    #[must_use]
    pub fn allow_http(mut self) -> Self {
        self.is_http_allowed = true;
        self
    }

    /// Keeps key stores, keys and aliases in this file, over a restart too; otherwise they are in memory
    /// alone.
    ///
    /// The secrets of the proxies and the key material of the KMS keys stand in it in the clear. It is made
    /// so that its owner alone can read it. One process at a time may use it.
    #[must_use]
    pub fn state_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_file = Some(path.into());
        self
    }

    /// Sets the clock, by which imported material, import tokens and scheduled deletions come to their end.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the time after which a change is seen everywhere, by default none. So long, every other request
    /// is answered by a replica that has not seen it: new keys are not found, and old and new values take
    /// turns; and key policies cannot name a new user or role (`MalformedPolicyDocumentException`).
    #[must_use]
    pub fn settle(mut self, time: Duration) -> Self {
        self.settle = time;
        self
    }

    /// Sets the time that a key store is CONNECTING and DISCONNECTING, by default none. AWS takes minutes.
    #[must_use]
    pub fn connecting(mut self, time: Duration) -> Self {
        self.connecting = time;
        self
    }

    /// Lets key policies decide what a caller may do with a key: by principal, action and effect, without
    /// conditions. A policy that names the account lets all of its users and roles in. By default every
    /// caller may do everything.
    #[must_use]
    pub fn key_policies_decide(mut self) -> Self {
        self.do_policies_decide = true;
        self
    }

    /// Sets request quotas, by default none: what exceeds them is throttled (`ThrottlingException`).
    #[must_use]
    pub fn request_quotas(mut self, quotas: RequestQuotas) -> Self {
        self.quotas = Some(quotas);
        self
    }

    /// Sets the resource quotas, by default those of AWS.
    #[must_use]
    pub fn resources(mut self, resources: Resources) -> Self {
        self.resources = resources;
        self
    }

    /// # Errors
    /// The state file cannot be read, or a file of TLS cannot be used.
    pub fn build(self) -> Result<Kms, BuildError> {
        self.endpoint("https://localhost", Credential::new("", "", ""))?;
        let file = self.state_file.as_deref().map(StateFile::open).transpose()?;
        let state = file.as_ref().map(|file| file.state().clone()).unwrap_or_default();
        Ok(Kms(Arc::new(Inner {
            started: self.clock.now(),
            last_usage: Mutex::default(),
            settings: self,
            state: Mutex::new(Replicas::new(state)),
            state_file: Mutex::new(file),
            buckets: Mutex::default(),
            turn: AtomicU64::new(0),
            proxies: Mutex::default(),
            health: Mutex::default(),
        })))
    }

    fn endpoint(&self, url: &str, credential: Credential) -> Result<Endpoint, EndpointError> {
        Endpoint::builder(url, credential)
            .http(self.http)
            .tls(self.tls.clone())
            .timeout(self.timeout)
            .connect_timeout(self.timeout * 2) // what ends a call is the limit of the whole
            .build()
    }
}

impl Kms {
    /// Does one operation of the caller's, under one request id, and whatever goes wrong with it.
    async fn operate<T>(
        &self,
        name: &str,
        caller: &Caller,
        operation: impl AsyncFnOnce(Operation<'_>) -> Result<T, Exception>,
    ) -> Result<T, Exception> {
        let Builder {
            faults, quotas, settle, ..
        } = &self.0.settings;
        let trouble = faults.begin(name, caller)?;
        if let Some(quotas) = quotas
            && !locked(&self.0.buckets).take(*quotas, name, self.now())
        {
            return Err(faults.throttled(name));
        }
        faults.instead(name, trouble)?;
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        let is_behind = !settle.is_zero() && turn % 2 == 1;
        let result = self.under_request_id(name, caller, is_behind, operation).await;
        match trouble {
            Some(Trouble::LostAfter) => Err(faults::lost()),
            _ => result,
        }
    }

    /// Does one operation, KMS's own as well.
    async fn under_request_id<T>(
        &self,
        name: &str,
        caller: &Caller,
        is_behind: bool,
        operation: impl AsyncFnOnce(Operation<'_>) -> Result<T, Exception>,
    ) -> Result<T, Exception> {
        let request_id = match &caller.request_id {
            Some(id) => id.clone(),
            None => uuid()?,
        };
        operation(Operation {
            kms: self,
            name,
            request_id: &request_id,
            caller,
            is_behind,
        })
        .await
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> Result<T, Exception>) -> Result<T, Exception> {
        self.read_as(false, look)
    }

    fn read_as<T>(&self, is_behind: bool, look: impl FnOnce(&State) -> Result<T, Exception>) -> Result<T, Exception> {
        let mut state = locked(&self.0.state);
        if is_behind {
            look(state.behind(self.now(), self.settle_secs()))
        } else {
            look(state.latest(self.now()))
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> Result<T, Exception>) -> Result<T, Exception> {
        self.change_as(false, change)
    }

    /// Changes the state as a whole, and in its file first; or not at all.
    fn change_as<T>(
        &self,
        is_behind: bool,
        change: impl FnOnce(&mut State) -> Result<T, Exception>,
    ) -> Result<T, Exception> {
        let (now, settle) = (self.now(), self.settle_secs());
        let mut state = locked(&self.0.state);
        let mut changed = state.changeable(now, is_behind.then_some(settle));
        let result = change(&mut changed)?;
        if let Some(file) = &mut *locked(&self.0.state_file) {
            file.save(&changed).map_err(|error| replicas::not_kept(&error))?;
        }
        state.replace(changed, now, settle);
        Ok(result)
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

    /// The proxy of a key store, over the connections that it has.
    fn proxy(&self, key_store_id: &str, settings: &ProxySettings) -> Result<Proxy, Exception> {
        let mut proxies = locked(&self.0.proxies);
        if let Some((of, proxy)) = proxies.get(key_store_id)
            && of == settings
        {
            return Ok(proxy.clone());
        }
        let proxy = self.new_proxy(settings)?;
        proxies.insert(key_store_id.to_owned(), (settings.clone(), proxy.clone()));
        Ok(proxy)
    }

    fn new_proxy(&self, settings: &ProxySettings) -> Result<Proxy, Exception> {
        let credential = Credential::new(
            &settings.credential.access_key_id,
            &*settings.credential.raw_secret_access_key,
            &self.0.settings.region,
        );
        let url = format!("{}{}", settings.uri_endpoint, settings.uri_path);
        let endpoint = self.0.settings.endpoint(&url, credential);
        let endpoint = endpoint.map_err(|error| Exception::validation(error.to_string()))?;
        Ok(Proxy(Client::new(endpoint)))
    }

    /// Seconds since 1970, to the millisecond.
    fn now(&self) -> f64 {
        self.0.settings.clock.now()
    }

    fn settle_secs(&self) -> f64 {
        self.0.settings.settle.as_secs_f64()
    }

    fn arn(&self, resource: &str) -> String {
        let Builder { region, account, .. } = &self.0.settings;
        format!("arn:aws:kms:{region}:{account}:{resource}")
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
