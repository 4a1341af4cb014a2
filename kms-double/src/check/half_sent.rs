//! Requests of which only a half is sent: they must not stay forever, nor hold up others.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
    time::timeout,
};

use super::{case::Stop, subject::Subject};
use crate::wire::Endpoint;

/// Two connections: one with half a head, one with a whole head and half a body. Dropped, they are closed.
#[derive(Debug)]
pub(super) struct HalfSent {
    opened: Instant,
    closed: JoinSet<(&'static str, io::Result<Option<Duration>>)>,
}

impl HalfSent {
    /// Opens them, and lets them stand.
    pub(super) fn open(subject: &Subject) -> Self {
        let path = format!("{}/health", subject.endpoint().uri_path());
        let head = format!("POST {path} HTTP/1.1\r\nhost: {}\r\n", subject.endpoint().authority());
        let body =
            format!("{head}content-type: application/json\r\ncontent-length: 1000\r\n\r\n{{\"requestMetadata\":");
        let limit = subject.setup().half_sent;
        let halves = [("half a head", head), ("half a body", body)];
        let mut closed = JoinSet::new();
        for (what, text) in halves {
            let endpoint = subject.endpoint().clone();
            closed.spawn(async move { (what, until_closed(&endpoint, &text, limit).await) });
        }
        Self {
            opened: Instant::now(),
            closed,
        }
    }

    /// Waits until they are closed, or have had their time.
    pub(super) async fn ended(mut self) -> Result<Option<String>, Stop> {
        let (mut told, mut is_open) = (Vec::new(), false);
        while let Some(ended) = self.closed.join_next().await {
            let (what, after) = ended.map_err(|error| Stop::not_tried(error.to_string()))?;
            match after.map_err(|error| Stop::not_tried(error.to_string()))? {
                Some(after) => told.push(format!("{what}: closed after {} s", after.as_secs())),
                None => {
                    is_open = true;
                    told.push(format!("{what}: open after {} s", self.opened.elapsed().as_secs()));
                }
            }
        }
        let told = told.join("; ");
        if is_open {
            Err(Stop::failed(told))
        } else {
            Ok(Some(told))
        }
    }
}

/// How long the proxy left a connection open on which nothing more comes than this text, if it closed it at
/// all.
async fn until_closed(endpoint: &Endpoint, text: &str, limit: Duration) -> io::Result<Option<Duration>> {
    let (mut stream, _) = endpoint.stream().await.map_err(io::Error::other)?;
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await?;
    let start = Instant::now();
    let mut rest = [0; 1024];
    let closed = timeout(limit, async {
        while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    });
    Ok(closed.await.ok().map(|()| start.elapsed()))
}
