//! The gate before a module: which calls are inside of it, and the evidence that none is.
//!
//! Finalizing a module while a call is in it ends the process in some modules, so no call is made without an
//! [`Entry`], and none is finalized without a [`Drained`].
//!
//! Both are sides of one atomic word.

use std::time::Duration;

use super::sync::{
    atomic::{AtomicU64, Ordering},
    now, thread,
};

/// Set while no call may enter; the other bits count the calls inside.
const CLOSED: u64 = 1 << 63;

/// How often a closed gate is looked at while the last callers leave.
const PAUSE: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(crate) struct Gate(AtomicU64);

impl Gate {
    pub(crate) fn closed() -> Self {
        Self(AtomicU64::new(CLOSED))
    }

    /// Enters, unless the gate is closed.
    pub(crate) fn enter(&self) -> Option<Entry<'_>> {
        let before = self.0.fetch_add(1, Ordering::SeqCst);
        let entry = Entry(self);
        (before & CLOSED == 0).then_some(entry)
    }

    pub(crate) fn open(&self) {
        self.0.fetch_and(!CLOSED, Ordering::SeqCst);
    }

    /// Closes the gate and waits until no call is inside. If that takes longer than `patience` there is no
    /// `Drained`, and the gate stays closed.
    pub(crate) fn drain(&self, patience: Duration) -> Option<Drained<'_>> {
        self.0.fetch_or(CLOSED, Ordering::SeqCst);
        let end = now() + patience;
        loop {
            if self.inside() == 0 {
                return Some(Drained(self));
            }
            if now() >= end {
                return None;
            }
            thread::sleep(PAUSE);
        }
    }

    /// How many are inside.
    pub(crate) fn inside(&self) -> u64 {
        self.0.load(Ordering::SeqCst) & !CLOSED
    }
}

/// The permission to call the module until this is dropped.
#[derive(Debug)]
pub(crate) struct Entry<'a>(&'a Gate);

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Evidence that the gate is closed and that no call is inside. Its holder may let callers in again.
#[derive(Debug)]
pub(crate) struct Drained<'a>(&'a Gate);

impl Drained<'_> {
    pub(crate) fn open(self) {
        self.0.open();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicBool, thread};

    use super::*;

    #[test]
    fn no_call_enters_a_closed_gate_and_those_inside_are_waited_for() {
        let gate = Gate::closed();
        assert!(gate.enter().is_none());
        assert_eq!(gate.inside(), 0);
        gate.open();
        let entry = gate.enter().unwrap();
        assert!(gate.drain(Duration::from_millis(5)).is_none());
        assert!(gate.enter().is_none(), "the gate stays closed");
        drop(entry);
        let drained = gate.drain(Duration::ZERO).unwrap();
        drained.open();
        assert!(gate.enter().is_some());
        assert_eq!(gate.inside(), 0);
    }

    /// While a `Drained` exists, no call is inside, however many try.
    #[test]
    fn a_drained_gate_is_empty_under_traffic() {
        let (gate, stop, inside) = (Gate::closed(), AtomicBool::new(false), AtomicU64::new(0));
        gate.open();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        if let Some(_entry) = gate.enter() {
                            inside.fetch_add(1, Ordering::SeqCst);
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                });
            }
            for _ in 0..200 {
                if let Some(drained) = gate.drain(Duration::from_secs(5)) {
                    for _ in 0..100 {
                        assert_eq!(inside.load(Ordering::SeqCst), 0);
                    }
                    drained.open();
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
