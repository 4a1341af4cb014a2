//! One connection: HTTP/1.1 or HTTP/2, for as long as its client behaves.
//!
//! A client may be idle for long; it may not begin something and leave it unfinished: the head of a request,
//! or the taking of an answer. The body of a request is within the request's own timeout.
//!
//! hyper's own limit for the head of a request runs on idle connections too, and would end them; KMS keeps
//! connections open.

mod activity;
mod answer;
mod at_once;
mod watched;

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::{
    body::{Body, Incoming},
    server::conn::{http1, http2},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

pub(crate) use self::activity::Patience;
use self::{
    activity::{Activity, Running, Verdict},
    answer::Answer,
    at_once::AtOnce,
    watched::Watched,
};

/// The time for which a connection has to be quiet before it is closed under HTTP/1.1 at the server's end.
const QUIET: Duration = Duration::from_millis(500);

/// The time for which one has to be quiet whose client has not asked yet, and after which a handshake ends. A
/// client that was let in may be slow, and has no answer that tells it to go elsewhere.
const FIRST_WORDS: Duration = Duration::from_secs(5);

/// The time for which one has to be quiet whose client knows that it ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Bytes of a connection's buffers, and so of the largest head under HTTP/1.1. A request of KMS has one of 2
/// KB.
const BUFFER: usize = 16 * 1024;

/// Bytes of bodies that a client of HTTP/2 may send before they are taken: the least that a connection can
/// have, which holds a request of KMS more than twice.
const WINDOW: u32 = 65_535;

/// The phase of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// It goes on, and asks its clients to go elsewhere.
    Leaving,
    /// It ends: requests in flight are the last.
    Stopping,
}

impl Phase {
    /// Waits until the server is there.
    pub(crate) async fn reached(self, phase: &mut watch::Receiver<Self>) {
        // Without a sender it has ended.
        let _ = phase.wait_for(|phase| *phase >= self).await;
    }
}

/// Which HTTP a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// What HTTP could not be made of. It has been answered, without a body, and its connection has ended.
pub(crate) struct Malformed {
    pub(crate) status: StatusCode,
    pub(crate) reason: String,
}

impl Malformed {
    /// None where no answer was due.
    fn of(error: &hyper::Error) -> Option<Self> {
        error.is_parse().then(|| Self {
            status: match error.is_parse_too_large() {
                true => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                false => StatusCode::BAD_REQUEST,
            },
            reason: error.to_string(),
        })
    }
}

/// Serves connections of one listener.
pub(crate) struct Http {
    http1: http1::Builder,
    http2: http2::Builder<AtOnce>,
    patience: Patience,
    phase: watch::Receiver<Phase>,
}

impl Http {
    pub(crate) fn new(patience: Patience, phase: watch::Receiver<Phase>) -> Self {
        let mut http1 = http1::Builder::new(); // TRN-2
        // Time limits are this file's: hyper's own would end idle connections as slow ones.
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            // A client may end its half after its request. One that is gone is found out when its answer is
            // written.
            .half_close(true)
            .max_buf_size(BUFFER);
        let mut http2 = http2::Builder::new(AtOnce);
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(100)
            .max_header_list_size(16 * 1024)
            .initial_connection_window_size(WINDOW)
            .initial_stream_window_size(WINDOW)
            .max_send_buf_size(BUFFER)
            .keep_alive_interval(patience.header)
            .keep_alive_timeout(patience.stall);
        Self {
            http1,
            http2,
            patience,
            phase,
        }
    }

    /// Waits until a handshake before the first request should have ended: its time is over, or the server's.
    pub(crate) async fn end_of_handshake(&self) {
        let mut phase = self.phase.clone();
        tokio::select! {
            () = tokio::time::sleep(self.patience.header) => {}
            () = async {
                Phase::Stopping.reached(&mut phase).await;
                tokio::time::sleep(FIRST_WORDS).await;
            } => {}
        }
    }

