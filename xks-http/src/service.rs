//! The service: read the body, ask the core, answer.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use http::{Version, header, request::Parts};
use http_body::Body;
use tower_service::Service;
use xks_core::{Proxy, api::ErrorName};

use crate::{
    Arrival, ResponseBody,
    body::{RequestBody, Unreadable},
    convert::{self, Head},
    memory::Memory,
};

/// A [`Proxy`] as a service. Cheap to clone; all clones serve the same proxy.
#[derive(Clone, Debug)]
pub struct XksService {
    proxy: Arc<Proxy>,
    max_body_bytes: usize,
    memory: Arc<Memory>,
    #[cfg(feature = "timeout")]
    timeout: Option<std::time::Duration>,
}

impl XksService {
    /// 256 KiB: several times the largest request that the specification demands to be served (about 25 KB),
    /// so that one that is only too large for the key store gets a precise error.
    pub const DEFAULT_MAX_BODY_BYTES: usize = 256 * 1024;

    /// 32 MiB: room for thousands of requests that arrive in parts.
    pub const DEFAULT_MAX_UNFINISHED_BYTES: usize = 32 * 1024 * 1024;

    /// Serves `proxy`, an `Arc` of one or a proxy itself.
    #[must_use]
    pub fn new(proxy: impl Into<Arc<Proxy>>) -> Self {
        Self {
            proxy: proxy.into(),
            max_body_bytes: Self::DEFAULT_MAX_BODY_BYTES,
            memory: Arc::new(Memory::new(Self::DEFAULT_MAX_UNFINISHED_BYTES)),
            #[cfg(feature = "timeout")]
            timeout: None,
        }
    }

    /// Sets the largest request body to read, in bytes; by default
    /// [`DEFAULT_MAX_BODY_BYTES`](Self::DEFAULT_MAX_BODY_BYTES). A larger one is answered
    /// `ValidationException`. This much memory may be held for each request that is not authenticated yet,
    /// and [`max_unfinished_bytes`](Self::max_unfinished_bytes) for all of them. Larger
    /// [`Limits`](xks_core::backend::Limits) than the specification's need room here, a third more than their
    /// bytes for Base64.
    #[must_use]
    pub const fn max_body_bytes(mut self, bytes: usize) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Bounds the memory of all requests that wait for the rest of their body, in bytes; by default
    /// [`DEFAULT_MAX_UNFINISHED_BYTES`](Self::DEFAULT_MAX_UNFINISHED_BYTES). Head and body count. A request
    /// that would need more while it waits is answered `ThrottlingException`; one that arrives in one piece
    /// waits for nothing. The clones of a service share the bound.
    #[must_use]
    pub fn max_unfinished_bytes(mut self, bytes: usize) -> Self {
        self.memory = Arc::new(Memory::new(bytes));
        self
    }

