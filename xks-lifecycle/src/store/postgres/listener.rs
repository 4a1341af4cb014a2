//! Learns of the commits of others: by notifications on a connection of its own, and by asking.
//!
//! A notification only wakes: the revision is read from the table. Notifications can be lost in silence (a
//! pooler between, a connection that has died), so that the revision is read every now and then anyway, and
//! whenever the connection was made again, after it listens.

use std::sync::Arc;

use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, sleep, timeout_at},
};
use tokio_postgres::types::Type;
use xks_core::text::Hex;

use super::{
    CHANNEL, PostgresSettings, PostgresWarning, Revision, StoreError, connection::Connection, lane::pause, statements,
};
use crate::store::Notifier;

/// How many notifications wait at most. Each only says that there is something to read.
const WAITING: usize = 64;

/// What is known of the other nodes' commits.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The latest revision.
    pub(super) head: Notifier<Revision>,
    /// What is wrong with notifications; nothing until the first connection was tried.
    pub(super) warning: Notifier<Option<Option<PostgresWarning>>>,
}

/// The task that listens. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Listener(AbortHandle);

impl Listener {
    /// Starts it on the runtime of the caller.
    pub(super) fn start(settings: Arc<PostgresSettings>, known: Arc<Known>) -> Self {
        let listens = async move {
            let mut failures = 0;
            loop {
                let Err(error) = listen(&settings, &known, &mut failures).await;
                let reason = xks_core::text::ErrorChain(&error).to_string();
                known
                    .warning
                    .change(|warning| *warning = Some(Some(PostgresWarning::Unreachable { reason })));
                failures += 1;
                sleep(pause(failures)).await;
            }
        };
        Self(tokio::spawn(listens).abort_handle())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Listens until the connection is lost.
async fn listen(
    settings: &PostgresSettings,
    known: &Known,
    failures: &mut u32,
) -> Result<std::convert::Infallible, StoreError> {
    let (heard, mut notifications) = mpsc::channel(WAITING);
    let connection = Connection::open(settings, Some(heard)).await?;
    connection.run(&format!("LISTEN {CHANNEL}")).await?;
    let is_heard = hears(settings, &mut notifications).await?;
    // What was committed before it listened.
    look(&connection, known).await?;
    let poll = settings.poll;
    let warning = (!is_heard).then_some(PostgresWarning::NoNotifications { poll });
    known.warning.change(|known| *known = Some(warning));
    *failures = 0;
    loop {
        let next = Instant::now() + poll;
        loop {
            match timeout_at(next, notifications.recv()).await {
                Ok(Some(payload)) if is_known(&payload, known) => {}
                Ok(None) => return Err(StoreError::unavailable("the database failed", "connection closed")),
                Ok(Some(_)) | Err(_) => break,
            }
        }
        look(&connection, known).await?;
    }
}

/// Whether a notification is of a revision that is known, such as one of our own commits.
fn is_known(payload: &str, known: &Known) -> bool {
    let revision = payload.parse().map(Revision::new);
    revision.is_ok_and(|revision| known.head.read(|head| revision <= *head))
}

/// Reads the revision.
async fn look(connection: &Connection, known: &Known) -> Result<(), StoreError> {
    let before = known.head.read(|head| *head);
    let found = statements::head_revision(connection).await?;
    if found > before {
        known.head.announce(found);
    } else if found < before {
        // The database has lost commits: what follows has to count from there.
        known.head.change(|head| *head = found);
    }
    Ok(())
}

/// Whether a notification that another connection sends arrives here, in the time that an answer may take.
async fn hears(settings: &PostgresSettings, notifications: &mut mpsc::Receiver<String>) -> Result<bool, StoreError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| StoreError::unavailable("no random number", error))?;
    let word = format!("echo {}", Hex(&random));
    let other = Connection::open(settings, None).await?;
    let params = &[(&CHANNEL as _, Type::TEXT), (&word as _, Type::TEXT)];
    other.query("SELECT pg_notify($1, $2)", params).await?;
    let until = Instant::now() + settings.timeout;
    loop {
        match timeout_at(until, notifications.recv()).await {
            Ok(Some(payload)) if payload == word => return Ok(true),
            Ok(Some(_)) => {} // the revision will be read anyway
            Ok(None) => return Err(StoreError::unavailable("the database failed", "connection closed")),
            Err(_) => return Ok(false),
        }
    }
}
