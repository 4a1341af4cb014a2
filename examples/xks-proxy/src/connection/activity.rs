//! What a connection has been doing, and for how long there is still patience with it.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::Protocol;

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

/// What a connection has been doing, in milliseconds since the process began to count.
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
    /// The client does not take what it is sent.
    is_blocked: AtomicBool,
    /// Its frames, such as pings, are no requests.
    is_http2: AtomicBool,
}

/// Why a connection shall end.
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
        }
    }

    /// Bytes came in.
    pub(super) fn read(&self) {
        let now = now();
        self.moved.store(now, Ordering::Relaxed);
        if self.in_flight.load(Ordering::Relaxed) == 0 && !self.is_http2.load(Ordering::Relaxed) {
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
pub(super) struct Running(Arc<Activity>);

impl Running {
    pub(super) fn start(activity: &Arc<Activity>) -> Self {
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
        let running = Running::start(&activity);
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

    /// Frames of HTTP/2, such as pings, come without a request, and do not begin one.
    #[test]
    fn frames_begin_no_head() {
        let activity = connection();
        activity.speaks(Protocol::Http2);
        activity.read();
        assert_eq!(activity.head_began.load(Ordering::Relaxed), 0);
        activity.speaks(Protocol::Http1);
        activity.read();
        activity.speaks(Protocol::Http2);
        assert_eq!(activity.head_began.load(Ordering::Relaxed), 0, "its preface is none");
        activity.speaks(Protocol::Http1);
        activity.read();
        assert_ne!(activity.head_began.load(Ordering::Relaxed), 0);
    }
}
