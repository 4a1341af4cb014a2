//! The server's time: the system's clocks, and the runtime to wait on.

use std::time::Duration;

use xks_core::timer::{Sleep, Timer};

pub(crate) struct ServerTimer;

impl Timer for ServerTimer {
    /// Linux has a clock that goes on in suspend; `Instant` there is one that does not.
    #[cfg(target_os = "linux")]
    fn lease_clock(&self) -> Option<Duration> {
        use rustix::time::{ClockId, clock_gettime};

        clock_gettime(ClockId::Boottime).try_into().ok()
    }

    fn sleep(&self, duration: Duration) -> Option<Sleep> {
        Some(Box::pin(tokio::time::sleep(duration)))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    #[test]
    fn the_lease_clock_goes_on_and_counts_what_the_machine_slept() {
        let awake: Duration = clock_gettime(ClockId::Monotonic).try_into().unwrap();
        let before = ServerTimer.lease_clock().unwrap();
        assert!(before >= awake, "time in suspend comes on top");
        std::thread::sleep(Duration::from_millis(2));
        assert!(ServerTimer.lease_clock().unwrap() - before >= Duration::from_millis(2));
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_as_long_as_it_is_told() {
        let start = tokio::time::Instant::now();
        ServerTimer.sleep(Duration::from_secs(90)).unwrap().await;
        assert!(start.elapsed() >= Duration::from_secs(90));
    }
}
