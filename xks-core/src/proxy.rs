//! The pipeline: the way of a request, from its bytes to those of its answer, in one place.

use std::{
    borrow::Cow,
    fmt,
    num::NonZeroU32,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use crate::{
    BackendError, KeyId, KeyStore, KeyStores, Request, Response,
    api::{
        DecryptBody, EncryptBody, ErrorName, KeyOperation, Operation, ProxyIdentity, RequestMetadata,
        decode_health_request, encode_plaintext,
    },
    audit::{AuditSink, TracingAudit},
    authorize::{Decision, Subject},
    backend::{BackendErrorKind, GetKeyMetadataRequest, KeyStatus},
    context::{AttemptLog, RequestContext},
    dependency::Reply,
    error::Error,
    panics::{Panicked, catch_panic},
    route::{self, Route, Target},
    sigv4::{Claim, Rejection, Verified},
    timer::{SystemClock, Timer},
    trail::Trail,
};

/// An external key store proxy without a server: requests go in, answers come out.
///
/// ```
/// use std::sync::Arc;
/// use xks_core::{KeyStore, KeyStores, Proxy, Request};
///
/// # async fn doc(key_store: KeyStore) -> Result<(), Box<dyn std::error::Error>> {
/// let proxy = Proxy::new(KeyStores::new([key_store])?);
/// let response = proxy.handle(Request::new("GET", "/nowhere", b"")).await;
/// assert_eq!(response.status(), 404);
/// # Ok(())
/// # }
/// ```
pub struct Proxy {
    key_stores: KeyStores,
    audit: Arc<dyn AuditSink>,
    timer: Arc<dyn Timer>,
    identity: ProxyIdentity,
}

impl Proxy {
    /// Serves these key stores, with the system's clock and one [`tracing`] event for each request: the audit
    /// log. A program without a `tracing` subscriber has no audit log; install one, or name a sink with
    /// [`ProxyBuilder::audit`].
    #[must_use]
    pub fn new(key_stores: KeyStores) -> Self {
        Self::builder(key_stores).build()
    }

    /// Starts a proxy that is to differ from [`Proxy::new`].
    pub fn builder(key_stores: KeyStores) -> ProxyBuilder {
        ProxyBuilder(Self {
            key_stores,
            audit: Arc::new(TracingAudit),
            timer: Arc::new(SystemClock),
            identity: ProxyIdentity {
                fleet_size: NonZeroU32::MIN,
                vendor: "xks-core".into(),
                model: concat!("xks-core ", env!("CARGO_PKG_VERSION")).into(),
            },
        })
    }

    /// Returns the key stores, to be looked at or replaced while requests are being served.
    #[must_use]
    pub const fn key_stores(&self) -> &KeyStores {
        &self.key_stores
    }

    /// Answers a request, however broken it is, and however the key manager fails. A panic in a backend or an
    /// authorizer is answered too, with `InternalException`.
    ///
    /// Takes as long as the backend does; see [`handle_until`](Self::handle_until).
    pub async fn handle(&self, request: Request<'_>) -> Response {
        self.handle_until(request, std::future::pending()).await
    }

    /// Answers a request. When `expired` ends before the backend does, the backend's future is dropped and
    /// the answer is `DependencyTimeoutException`. `expired` is a timer of the caller's runtime.
    /// Specification: GetKeyMetadata.
    // TRN-8
    pub async fn handle_until(&self, request: Request<'_>, expired: impl Future<Output = ()>) -> Response {
        let attempts = AttemptLog::default();
        let mut trail = self.trail(&request, &attempts);
        let expired = pin!(expired);
        let answer = catch_panic(pin!(self.answer(&request, &mut trail, expired)))
            .await
            .unwrap_or_else(|Panicked| {
                Err(Error::from(ErrorName::Internal).because("a backend or an authorizer panicked"))
            });
        trail.end(answer)
    }

    /// Refuses a request that is not to be handled, such as one over a rate limit of the server's, and
    /// records it like any other. `reason` is for the audit record alone; the client gets the name and its
    /// usual text.
    ///
    /// Nothing is verified: the record's key store and key are those that the path names, and the access key
    /// id is [what the client claims](crate::audit::AuditRecord::claimed_access_key_id).
    #[must_use]
    pub fn refuse(&self, request: &Request<'_>, name: ErrorName, reason: impl Into<String>) -> Response {
        let attempts = AttemptLog::default();
        let mut trail = self.trail(request, &attempts);
        if let Ok(route) = Route::parse(request.target()) {
            trail.route = Some(route);
            trail.key_store = self.key_stores.get(route.prefix);
        }
        trail.end(Err(Error::from(name).because(reason)))
    }

    /// Records a request that will never be handled, because the server dropped it before its body was there.
    pub fn record_abandoned(&self, request: &Request<'_>) {
        drop(self.trail(request, &AttemptLog::default()));
    }

    fn trail<'a>(&'a self, request: &'a Request<'a>, attempts: &'a AttemptLog) -> Trail<'a> {
        Trail::new(&*self.audit, &*self.timer, request, attempts)
    }

    /// The specification's table of contents.
    async fn answer<'a>(
        &self,
        request: &'a Request<'a>,
        trail: &mut Trail<'a>,
        expired: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Response, Error> {
        let route = trail.route.insert(Route::parse(request.target())?);
        let (operation, target) = (route.operation(), route.target);
        let key_store = self
            .key_stores
            .get(route.prefix)
            .ok_or_else(|| route::invalid(request.target(), "no key store has this prefix"))?;
        trail.key_store = Some(Arc::clone(&key_store));
        if request.method() != "POST" {
            return Ok(Response::method_not_allowed()); // TRN-4
        }
        request.body()?; // without it there is nothing to verify
        let claim = Claim::of(request)?;
        let mut deadline = Deadline { operation, expired };
        let credential = key_store.find_credential(claim.access_key_id());
        let credential = deadline.reply("the source of credentials", credential).await?;
        let credential = credential.ok_or(Rejection::UnknownAccessKeyId)?;
        let verified = claim.verify(credential, &key_store, self.timer.system_time())?;
        trail.verified = Some(verified.clone());
        let context = RequestContext::new(request, key_store.prefix(), verified.access_key_id(), verified.region());
        let call = Call {
            key_store: &key_store,
            verified: &verified,
            context: &context.recording(trail.attempts),
            deadline,
        };
        match target {
            Target::Health => call.health(trail, &self.identity).await, // HLT-2: no authorization
            Target::Key { id, operation } => match operation {
                KeyOperation::GetKeyMetadata => call.key_metadata(trail, id).await,
                KeyOperation::Encrypt => call.encrypt(trail, id).await,
                KeyOperation::Decrypt => call.decrypt(trail, id).await,
            },
        }
    }
}

/// An authenticated request on its way through the rest: decode, find the key, authorize, keep to the limits,
/// call, check, encode.
struct Call<'c, 'a, E> {
    key_store: &'c KeyStore,
    verified: &'c Verified<'a>,
    context: &'c RequestContext<'c>,
    deadline: Deadline<'c, E>,
}

impl<'c, 'a, E: Future<Output = ()>> Call<'c, 'a, E> {
    async fn health(mut self, trail: &mut Trail<'a>, identity: &ProxyIdentity) -> Result<Response, Error> {
        decode_health_request(self.verified, &mut trail.request_metadata)?;
        let health = self.ask(self.key_store.backend().health()).await?;
        if !health.is_usable() {
            // HLT-1: 200 would promise that the next operation works.
            return Err(Error::from(ErrorName::Internal).because("no key manager is available"));
        }
        Ok(Response::ok(health.encode(identity)))
    }

    async fn key_metadata(mut self, trail: &mut Trail<'a>, id: &str) -> Result<Response, Error> {
        let request = GetKeyMetadataRequest::decode(self.verified, &mut trail.request_metadata)?;
        let key = self
            .admit(
                &mut trail.policy,
                id,
                KeyOperation::GetKeyMetadata,
                &request.request_metadata,
            )
            .await?;
        let request = request.with_context(self.context);
        let mut metadata = self.ask(self.key_store.backend().key_metadata(&key, &request)).await?;
        if self.key_store.is_blocked() {
            metadata = metadata.with_status(KeyStatus::Disabled);
        }
        Ok(Response::ok(metadata.encode()))
    }

    async fn encrypt(mut self, trail: &mut Trail<'a>, id: &str) -> Result<Response, Error> {
        let body = EncryptBody::decode(self.verified, &mut trail.request_metadata)?;
        let wants_integrity_value = body.wants_integrity_value;
        let key = self
            .admit(&mut trail.policy, id, KeyOperation::Encrypt, body.request_metadata)
            .await?;
        let request = body.into_request(self.key_store.aad_framing(), self.key_store.effective_limits())?;
        let mut request = request.with_context(self.context);
        let backend = self.key_store.backend();
        let (encrypted, integrity_value) = if wants_integrity_value {
            let proven = self.ask(backend.encrypt_verified(&key, &mut request)).await?; // ENC-10
            (proven.encrypted, Some(proven.integrity_value))
        } else {
            (self.ask(backend.encrypt(&key, &mut request)).await?, None)
        };
        request
            .check(&encrypted)
            .map_err(|reason| Error::from(ErrorName::Internal).because(reason))?;
        Ok(Response::ok(encrypted.encode(integrity_value.as_ref())))
    }

    async fn decrypt(mut self, trail: &mut Trail<'a>, id: &str) -> Result<Response, Error> {
        let body = DecryptBody::decode(self.verified, &mut trail.request_metadata)?;
        let key = self
            .admit(&mut trail.policy, id, KeyOperation::Decrypt, body.request_metadata)
            .await?;
        let request = body.into_request(self.key_store.aad_framing(), self.key_store.effective_limits())?;
        let request = request.with_context(self.context);
        let plaintext = self.ask(self.key_store.backend().decrypt(&key, &request)).await?;
        if plaintext.len() != request.ciphertext().len() {
            // DEC-5
            let reason = "the backend returned a plaintext whose length differs from the ciphertext's";
            return Err(Error::from(ErrorName::Internal).because(reason));
        }
        Ok(Response::ok(encode_plaintext(&plaintext)))
    }

    /// Waits for the backend.
    async fn ask<T>(&mut self, call: impl Future<Output = Result<T, BackendError>>) -> Result<T, Error> {
        self.deadline.wait("the backend", call).await
    }

    /// Finds the key in the key store, asks secondary authorization, and refuses to use a key of a blocked
    /// key store. `decided_by` is the policy that decided.
    async fn admit(
        &mut self,
        decided_by: &mut Option<Arc<str>>,
        id: &str,
        operation: KeyOperation,
        request_metadata: &RequestMetadata<'a>,
    ) -> Result<Cow<'c, KeyId>, Error> {
        let key = self
            .key_store
            .key(id)
            .ok_or_else(|| Error::from(ErrorName::KeyNotFound).because("the key does not belong to this key store"))?;
        let subject = Subject::new(self.context, &key, operation, request_metadata);
        let decision = self.key_store.authorizer().authorize(&subject); // AUZ-1
        match self.deadline.reply("the authorizer", decision).await? {
            Decision::Allow { policy } => *decided_by = policy,
            Decision::Deny { policy } => {
                *decided_by = Some(policy);
                return Err(ErrorName::AccessDenied.into());
            }
        }
        if self.key_store.is_blocked() && operation != KeyOperation::GetKeyMetadata {
            return Err(Error::from(ErrorName::InvalidState).because("the key store is blocked")); // DEC-4, ENC-11
        }
        Ok(key)
    }
}

