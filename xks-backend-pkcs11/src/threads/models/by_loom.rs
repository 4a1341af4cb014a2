//! What threads meet by in loom.

use std::{sync::OnceLock, time::Instant};

pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, atomic};

/// Time stands still.
pub(crate) fn now() -> Instant {
    static ALWAYS: OnceLock<Instant> = OnceLock::new();
    *ALWAYS.get_or_init(Instant::now)
}

pub(crate) mod thread {
    use std::time::Duration;

    pub(crate) use loom::thread::*;

    /// Others may go on meanwhile.
    pub(crate) fn sleep(_: Duration) {
        yield_now();
    }
}
