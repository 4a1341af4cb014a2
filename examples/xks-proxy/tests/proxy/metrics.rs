//! The metrics: on a quiet server, the counts are those of the requests made.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::support::{
    ACCESS_KEY_ID, Leaf, OTHER_ACCESS_KEY_ID, OTHER_SECRET, PREFIX, Raw, Server, Settings, Site, Token, body,
    credential, fetch, key_store, plaintext, usual_credential, wait_until,
};

/// Requests by operation and outcome, by credential, and how long they took.
#[test]
fn requests_are_counted_exactly() {
    let credentials = [usual_credential(), credential(OTHER_ACCESS_KEY_ID, OTHER_SECRET)];
    let settings = Settings::new()
        .key_stores(&key_store(PREFIX, "all_keys = true", &credentials))
        .metrics();
    let server = Server::start(&settings);
    let curl = server.curl();
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let other = format!("{OTHER_ACCESS_KEY_ID}:{OTHER_SECRET}");
    for _ in 0..3 {
        assert_eq!(curl.call("keys/usable/encrypt", &plaintext(b"x"), &[]).0, 200);
    }
    assert_eq!(curl.call_as(&other, "keys/usable/encrypt", &plaintext(b"x")).0, 200);
    assert_eq!(curl.call("keys/none/metadata", &body(&json!({})), &[]).0, 404);
    assert_eq!(curl.call("health", &body(&json!({})), &[]).0, 200);
    assert_eq!(curl.call("health", &body(&json!({})), &["-X", "GET"]).0, 405);
    let wrong = format!("{ACCESS_KEY_ID}:{OTHER_SECRET}");
    assert_eq!(curl.call_as(&wrong, "keys/usable/decrypt", &plaintext(b"x")).0, 401);

    let metrics = server.metrics();
    let requests = |operation, outcome| {
        let labels = [("key_store", PREFIX), ("operation", operation), ("outcome", outcome)];
        metrics.sum("xks_requests_total", &labels)
    };
    assert_eq!(requests("Encrypt", "Success"), 4.0);
    assert_eq!(requests("GetKeyMetadata", "KeyNotFoundException"), 1.0);
    assert_eq!(requests("GetHealthStatus", "Success"), 1.0);
    assert_eq!(requests("GetHealthStatus", "MethodNotAllowed"), 1.0);
    assert_eq!(requests("Decrypt", "AuthenticationFailedException"), 1.0);
    assert_eq!(metrics.sum("xks_requests_total", &[]), 8.0);

    let encrypt = [("key_store", PREFIX), ("operation", "Encrypt")];
    assert_eq!(metrics.value("xks_request_duration_seconds_count", &encrypt), 4.0);
    let took = metrics.value("xks_request_duration_seconds_sum", &encrypt);
    assert!(took > 0.0 && took < 60.0, "{took}");
    // KMS waits 250 ms.
    let bucket = |le| [&encrypt[..], &[("le", le)]].concat();
    let (in_time, all) = (bucket("0.25"), bucket("+Inf"));
    assert_eq!(metrics.value("xks_request_duration_seconds_bucket", &all), 4.0);
    assert!(metrics.value("xks_request_duration_seconds_bucket", &in_time) <= 4.0);

    for (id, times) in [(ACCESS_KEY_ID, 5.0), (OTHER_ACCESS_KEY_ID, 1.0)] {
        let labels = [("key_store", PREFIX), ("access_key_id", id)];
        assert_eq!(metrics.value("xks_credential_requests_total", &labels), times, "{id}");
        let used = metrics.value("xks_credential_last_used_timestamp_seconds", &labels);
        assert!(used >= before.floor() && used <= before + 120.0, "{used}");
    }
    assert_eq!(metrics.value("xks_log_lines_lost_total", &[]), 0.0);
    let nobody = metrics.sum("xks_requests_total", &[("key_store", "/none")]);
    assert_eq!(nobody, 0.0);
}

