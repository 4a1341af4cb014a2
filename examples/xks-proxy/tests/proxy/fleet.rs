//! Several key managers as one, as the settings make them.

use std::{fs, path::Path};

use serde_json::json;
use tokio::task::block_in_place;
use xks_pkcs11_fixture::softhsm_path;

use crate::support::{
    Load, PREFIX, Settings, Style, Token, body, check, ciphertext, key_store, plaintext, quoted, usual_credential,
    usual_signer, wait_until,
};

/// Two tokens with the same key, each with a module of its own, and a fleet of both. SoftHSM2 looks for
/// tokens when it is initialized, which one backend does not do to another that works.
fn fleet(token: &Token, second: &str) -> Settings {
    let copy = token.folder.path().join("libsofthsm2-copy.so");
    fs::copy(softhsm_path(), &copy).unwrap();
    let pin = quoted(&token.pin);
    let member = |module: &Path, name: &str, label: &str| {
        let more = format!("vendor = \"softhsm\"\npin_file = {pin}\ntoken_label = \"{label}\"\nsessions = 4");
        Token::backend_of(module, name, &more)
    };
    let members = member(&softhsm_path(), "first", Token::LABEL) + &member(&copy, "second", second);
    let fleet =
        "[backends.both]\nkind = \"fleet\"\nmembers = [\"first\", \"second\"]\nattempt_ms = 5000\nbudget_ms = 20000\n";
    Settings::new()
        .backends(&(members + fleet))
        .key_stores(&key_store(
            PREFIX,
            "backend = \"both\"\nkeys = [\"known\"]",
            &[usual_credential()],
        ))
        .health()
        .metrics()
}

/// LOG-1: while one token goes and comes back, requests are answered by the other; the metrics say so, and
/// the log says who served.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_tokens_is_enough() {
    let token = Token::new();
    let folder = token.add("second");
    let settings = fleet(&token, "second");
    let server = block_in_place(|| token.serve(&settings));
    let state = |member: &str, state: &str| {
        let labels = [("backend", "both"), ("member", member), ("state", state)];
        server.metrics().value("xks_fleet_member_breaker", &labels)
    };
    assert_eq!(
        block_in_place(|| (state("first", "closed"), state("second", "closed"))),
        (1.0, 1.0)
    );
    let load = Load::on_key(
        "known",
        server.target(),
        usual_signer(),
        4,
        &[Style::KeepAlive, Style::Http2],
    );
    load.more(50).await;
    let away = token.folder.path().join("away");
    fs::rename(&folder, &away).unwrap();
    block_in_place(|| {
        wait_until("the second is given up", || state("second", "closed") == 0.0);
        assert_eq!(server.readiness(), 200);
    });
    load.more(50).await;
    fs::rename(&away, &folder).unwrap();
    block_in_place(|| wait_until("the second is taken back", || state("second", "closed") == 1.0));
    load.more(50).await;
    load.finish().await.assert_nothing_failed();

    let (_, health) = block_in_place(|| server.curl().call("health", &body(&json!({})), &[]));
    assert_eq!(health["ekmFleetDetails"].as_array().unwrap().len(), 2, "{health}");
    let (_, log) = block_in_place(|| server.stop());
    for member in ["first", "second"] {
        assert!(log.contains(&format!("served_by=\"{member}")), "{member}");
    }
}

/// A token that is not there at the start is waited for, as long as another one of the fleet works.
#[test]
fn a_member_may_come_later() {
    let token = Token::new();
    let folder = token.add("second");
    let away = token.folder.path().join("away");
    fs::rename(&folder, &away).unwrap();
    let settings = fleet(&token, "second");
    let server = token.serve(&settings);
    let metadata = || server.curl().call("keys/known/metadata", &body(&json!({})), &[]).0;
    assert_eq!((metadata(), server.readiness()), (200, 200));
    fs::rename(&away, &folder).unwrap();
    let is_there = || {
        let (_, health) = server.curl().call("health", &body(&json!({})), &[]);
        let members = health["ekmFleetDetails"].as_array().unwrap().clone();
        members
            .iter()
            .filter(|member| member["healthStatus"] == "ACTIVE")
            .count()
            == 2
    };
    wait_until("the second is there", is_there);
}

/// ENC-10, DEC-3, GKM-4: two tokens hold different keys under one label, and the second one lacks a key.
/// Every request is served, from the first one on; and the text at the start, log, metrics and health name
/// the second one.
#[test]
fn members_that_disagree_are_found_out() {
    let token = Token::new();
    token.add_with("second", b"another value under the one same");
    let mut settings = fleet(&token, "second");
    settings.key_stores = settings.key_stores.replace("[\"known\"]", "[\"known\", \"other\"]");
    let server = token.serve(&settings);
    for line in [
        "both/first: ",
        "both/second: ",
        "both/second: known (other_key)",
        "both/second: other (missing)",
    ] {
        assert!(server.summary.contains(line), "{line}: {}", server.summary);
    }
    let curl = server.curl();
    for n in 0..12 {
        let key = ["known", "other"][n % 2];
        let mut request = plaintext(b"x");
        if n % 3 == 0 {
            request["ciphertextDataIntegrityValueAlgorithm"] = json!("SHA_256");
        }
        let (status, encrypted) = curl.call(&format!("keys/{key}/encrypt"), &request, &[]);
        assert_eq!(status, 200, "{key}: {encrypted}");
        let decrypted = curl.call(&format!("keys/{key}/decrypt"), &ciphertext(&encrypted), &[]);
        assert_eq!(decrypted.0, 200, "{key}: {}", decrypted.1);
        let metadata = curl.call(&format!("keys/{key}/metadata"), &body(&json!({})), &[]);
        assert_eq!(metadata.0, 200, "{key}: {}", metadata.1);
    }
    let odd = |member, disagreement| {
        let labels = [("backend", "both"), ("member", member), ("disagreement", disagreement)];
        server.metrics().value("xks_fleet_member_odd_keys", &labels)
    };
    wait_until("the second is named", || {
        (odd("second", "other_key"), odd("second", "missing")) == (1.0, 1.0)
    });
    assert_eq!((odd("first", "other_key"), odd("first", "missing")), (0.0, 0.0));
    let (_, health) = curl.call("health", &body(&json!({})), &[]);
    let statuses: Vec<_> = health["ekmFleetDetails"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&statuses[0]["healthStatus"], &statuses[1]["healthStatus"]),
        (&json!("ACTIVE"), &json!("DEGRADED"))
    );
    assert_eq!(server.readiness(), 200);
    let (_, log) = server.stop();
    for (key, words) in [
        ("known", "hold different keys under this id"),
        ("other", "the key is missing on this member"),
    ] {
        let lines = log.lines().filter(|line| line.contains("WARN") && line.contains(words));
        let lines: Vec<_> = lines
            .filter(|line| line.contains(key) && line.contains("second"))
            .collect();
        assert_eq!(lines.len(), 1, "{words}: {log}");
        let is_said = lines[0].contains("no key has a majority");
        assert_eq!(is_said, key == "known", "{}", lines[0]);
    }
}

/// What a fleet is made of is checked before anything is opened.
#[test]
fn a_fleet_is_of_backends_that_exist() {
    for members in ["[]", "[\"first\", \"none\"]", "[\"first\", \"first\"]", "[\"both\"]"] {
        let token = Token::new();
        let mut settings = fleet(&token, "second");
        settings.backends = settings.backends.replace("[\"first\", \"second\"]", members);
        let (code, printed) = check(&settings);
        assert!(
            code == Some(78) && printed.contains(": error: "),
            "{members}: {printed}"
        );
    }
}
