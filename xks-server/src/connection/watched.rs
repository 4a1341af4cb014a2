//! A stream whose traffic is recorded, and whose first bytes decide the protocol.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::{Protocol, activity::Activity};

/// A stream whose traffic is taken note of, and whose first bytes can be looked at.
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
    /// Bytes that were read ahead, for the next reader.
    first: [u8; PREFACE.len()],
    length: usize,
}

/// The first bytes of HTTP/2, as far as no method of HTTP/1.1 begins so.
const PREFACE: &[u8; 3] = b"PRI";

impl<S> Watched<S> {
    pub(super) fn new(stream: S, activity: &Arc<Activity>) -> Self {
        Self {
            stream,
            activity: Arc::clone(activity),
            first: [0; PREFACE.len()],
            length: 0,
        }
    }
}

impl<S: AsyncRead + Unpin> Watched<S> {
    /// Reads as little as tells the protocol.
    pub(super) async fn protocol(&mut self) -> io::Result<Protocol> {
        loop {
            let (read, room) = self.first.split_at_mut(self.length);
            if !PREFACE.starts_with(read) {
                return Ok(Protocol::Http1);
            }
            if room.is_empty() {
                return Ok(Protocol::Http2);
            }
            match self.stream.read(room).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => {
                    self.length += length;
                    self.activity.read(length);
                }
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // What is there besides goes with the first bytes: in two pieces they would take twice the memory.
        let length = self.length.min(buffer.remaining());
        if length > 0 {
            buffer.put_slice(self.first.get(..length).unwrap_or_default());
            self.first.rotate_left(length);
            self.length -= length;
        }
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        if read > 0 {
            self.activity.read(read);
        }
        match poll {
            Poll::Pending if length > 0 => Poll::Ready(Ok(())),
            poll => poll,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.activity.wrote(poll.is_pending());
        poll
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.activity.wrote(poll.is_pending());
        poll
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(context);
        match &poll {
            Poll::Pending => self.activity.wrote(true),
            Poll::Ready(_) => self.activity.flushed(),
        }
        poll
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
