//! The log, as people and programs read it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    process::Command,
};

use serde_json::{Value, json};

use crate::support::{
    ACCESS_KEY_ID, Connection, Http, PREFIX, SECRET_ACCESS_KEY, Server, Settings, Token, body, ciphertext, encode,
    ended, fetch, key_store, plaintext, program, run, usual_credential, usual_signer, without_our_variables,
};

const PLANTED: &[u8] = b"planted plaintext that nobody should log";

fn with_log(keys: &str) -> Settings {
    Settings::new().tables(&format!("[log]\n{keys}"))
}

/// Encrypts and decrypts once, and asks for a key that is not there.
fn three_requests(server: &Server) {
    let curl = server.curl();
    let (status, encrypted) = curl.call("keys/usable/encrypt", &plaintext(PLANTED), &[]);
    assert_eq!(status, 200, "{encrypted}");
    let answer = curl.call("keys/usable/decrypt", &ciphertext(&encrypted), &[]);
    assert_eq!(answer, (200, json!({"plaintext": encode(PLANTED)})));
    assert_eq!(curl.call("keys/none/metadata", &body(&json!({})), &[]).0, 404);
}

/// The value of a field, wherever in its line it stands.
fn field<'v>(record: &'v Value, name: &str) -> Option<&'v Value> {
    record
        .get(name)
        .or_else(|| record.get("fields").and_then(|fields| fields.get(name)))
}

fn records(log: &str) -> Vec<Value> {
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    lines.filter(|line| line["target"] == "xks::audit").collect()
}

/// LOG-1, LOG-3, MD-4: each line is an object of JSON, and each request has one, which says what happened.
#[test]
fn a_line_of_json_is_one_object() {
    let settings = with_log("format = \"json\"");
    let server = Server::start(&settings);
    three_requests(&server);
    let (_, log) = server.stop();
    let records = records(&log);
    assert_eq!(records.len(), 3, "{log}");
    for record in &records {
        for name in [
            "kms_request_id",
            "principal",
            "key",
            "key_store",
            "status",
            "duration_us",
            "access_key_id",
        ] {
            assert!(field(record, name).is_some(), "{name}: {record}");
        }
        assert_eq!(field(record, "key_store").unwrap(), PREFIX);
        assert_eq!(field(record, "served_by").unwrap(), "keys", "the backend's name");
        assert_eq!(
            field(record, "principal").unwrap(),
            "arn:aws:iam::123456789012:user/Alice"
        );
        assert_eq!(
            field(record, "kms_request_id").unwrap(),
            "4112f4d6-db54-4af4-ae30-c55a22a8dfae"
        );
        assert!(
            record["level"].is_string() && record["timestamp"].is_string(),
            "{record}"
        );
    }
    assert_eq!(field(&records[0], "status").unwrap(), 200);
    assert_eq!(field(&records[2], "error").unwrap(), "KeyNotFoundException");
    assert_eq!(records[2]["level"], "WARN");
}

/// LOG-1: who asked, from where, and by whose word.
#[test]
fn a_record_says_who_asked() {
    for format in ["json", "human"] {
        let settings = with_log(&format!("format = \"{format}\""));
        let server = Server::start(&settings);
        let wrong = format!("{ACCESS_KEY_ID}:{}", "w".repeat(43));
        assert_eq!(server.curl().call_as(&wrong, "health", &body(&json!({}))).0, 401);
        let (_, log) = server.stop();
        if format == "human" {
            let claimed = format!("claimed_access_key_id=\"{ACCESS_KEY_ID}\" claimed_signing_region=\"us-east-1\"");
            assert!(log.contains(&claimed) && log.contains("client=127.0.0.1:"), "{log}");
            assert!(!log.contains(" access_key_id="), "nothing was verified: {log}");
            continue;
        }
        let record = &records(&log)[0];
        let text = |name: &str| field(record, name).map(|value| value.as_str().unwrap().to_owned());
        assert_eq!(text("claimed_access_key_id").as_deref(), Some(ACCESS_KEY_ID));
        assert_eq!(text("claimed_signing_region").as_deref(), Some("us-east-1"));
        assert_eq!((text("access_key_id"), text("signing_region")), (None, None));
        let client: std::net::SocketAddr = text("client").unwrap().parse().unwrap();
        assert!(client.ip().is_loopback() && client.port() > 0);
    }
}

