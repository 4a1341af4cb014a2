//! Requests in forms that few clients use: answered as all others, or refused with a reason that helps.

use std::net::SocketAddr;

use serde_json::json;

use crate::support::{PREFIX, Raw, Server, Settings, body, plaintext};

/// Sends bytes on a connection of their own; the whole answer.
fn exchange(address: SocketAddr, bytes: &str) -> String {
    let mut client = Raw::open(address);
    client.send(bytes.as_bytes()).unwrap();
    client.read_to_end()
}

/// A signed request whose connection ends with the answer. Its target is what `target` makes of the signed one.
fn request(address: SocketAddr, target: impl Fn(&str) -> String) -> String {
    let (head, body) = Raw::request(address, "keys/usable/encrypt", &plaintext(b"x"));
    let path = format!("{PREFIX}/kms/xks/v1/keys/usable/encrypt");
    let head = head.replacen(&path, &target(&path), 1);
    head.replacen("\r\n", "\r\nconnection: close\r\n", 1) + &body
}

/// SIG-2: forward proxies are asked with a target in absolute form. The `Host` header was signed, not its host.
#[test]
fn a_target_in_absolute_form_is_served() {
    let server = Server::start(&Settings::new());
    let address = server.address();
    for host in [
        address.to_string(),
        "other.example.com".to_owned(),
        "192.0.2.1:1".to_owned(),
    ] {
        let answer = exchange(address, &request(address, |path| format!("http://{host}{path}")));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
    // The path is signed in this form too.
    let other = |path: &str| format!("http://{address}{}", path.replace("encrypt", "decrypt"));
    let answer = exchange(address, &request(address, other));
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let answer = exchange(
        address,
        &format!("GET http://{address}/ping HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
    );
    assert!(answer.ends_with("ready\n"), "{answer}");
}

/// URI-5: the log blames the query, and not the key or the operation that it spoils.
#[test]
fn a_query_is_blamed_for_itself() {
    let server = Server::start(&Settings::new());
    let address = server.address();
    for (number, target) in ["?x=y", "?", "?a=/keys/b/encrypt"].into_iter().enumerate() {
        let answer = exchange(address, &request(address, |path| path.to_owned() + target));
        assert!(
            answer.starts_with("HTTP/1.1 404 ") && answer.contains("InvalidUriPathException"),
            "{answer}"
        );
        assert!(
            server.process.log.holds("the path has a query", number + 1),
            "{}",
            server.process.log.text()
        );
    }
}

/// SIG-3: what a signer for S3 sends has a reason of its own.
#[test]
fn an_unsigned_payload_is_named() {
    let server = Server::start(&Settings::new());
    let unsigned = ["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"];
    let answer = server.curl().call("health", &body(&json!({})), &unsigned);
    assert_eq!(answer.0, 401, "{answer:?}");
    server.process.log.wait_for("x-amz-content-sha256 is UNSIGNED-PAYLOAD");
}