    /// Serves until the client goes, or has to. The client's first bytes tell the protocol where TLS has not.
    /// Returns what the connection ended with, if that was no request.
    pub(crate) async fn serve<S, B, F>(
        &self,
        stream: S,
        protocol: Option<Protocol>,
        answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    ) -> Option<Malformed>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
    {
        let activity = Arc::new(Activity::new());
        let mut stream = Watched::new(stream, &activity);
        let protocol = match protocol {
            Some(protocol) => protocol,
            None => {
                let protocol = tokio::select! {
                    biased; // what has come before the end is taken
                    protocol = stream.protocol() => protocol.ok(),
                    () = self.time_to_go(Protocol::Http1, &activity) => None,
                    _ = activity.out_of_patience(&self.patience) => None,
                };
                protocol?
            }
        };
        activity.speaks(protocol);
        let (of_service, phase) = (Arc::clone(&activity), self.phase.clone());
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let running = Running::start(&of_service, &request);
            let (activity, phase) = (Arc::clone(&of_service), phase.clone());
            // In a box, so that an idle connection does not hold the room for a request.
            let answer = Box::pin(answer(request));
            async move {
                let mut response = answer.await;
                drop(running);
                if protocol == Protocol::Http1 && *phase.borrow() > Phase::Serving {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                }
                let untaken = Some(&activity).filter(|_| protocol == Protocol::Http2);
                Ok::<_, Infallible>(response.map(|body| Answer::new(body, untaken)))
            }
        });
        let io = TokioIo::new(stream);
        match protocol {
            Protocol::Http1 => {
                Box::pin(self.drive(protocol, self.http1.serve_connection(io, service), &activity)).await
            }
            Protocol::Http2 => {
                Box::pin(self.drive(protocol, self.http2.serve_connection(io, service), &activity)).await
            }
        }
    }

    /// When to tell the client that this connection ends.
    ///
    /// HTTP/2 can say so without losing a request, and does as soon as the server is leaving. HTTP/1.1 says
    /// it with an answer; a connection without one is closed only when its client has been quiet for a while,
    /// and longer if it has not asked yet, since what it may be sending right now would be lost.
    async fn time_to_go(&self, protocol: Protocol, activity: &Activity) {
        let mut phase = self.phase.clone();
        match protocol {
            Protocol::Http2 if *phase.borrow() == Phase::Serving => Phase::Leaving.reached(&mut phase).await,
            Protocol::Http2 => Phase::Stopping.reached(&mut phase).await,
            Protocol::Http1 => {
                Phase::Stopping.reached(&mut phase).await;
                let quiet = if activity.has_asked() { QUIET } else { FIRST_WORDS };
                activity.quiet(quiet).await;
            }
        }
    }

    /// However much an idle client may have to say that is no request, such as pings.
    async fn too_slow(&self, activity: &Activity) {
        if activity.out_of_patience(&self.patience).await == Verdict::Idle {
            tokio::time::sleep(self.patience.stall).await;
            activity.out_of_patience(&self.patience).await;
        }
    }

    async fn drive(
        &self,
        protocol: Protocol,
        connection: impl GracefulConnection<Error = hyper::Error>,
        activity: &Activity,
    ) -> Option<Malformed> {
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            biased; // a request that has come before the end is taken
            ended = &mut connection => Some(ended),
            () = self.time_to_go(protocol, activity) => None,
            verdict = activity.out_of_patience(&self.patience) => match verdict {
                Verdict::Idle => None,
                Verdict::Slow => return None,
            },
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    // The client knows of the end, and is silent: closed.
                    () = activity.quiet(LAST_WORDS) => Ok(()),
                    () = self.too_slow(activity) => Ok(()),
                }
            }
        };
        let error = ended.err()?;
        tracing::debug!("a connection ended with: {error}");
        Malformed::of(&error)
    }
}
