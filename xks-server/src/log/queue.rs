//! The queue between the threads that log and the thread that writes.
//!
//! A thread that logs a line copies it and goes on. The thread is woken for the first line and then gathers
//! for a moment: waking it for each line costs more than the line.

use std::{
    io::{self, Write},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

/// The greatest length of what waits to be written, in bytes: some tenths of a second at full load.
const LIMIT: usize = 16 << 20;

/// The time for which lines are gathered.
const GATHERING: Duration = Duration::from_millis(10);

/// The way in. Clones lead to the same thread.
#[derive(Clone)]
pub(super) struct Queue(Arc<Shared>);

struct Shared {
    /// The output's name in messages.
    output: &'static str,
    state: Mutex<State>,
    /// There are lines, or the writer is to look after its output, or it is the end.
    filled: Condvar,
    /// The thread has written all and ended.
    emptied: Condvar,
    lost: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Whole lines.
    lines: Vec<u8>,
    has_to_look: bool,
    is_closed: bool,
    has_ended: bool,
}

impl Queue {
    /// Begins a thread that writes whole lines, and flushes them. `output` names what it writes to.
    pub(super) fn to(output: &'static str, mut writer: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            output,
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            lost: AtomicU64::new(0),
        });
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new().name("xks-log".into());
        thread.spawn(move || {
            of_thread.write_all_to(&mut writer);
            of_thread.state().has_ended = true;
            of_thread.emptied.notify_all();
        })?;
        Ok(Self(shared))
    }

    /// The number of lines that were lost: there was no room, or they could not be written.
    pub(super) fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Has the writer flush, with lines or without.
    pub(super) fn look_after_output(&self) {
        self.0.state().has_to_look = true;
        self.0.filled.notify_all();
    }

    /// Takes no more lines. What is there is written.
    pub(super) fn close(&self) {
        self.0.state().is_closed = true;
        self.0.filled.notify_all();
    }

    /// Waits until all is written after [`close`](Self::close), but no longer than until `end`.
    pub(super) fn wait_for_end(&self, end: Instant) {
        let patience = end.saturating_duration_since(Instant::now());
        let woken = self
            .0
            .emptied
            .wait_timeout_while(self.0.state(), patience, |state| !state.has_ended);
        drop(woken.unwrap_or_else(PoisonError::into_inner));
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.0.state();
        if state.is_closed || state.lines.len() + line.len() > LIMIT {
            drop(state);
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let was_empty = state.lines.is_empty();
        state.lines.extend_from_slice(line);
        drop(state);
        if was_empty {
            self.0.filled.notify_one();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all_to(&self, writer: &mut impl Write) {
        let mut lines = Vec::new();
        let mut lost = 0;
        while self.take(&mut lines) {
            let mut rest = &*lines;
            match write_all(writer, &mut rest) {
                Ok(()) if lost > 0 => {
                    tracing::warn!(
                        log_output = self.output,
                        log_lines_lost = lost,
                        "the log is being written again"
                    );
                    lost = 0;
                }
                Ok(()) => {}
                // It is logged, not written to standard error from here: that may be what hangs.
                Err(error) => {
                    if lost == 0 {
                        tracing::error!(log_output = self.output, "log lines are lost: {error}");
                    }
                    let count = rest.iter().filter(|byte| **byte == b'\n').count() as u64;
                    lost += count;
                    self.lost.fetch_add(count, Ordering::Relaxed);
                }
            }
        }
    }

    /// Waits for lines, and a moment for more, and takes them all; or for the time to look after the output.
    /// At the end there is nothing.
    fn take(&self, lines: &mut Vec<u8>) -> bool {
        lines.clear();
        let mut state = self.state();
        while state.lines.is_empty() && !state.has_to_look && !state.is_closed {
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if !state.is_closed {
            drop(state);
            thread::sleep(GATHERING);
            state = self.state();
        }
        std::mem::swap(&mut state.lines, lines);
        std::mem::take(&mut state.has_to_look) || !lines.is_empty()
    }
}

/// Lines that could not be written are in `lines` afterwards.
fn write_all(writer: &mut impl Write, lines: &mut &[u8]) -> io::Result<()> {
    while !lines.is_empty() {
        match writer.write(lines) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => *lines = lines.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    writer.flush()
}

/// A line comes in one piece.
impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
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
    use std::sync::mpsc;

    use super::*;

    impl Queue {
        fn end(&self) {
            self.close();
            self.wait_for_end(Instant::now() + Duration::from_secs(1));
        }
    }

    /// Sends on each piece that is written; fails or hangs when told to.
    struct Pieces(mpsc::Sender<String>, Option<mpsc::Receiver<io::Result<()>>>);

    impl Write for Pieces {
        fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
            if let Some(told) = &self.1 {
                told.recv().unwrap_or(Ok(()))?;
            }
            self.0.send(String::from_utf8(piece.to_vec()).unwrap()).unwrap();
            Ok(piece.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn all_lines_arrive_in_their_order_and_few_pieces() {
        let (to, pieces) = mpsc::channel();
        let queue = Queue::to("a test", Pieces(to, None)).unwrap();
        let expected: String = (0..1000).map(|number| format!("line {number}\n")).collect();
        for line in expected.split_inclusive('\n') {
            write!(queue.clone(), "{line}").unwrap();
        }
        queue.end();
        assert_eq!(queue.lost(), 0);
        let pieces: Vec<_> = pieces.iter().collect();
        assert_eq!(pieces.concat(), expected);
        assert!(pieces.len() < 500, "{} pieces", pieces.len());
        queue.clone().write_all(b"too late\n").unwrap();
        assert_eq!(queue.lost(), 1);
    }

    /// LOG-2: what cannot be written is counted, and no request waits for a writer that hangs.
    #[test]
    fn what_is_lost_is_counted_and_nobody_waits() {
        let ((to, pieces), (tell, told)) = (mpsc::channel(), mpsc::channel());
        let queue = Queue::to("a test", Pieces(to, Some(told))).unwrap();
        queue.clone().write_all(b"one\n").unwrap();
        tell.send(Err(io::Error::other("full"))).unwrap();
        while queue.lost() == 0 {
            thread::yield_now();
        }
        // It hangs with the next piece, and then there is no room for all.
        let line = [vec![b'x'; LIMIT / 8 - 1], vec![b'\n']].concat();
        for _ in 0..20 {
            queue.clone().write_all(&line).unwrap();
            thread::sleep(GATHERING);
        }
        assert!((3..20).contains(&queue.lost()), "{}", queue.lost());
        queue.end(); // within a second
        drop(tell);
        assert!(pieces.recv().unwrap().starts_with("xxx"));
    }
}
