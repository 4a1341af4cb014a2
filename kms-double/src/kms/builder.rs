//! The settings of a [`Kms`].

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use super::{
    Inner, Kms,
    clock::Clock,
    faults::Faults,
    replicas::Replicas,
    request_quotas::RequestQuotas,
    resources::Resources,
    state_file::{BuildError, StateFile},
};
use crate::wire::{Credential, Endpoint, EndpointError, Http, Tls};

/// Makes a [`Kms`].
#[derive(Clone, Debug)]
pub struct Builder {
    pub(super) region: String,
    pub(super) account: String,
    pub(super) timeout: Duration,
    pub(super) http: Http,
    pub(super) tls: Tls,
    pub(super) is_http_allowed: bool,
    pub(super) state_file: Option<PathBuf>,
    pub(super) clock: Clock,
    pub(super) settle: Duration,
    pub(super) connecting: Duration,
    pub(super) do_policies_decide: bool,
    pub(super) resources: Resources,
    pub(super) quotas: Option<RequestQuotas>,
    pub(super) faults: Faults,
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
    /// Sets the Region that [`Kms`] begins in, by default `us-east-1`.
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
    /// turns; and key policies cannot name a new user or role (`MalformedPolicyDocumentException`). So long a
    /// replica key is Creating, too.
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
        let world = file.as_ref().map(|file| file.world().clone()).unwrap_or_default();
        let region = self.region.as_str().into();
        let inner = Arc::new(Inner {
            started: self.clock.now(),
            last_usage: Mutex::default(),
            settings: self,
            state: Mutex::new(Replicas::new(world)),
            state_file: Mutex::new(file),
            buckets: Mutex::default(),
            turn: AtomicU64::new(0),
            proxies: Mutex::default(),
            health: Mutex::default(),
        });
        Ok(Kms(inner, region))
    }

    pub(super) fn endpoint(&self, url: &str, credential: Credential) -> Result<Endpoint, EndpointError> {
        Endpoint::builder(url, credential)
            .http(self.http)
            .tls(self.tls.clone())
            .timeout(self.timeout)
            .connect_timeout(self.timeout * 2) // what ends a call is the limit of the whole
            .build()
    }
}