/// A client cannot make series: whatever path it asks for is one and the same to Prometheus.
#[test]
fn strangers_make_no_series() {
    let settings = Settings::new().metrics();
    let server = Server::start(&settings);
    let url = server.fact("metrics").unwrap().to_owned();
    let mut sizes = Vec::new();
    for round in 0..3 {
        for number in 0..10 {
            let stranger = server.curl_of(&format!("/stranger-{round}-{number}"));
            assert_eq!(stranger.call("health", &body(&json!({})), &[]).0, 404);
            let key = format!("keys/stranger-{round}-{number}/metadata");
            assert_eq!(
                server
                    .curl()
                    .call_as(&format!("STRANGER{round}{number}:x"), &key, &body(&json!({})))
                    .0,
                401
            );
        }
        let (_, text) = fetch(&url, &[]);
        assert!(!text.contains("stranger") && !text.contains("STRANGER"), "{text}");
        sizes.push(text.lines().count());
    }
    assert_eq!(sizes[1], sizes[2], "{sizes:?}");
}

/// A request whose client has gone before the answer is counted as that.
#[test]
fn a_client_that_gives_up_is_counted() {
    let settings = Settings::new().metrics();
    let server = Server::start(&settings);
    let (head, body) = Raw::request(server.address(), "health", &body(&json!({})));
    let mut client = Raw::open(server.address());
    client.send(head.as_bytes()).unwrap();
    client.send(&body.as_bytes()[..5]).unwrap();
    wait_until("it is taken", || server.metrics().sum("xks_connections", &[]) >= 1.0);
    std::thread::sleep(Duration::from_millis(500));
    drop(client);
    // Its body ended too early, or its client had gone: either way it is counted once.
    wait_until("it is counted", || {
        server.metrics().sum("xks_requests_total", &[]) == 1.0
    });
}

/// What is known of key managers, connections, certificates and reloads.
#[test]
fn the_state_of_things_is_told() {
    let site = Site::new(&Leaf {
        valid_for: Some(Duration::from_secs(30 * 24 * 60 * 60 + 3600)),
        ..Leaf::SERVER
    });
    let token = Token::new();
    let mut settings = token.settings("sessions = 2").metrics();
    site.write(&settings.folder);
    settings.tables += "[tls]\ncertificate_chain = \"chain.pem\"\nprivate_key = \"key.pem\"\n";
    settings.folder.write("soft.key", "32 bytes that are no secret key.");
    settings.backends += "[backends.soft]\nkind = \"soft\"\nkeys = { known = \"soft.key\" }\n";
    settings.backends += "[backends.both]\nkind = \"fleet\"\nmembers = [\"token\", \"soft\"]\n";
    settings.key_stores = settings.key_stores.replace("all_keys", "backend = \"both\"\nall_keys");
    let server = token.serve(&settings);
    let metrics = server.metrics();
    for name in ["xks_pkcs11_queued", "xks_pkcs11_running", "xks_pkcs11_written_off"] {
        assert_eq!(metrics.value(name, &[("backend", "token")]), 0.0, "{name}");
    }
    let days = metrics.value("xks_tls_certificate_expiry_seconds", &[]) / (24.0 * 3600.0);
    assert!((29.0..=31.0).contains(&days), "{days}");
    assert_eq!(metrics.value("xks_backend_up", &[("backend", "both")]), 1.0);
    for member in ["token", "soft"] {
        let of_member = [("backend", "both"), ("member", member)];
        assert_eq!(
            metrics.sum("xks_fleet_member_breaker", &of_member),
            1.0,
            "one state at a time"
        );
    }
    assert_eq!(metrics.sum("xks_connections_refused_total", &[]), 0.0);
    assert_eq!(metrics.sum("xks_tls_handshake_failures_total", &[]), 0.0);
    assert!(metrics.has("xks_connections", &[]));

    for result in ["success", "failure"] {
        let of_result = [("result", result)];
        assert!(
            metrics.has("xks_reloads_total", &of_result),
            "{result}: before the first"
        );
        assert_eq!(metrics.value("xks_reloads_total", &of_result), 0.0, "{result}");
    }
    let reloads = |server: &Server| server.metrics().sum("xks_reloads_total", &[]);
    let before = reloads(&server);
    server.reload();
    assert_eq!(reloads(&server), before + 1.0);
}