/// A program that reads the log finds one thing under each name, texts as they are, and each warning once.
#[test]
fn a_field_means_one_thing() {
    let token = Token::new();
    let mut settings = token.settings(&format!("token_label = \"{}\"", Token::LABEL));
    settings.tables += "[log]\nformat = \"json\"\nlevel = \"debug\"\n";
    settings.folder.write("soft.key", "0123456789abcdef0123456789abcdef");
    settings.backends += "[backends.soft]\nkind = \"soft\"\nkeys = { known = \"soft.key\" }\n";
    settings.backends += "[backends.both]\nkind = \"fleet\"\nmembers = [\"token\", \"soft\"]\n";
    let keys = "backend = \"both\"\nkeys = [\"known\", \"none\"]";
    settings.key_stores = key_store("/short", keys, &[usual_credential()]);
    fs::set_permissions(settings.file("soft.key"), Permissions::from_mode(0o644)).unwrap();
    let server = token.serve(&settings);
    let curl = server.curl_of("/short");
    assert_eq!(curl.call("keys/known/encrypt", &plaintext(PLANTED), &[]).0, 200);
    assert_eq!(curl.call("keys/none/metadata", &body(&json!({})), &[]).0, 404);
    assert_eq!(fetch(&format!("{}/of/nothing", server.url()), &[]).0, 404);
    let (_, log) = server.stop();

    let mut kinds: BTreeMap<String, &str> = BTreeMap::new();
    let mut warnings = BTreeSet::new();
    for line in log.lines() {
        let mut record: BTreeMap<String, Value> = serde_json::from_str(line).expect(line);
        if !record["target"].as_str().unwrap().starts_with("xks") {
            continue; // a library's
        }
        let is_audit = record["target"] == "xks::audit";
        for (name, value) in &record {
            let kind = match value {
                Value::Number(_) => "number",
                Value::String(_) => "text",
                Value::Bool(_) => "truth",
                _ => panic!("{line}"),
            };
            assert_eq!(*kinds.entry(name.clone()).or_insert(kind), kind, "{name}: {line}");
            let is_prose = ["message", "reason", "problem", "cause", "extra"].contains(&name.as_str());
            let text = value.as_str().unwrap_or_default();
            assert!(is_prose || !text.contains('"'), "quotes in quotes: {line}");
            assert!(
                is_audit || !["error", "status", "path"].contains(&name.as_str()),
                "{line}"
            );
        }
        record.remove("timestamp");
        // Whatever its target.
        record.remove("target");
        if record["level"] == "WARN" && !is_audit {
            assert!(warnings.insert(format!("{record:?}")), "twice: {line}");
        }
    }
    assert_eq!(log.matches("9 characters or more").count(), 1, "{log}");
    assert_eq!(log.matches("make it readable only by its owner").count(), 1, "{log}");
    assert_eq!(kinds["token"], "text");
    assert_eq!(kinds["file"], "text");
    assert!(log.contains(&format!("\"token\":\"{}\"", Token::LABEL)), "{log}");
}

/// LOG-2: what a client puts into its texts stays within them: in both formats, one request is one line.
#[test]
fn nobody_forges_a_line() {
    let forged_text = "x\n2026-01-01T00:00:00Z  INFO xks::audit: kms_request_id=\"forged\"\r\u{1b}[2J\u{7f}\u{85}\u{2028}\0\", \"status\": 200}\n{\"forged\": true}";
    let mut request = body(&json!({}));
    request["requestMetadata"]["awsPrincipalArn"] = json!(forged_text);
    request["requestMetadata"]["unknown\n\"field"] = json!(forged_text);
    for format in ["json", "human"] {
        let settings = with_log(&format!("format = \"{format}\""));
        let server = Server::start(&settings);
        assert_eq!(server.curl().call("keys/usable/metadata", &request, &[]).0, 200);
        let (_, log) = server.stop();
        // Programs that split lines at U+0085 or U+2028 see the same lines as those that split at U+000A.
        let is_raw = |c: char| c != '\n' && (c.is_control() || c == '\u{2028}' || c == '\u{2029}');
        assert!(!log.contains(is_raw), "{log:?}");
        let forged = |line: &str| line.starts_with("2026-01-01") || line.starts_with("{\"forged\"");
        assert!(!log.lines().any(forged), "{log}");
        assert_eq!(log.lines().filter(|line| line.contains("forged")).count(), 1, "{log}");
        if format == "json" {
            let records = records(&log);
            assert_eq!(records.len(), 1);
            assert_eq!(
                field(&records[0], "principal").unwrap(),
                forged_text,
                "whole, and in its place"
            );
        }
    }
}

