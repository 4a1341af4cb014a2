//! When requests are due: at a fixed rate, or whenever a connection is free.

use std::{
    io,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{
        Mutex,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
};

/// Says when requests are due. The runtime's own timer counts in milliseconds, which is longer than what is
/// measured.
#[derive(Debug)]
pub struct Pace {
    timer: AsyncFd<OwnedFd>,
    start: Instant,
    interval: Duration,
    time: Duration,
    due: UnboundedSender<Instant>,
}

impl Pace {
    /// So many requests a second for a time.
    ///
    /// # Errors
    /// The system has no timer for it.
    pub fn start(start: Instant, rate: f64, time: Duration) -> io::Result<(Self, Due)> {
        assert!(rate >= 1.0, "a rate of less than one request a second");
        let interval = Duration::from_secs_f64(1.0 / rate);
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        let every = Timespec {
            tv_sec: interval.as_secs().try_into().expect("no more than a second"),
            tv_nsec: interval.subsec_nanos().into(),
        };
        let times = Itimerspec {
            it_interval: every,
            it_value: every,
        };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)?;
        let (due, next) = unbounded_channel();
        #[expect(
            deprecated,
            reason = "what takes its place is unsafe; a descriptor that is owned is what it says"
        )]
        let pace = Self {
            timer: AsyncFd::with_interest(timer, Interest::READABLE)?,
            start,
            interval,
            time,
            due,
        };
        Ok((pace, Due::AtRate(Arc::new(Mutex::new(next)))))
    }

    /// Says it until the time is over.
    ///
    /// # Errors
    /// The timer cannot be read.
    pub async fn keep(self) -> io::Result<()> {
        let mut last = self.start;
        while last.duration_since(self.start) < self.time {
            let mut expired = [0; 8];
            let read = |timer: &OwnedFd| Ok(rustix::io::read(timer, &mut expired)?);
            self.timer.async_io(Interest::READABLE, read).await?;
            for _ in 0..u64::from_ne_bytes(expired) {
                last += self.interval;
                // Nobody takes them only when no connection is left, and then the workers say so.
                let _ = self.due.send(last);
            }
        }
        Ok(())
    }
}

/// When the next request is due, for each of those who send.
#[derive(Clone, Debug)]
pub enum Due {
    /// As soon as a connection is free, until then.
    Whenever(Instant),
    /// When it says so.
    AtRate(Arc<Mutex<UnboundedReceiver<Instant>>>),
}

impl Due {
    /// Whenever a connection is free, until then.
    #[must_use]
    pub const fn whenever_until(end: Instant) -> Self {
        Self::Whenever(end)
    }

    /// The moment at which the next one is or was due; none when there are no more.
    pub async fn next(&mut self) -> Option<Instant> {
        match self {
            Self::Whenever(end) => Some(Instant::now()).filter(|now| now < end),
            Self::AtRate(due) => due.lock().await.recv().await,
        }
    }
}
