//! The activity of a connection, and its time limits.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::{Request, header};

use super::Protocol;

/// The time limits of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For the head of a request that has begun.
    pub(crate) header: Duration,
    /// For a client that takes nothing of its answer.
    pub(crate) stall: Duration,
    /// For one that asks for nothing.
    pub(crate) idle: Duration,
}

/// The activity of a connection, in milliseconds since the process began to count.
pub(super) struct Activity {
    /// Bytes went in or out.
    moved: AtomicU64,
    /// Bytes went out.
    wrote: AtomicU64,
    /// Its last request ended, or it was opened.
    rested: AtomicU64,
    /// Bytes came that belong to no request yet; 0 for none.
    head_began: AtomicU64,
    in_flight: AtomicU32,
    /// A request has come.
    has_asked: AtomicBool,
    /// Bytes that came under HTTP/1.1, without those of requests that have ended: the beginning of another
    /// head.
    unclaimed: AtomicUsize,
    /// Answers of HTTP/2 that the client has not taken whole.
    untaken: AtomicU32,
    /// The last of them began to wait, or was taken.
    took: AtomicU64,
    /// The client does not take what it is sent.
    is_blocked: AtomicBool,
    /// Its frames, such as pings, are no requests.
    is_http2: AtomicBool,
}

/// The reason to end a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
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
    pub(super) fn new() -> Self {
        Self::opened(now())
    }

    const fn opened(now: u64) -> Self {
        Self {
            moved: AtomicU64::new(now),
            wrote: AtomicU64::new(now),
            rested: AtomicU64::new(now),
            head_began: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            has_asked: AtomicBool::new(false),
            unclaimed: AtomicUsize::new(0),
            untaken: AtomicU32::new(0),
            took: AtomicU64::new(now),
            is_blocked: AtomicBool::new(false),
            is_http2: AtomicBool::new(false),
        }
    }

    /// Once that is known.
    pub(super) fn speaks(&self, protocol: Protocol) {
        let is_http2 = protocol == Protocol::Http2;
        self.is_http2.store(is_http2, Ordering::Relaxed);
        if is_http2 {
            self.head_began.store(0, Ordering::Relaxed);
            self.unclaimed.store(0, Ordering::Relaxed);
        }
    }

    /// So many bytes came in.
    pub(super) fn read(&self, length: usize) {
        let now = now();
        self.moved.store(now, Ordering::Relaxed);
        if self.is_http2.load(Ordering::Relaxed) {
            return;
        }
        self.unclaimed.fetch_add(length, Ordering::Relaxed);
        if self.in_flight.load(Ordering::Relaxed) == 0 {
            let _ = self
                .head_began
                .compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Bytes went out, or did not.
    pub(super) fn wrote(&self, is_blocked: bool) {
        self.is_blocked.store(is_blocked, Ordering::Relaxed);
        if !is_blocked {
            let now = now();
            self.moved.store(now, Ordering::Relaxed);
            self.wrote.store(now, Ordering::Relaxed);
        }
    }

    /// The client has taken everything.
    pub(super) fn flushed(&self) {
        if self.is_blocked.load(Ordering::Relaxed) {
            self.wrote(false);
        }
    }

    pub(super) fn has_asked(&self) -> bool {
        self.has_asked.load(Ordering::Relaxed)
    }

    /// Waits until patience has an end.
    pub(super) async fn out_of_patience(&self, patience: &Patience) -> Verdict {
        loop {
            match self.look(patience, now()) {
                Ok(again) => tokio::time::sleep(again).await,
                Err(verdict) => return verdict,
            }
        }
    }

    /// Waits until no request is under way, and nothing has moved for a while.
    pub(super) async fn quiet(&self, a_while: Duration) {
        loop {
            let is_busy = self.in_flight.load(Ordering::Relaxed) > 0;
            let since = self
                .moved
                .load(Ordering::Relaxed)
                .max(self.rested.load(Ordering::Relaxed));
            let spent = Duration::from_millis(now().saturating_sub(since));
            let left = if is_busy {
                a_while
            } else {
                a_while.saturating_sub(spent)
            };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    /// When to look again, or that there is no more patience.
    fn look(&self, patience: &Patience, now: u64) -> Result<Duration, Verdict> {
        let left = |patience: Duration, since: &AtomicU64| {
            let spent = Duration::from_millis(now.saturating_sub(since.load(Ordering::Relaxed)));
            patience.checked_sub(spent).filter(|left| !left.is_zero())
        };
        if self.is_blocked.load(Ordering::Relaxed) {
            return left(patience.stall, &self.wrote).ok_or(Verdict::Slow);
        }
        let soon = patience.header.min(patience.stall);
        if self.untaken.load(Ordering::Relaxed) > 0 {
            return left(patience.stall, &self.took)
                .map(|left| left.min(soon))
                .ok_or(Verdict::Slow);
        }
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
pub(super) struct Running {
    activity: Arc<Activity>,
    /// Bytes that it came in, where they can be counted.
    length: usize,
}

impl Running {
    pub(super) fn start<B>(activity: &Arc<Activity>, request: &Request<B>) -> Self {
        activity.in_flight.fetch_add(1, Ordering::Relaxed);
        activity.has_asked.store(true, Ordering::Relaxed);
        activity.head_began.store(0, Ordering::Relaxed);
        let is_http2 = activity.is_http2.load(Ordering::Relaxed);
        Self {
            activity: Arc::clone(activity),
            length: if is_http2 { 0 } else { length_of(request) },
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let (activity, now) = (&self.activity, now());
        activity.rested.store(now, Ordering::Relaxed);
        let rest = activity.unclaimed.load(Ordering::Relaxed).saturating_sub(self.length);
        activity.unclaimed.store(rest, Ordering::Relaxed);
        if rest > 0 {
            // More came with it: another head has begun.
            activity.head_began.store(now, Ordering::Relaxed);
        }
        activity.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The length of a request on the wire under HTTP/1.1, as clients write it. One that is written with more
/// blanks has more than that, and its connection the time of a head instead of that of an idle one.
fn length_of<B>(request: &Request<B>) -> usize {
    let uri = request.uri();
    let absolute = uri.scheme_str().map_or(0, |scheme| scheme.len() + "://".len())
        + uri.authority().map_or(0, |authority| authority.as_str().len());
    let target = absolute + uri.path_and_query().map_or(0, |target| target.as_str().len());
    let line = request.method().as_str().len() + target + "  HTTP/1.1\r\n\r\n".len();
    let headers = request.headers().iter();
    let head = line
        + headers
            .map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len())
            .sum::<usize>();
    let is_chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    let length = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    match length.map(str::parse::<usize>) {
        // Its length is not known before its end.
        _ if is_chunked => usize::MAX,
        Some(Ok(body)) => head.saturating_add(body),
        _ => head,
    }
}

/// An answer that the client has not taken yet.
pub(super) struct Untaken(Arc<Activity>);

impl Untaken {
    pub(super) fn new(activity: &Arc<Activity>) -> Self {
        activity.took.store(now(), Ordering::Relaxed);
        activity.untaken.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Untaken {
    fn drop(&mut self) {
        self.0.took.store(now(), Ordering::Relaxed);
        self.0.untaken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        header: Duration::from_millis(1_000),
        stall: Duration::from_millis(2_000),
        idle: Duration::from_millis(60_000),
    };

    /// Opened at 1000.
    fn connection() -> Activity {
        Activity::opened(1_000)
    }

    #[test]
    fn an_idle_connection_has_the_longest_patience() {
        let activity = connection();
        assert_eq!(activity.look(&PATIENCE, 1_000), Ok(PATIENCE.header), "a head may begin");
        assert_eq!(activity.look(&PATIENCE, 60_900), Ok(Duration::from_millis(100)));
        assert_eq!(activity.look(&PATIENCE, 61_000), Err(Verdict::Idle));
        activity.rested.store(50_000, Ordering::Relaxed);
        assert!(
            activity.look(&PATIENCE, 61_000).is_ok(),
            "a request has ended meanwhile"
        );
    }

    #[test]
    fn a_head_that_has_begun_has_an_end() {
        let activity = connection();
        activity.head_began.store(5_000, Ordering::Relaxed);
        activity.moved.store(5_990, Ordering::Relaxed); // byte by byte
        assert_eq!(activity.look(&PATIENCE, 5_999), Ok(Duration::from_millis(1)));
        assert_eq!(activity.look(&PATIENCE, 6_000), Err(Verdict::Slow));
        let activity = Arc::new(activity);
        let running = Running::start(&activity, &Request::new(()));
        assert_eq!(
            activity.look(&PATIENCE, 6_000),
            Ok(PATIENCE.header),
            "the head is whole"
        );
        drop(running);
        assert_eq!(activity.head_began.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn who_takes_nothing_is_let_go() {
        let activity = connection();
        activity.wrote(true);
        activity.wrote.store(5_000, Ordering::Relaxed);
        activity.moved.store(6_990, Ordering::Relaxed); // it sends, and takes nothing
        activity.in_flight.store(1, Ordering::Relaxed);
        assert_eq!(activity.look(&PATIENCE, 6_999), Ok(Duration::from_millis(1)));
        assert_eq!(activity.look(&PATIENCE, 7_000), Err(Verdict::Slow));
        activity.wrote(false);
        assert!(activity.look(&PATIENCE, 7_000).is_ok());
    }

    /// Bytes behind a request are the beginning of a head, and not the end of the request.
    #[test]
    fn the_rest_of_a_pipelined_head_has_an_end() {
        let texts = [
            "GET /ping HTTP/1.1\r\nhost: x\r\n\r\n",
            "POST http://a.example:80/ping?x=y HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nx-empty: \r\n\r\n12345",
        ];
        let get = Request::get("/ping").header("host", "x").body(()).unwrap();
        let post = Request::post("http://a.example:80/ping?x=y");
        let post = post
            .header("host", "x")
            .header("content-length", "5")
            .header("x-empty", "");
        for (text, request) in texts.iter().zip([get, post.body(()).unwrap()]) {
            for (more, is_head) in [(0, false), (1, true)] {
                let activity = Arc::new(connection());
                for _ in 0..2 {
                    activity.read(text.len());
                    drop(Running::start(&activity, &request));
                    assert_eq!(activity.head_began.load(Ordering::Relaxed), 0, "{text}");
                }
                activity.read(text.len() + more);
                drop(Running::start(&activity, &request));
                assert_eq!(activity.head_began.load(Ordering::Relaxed) > 0, is_head, "{text}");
            }
        }
    }

    /// A client of HTTP/2 that opens no window, and is not silent.
    #[test]
    fn who_opens_no_window_is_let_go() {
        let activity = Arc::new(connection());
        activity.speaks(Protocol::Http2);
        let untaken = Untaken::new(&activity);
        activity.took.store(5_000, Ordering::Relaxed);
        activity.moved.store(6_990, Ordering::Relaxed);
        activity.wrote.store(6_990, Ordering::Relaxed);
        assert_eq!(activity.look(&PATIENCE, 6_999), Ok(Duration::from_millis(1)));
        assert_eq!(activity.look(&PATIENCE, 7_000), Err(Verdict::Slow));
        drop(untaken);
        assert!(activity.look(&PATIENCE, 7_000).is_ok());
    }

    /// Frames of HTTP/2, such as pings, come without a request, and do not begin one.
    #[test]
    fn frames_begin_no_head() {
        let activity = connection();
        activity.speaks(Protocol::Http2);
        activity.read(1);
        assert_eq!(activity.head_began.load(Ordering::Relaxed), 0);
        activity.speaks(Protocol::Http1);
        activity.read(1);
        activity.speaks(Protocol::Http2);
        assert_eq!(activity.head_began.load(Ordering::Relaxed), 0, "its preface is none");
        activity.speaks(Protocol::Http1);
        activity.read(1);
        assert_ne!(activity.head_began.load(Ordering::Relaxed), 0);
    }
}
