//! A lane: one connection, used by one transaction after the other, and made again when it is lost.

use std::{future::poll_fn, ops::Deref, pin::Pin, sync::Arc, task::Poll, time::Duration};

use futures_util::future::join;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, sleep},
};
use tokio_postgres::Row;

use super::{
    PostgresSettings, StoreError,
    connection::{Connection, Param},
};

/// The first and the longest pause between attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// One connection for one kind of calls.
pub(super) struct Lane {
    settings: Arc<PostgresSettings>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    /// Attempts that have failed since the last one that did not.
    failures: u32,
    /// When the last call gave up, and why.
    gave_up: Option<(Instant, String)>,
}

/// A statement and its parameters.
pub(super) type Statement<'s> = (&'s str, &'s [Param<'s>]);

/// A transaction that has begun, and the rows of its first statements.
type Begun<'l> = (Transaction<'l>, Vec<Vec<Row>>);

/// What a transaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// It reads one revision.
    Read,
    /// It writes.
    Write,
}

/// A transaction. When it is dropped before its end, its connection is closed, which rolls it back.
pub(super) struct Transaction<'l> {
    state: MutexGuard<'l, State>,
    connection: Connection,
}

impl Lane {
    /// A lane that connects when it is first used.
    pub(super) fn new(settings: Arc<PostgresSettings>) -> Self {
        let state = Mutex::default();
        Self { settings, state }
    }

    /// Waits for the lane and begins a transaction with its first statements, which go to the database
    /// together; connects if there is no connection, and again, with pauses, as long as the timeout of the
    /// settings allows. It may as long as no transaction has begun.
    pub(super) async fn begin(&self, does: Does, first: &[Statement<'_>]) -> Result<Begun<'_>, StoreError> {
        let came = Instant::now();
        let mut state = self.state.lock().await;
        // The call that had the lane meanwhile has tried for this call too.
        if let Some((at, reason)) = &state.gave_up
            && *at >= came
        {
            return Err(StoreError::unavailable("the database failed", reason.clone()));
        }
        let deadline = Instant::now() + self.settings.timeout;
        loop {
            let kept = state.connection.take();
            let was_kept = kept.is_some();
            let error = match self.attempt(kept, does, first).await {
                Ok((connection, rows)) => {
                    state.failures = 0;
                    let rows = rows?;
                    return Ok((Transaction { state, connection }, rows));
                }
                Err(error) => error,
            };
            if was_kept {
                continue; // it may have been lost long ago: that counts as no attempt
            }
            state.failures = state.failures.saturating_add(1);
            let pause = pause(state.failures);
            if !error.is_unknown() || Instant::now() + pause >= deadline {
                state.gave_up = Some((Instant::now(), xks_core::text::ErrorChain(&error).to_string()));
                return Err(error);
            }
            sleep(pause).await;
        }
    }

    /// Returns the rows of statements that read at one revision. All of it is one round trip.
    pub(super) async fn read(&self, statements: &[Statement<'_>]) -> Result<Vec<Vec<Row>>, StoreError> {
        let statements = [statements, &[("ROLLBACK", &[])]].concat();
        let (transaction, rows) = self.begin(Does::Read, &statements).await?;
        transaction.keep();
        Ok(rows)
    }

    async fn attempt(
        &self,
        kept: Option<Connection>,
        does: Does,
        first: &[Statement<'_>],
    ) -> Result<(Connection, Result<Vec<Vec<Row>>, StoreError>), StoreError> {
        let connection = match kept {
            Some(connection) if !connection.is_closed() => connection,
            _ => Connection::open(&self.settings, None).await?,
        };
        let begin = match does {
            Does::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".to_owned(),
            // A node that stops in the middle holds up the others no longer than one that does not answer;
            // and what is committed is on the disk, whatever the default of the database is.
            Does::Write => format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED;
                 SET LOCAL lock_timeout = {timeout};
                 SET LOCAL idle_in_transaction_session_timeout = {timeout};
                 SELECT set_config('synchronous_commit', 'on', true)
                 WHERE current_setting('synchronous_commit') = 'off'",
                timeout = self.settings.timeout.as_millis()
            ),
        };
        let mut calls: Vec<Call<'_, Vec<Row>>> = Vec::with_capacity(first.len());
        for (statement, params) in first {
            calls.push(Box::pin(connection.query(statement, params)));
        }
        let rows = answers(calls);
        // Each is sent when it is first polled, and this polls in their order.
        let (begun, rows) = join(connection.run(&begin), rows).await;
        begun?;
        Ok((connection, rows))
    }
}

impl Transaction<'_> {
    /// Commits. The outcome is unknown when this fails.
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        let unknown = |reason: String| StoreError::unavailable("whether the change was made is unknown", reason);
        drop(self.connection.warning());
        let committed = self.connection.run("COMMIT").await;
        committed.map_err(|error| unknown(xks_core::text::ErrorChain(&error).to_string()))?;
        // Such as a wait for a standby that somebody has cancelled.
        if let Some(warning) = self.connection.warning() {
            return Err(unknown(format!("the database warns: {warning}")));
        }
        self.keep();
        Ok(())
    }

    /// Ends it without a change.
    pub(super) async fn end(self) -> Result<(), StoreError> {
        self.connection.run("ROLLBACK").await?;
        self.keep();
        Ok(())
    }

    /// Keeps the connection for the next one.
    fn keep(mut self) {
        self.state.connection = Some(self.connection);
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

/// How long to wait after so many failures: each time twice as long, to a limit; and of that between the half
/// and the whole, so that not all nodes come at once.
pub(super) fn pause(failures: u32) -> Duration {
    let (first, longest) = PAUSES;
    let doublings = failures.saturating_sub(1).min(10);
    let pause = first.saturating_mul(1 << doublings).min(longest);
    let part = getrandom::u32().unwrap_or(u32::MAX);
    pause.mul_f64(0.5 + f64::from(part) / f64::from(u32::MAX) / 2.0)
}

/// A call that waits for its answer.
pub(super) type Call<'c, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'c>>;

/// How many calls are under way at once: all of a command, and few of a restored backup.
const AT_ONCE: usize = 32;

/// Makes calls of one connection, in this order, and as many as may be before it waits for the first answer.
/// Returns all answers, or the first error.
pub(super) async fn answers<T>(calls: Vec<Call<'_, T>>) -> Result<Vec<T>, StoreError> {
    let mut answers: Vec<Option<T>> = Vec::with_capacity(calls.len());
    let mut calls = calls.into_iter().peekable();
    while calls.peek().is_some() {
        let mut calls: Vec<_> = calls.by_ref().take(AT_ONCE).collect();
        let first = answers.len();
        answers.resize_with(first + calls.len(), || None);
        poll_fn(|context| {
            let mut is_over = true;
            for (call, answer) in calls.iter_mut().zip(answers.iter_mut().skip(first)) {
                if answer.is_some() {
                    continue;
                }
                match call.as_mut().poll(context) {
                    Poll::Ready(Ok(found)) => *answer = Some(found),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => is_over = false,
                }
            }
            if is_over { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await?;
    }
    Ok(answers.into_iter().flatten().collect())
}
