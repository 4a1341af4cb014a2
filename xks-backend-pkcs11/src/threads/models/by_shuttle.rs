//! What threads meet by in shuttle, and a time that passes when a model says so.

use std::{
    cell::{Cell, RefCell},
    sync::{Arc, LockResult, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use shuttle::{
    Config, Runner,
    scheduler::{PctScheduler, RandomScheduler},
};
pub(crate) use shuttle::{
    sync::{Mutex, MutexGuard, atomic},
    thread,
};

// All threads of a model are one thread of the system.
thread_local! {
    /// How much time has passed.
    static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// Who waits until when.
    static WAITS: RefCell<Vec<Wait>> = const { RefCell::new(Vec::new()) };
}

struct Wait {
    number: usize,
    until: Duration,
    condvar: Arc<shuttle::sync::Condvar>,
}

pub(crate) fn now() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now) + PASSED.get()
}

/// Has time pass, and wakes those whose waits are over.
pub(super) fn pass(time: Duration) {
    PASSED.set(PASSED.get() + time);
    let is_over = |wait: &&Wait| wait.until <= PASSED.get();
    // One who has not let go of his lock yet does not hear it the first time.
    while let Some(condvar) = WAITS.with_borrow(|waits| Some(Arc::clone(&waits.iter().find(is_over)?.condvar))) {
        condvar.notify_all();
        thread::yield_now();
    }
}

/// Tries a model in so many ways, by two kinds of chance: one that takes any thread at any time, and one that
/// takes the same as long as it can and changes its mind a few times.
pub(super) fn check(ways: usize, model: fn()) {
    let model = move || {
        PASSED.set(Duration::ZERO);
        WAITS.take();
        model();
    };
    let mut config = Config::new();
    config.stack_size = 0x2_0000; // a panic with a backtrace needs it
    Runner::new(RandomScheduler::new(ways), config.clone()).run(model);
    Runner::new(PctScheduler::new(4, ways), config).run(model);
}

#[derive(Debug, Default)]
pub(crate) struct Condvar(Arc<shuttle::sync::Condvar>);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.0.wait(guard)
    }

    /// Beside the guard: whether the time has come.
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        patience: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        thread_local!(static NUMBER: Cell<usize> = const { Cell::new(0) });
        let (number, until) = (NUMBER.get(), PASSED.get() + patience);
        NUMBER.set(number + 1);
        WAITS.with_borrow_mut(|waits| {
            waits.push(Wait {
                number,
                until,
                condvar: Arc::clone(&self.0),
            });
        });
        let guard = self.0.wait(guard);
        WAITS.with_borrow_mut(|waits| waits.retain(|wait| wait.number != number));
        let is_over = until <= PASSED.get();
        guard
            .map(|guard| (guard, is_over))
            .map_err(|error| PoisonError::new((error.into_inner(), is_over)))
    }
}
