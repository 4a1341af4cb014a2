//! Traffic limits of one key store.

use std::time::Instant;

use serde_json::json;

use crate::support::{
    Connection, Http, Load, OTHER_ACCESS_KEY_ID, OTHER_SECRET, PREFIX, Server, Settings, Style, Target, Token, body,
    credential, key_store, plaintext, signer, usual_credential, usual_signer, wait_until,
};

const SECOND: &str = "/example/tenant-b";

fn two_key_stores(more_of_first: &str) -> String {
    let second = credential(OTHER_ACCESS_KEY_ID, OTHER_SECRET);
    key_store(
        PREFIX,
        &format!("all_keys = true\n{more_of_first}"),
        &[usual_credential()],
    ) + &key_store(SECOND, "all_keys = true", &[second])
}

/// Beyond the rate there is an answer with a name, for the one key store and not for the other; health is
/// told always.
#[tokio::test(flavor = "multi_thread")]
async fn a_rate_is_kept() {
    let settings = Settings::new()
        .key_stores(&two_key_stores("requests_per_second = 1\nburst = 3"))
        .health()
        .metrics();
    let server = Server::start(&settings);
    let mut first = Connection::open(&server.target(), Http::One).await.unwrap();
    let mut second = Connection::open(&Target::plain(server.address(), SECOND), Http::One)
        .await
        .unwrap();
    let other = signer(OTHER_ACCESS_KEY_ID, OTHER_SECRET);
    let (start, mut served, mut throttled) = (Instant::now(), 0, 0);
    while throttled < 20 {
        let answer = first
            .post(&usual_signer(), "keys/usable/encrypt", &plaintext(b"x"))
            .await
            .unwrap();
        match answer.error() {
            (200, "") => served += 1,
            (429, "ThrottlingException") => {
                assert!(served >= 3, "the burst is served");
                assert_eq!(answer.headers["content-type"], "application/json");
                throttled += 1;
            }
            other => panic!("{other:?}"),
        }
        let health = first.post(&usual_signer(), "health", &body(&json!({}))).await.unwrap();
        assert_eq!(health.status, 200, "health is never throttled");
        let answer = second
            .post(&other, "keys/usable/encrypt", &plaintext(b"x"))
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "another key store has its own");
        let most = 3 + start.elapsed().as_secs() + 1;
        assert!(served <= most, "{served} served, {most} at most");
    }
    assert_eq!(tokio::task::block_in_place(|| server.readiness()), 200);
    let metrics = tokio::task::block_in_place(|| server.metrics());
    let throttled_there = metrics.sum("xks_requests_total", &[("outcome", "ThrottlingException")]);
    assert_eq!(throttled_there, f64::from(throttled));

    // And it recovers.
    let curl = server.curl();
    tokio::task::block_in_place(|| {
        wait_until("it is served again", || {
            curl.call("keys/usable/encrypt", &plaintext(b"x"), &[]).0 == 200
        });
    });
}

async fn encrypts(connection: &mut Connection) -> u16 {
    let (signer, body) = (usual_signer(), plaintext(b"x"));
    let answer = connection.post(&signer, "keys/usable/encrypt", &body).await;
    answer.unwrap().status
}

/// No KMS client repeats what is throttled: a request that comes too early by no more than `queue_ms`, by
/// default 50, waits for the rate and is served.
#[tokio::test]
async fn a_request_waits_for_the_rate() {
    for (limits, are_served) in [
        ("requests_per_second = 40\nburst = 1", true),
        ("requests_per_second = 1\nburst = 1\nqueue_ms = 10000", true),
        ("requests_per_second = 1\nburst = 1", false),
        ("requests_per_second = 1\nburst = 1\nqueue_ms = 0", false),
    ] {
        let settings = Settings::new()
            .server("budget_ms = 30000")
            .key_stores(&two_key_stores(limits));
        let server = Server::start(&settings);
        let mut connection = Connection::open(&server.target(), Http::One).await.unwrap();
        let mut answers = Vec::new();
        for _ in 0..if are_served { 3 } else { 10 } {
            answers.push(encrypts(&mut connection).await);
        }
        assert_eq!(
            answers.iter().all(|status| *status == 200),
            are_served,
            "{limits}: {answers:?}"
        );
    }
}

