//! Without arguments: the demo with software keys.

use std::process::Command;

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Demo, body, encode, error, fetch, program, run};

/// The commands that are printed work when pasted.
#[test]
fn the_printed_commands_work() {
    let demo = Demo::start();
    let answer = demo.paste(&demo.decrypt_command);
    assert_eq!(answer, json!({"plaintext": encode(b"Hello World!")}));
    let answer = demo.paste(&demo.curl_command);
    for field in [
        "ciphertext",
        "initializationVector",
        "authenticationTag",
        "ciphertextDataIntegrityValue",
    ] {
        assert!(answer[field].is_string(), "{answer}");
    }
}

/// Where port 8000 is taken, the demo takes another one, and says which.
#[test]
fn a_demo_finds_a_free_port() {
    // Taken by this test, unless another program has it.
    let _taken = std::net::TcpListener::bind("127.0.0.1:8000");
    let demo = Demo::start_with(&[]);
    let port: u16 = demo.facts["address"].rsplit(':').next().unwrap().parse().unwrap();
    assert!((8001..8100).contains(&port), "{port}");
    assert_eq!(fetch(&format!("{}/ping", demo.facts["address"]), &[]).0, 200);
}

/// CON-1: the console's file says what the other lines say.
#[test]
fn the_console_file_fits() {
    let demo = Demo::start();
    let expected = json!({
        "XksProxyUriPath": format!("{}/kms/xks/v1", demo.facts["URI path prefix"]),
        "XksProxyAuthenticationCredential": {
            "AccessKeyId": demo.facts["access key id"],
            "RawSecretAccessKey": demo.facts["secret access key"],
        },
    });
    assert_eq!(demo.console_json, expected);
}

/// TRN-7: a load balancer's check needs no signature.
#[test]
fn ping_answers_without_a_signature() {
    let demo = Demo::start();
    let ping = format!("{}/ping", demo.facts["address"]);
    assert_eq!(fetch(&ping, &[]), (200, "ready\n".to_owned()));
    assert_eq!(
        run(Command::new("curl").args(["-sSI", "-o", "/dev/null", "-w", "%{http_code}", &ping])),
        "200"
    );
    assert_eq!(fetch(&ping, &["-d", "x"]).0, 405);
}

/// TRN-1, TRN-2: all four operations by curl, over HTTP/1.1 and HTTP/2.
#[test]
fn curl_calls_all_four_operations() {
    let demo = Demo::start();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let (status, health) = demo.curl.call("health", &body(&json!({})), &[version]);
        assert_eq!(
            (status, &health["ekmFleetDetails"][0]["healthStatus"]),
            (200, &json!("ACTIVE")),
            "{health}"
        );

        let (status, metadata) = demo.curl.call("keys/usable/metadata", &body(&json!({})), &[version]);
        let expected = json!({"keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED"});
        assert_eq!((status, metadata), (200, expected));

        let plaintext = json!({"plaintext": "cGxhaW50ZXh0Cg==", "additionalAuthenticatedData": "YWFk"});
        let (status, encrypted) = demo.curl.call("keys/usable/encrypt", &body(&plaintext), &[version]);
        assert_eq!(status, 200, "{encrypted}");

        let mut ciphertext = encrypted;
        ciphertext["additionalAuthenticatedData"] = json!("YWFk");
        let decrypted = demo.curl.call("keys/usable/decrypt", &body(&ciphertext), &[version]);
        assert_eq!(decrypted, (200, json!({"plaintext": "cGxhaW50ZXh0Cg=="})));
    }
}

/// SIG-1, ENC-11, GKM-4, URI-5: failures by curl, each under its name.
#[test]
fn curl_meets_the_errors_it_should() {
    let demo = Demo::start();
    let encrypt = || body(&json!({"plaintext": "eA=="}));

    let (id, secret) = (&demo.facts["access key id"], &demo.facts["secret access key"]);
    for user in [format!("Invalid{id}:{secret}"), format!("{id}:Invalid{secret}")] {
        let answer = demo.curl.call_as(&user, "keys/usable/encrypt", &encrypt());
        assert_eq!(error(&answer), (401, "AuthenticationFailedException"));
    }
    for (key, status, name) in [
        ("decrypt-only", 400, "InvalidKeyUsageException"),
        ("neither", 400, "InvalidKeyUsageException"),
        ("disabled", 400, "InvalidStateException"),
        ("absent", 404, "KeyNotFoundException"),
    ] {
        let answer = demo.curl.call(&format!("keys/{key}/encrypt"), &encrypt(), &[]);
        assert_eq!(error(&answer), (status, name), "{key}");
    }
    let answer = demo.curl.call("keys/usable/encrypt", &body(&json!({})), &[]);
    assert_eq!(error(&answer), (400, "ValidationException"));
    let answer = demo.curl.call("keys/usable/destroy", &encrypt(), &[]);
    assert_eq!(error(&answer), (404, "InvalidUriPathException"));
    assert_eq!(demo.curl.call("health", &body(&json!({})), &["-X", "GET"]).0, 405);
}

/// The log is for programs too: no colours without a terminal.
#[test]
fn the_log_in_a_file_has_no_colours() {
    let output = program().args(["--listen", "256.0.0.1:1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "a wrong argument");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = program().args(["--listen", &address]).output().unwrap();
    assert!(!output.stderr.contains(&0x1b));
}

/// A port that is taken is reported in one line, with what to do.
#[test]
fn a_taken_port_is_a_clear_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = program().args(["--listen", &address]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains(&address) && error.contains("--listen") && error.lines().count() == 1,
        "{error}"
    );
}

/// SIGTERM ends it with success.
#[test]
fn it_stops_when_told_to() {
    let (status, _) = Demo::start().stop(Signal::TERM);
    assert!(status.success(), "{status}");
}
