//! HTTP/1.1 as a client that knows what it sends: of an answer it reads the status, the length, and whether it is the last.

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::connection::Duplex;

pub(super) struct Http1 {
    stream: Box<dyn Duplex>,
    /// The last answer, from its first byte on.
    answer: Vec<u8>,
    head: Head,
}

#[derive(Clone, Copy, Default)]
struct Head {
    status: u16,
    /// Where the body begins.
    end: usize,
    length: usize,
    is_last: bool,
}

impl Http1 {
    pub(super) fn new(stream: Box<dyn Duplex>) -> Self {
        Self {
            stream,
            answer: Vec::new(),
            head: Head::default(),
        }
    }

    pub(super) fn body(&self) -> &[u8] {
        self.answer.get(self.head.end..).unwrap_or_default()
    }

    pub(super) fn is_last(&self) -> bool {
        self.head.is_last
    }

    pub(super) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        self.answer.clear();
        let head = loop {
            self.read().await?;
            if let Some(head) = Head::read(&self.answer)? {
                break head;
            }
        };
        self.head = head;
        while self.answer.len() < head.end + head.length {
            self.read().await?;
        }
        if self.answer.len() > head.end + head.length {
            bail!("more than was asked for");
        }
        Ok(head.status)
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        self.answer.reserve(1024);
        match self.stream.read_buf(&mut self.answer).await? {
            0 => bail!("the connection ended"),
            _ => Ok(()),
        }
    }
}

impl Head {
    /// None while it is not whole.
    fn read(answer: &[u8]) -> anyhow::Result<Option<Self>> {
        let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = std::str::from_utf8(answer.get(..end).unwrap_or_default())?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let mut head = Self {
            status: status.context("no status")?.parse()?,
            end: end + 4,
            ..Self::default()
        };
        let mut length = None;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse()?);
            } else if name.eq_ignore_ascii_case("connection") {
                head.is_last = value.trim().eq_ignore_ascii_case("close");
            }
        }
        head.length = length.context("an answer without its length")?;
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
}
