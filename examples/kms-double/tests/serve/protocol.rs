//! The protocol by hand, and what does not get in.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
};

use serde_json::Value;

use crate::serve;

const SIGNED: &str = "Authorization: AWS4-HMAC-SHA256 Credential=ALICE/20261125/us-east-1/kms/aws4_request, \
    SignedHeaders=host, Signature=00\r\n";

/// The status and the body of what is answered.
fn answered(url: &str, method: &str, host: &str, headers: &str, body: &str) -> (u16, Value) {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.to_lowercase().contains("x-amzn-requestid: "), "{head}");
    assert!(
        head.to_lowercase().contains("content-type: application/x-amz-json-1.1"),
        "{head}"
    );
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

#[test]
fn only_signed_requests_for_known_operations_are_answered() {
    let (_program, url) = serve(&[]);
    let target = |operation: &str| format!("{SIGNED}X-Amz-Target: TrentService.{operation}\r\n");
    let list = target("ListKeys");
    let local = "127.0.0.1";
    assert_eq!(answered(&url, "POST", local, &list, "{}").0, 200);
    for (method, host, headers, body, status, name) in [
        ("GET", local, &*list, "", 404, "UnknownOperationException"),
        ("OPTIONS", local, &list, "", 404, "UnknownOperationException"),
        (
            "POST",
            "attacker.example.com",
            &list,
            "{}",
            403,
            "MissingAuthenticationTokenException",
        ),
        (
            "POST",
            local,
            "X-Amz-Target: TrentService.ListKeys\r\n",
            "{}",
            403,
            "MissingAuthenticationTokenException",
        ),
        ("POST", local, SIGNED, "{}", 404, "UnknownOperationException"),
        ("POST", local, &target("Sign"), "{}", 404, "UnknownOperationException"),
        ("POST", local, &list, "", 400, "SerializationException"),
        ("POST", local, &list, "{\"Limit\": ", 400, "SerializationException"),
        (
            "POST",
            local,
            &list,
            "{\"Limit\": \"a secret\"}",
            400,
            "ValidationException",
        ),
        ("POST", local, &list, "{\"Limit\": 0}", 400, "ValidationException"),
        // What the double does not know it does not skip.
        (
            "POST",
            local,
            &list,
            "{\"Colour\": \"blue\"}",
            400,
            "ValidationException",
        ),
        (
            "POST",
            local,
            &target("Encrypt"),
            "{\"KeyId\": \"k\", \"Plaintext\": \"?\"}",
            400,
            "ValidationException",
        ),
        (
            "POST",
            local,
            &target("DescribeKey"),
            "{\"KeyId\": \"k\"}",
            400,
            "NotFoundException",
        ),
    ] {
        let (answered, body) = answered(&url, method, host, headers, body);
        assert_eq!(
            (answered, body["__type"].as_str()),
            (status, Some(name)),
            "{headers}{body}"
        );
        assert!(!body.to_string().contains("a secret"), "{body}");
        assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
    let long = format!("{{\"Marker\": \"{}\"}}", "m".repeat(2 << 20));
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {local}\r\nContent-Length: {}\r\n{list}\r\n",
        long.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // It may be closed before all of it has gone out.
    let _ = stream.write_all(long.as_bytes());
    let mut start = [0; 12];
    if stream.read_exact(&mut start).is_ok() {
        assert_eq!(&start, b"HTTP/1.1 400");
    }
    assert_eq!(answered(&url, "POST", local, &list, "{}").0, 200, "it goes on serving");
}

#[test]
fn others_than_this_machines_users_are_refused_unless_told_otherwise() {
    let serve = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kms-double"));
        command.arg("serve").args(more).output().unwrap()
    };
    let output = serve(&["--listen", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("0.0.0.0:0 is not loopback"));
    let (_program, url) = crate::serve(&["--listen", "0.0.0.0:0", "--allow-remote-callers"]);
    let list = format!("{SIGNED}X-Amz-Target: TrentService.ListKeys\r\n");
    let url = url.replace("0.0.0.0", "127.0.0.1");
    assert_eq!(answered(&url, "POST", "kms.example.com", &list, "{}").0, 200);

    let output = serve(&["--proxy-ca-file", "not-there.pem"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not-there.pem"));
    let output = serve(&["--proxy-client-key", "key.pem"]);
    assert_eq!(output.status.code(), Some(2));
}
