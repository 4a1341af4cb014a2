//! Nodes with an HSM each, of which the second is synchronised late: two processes, each with a token of
//! SoftHSM2 in a folder of its own.

use serde_json::{Value, json};

use super::{Site, done, give, key_store_of};
use crate::support::{Curl, Server, Settings, Token, body, ciphertext, decode, plaintext, quoted, wait_until};

/// A command waits twice as long.
const LEASE: &str = "lease_secs = 5\nbackends = [\"token\"]\n";

fn start(site: &Site, name: &str, token: &Token) -> (Settings, Server) {
    let pin = quoted(&token.pin);
    let backend = token.backend("token", &format!("vendor = \"softhsm\"\npin_file = {pin}"));
    let settings = site.node(name, LEASE).backends(&backend).key_stores("");
    let server = token.serve(&settings);
    (settings, server)
}

fn encrypt(curl: &Curl, key: &str) -> Value {
    let mut encrypted = Value::Null;
    wait_until("it encrypts", || {
        let answer = curl.call(&format!("keys/{key}/encrypt"), &plaintext(b"a secret"), &[]);
        encrypted = answer.1;
        answer.0 == 200
    });
    encrypted
}

/// Whether this node decrypts it.
fn opens(curl: &Curl, key: &str, encrypted: &Value) -> bool {
    let answer = curl.call(&format!("keys/{key}/decrypt"), &ciphertext(encrypted), &[]);
    answer.0 == 200 && decode(&answer.1["plaintext"]) == b"a secret"
}

/// The states of the versions of a key, oldest first, as a node shows them.
fn versions(settings: &Settings, key: &str) -> Vec<String> {
    let shown = done(settings, &["keys", "show", key]);
    let versions = shown["versions"].as_array().unwrap().iter();
    versions
        .map(|version| version["state"].as_str().unwrap().to_owned())
        .collect()
}

/// A version that the HSM of the other node does not have is not promoted: the command names the node and
/// says why, and the key goes on with the version that all have. When the HSM is synchronised the same
/// command ends it, and each node decrypts what the other has encrypted, before and after.
#[test]
fn a_version_encrypts_when_the_hsm_of_each_node_has_it() {
    let (site, first) = (Site::new(), Token::new());
    let (one, server_one) = start(&site, "one", &first);
    let store = key_store_of(&one, "payroll", "hsm");
    // There is no other node yet that could not use it.
    let create = ["keys", "create", "--key-set", "payroll", "--name", "salaries"];
    let key = done(&one, &create)["id"].as_str().unwrap().to_owned();
    let second = first.replica();
    let (two, server_two) = start(&site, "two", &second);
    let curls = [&server_one, &server_two].map(|server| store.curl(server));
    let round_trips = || {
        curls.each_ref().map(|curl| {
            let encrypted = encrypt(curl, &key);
            for other in &curls {
                wait_until("each node decrypts it", || opens(other, &key, &encrypted));
            }
            encrypted
        })
    };
    let before = round_trips();

    let (code, out, log) = give(&one, &["keys", "rotate", "salaries"]);
    assert_ne!(code, Some(0), "{out}{log}");
    let named = ["`two`", "it cannot use version", "backend `token`"];
    assert!(
        named.iter().all(|text| log.contains(text)) && !log.contains("`one`"),
        "{out}{log}"
    );
    let node = done(&one, &["nodes", "show", "two"]);
    let unusable = node["unusable"][0]["version"].as_str().unwrap_or_default();
    assert!(unusable.starts_with(&format!("{key}/")), "{node}");
    assert_eq!(done(&one, &["nodes", "show", "one"])["unusable"], json!([]));
    for settings in [&one, &two] {
        wait_until("it is published", || {
            versions(settings, &key) == ["current", "published"]
        });
    }
    round_trips();

    second.synchronise(&first);
    wait_until("it is promoted", || {
        give(&one, &["keys", "rotate", "salaries"]).0 == Some(0)
    });
    for settings in [&one, &two] {
        wait_until("both know it", || {
            versions(settings, &key) == ["decrypt-only", "current"]
        });
    }
    let after = round_trips();
    for (curl, encrypted) in curls.iter().zip(&before) {
        wait_until("what was encrypted before is decrypted", || {
            opens(curl, &key, encrypted)
        });
    }
    // The tag of each ciphertext says which version decrypts it.
    let tag = |encrypted: &Value| encrypted["ciphertextMetadata"].clone();
    assert!(
        before.iter().all(|encrypted| tag(encrypted) == tag(&before[0])),
        "{before:?}"
    );
    assert!(
        after.iter().all(|encrypted| tag(encrypted) == tag(&after[0])),
        "{after:?}"
    );
    assert_ne!(tag(&before[0]), tag(&after[0]));
    let metadata = curls[1].call(&format!("keys/{key}/metadata"), &body(&json!({})), &[]);
    assert_eq!((metadata.0, &metadata.1["keyStatus"]), (200, &json!("ENABLED")));
}
