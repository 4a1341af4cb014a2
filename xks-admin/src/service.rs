//! The service.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Frame, SizeHint};
use tower_service::Service;
use xks_byok::jobs::Jobs;
use xks_lifecycle::commands::Commands;

use crate::routes;

/// The REST API of administration, as a tower service. A clone is another handle of it.
///
/// ```
/// use std::{error::Error, sync::Arc};
///
/// use http::Request;
/// use http_body_util::{BodyExt as _, Full};
/// use tower::ServiceExt as _;
/// use xks_admin::Admin;
/// use xks_lifecycle::commands::{Actor, Commands};
///
/// async fn list_tenants(commands: Arc<Commands>) -> Result<String, Box<dyn Error + Send + Sync>> {
///     let mut request = Request::get("/admin/v1/tenants").body(Full::default())?;
///     request.extensions_mut().insert(Actor::new("alice")?);
///     let answer = Admin::new(commands).oneshot(request).await?;
///     let body = answer.into_body().collect().await?.to_bytes();
///     Ok(String::from_utf8(body.to_vec())?)
/// }
/// ```
///
/// # Cancellation
/// A future may be dropped at any time; its command is then left as [`Commands`] says. A server whose clients
/// may go away waits for the future in a task of its own.
#[derive(Clone)]
pub struct Admin(axum::Router);

/// What the API is served from.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) commands: Arc<Commands>,
    /// None where AWS is not called.
    pub(crate) jobs: Option<Arc<Jobs>>,
}

impl Admin {
    /// The most bytes of a request's body: 1 MiB.
    pub const MAX_BODY_BYTES: usize = 1024 * 1024;

    /// Returns all paths with their methods. Braces stand around what varies: `/admin/v1/tenants/{id}`.
    #[must_use]
    pub fn paths() -> Vec<(Method, String)> {
        routes::paths()
    }

    /// Serves these commands, and no jobs: AWS is not called.
    #[must_use]
    pub fn new(commands: Arc<Commands>) -> Self {
        let jobs = None;
        Self(routes::router(Served { commands, jobs }))
    }

    /// Serves these commands and jobs, which must be on the same state.
    #[must_use]
    pub fn with_jobs(commands: Arc<Commands>, jobs: Arc<Jobs>) -> Self {
        let jobs = Some(jobs);
        Self(routes::router(Served { commands, jobs }))
    }
}

impl<B> Service<Request<B>> for Admin
where
    B: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.0.call(request.map(axum::body::Body::new));
        Box::pin(async move { Ok(answer.await?.map(Body)) })
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// The body of an answer.
#[derive(Debug)]
pub struct Body(pub(crate) axum::body::Body);

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.0)
            .poll_frame(context)
            .map_err(axum::Error::into_inner)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
