//! Requests of which only a half is sent: they must not stay for ever, nor hold up others.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinHandle,
    time::timeout,
};

use super::{case::Stop, subject::Subject};

/// Two connections: one with half a head, one with a whole head and half a body.
#[derive(Debug)]
pub(super) struct HalfSent {
    opened: Instant,
    closed: Vec<(&'static str, JoinHandle<io::Result<Option<Duration>>>)>,
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
        let opened = halves.map(|(what, text)| {
            let endpoint = subject.endpoint().clone();
            let closed = tokio::spawn(async move {
                let (mut stream, _) = endpoint.stream().await.map_err(io::Error::other)?;
                stream.write_all(text.as_bytes()).await?;
                stream.flush().await?;
                let start = Instant::now();
                let mut rest = [0; 1024];
                let ended = timeout(limit, async {
                    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
                });
                Ok(ended.await.ok().map(|()| start.elapsed()))
            });
            (what, closed)
        });
        Self {
            opened: Instant::now(),
            closed: opened.into(),
        }
    }

    /// Waits until they are closed, or have had their time.
    pub(super) async fn ended(self) -> Result<Option<String>, Stop> {
        let (mut told, mut is_open) = (Vec::new(), false);
        for (what, closed) in self.closed {
            match closed.await {
                Ok(Ok(Some(after))) => told.push(format!("{what}: closed after {} s", after.as_secs())),
                Ok(Ok(None)) => {
                    is_open = true;
                    told.push(format!("{what}: open after {} s", self.opened.elapsed().as_secs()));
                }
                Ok(Err(error)) => return Err(Stop::not_tried(error.to_string())),
                Err(error) => return Err(Stop::not_tried(error.to_string())),
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