    /// Sets how long a request may take, from its head to its answer; without a limit by default. KMS gives
    /// up after 250 ms, so 200 ms is a good choice. When the backend has not answered by then, its future is
    /// dropped and the answer is `DependencyTimeoutException`; a client that has not sent its body by then is
    /// answered `ValidationException`. Specification: GetKeyMetadata.
    ///
    /// The service must then be called within a tokio runtime with its timer enabled.
    // TRN-8
    #[cfg(feature = "timeout")]
    #[must_use]
    pub const fn timeout(mut self, timeout: std::time::Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Returns the proxy, for instance to replace its key stores.
    #[must_use]
    pub const fn proxy(&self) -> &Arc<Proxy> {
        &self.proxy
    }

    /// Answers one request. What the server knows of it is read from its extensions:
    /// [`PeerAddr`](crate::PeerAddr), [`TlsClient`](crate::TlsClient), [`TraceId`](crate::TraceId),
    /// [`ReceivedAt`](crate::ReceivedAt).
    pub async fn handle<B: Body>(&self, request: http::Request<B>) -> http::Response<ResponseBody> {
        self.handle_arrived(request, Arrival::new()).await
    }

    /// Answers one request of which the server knows this. What it does not say is read from the request's
    /// extensions.
    pub async fn handle_arrived<B: Body>(
        &self,
        request: http::Request<B>,
        arrival: Arrival<'_>,
    ) -> http::Response<ResponseBody> {
        let (parts, body) = request.into_parts();
        let head = Head::of_parts(&parts);
        let (arrival, now) = (arrival.or(head.extensions()), Instant::now());
        let received = arrival.received().unwrap_or(now);
        let arrival = arrival.received_at(received);
        let deadline = self.deadline(received);
        if deadline.is_some_and(|deadline| deadline <= now) {
            // TRN-8: it waited in front of the service, for longer than its client waits.
            let late = now.duration_since(received).as_millis();
            let reason = format!("the request had waited for {late} ms before the service was called");
            return self.refused(head, &arrival, ErrorName::DependencyTimeout, reason);
        }
        let share = self.memory.share(&parts);
        let body = RequestBody::read(body, self.max_body_bytes, waits_for_consent(&parts), share);
        let reading = Reading {
            service: self,
            parts: &parts,
            arrival,
            deadline,
            is_read: false,
        };
        #[cfg(feature = "timeout")]
        if let Some(deadline) = deadline.map(tokio::time::Instant::from_std) {
            let too_slow = Unreadable {
                why: xks_core::api::UnreadableBody::TooSlow,
                is_left_on_connection: true,
            };
            let body = tokio::time::timeout_at(deadline, body).await.unwrap_or(Err(too_slow));
            return reading.end(body, tokio::time::sleep_until(deadline)).await;
        }
        reading.end(body.await, std::future::pending()).await
    }

    /// Refuses a request before it is handled, for a layer in front of the service, such as a rate limit: the
    /// answer has the form that the specification gives an error, and the request its audit record. `reason`
    /// is for the record alone; the client gets the name and its usual text.
    ///
    /// Nothing is verified, and the body is not read: a server may close the connection for that. A rate
    /// limit is [`Throttling`](ErrorName::Throttling); a body that is too large is
    /// [`Validation`](ErrorName::Validation).
    /// ```
    /// use xks_core::api::ErrorName;
    /// use xks_http::{ResponseBody, XksService};
    ///
    /// async fn limited<B: http_body::Body>(
    ///     service: &XksService,
    ///     request: http::Request<B>,
    ///     is_too_much: bool,
    /// ) -> http::Response<ResponseBody> {
    ///     if is_too_much {
    ///         return service.refuse(&request, ErrorName::Throttling, "more than 100 requests a second");
    ///     }
    ///     service.handle(request).await
    /// }
    /// ```
    pub fn refuse<B>(
        &self,
        request: &http::Request<B>,
        name: ErrorName,
        reason: impl Into<String>,
    ) -> http::Response<ResponseBody> {
        let head = Head::of_request(request);
        self.refused(head, &Arrival::new().or(head.extensions()), name, reason.into())
    }

    fn refused<'a>(
        &self,
        head: Head<'a>,
        arrival: &Arrival<'a>,
        name: ErrorName,
        reason: String,
    ) -> http::Response<ResponseBody> {
        let request = head.request(arrival, None, Ok(&[]));
        convert::response(self.proxy.refuse(&request, name, reason), false)
    }

    /// When a request is given up; none without a timeout, or with one that no clock can hold.
    #[cfg(feature = "timeout")]
    fn deadline(&self, received: Instant) -> Option<Instant> {
        received.checked_add(self.timeout?)
    }

    #[cfg(not(feature = "timeout"))]
    const fn deadline(&self, _: Instant) -> Option<Instant> {
        None
    }
}

/// A request whose body is being read. If the server drops it meanwhile, it leaves its audit record all the
/// same.
struct Reading<'a> {
    service: &'a XksService,
    parts: &'a Parts,
    arrival: Arrival<'a>,
    deadline: Option<Instant>,
    /// From then on the record is the core's.
    is_read: bool,
}

impl Reading<'_> {
    /// Hands the request on.
    async fn end(
        mut self,
        body: Result<RequestBody, Unreadable>,
        expired: impl Future<Output = ()>,
    ) -> http::Response<ResponseBody> {
        self.is_read = true;
        let closes_connection = self.parts.version < Version::HTTP_2
            && matches!(
                &body,
                Err(Unreadable {
                    is_left_on_connection: true,
                    ..
                })
            );
        let readable = body.as_deref().map_err(|unreadable| unreadable.why);
        let request = Head::of_parts(self.parts).request(&self.arrival, self.deadline, readable);
        let response = self.service.proxy.handle_until(request, expired).await;
        convert::response(response, closes_connection)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if !self.is_read {
            let incomplete = Err(xks_core::api::UnreadableBody::Incomplete);
            let request = Head::of_parts(self.parts).request(&self.arrival, self.deadline, incomplete);
            self.service.proxy.record_abandoned(&request);
        }
    }
}

/// A client that sends nothing before it is asked to needs no draining.
fn waits_for_consent(parts: &Parts) -> bool {
    parts
        .headers
        .get(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

impl<B> Service<http::Request<B>> for XksService
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    type Response = http::Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.handle(request).await) })
    }
}