/// The time limit of one request: a timer of the caller's, and the operation that its error names.
struct Deadline<'c, E> {
    operation: Operation,
    expired: Pin<&'c mut E>,
}

impl<E: Future<Output = ()>> Deadline<'_, E> {
    /// Waits for the reply of a dependency, if it is not there at once.
    async fn reply<T>(&mut self, whose: &str, reply: Reply<'_, T>) -> Result<T, Error> {
        match reply {
            Reply::Now(reply) => Ok(reply),
            Reply::Later(reply) => {
                let reply = async { reply.await.map_err(|error| error.of(whose)) };
                self.wait(whose, reply).await
            }
        }
    }

    /// Waits for a dependency or a backend, but not longer than the caller does.
    async fn wait<T>(&mut self, whom: &str, call: impl Future<Output = Result<T, BackendError>>) -> Result<T, Error> {
        let mut call = pin!(call);
        std::future::poll_fn(|context| {
            if let Poll::Ready(result) = call.as_mut().poll(context) {
                return Poll::Ready(result);
            }
            self.expired.as_mut().poll(context).map(|()| {
                let detail = format!("{whom} did not answer within the request's time");
                Err(BackendError::new(BackendErrorKind::Timeout, detail))
            })
        })
        .await
        .map_err(|error| Error::from_backend(self.operation, &error))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("key_stores", &self.key_stores)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// Collects what a [`Proxy`] needs besides its key stores.
#[must_use = "a builder does nothing until `build` is called"]
#[derive(Debug)]
pub struct ProxyBuilder(Proxy);

impl ProxyBuilder {
    /// Sets where the record of each request goes; by default to [`TracingAudit`].
    pub fn audit(mut self, sink: impl AuditSink) -> Self {
        self.0.audit = Arc::new(sink);
        self
    }

    /// Sets the clocks, for the freshness of signatures and for how long requests take; by default the
    /// system's. The proxy itself waits for nothing.
    pub fn timer(mut self, timer: impl Timer) -> Self {
        self.0.timer = Arc::new(timer);
        self
    }

    /// Sets the number of proxies that serve these key stores together: `xksProxyFleetSize`, by default 1.
    pub const fn fleet_size(mut self, size: NonZeroU32) -> Self {
        self.0.identity.fleet_size = size;
        self
    }

    /// Sets the vendor of the proxy: `xksProxyVendor`.
    pub fn vendor(mut self, vendor: impl Into<Cow<'static, str>>) -> Self {
        self.0.identity.vendor = vendor.into();
        self
    }

    /// Sets product and version of the proxy: `xksProxyModel`.
    pub fn model(mut self, model: impl Into<Cow<'static, str>>) -> Self {
        self.0.identity.model = model.into();
        self
    }

    /// Builds the proxy.
    #[must_use]
    pub fn build(self) -> Proxy {
        self.0
    }
}
