//! Requests over kept connections.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use http::Method;

use super::{Answer, CallError, Connection, Endpoint, Http, Raw};

/// Calls a proxy over connections that are kept open. Clones share them.
///
/// Needs a tokio runtime with its timer and network. Whoever drops a call closes its HTTP/1.1 connection.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: Endpoint,
    /// HTTP/1.1: those without a request at this moment. HTTP/2: the one that all requests go over.
    kept: Arc<Mutex<Vec<Connection>>>,
}

impl Client {
    /// Creates a client without a connection yet: the first request opens one.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            kept: Arc::default(),
        }
    }

    /// Returns the endpoint that it calls.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a POST to a path below `/kms/xks/v1`, such as `health` or `keys/my-key/encrypt`, signed as KMS
    /// signs.
    ///
    /// # Errors
    /// There is no answer. What the proxy answers is no error, whatever its status.
    pub async fn post(&self, path: &str, body: &[u8]) -> Result<Answer, CallError> {
        let request = Raw::signed(&self.endpoint, Method::POST, path, body, SystemTime::now())?;
        self.send(&request).await
    }

    /// Sends a request as it is.
    ///
    /// One that went over a kept connection which turns out to be closed is sent once more over a new one: a
    /// server may close what is idle at any time, and none of the operations does harm when done twice.
    ///
    /// # Errors
    /// As for [`post`](Self::post).
    pub async fn send(&self, request: &Raw) -> Result<Answer, CallError> {
        if let Some(mut kept) = self.kept() {
            match kept.send(request).await {
                Err(CallError::Closed(_)) => self.forget_closed(),
                answer => return self.done(kept, answer),
            }
        }
        let mut new = self.endpoint.connect().await?;
        if let Some(shared) = new.shared() {
            self.keep(shared);
        }
        let answer = new.send(request).await;
        self.done(new, answer)
    }

    fn done(&self, connection: Connection, answer: Result<Answer, CallError>) -> Result<Answer, CallError> {
        // After anything but an answer, what comes next over it is unknown.
        if answer.is_ok() && self.endpoint.http == Http::One {
            self.keep(connection);
        }
        answer
    }

    fn kept(&self) -> Option<Connection> {
        self.forget_closed();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match self.endpoint.http {
            Http::One => kept.pop(),
            Http::Two => kept.last().and_then(Connection::shared),
        }
    }

    fn keep(&self, connection: Connection) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !connection.is_closed() {
            kept.push(connection);
        }
    }

    fn forget_closed(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|connection| !connection.is_closed());
    }
}
