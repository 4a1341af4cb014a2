//! Time: what it is, and waiting for it, so that tests and embedders can say both.

use std::{
    pin::Pin,
    time::{Duration, Instant, SystemTime},
};

/// A source of time for a [`Proxy`](crate::Proxy) or a [`Fleet`](crate::fleet::Fleet): the clocks, and the
/// timer of a runtime. A function that sleeps, such as `tokio::time::sleep`, is one with the system's clocks;
/// [`SystemClock`] is one without a runtime.
pub trait Timer: Send + Sync + 'static {
    /// Returns the time of a clock that never goes back, for what passes within a request. On some systems it
    /// stands still while the machine is suspended.
    fn now(&self) -> Instant {
        Instant::now()
    }

    /// Returns the system's time, which may be set: for signatures, and for dates of keys.
    fn system_time(&self) -> SystemTime {
        SystemTime::now()
    }

    /// Returns the time of a clock that never goes back and goes on while the machine is suspended, since a
    /// moment that stays the same: for leases, which end elsewhere meanwhile. None if there is no such clock.
    fn lease_clock(&self) -> Option<Duration> {
        None
    }

    /// Returns what is ready after so long, or nothing if the timer cannot wait. It is started when it is
    /// first polled, at the latest.
    fn sleep(&self, duration: Duration) -> Option<Sleep> {
        let _ = duration;
        None
    }
}

/// What is ready when some time has passed.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The system's clocks, without a runtime to wait on.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "it is written by name")]
pub struct SystemClock;

impl Timer for SystemClock {}

/// The system's clocks, but the system's time stands still: for tests.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use xks_core::{KeyStores, Proxy, timer::FixedSystemTime};
///
/// # fn doc(key_stores: KeyStores) -> Proxy {
/// let signed_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_780_000_000);
/// let proxy = Proxy::builder(key_stores).timer(FixedSystemTime(signed_at)).build();
/// # proxy
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "it is written by name")]
pub struct FixedSystemTime(pub SystemTime);

impl Timer for FixedSystemTime {
    fn system_time(&self) -> SystemTime {
        self.0
    }
}

/// A function that takes how long to wait and returns what is ready after that.
impl<F, T> Timer for F
where
    F: Fn(Duration) -> T + Send + Sync + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    fn sleep(&self, duration: Duration) -> Option<Sleep> {
        Some(Box::pin(self(duration)))
    }
}
