//! One connection: HTTP/1.1 or HTTP/2 (TRN-2), for as long as its client behaves.
//!
//! A client may be idle for long; it may not begin something and leave it unfinished: the head of a request, or the taking
//! of an answer. The body of a request is within the request's own budget.

use std::{
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, Response, header};
use hyper::{
    body::{Body, Incoming},
    server::conn::{http1, http2},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    sync::watch,
};

/// How much patience there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For the head of a request that has begun.
    pub(crate) header: Duration,
    /// For a client that takes nothing of its answer.
    pub(crate) stall: Duration,
    /// For one that asks for nothing.
    pub(crate) idle: Duration,
}

/// What the server is doing.
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

/// Serves connections of one listener.
pub(crate) struct Http {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    patience: Patience,
    phase: watch::Receiver<Phase>,
}

impl Http {
    pub(crate) fn new(patience: Patience, phase: watch::Receiver<Phase>) -> Self {
        let mut http1 = http1::Builder::new();
        // Time limits are this file's: hyper's own would end idle connections as slow ones.
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(64 * 1024);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(128)
            .max_header_list_size(32 * 1024)
            .keep_alive_interval(patience.header)
            .keep_alive_timeout(patience.stall);
        Self {
            http1,
            http2,
            patience,
            phase,
        }
    }

    /// For a handshake before the first request.
    pub(crate) const fn handshake_time(&self) -> Duration {
        self.patience.header
    }

    /// Serves until the client goes, or has to. The client's first bytes tell the protocol where TLS has not.
    pub(crate) async fn serve<S, B, F>(
        &self,
        stream: S,
        protocol: Option<Protocol>,
        answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
    {
        let activity = Arc::new(Activity::new());
        let mut stream = Watched::new(stream, &activity);
        let protocol = match protocol {
            Some(protocol) => protocol,
            None => {
                let mut phase = self.phase.clone();
                let protocol = tokio::select! {
                    protocol = stream.protocol() => protocol.ok(),
                    () = Phase::Stopping.reached(&mut phase) => None,
                    _ = activity.out_of_patience(&self.patience) => None,
                };
                let Some(protocol) = protocol else { return };
                protocol
            }
        };
        activity.is_http2.store(protocol == Protocol::Http2, Ordering::Relaxed);
        let (of_service, phase) = (Arc::clone(&activity), self.phase.clone());
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let running = Running::start(&of_service);
            let phase = phase.clone();
            // In a box, so that an idle connection does not hold the room for a request.
            let answer = Box::pin(answer(request));
            async move {
                let mut response = answer.await;
                drop(running);
                if protocol == Protocol::Http1 && *phase.borrow() > Phase::Serving {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                }
                Ok::<_, Infallible>(response)
            }
        });
        let io = TokioIo::new(stream);
        match protocol {
            Protocol::Http1 => Box::pin(self.drive(self.http1.serve_connection(io, service), &activity)).await,
            Protocol::Http2 => Box::pin(self.drive(self.http2.serve_connection(io, service), &activity)).await,
        }
    }

    async fn drive(&self, connection: impl GracefulConnection<Error = hyper::Error>, activity: &Activity) {
        let mut connection = pin!(connection);
        let mut phase = self.phase.clone();
        let ended = tokio::select! {
            ended = &mut connection => Some(ended),
            () = Phase::Stopping.reached(&mut phase) => None,
            verdict = activity.out_of_patience(&self.patience) => match verdict {
                Verdict::Idle => None,
                Verdict::Slow => return,
            },
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(self.patience.stall, connection)
                    .await
                    .unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!("a connection ended with: {error}");
        }
    }
}

/// What a connection has been doing, in milliseconds since the process began to count.
struct Activity {
    /// Bytes went in or out.
    moved: AtomicU64,
    /// Its last request ended, or it was opened.
    rested: AtomicU64,
    /// Bytes came that belong to no request yet; 0 for none.
    head_began: AtomicU64,
    in_flight: AtomicU32,
    /// The client does not take what it is sent.
    is_blocked: AtomicBool,
    /// Its frames, such as pings, are no requests.
    is_http2: AtomicBool,
}

/// Why a connection shall end.
enum Verdict {
    Idle,
    Slow,
}

