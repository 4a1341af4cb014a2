//! The queue between the threads that make records and the thread that writes them.
//!
//! A thread that makes a record copies it and goes on, whatever the disk does. The next batch is what has
//! come while the one before was written: no time is waited for.

use std::{
    io::{self, Write},
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tracing_subscriber::fmt::MakeWriter;

/// The greatest length of what waits to be written, in bytes: some tenths of a second at full load.
const LIMIT: usize = 16 << 20;

/// The way in. Clones lead to the same thread.
#[derive(Clone, Default)]
pub(crate) struct Queue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There are records, or it is the end.
    filled: Condvar,
    /// The thread has ended.
    ended: Condvar,
    lost: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Whole lines.
    records: Vec<u8>,
    /// Those for which there was no room since the last batch.
    lost: u64,
    is_closed: bool,
    has_ended: bool,
}

/// What is to be written at once.
#[derive(Default)]
pub(super) struct Batch {
    /// Whole lines.
    pub(super) records: Vec<u8>,
    /// How many records there should be before them.
    pub(super) lost: u64,
    /// Nothing comes after it.
    pub(super) is_last: bool,
}

impl Batch {
    pub(super) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.records
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
    }
}

impl Queue {
    /// Takes a record: one line of JSON, with its end or without.
    pub(crate) fn push(&self, record: &[u8]) {
        let record = record.strip_suffix(b"\n").unwrap_or(record);
        let mut state = self.state();
        if state.is_closed || state.records.len() + record.len() >= LIMIT {
            state.lost += 1;
            drop(state);
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let was_empty = state.records.is_empty();
        state.records.extend_from_slice(record);
        state.records.push(b'\n');
        drop(state);
        if was_empty {
            self.0.filled.notify_one();
        }
    }

    /// Waits for records and takes them all: none at that time, and at the end.
    pub(super) fn take(&self, until: Option<Instant>) -> Batch {
        let is_idle = |state: &State| state.records.is_empty() && !state.is_closed;
        let mut state = match until {
            Some(until) => self.wait(&self.0.filled, until, is_idle),
            None => {
                let woken = self.0.filled.wait_while(self.state(), |state| is_idle(state));
                woken.unwrap_or_else(PoisonError::into_inner)
            }
        };
        Batch {
            records: mem::take(&mut state.records),
            lost: mem::take(&mut state.lost),
            is_last: state.is_closed,
        }
    }

    /// Waits until that time, or until the end; returns whether it is the end.
    pub(super) fn waits(&self, until: Instant) -> bool {
        self.wait(&self.0.filled, until, |state| !state.is_closed).is_closed
    }

    /// Counts records that could not be written.
    pub(super) fn lose(&self, records: u64) {
        self.0.lost.fetch_add(records, Ordering::Relaxed);
    }

    /// The number of records that were lost: there was no room, or they could not be written.
    pub(crate) fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Takes no more records. What is there is written.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.0.filled.notify_all();
    }

    /// Says that the thread has ended.
    pub(super) fn end(&self) {
        self.state().has_ended = true;
        self.0.ended.notify_all();
    }

    /// Waits until the thread has ended, but no longer than until then; returns whether it has.
    pub(super) fn wait_for_end(&self, until: Instant) -> bool {
        self.wait(&self.0.ended, until, |state| !state.has_ended).has_ended
    }

    /// Waits while it is so, but no longer than until then.
    fn wait<'s>(&'s self, change: &Condvar, until: Instant, is_so: impl Fn(&State) -> bool) -> MutexGuard<'s, State> {
        let patience = until.saturating_duration_since(Instant::now());
        let woken = change.wait_timeout_while(self.state(), patience, |state| is_so(state));
        woken.unwrap_or_else(PoisonError::into_inner).0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record comes in one piece.
impl Write for Queue {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.push(record);
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Queue {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread that makes a record never waits: what has no room is counted, and the next batch says so.
    #[test]
    fn what_has_no_room_is_counted() {
        let queue = Queue::default();
        let record = vec![b'x'; LIMIT / 4];
        for _ in 0..6 {
            queue.push(&record);
        }
        let Batch { records, lost, is_last } = queue.take(None);
        assert_eq!((records.len(), lost, is_last), (3 * (record.len() + 1), 3, false));
        queue.push(b"{}");
        queue.push(b"[]\n");
        let batch = queue.take(None);
        assert_eq!(batch.lines().collect::<Vec<_>>(), [b"{}", b"[]"]);
        assert_eq!((batch.lost, queue.lost()), (0, 3));
        queue.close();
        queue.push(b"{}");
        let batch = queue.take(None);
        assert!(batch.is_last && batch.records.is_empty() && batch.lost == 1);
    }
}
