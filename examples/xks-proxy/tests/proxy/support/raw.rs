//! A connection over which any bytes go, for clients that do not keep to the rules.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{PATIENCE, PREFIX, usual_signer};

pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
}

impl Raw {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    /// # Errors
    /// The server has closed the connection.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Ends the client's half of the connection, as `nc -N` does after its input.
    pub(crate) fn end(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// What comes within this time, and whether the server has closed the connection then.
    pub(crate) fn read_for(&mut self, time: Duration) -> (String, bool) {
        let (start, mut text) = (Instant::now(), Vec::new());
        let mut is_closed = false;
        while let Some(left) = time
            .checked_sub(start.elapsed())
            .filter(|left| !left.is_zero() && !is_closed)
        {
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => is_closed = true,
                Ok(length) => text.extend_from_slice(&buffer[..length]),
                Err(error) => {
                    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
                    is_closed = ![WouldBlock, TimedOut, Interrupted].contains(&error.kind());
                }
            }
        }
        (String::from_utf8_lossy(&text).into_owned(), is_closed)
    }

    /// All that comes until this has come.
    pub(crate) fn read_until(&mut self, end: &str) -> String {
        let (start, mut text) = (Instant::now(), String::new());
        while !text.ends_with(end) {
            let (more, is_closed) = self.read_for(Duration::from_millis(1));
            text += &more;
            assert!(!is_closed && start.elapsed() < PATIENCE, "no {end:?} after {text:?}");
        }
        text
    }

    /// All that comes until the server closes the connection, which it has to do.
    pub(crate) fn read_to_end(&mut self) -> String {
        let (text, is_closed) = self.read_for(PATIENCE);
        assert!(is_closed, "the connection is still open after {text:?}");
        text
    }

    /// The head and the body of a signed request for the usual key store.
    pub(crate) fn request(address: SocketAddr, path: &str, body: &Value) -> (String, String) {
        let (host, path) = (address.to_string(), format!("{PREFIX}/kms/xks/v1/{path}"));
        let body = body.to_string();
        let length = body.len().to_string();
        let headers = usual_signer().sign("POST", &host, &path, &[("content-length", &length)], body.as_bytes());
        let headers: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        (format!("POST {path} HTTP/1.1\r\n{headers}\r\n"), body)
    }
}