/// By default as much may come at once as in five seconds.
#[tokio::test]
async fn the_burst_is_generous() {
    let server = Server::start(&Settings::new().key_stores(&two_key_stores("requests_per_second = 1")));
    let mut connection = Connection::open(&server.target(), Http::One).await.unwrap();
    for _ in 0..5 {
        assert_eq!(encrypts(&mut connection).await, 200);
    }
}

/// So does one that finds all places taken: up to eight for each place.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_a_place() {
    let token = Token::new();
    let more = "all_keys = true\nconcurrent_requests = 1\nqueue_ms = 10000";
    let settings = token.settings_with("sessions = 4", more).server("budget_ms = 30000");
    let server = tokio::task::block_in_place(|| token.serve(&settings));
    let styles = [Style::KeepAlive, Style::Http2];
    let load = Load::on_key("known", server.target(), usual_signer(), 8, &styles);
    load.more(200).await;
    load.finish().await.assert_nothing_failed();
}

/// Who is not let in costs the key store nothing of its rate.
#[tokio::test]
async fn a_stranger_uses_up_nothing() {
    let settings = Settings::new().key_stores(&two_key_stores("requests_per_second = 1\nburst = 1"));
    let server = Server::start(&settings);
    let mut connection = Connection::open(&server.target(), Http::One).await.unwrap();
    let stranger = signer(OTHER_ACCESS_KEY_ID, OTHER_SECRET);
    for _ in 0..10 {
        let answer = connection
            .post(&stranger, "keys/usable/encrypt", &plaintext(b"x"))
            .await
            .unwrap();
        assert_eq!(answer.error(), (401, "AuthenticationFailedException"));
    }
    let answer = connection
        .post(&usual_signer(), "keys/usable/encrypt", &plaintext(b"x"))
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Beyond what may be under way at once there is an answer with a name; what is under way ends well; health
/// is answered.
#[tokio::test(flavor = "multi_thread")]
async fn concurrency_is_kept() {
    let token = Token::new();
    let settings = token.settings_with("sessions = 1", "all_keys = true\nconcurrent_requests = 1");
    let server = tokio::task::block_in_place(|| token.serve(&settings));
    let load = Load::on_key(
        "known",
        server.target(),
        usual_signer(),
        16,
        &[Style::KeepAlive, Style::Http2],
    );
    load.more(50).await;
    let mut connection = Connection::open(&server.target(), Http::One).await.unwrap();
    for _ in 0..10 {
        let answer = connection
            .post(&usual_signer(), "health", &body(&json!({})))
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let tally = load.finish().await;
    assert!(
        tally.right >= 50 && tally.wrong == 0 && tally.lost.is_empty(),
        "{tally:?}"
    );
    let errors: Vec<_> = tally.errors.keys().collect();
    assert_eq!(errors, ["429 ThrottlingException"], "{tally:?}");
    // It is given back.
    let answer = connection
        .post(&usual_signer(), "keys/known/encrypt", &plaintext(b"x"))
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// A body that is larger than any is answered, whatever is in it.
#[tokio::test]
async fn bodies_are_kept_small() {
    let settings = Settings::new().server("budget_ms = 30000\nmax_body_bytes = 2048");
    let server = Server::start(&settings);
    let mut connection = Connection::open(&server.target(), Http::Two).await.unwrap();
    for (text, answer) in [(1000, (200, "")), (2000, (400, "ValidationException"))] {
        let request = plaintext(&vec![7; text]);
        let answered = connection
            .post(&usual_signer(), "keys/usable/encrypt", &request)
            .await
            .unwrap();
        assert_eq!(answered.error(), answer, "{text}");
    }
}

/// ENC-4: sizes above the configured ones are not supported, and those up to them are.
#[tokio::test]
async fn sizes_are_kept() {
    let settings = Settings::new().key_stores(&two_key_stores("max_plaintext_bytes = 5000\nmax_aad_bytes = 9000"));
    let server = Server::start(&settings);
    let mut connection = Connection::open(&server.target(), Http::One).await.unwrap();
    for (text, aad, status) in [(5000, 9000, 200), (5001, 0, 501), (0, 9001, 501)] {
        let mut request = plaintext(&vec![7; text]);
        request["additionalAuthenticatedData"] = crate::support::encode(&vec![8; aad]);
        let answer = connection
            .post(&usual_signer(), "keys/usable/encrypt", &request)
            .await
            .unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
    }
}