/// Never 0.
fn now() -> u64 {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGIN.elapsed().as_millis())
        .unwrap_or(u64::MAX)
        .saturating_add(1)
}

impl Activity {
    fn new() -> Self {
        let now = now();
        Self {
            moved: AtomicU64::new(now),
            rested: AtomicU64::new(now),
            head_began: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            is_blocked: AtomicBool::new(false),
            is_http2: AtomicBool::new(false),
        }
    }

    /// Bytes came in.
    fn read(&self) {
        let now = now();
        self.moved.store(now, Ordering::Relaxed);
        if self.in_flight.load(Ordering::Relaxed) == 0 && !self.is_http2.load(Ordering::Relaxed) {
            let _ = self
                .head_began
                .compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Bytes went out, or did not.
    fn wrote(&self, is_blocked: bool) {
        self.is_blocked.store(is_blocked, Ordering::Relaxed);
        if !is_blocked {
            self.moved.store(now(), Ordering::Relaxed);
        }
    }

    /// Waits until patience has an end.
    async fn out_of_patience(&self, patience: &Patience) -> Verdict {
        loop {
            match self.look(patience) {
                Ok(again) => tokio::time::sleep(again).await,
                Err(verdict) => return verdict,
            }
        }
    }

    /// When to look again, or that there is no more patience.
    fn look(&self, patience: &Patience) -> Result<Duration, Verdict> {
        let now = now();
        let left = |patience: Duration, since: &AtomicU64| {
            let spent = Duration::from_millis(now.saturating_sub(since.load(Ordering::Relaxed)));
            patience.checked_sub(spent).filter(|left| !left.is_zero())
        };
        if self.is_blocked.load(Ordering::Relaxed) {
            return left(patience.stall, &self.moved).ok_or(Verdict::Slow);
        }
        let soon = patience.header.min(patience.stall);
        if self.in_flight.load(Ordering::Relaxed) > 0 {
            return Ok(soon);
        }
        if self.head_began.load(Ordering::Relaxed) > 0 {
            return left(patience.header, &self.head_began).ok_or(Verdict::Slow);
        }
        // A head may begin at any time.
        left(patience.idle, &self.rested)
            .map(|left| left.min(soon))
            .ok_or(Verdict::Idle)
    }
}

/// A request that is being answered.
struct Running(Arc<Activity>);

impl Running {
    fn start(activity: &Arc<Activity>) -> Self {
        activity.in_flight.fetch_add(1, Ordering::Relaxed);
        activity.head_began.store(0, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.rested.store(now(), Ordering::Relaxed);
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream whose traffic is taken note of, and whose first bytes can be looked at.
struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
    /// What was read before somebody else reads.
    first: [u8; PREFACE.len()],
    length: usize,
}

/// What HTTP/2 begins with, as far as no method of HTTP/1.1 does.
const PREFACE: &[u8; 3] = b"PRI";

impl<S> Watched<S> {
    fn new(stream: S, activity: &Arc<Activity>) -> Self {
        Self {
            stream,
            activity: Arc::clone(activity),
            first: [0; PREFACE.len()],
            length: 0,
        }
    }
}

impl<S: AsyncRead + Unpin> Watched<S> {
    /// Reads as little as tells the protocol.
    async fn protocol(&mut self) -> io::Result<Protocol> {
        loop {
            let (read, room) = self.first.split_at_mut(self.length);
            if !PREFACE.starts_with(read) {
                return Ok(Protocol::Http1);
            }
            if room.is_empty() {
                return Ok(Protocol::Http2);
            }
            match self.stream.read(room).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => self.length += length,
            }
            self.activity.read();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // What is there besides goes with the first bytes: in two pieces they would take twice the memory.
        let length = self.length.min(buffer.remaining());
        if length > 0 {
            buffer.put_slice(self.first.get(..length).unwrap_or_default());
            self.first.rotate_left(length);
            self.length -= length;
        }
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.read();
        }
        match poll {
            Poll::Pending if length > 0 => Poll::Ready(Ok(())),
            poll => poll,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.activity.wrote(poll.is_pending());
        poll
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.activity.wrote(poll.is_pending());
        poll
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(context);
        if poll.is_pending() {
            self.activity.wrote(true);
        }
        poll
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
