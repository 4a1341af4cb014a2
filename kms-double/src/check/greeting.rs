//! The first bytes of a connection: whether a server is there, and speaks a version of HTTP.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::wire::{CallError, Endpoint, Http};

/// A client's first bytes over HTTP/2: the preface, and a SETTINGS frame without settings (RFC 9113, section
/// 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Waits for the greeting of a server. HTTP/1.1 has none: the connection is enough. Over HTTP/2 each side
/// begins with a SETTINGS frame, whatever comes then.
///
/// # Errors
/// There is no server, or it speaks another version: it closes the connection, or sends something else.
/// [`CallError::Timeout`] when it sends nothing, which may be either.
pub(super) async fn greeting(endpoint: &Endpoint) -> Result<(), CallError> {
    let (mut stream, _) = endpoint.http_stream().await?;
    if endpoint.http() == Http::One {
        return Ok(());
    }
    let exchange = async {
        stream.write_all(PREFACE).await?;
        stream.flush().await?;
        let (mut length, mut rest) = ([0; 3], [0; 6]);
        stream.read_exact(&mut length).await?;
        stream.read_exact(&mut rest).await?;
        std::io::Result::Ok(rest)
    };
    match timeout(endpoint.timeout(), exchange).await {
        // The type of a SETTINGS frame, flags, no stream.
        Ok(Ok([4, _, 0, 0, 0, 0])) => Ok(()),
        Ok(Ok(_)) => Err(CallError::Http("no HTTP/2 SETTINGS frame".into())),
        Ok(Err(error)) => Err(CallError::Closed(error.to_string())),
        Err(_) => Err(CallError::Timeout(endpoint.timeout())),
    }
}
