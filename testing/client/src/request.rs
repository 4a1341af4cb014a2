//! A request as it is written, for either version of HTTP.

use std::time::SystemTime;

use bytes::Bytes;
use serde_json::Value;

use super::{Signer, Target};

/// A request that can be sent as often as its signature holds.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// For HTTP/1.1: all of it.
    pub(crate) written: Bytes,
    /// For HTTP/2.
    pub(crate) head: http::Request<()>,
    pub(crate) body: Bytes,
}

impl Prepared {
    /// A request as it is: `headers` has all of them but `content-length`.
    #[must_use]
    pub fn new(target: &Target, method: &str, path: &str, headers: &[(String, String)], body: &[u8]) -> Self {
        let mut written = format!("{method} {path} HTTP/1.1\r\n");
        let mut head = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", target.origin()))
            .version(http::Version::HTTP_2);
        for (name, value) in headers {
            written.extend([name, ": ", value, "\r\n"]);
            if name != "host" {
                head = head.header(name, value); // the host is in the URI
            }
        }
        if !body.is_empty() {
            let length = body.len().to_string();
            written.extend(["content-length: ", &length, "\r\n"]);
            head = head.header("content-length", length);
        }
        written.push_str("\r\n");
        Self {
            written: [written.as_bytes(), body].concat().into(),
            head: head.body(()).unwrap(),
            body: Bytes::copy_from_slice(body),
        }
    }

    /// A POST of JSON, signed for any path at the time of the signer.
    #[must_use]
    pub fn signed(target: &Target, signer: &Signer, path: &str, body: &[u8]) -> Self {
        let json = [("content-type", "application/json")];
        let headers = signer.sign("POST", &target.host, path, &json, body);
        Self::new(target, "POST", path, &headers, body)
    }

    /// A POST to a path below the key store's, such as `keys/my-key/encrypt`, signed at this moment.
    pub(crate) fn operation(target: &Target, signer: &Signer, path: &str, body: &Value) -> Self {
        let signer = Signer {
            time: SystemTime::now(),
            ..signer.clone()
        };
        let path = format!("{}/kms/xks/v1/{path}", target.prefix);
        Self::signed(target, &signer, &path, body.to_string().as_bytes())
    }
}
