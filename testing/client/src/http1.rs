//! HTTP/1.1 as a client that knows what it sends: of an answer it reads the status, the length, and whether
//! it is the last.

use std::{future::poll_fn, pin::Pin, task::Poll};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};

use super::{Failure, connection::Duplex};

pub(crate) struct Http1 {
    stream: Box<dyn Duplex>,
    /// The last answer, from its first byte on.
    answer: Vec<u8>,
    head: Head,
    /// Another request cannot be sent.
    is_done: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Head {
    status: u16,
    /// Where the body begins.
    end: usize,
    length: usize,
    is_last: bool,
}

impl Http1 {
    pub(crate) fn new(stream: Box<dyn Duplex>) -> Self {
        Self {
            stream,
            answer: Vec::new(),
            head: Head::default(),
            is_done: false,
        }
    }

    pub(crate) fn body(&self) -> &[u8] {
        self.answer.get(self.head.end..).unwrap_or_default()
    }

    pub(crate) fn headers(&self) -> HeaderMap {
        let text = String::from_utf8_lossy(self.answer.get(..self.head.end).unwrap_or_default());
        let lines = text.lines().skip(1).filter_map(|line| line.split_once(':'));
        let parsed = lines.map(|(name, value)| {
            let name = HeaderName::try_from(name).expect("names are valid");
            (name, HeaderValue::from_str(value.trim()).expect("values are valid"))
        });
        parsed.collect()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Whether nothing has come since the last answer: neither the end of the connection nor bytes without
    /// a request.
    pub(crate) async fn is_open(&mut self) -> bool {
        if self.is_done {
            return false;
        }
        let mut byte = [0];
        let stream = &mut self.stream;
        let is_open = poll_fn(|context| {
            let mut buffer = ReadBuf::new(&mut byte);
            Poll::Ready(Pin::new(&mut *stream).poll_read(context, &mut buffer).is_pending())
        })
        .await;
        self.is_done = !is_open;
        is_open
    }

    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<u16, Failure> {
        // Whatever ends this before its end leaves a part of an answer on its way.
        self.is_done = true;
        self.stream.write_all(request).await.map_err(Failure::no_answer)?;
        self.stream.flush().await.map_err(Failure::no_answer)?;
        self.answer.clear();
        let head = loop {
            self.read().await?;
            if let Some(head) = Head::read(&self.answer).map_err(Failure::no_answer)? {
                break head;
            }
        };
        self.head = head;
        while self.answer.len() < head.end + head.length {
            self.read().await?;
        }
        if self.answer.len() > head.end + head.length {
            return Err(Failure::no_answer("more than was asked for"));
        }
        self.is_done = head.is_last;
        Ok(head.status)
    }

    async fn read(&mut self) -> Result<(), Failure> {
        self.answer.reserve(1024);
        match self.stream.read_buf(&mut self.answer).await {
            Ok(0) => Err(Failure::no_answer("the connection ended")),
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::no_answer(error)),
        }
    }
}

impl Head {
    /// None while it is not whole.
    fn read(answer: &[u8]) -> Result<Option<Self>, &'static str> {
        let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = str::from_utf8(answer.get(..end).unwrap_or_default()).map_err(|_| "a head that is not text")?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let mut head = Self {
            status: status.and_then(|status| status.parse().ok()).ok_or("no status")?,
            end: end + 4,
            ..Self::default()
        };
        let mut length = None;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            } else if name.eq_ignore_ascii_case("connection") {
                head.is_last = value.trim().eq_ignore_ascii_case("close");
            }
        }
        head.length = length.ok_or("an answer without its length")?;
        Ok(Some(head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        let answer = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 12\r\nconnection: close\r\n\r\n{\"a\"";
        let head = Head::read(answer).unwrap().unwrap();
        assert_eq!((head.status, head.length, head.is_last), (429, 12, true));
        assert_eq!(&answer[head.end..], b"{\"a\"");
        assert!(Head::read(&answer[..head.end - 1]).unwrap().is_none());
        assert!(Head::read(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }

    /// What the server closed is not used again, and an answer that says so is the last.
    #[tokio::test]
    async fn the_end_of_a_connection_is_noticed() {
        let (client, mut server) = tokio::io::duplex(1024);
        let mut connection = Http1::new(Box::new(client));
        server
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: b\r\n\r\n{}")
            .await
            .unwrap();
        assert_eq!(connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.unwrap(), 200);
        assert_eq!(
            (connection.body(), &connection.headers()["x-a"]),
            (&b"{}"[..], &HeaderValue::from_static("b"))
        );
        assert!(connection.is_open().await);
        drop(server);
        assert!(!connection.is_open().await);
    }
}