/// ENC-12, DEC-5: not even at the level that says everything.
#[test]
fn plaintext_and_secrets_are_never_logged() {
    for format in ["json", "human"] {
        let settings = with_log(&format!("level = \"trace\"\nformat = \"{format}\""));
        let server = Server::start(&settings);
        three_requests(&server);
        let (_, log) = server.stop();
        let key = fs::read_to_string(settings.file("usable.key")).unwrap();
        let encoded = encode(PLANTED);
        let planted = std::str::from_utf8(PLANTED).unwrap();
        for secret in [
            planted,
            encoded.as_str().unwrap(),
            SECRET_ACCESS_KEY,
            &key,
            encode(key.as_bytes()).as_str().unwrap(),
        ] {
            assert!(!log.contains(secret), "{secret} is in {log}");
        }
        assert!(log.contains(ACCESS_KEY_ID));
    }
}

/// Which requests have records, and where they go.
#[test]
fn records_are_kept_of_what_was_asked_for() {
    for (keys, audited) in [
        ("audit = \"all\"", 3),
        ("audit = \"failures\"", 1),
        ("audit = \"off\"", 0),
        ("level = \"error\"", 3),
    ] {
        let settings = with_log(&format!("{keys}\nformat = \"json\""));
        let server = Server::start(&settings);
        three_requests(&server);
        let (_, log) = server.stop();
        assert_eq!(records(&log).len(), audited, "{keys}: {log}");
    }

    let settings = with_log("output = \"stdout\"");
    let server = Server::start(&settings);
    three_requests(&server);
    server.process.out.wait_for("KeyNotFoundException");
    let (_, log) = server.stop();
    assert_eq!(log, "");

    let settings = with_log("output = \"none\"");
    let server = Server::start(&settings);
    three_requests(&server);
    let out = server.process.out.clone();
    let (_, log) = server.stop();
    assert!(
        log.is_empty() && !out.text().contains("xks::audit"),
        "{log}{}",
        out.text()
    );
}

/// Nobody waits for a reader of the log that hangs: requests go on, and so does the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_hangs_holds_up_nobody() {
    let settings = Settings::new();
    let pipe = settings.file("pipe");
    run(Command::new("mkfifo").arg(&pipe));
    // Open, and never read. The system keeps 64 KiB of what is written.
    let reader = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let mut command = Command::new("sh");
    without_our_variables(&mut command);
    command
        .args([
            "-c",
            "exec \"$0\" --config \"$1\" 2>\"$2\"",
            env!("CARGO_BIN_EXE_xks-proxy"),
        ])
        .arg(settings.write())
        .arg(&pipe);
    let server = Server::start_by(&mut command);
    let mut connection = Connection::open(&server.target(), Http::One).await.unwrap();
    for _ in 0..500 {
        let answer = connection
            .post(&usual_signer(), "keys/usable/encrypt", &plaintext(b"x"))
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let (status, _) = tokio::task::block_in_place(|| server.stop());
    assert!(status.success(), "{status}");
    drop(reader);
}

/// No other start goes better, and the reason stands there once.
#[test]
fn a_filter_that_is_none_is_refused() {
    let settings = Settings::new();
    let mut command = program();
    command
        .arg("--config")
        .arg(settings.write())
        .env("RUST_LOG", "info=warn=debug");
    let (code, _, log) = ended(&mut command);
    assert_eq!(code, Some(78), "{log}");
    assert!(
        log.contains("RUST_LOG = \"info=warn=debug\": not a log filter"),
        "{log}"
    );
    assert_eq!(log.matches("expected one of").count(), 1, "{log}");
}
