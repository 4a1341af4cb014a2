//! One connection to the database, and the task that drives it.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::TryStreamExt as _;
use tokio::{
    sync::mpsc,
    task::{self, AbortHandle},
};
use tokio_postgres::{
    AsyncMessage, Client, Row,
    error::Severity,
    types::{ToSql, Type},
};

use super::{PostgresSettings, StoreError, error, schema};

/// A parameter with the type that the statement declares: so no statement is prepared on its own, which takes
/// one answer less, and which poolers that share connections between transactions do not know.
pub(super) type Param<'p> = (&'p (dyn ToSql + Sync), Type);

/// A connection. When it is dropped, it is closed: what was under way ends as the database sees fit, and is
/// never cancelled, since a cancelled wait for a standby passes for success.
pub(super) struct Connection {
    client: Client,
    task: AbortHandle,
    /// What the database has warned of last.
    warning: Arc<Mutex<Option<String>>>,
    patience: Duration,
}

impl Connection {
    /// Connects, and makes sure that this program may serve the schema. Payloads of notifications go to
    /// `heard`; those that find no room are dropped, as there is something to wake up for anyway.
    pub(super) async fn open(
        settings: &PostgresSettings,
        heard: Option<mpsc::Sender<String>>,
    ) -> Result<Self, StoreError> {
        let patience = settings.timeout;
        let at = |error| match error {
            StoreError::Unavailable { source, .. } => {
                StoreError::unavailable(format!("PostgreSQL at {settings} cannot be used"), source)
            }
            other => other,
        };
        let files = settings.clone();
        let files = task::spawn_blocking(move || files.read()).await;
        let (config, tls) = files.map_err(|error| StoreError::unavailable("the settings cannot be read", error))??;
        let connected = error::within(patience, config.connect(tls)).await.map_err(at)?;
        let (client, mut connection) = connected;
        let warning = Arc::new(Mutex::new(None));
        let warned = Arc::clone(&warning);
        let drive = async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                match message {
                    AsyncMessage::Notification(notification) => {
                        heard
                            .as_ref()
                            .map(|heard| heard.try_send(notification.payload().to_owned()));
                    }
                    AsyncMessage::Notice(notice) if notice.parsed_severity() == Some(Severity::Warning) => {
                        let text = notice.message().to_owned();
                        *warned.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
                    }
                    _ => {}
                }
            }
        };
        let task = tokio::spawn(drive).abort_handle();
        let connection = Self {
            client,
            task,
            warning,
            patience,
        };
        schema::check(&connection).await?;
        Ok(connection)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs statements without parameters.
    pub(super) async fn run(&self, statements: &str) -> Result<(), StoreError> {
        error::within(self.patience, self.client.batch_execute(statements)).await
    }

    /// Runs a statement, and returns how many rows it has changed.
    pub(super) async fn execute(&self, statement: &str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        error::within(self.patience, self.client.execute_typed(statement, params)).await
    }

    /// Returns the rows that a statement gives.
    pub(super) async fn query(&self, statement: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        error::within(self.patience, self.client.query_typed(statement, params)).await
    }

    /// Returns the one row that a statement gives.
    pub(super) async fn query_one(&self, statement: &str, params: &[Param<'_>]) -> Result<Row, StoreError> {
        error::within(self.patience, self.client.query_typed_one(statement, params)).await
    }

    /// Hands each row that a statement gives to `row`. There may be many: each may take as long as one
    /// answer.
    pub(super) async fn each(
        &self,
        statement: &str,
        params: &[Param<'_>],
        mut row: impl FnMut(&Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let params = params.iter().cloned();
        let stream = error::within(self.patience, self.client.query_typed_raw(statement, params)).await?;
        let mut stream = std::pin::pin!(stream);
        while let Some(next) = error::within(self.patience, stream.try_next()).await? {
            row(&next)?;
        }
        Ok(())
    }

    /// Takes the last warning.
    pub(super) fn warning(&self) -> Option<String> {
        self.warning.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}
