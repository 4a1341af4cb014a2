//! Settings and the files that they name are read again while requests are served.

use std::{fs, os::unix::fs::symlink, process::Command, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::block_in_place;
use xks_pkcs11_fixture::{Profile, Shim};

use crate::support::{
    ACCESS_KEY_ID, Connection, Curl, Http, Leaf, Load, OTHER_ACCESS_KEY_ID, OTHER_SECRET, PATIENCE, PREFIX,
    SECRET_ACCESS_KEY, Server, Settings, Site, Style, Target, Token, body, ciphertext, credential, decode, encode,
    error, key_store, plaintext, program, signer, usual_credential, usual_signer, wait_until,
};

const ALL_STYLES: [Style; 3] = [Style::KeepAlive, Style::Reconnecting, Style::Http2];

fn with_credentials(credentials: &[String]) -> String {
    key_store(PREFIX, "all_keys = true", credentials)
}

fn other_credential() -> String {
    credential(OTHER_ACCESS_KEY_ID, OTHER_SECRET)
}

fn status_with(curl: &Curl, id: &str, secret: &str) -> u16 {
    curl.call_as(&format!("{id}:{secret}"), "health", &body(&json!({}))).0
}

/// ENC-8: a token's key store goes over to the specification's framing. What was encrypted before decrypts
/// on.
#[test]
fn a_key_store_migrates_to_another_framing() {
    let token = Token::new();
    let with_framing = |framing: &str| format!("all_keys = true\naad_framing = \"{framing}\"");
    let mut settings = token.settings_with("", &with_framing("digest"));
    let server = token.serve(&settings);
    let curl = server.curl();
    let aad = json!({ "additionalAuthenticatedData": encode(b"project=nile") });
    let with_aad = |mut body: Value| {
        body.as_object_mut().unwrap().extend(aad.as_object().unwrap().clone());
        body
    };
    let encrypt = || curl.call("keys/known/encrypt", &with_aad(plaintext(b"secret")), &[]);
    let (status, old) = encrypt();
    assert_eq!((status, &old["ciphertextMetadata"]), (200, &Value::Null), "{old}");

    settings.key_stores = key_store(PREFIX, &with_framing("migrating"), &[usual_credential()]);
    settings.write();
    server.reload();
    let (status, new) = encrypt();
    assert_eq!((status, decode(&new["ciphertextMetadata"])), (200, vec![0xad, 0x01]));
    for encrypted in [&old, &new] {
        let (status, answer) = curl.call("keys/known/decrypt", &with_aad(ciphertext(encrypted)), &[]);
        assert_eq!((status, &answer["plaintext"]), (200, &encode(b"secret")), "{answer}");
    }
}

/// SIG-7: a second credential is added, the client goes over to it, the first is removed. No request fails,
/// no connection is dropped, and the first is refused from then on.
#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_replaced_without_a_failure() {
    let mut settings = Settings::new();
    let server = Server::start(&settings);
    let load = Load::start(server.target(), usual_signer(), 8, &ALL_STYLES);
    load.more(100).await;

    settings.key_stores = with_credentials(&[usual_credential(), other_credential()]);
    settings.write();
    block_in_place(|| server.reload());
    load.more(50).await;
    load.sign_with(signer(OTHER_ACCESS_KEY_ID, OTHER_SECRET));
    load.more(200).await;

    settings.key_stores = with_credentials(&[other_credential()]);
    settings.write();
    block_in_place(|| server.reload());
    load.more(100).await;
    let tally = load.finish().await;
    tally.assert_nothing_failed();
    assert_eq!(
        (tally.refused, tally.not_sent),
        (0, 0),
        "a connection was dropped: {tally:?}"
    );
    let curl = server.curl();
    assert_eq!(status_with(&curl, ACCESS_KEY_ID, SECRET_ACCESS_KEY), 401);
    assert_eq!(status_with(&curl, OTHER_ACCESS_KEY_ID, OTHER_SECRET), 200);
}

/// A change is noticed without a signal: of the settings file, and of a file that it names.
#[test]
fn changed_files_are_noticed() {
    let secret_file =
        "[[key_stores.credentials]]\naccess_key_id = \"ANOTHER2ACCESS3KEY4ID5\"\nsecret_access_key_file = \"secret\"\n";
    let mut settings = Settings::new().key_stores(&with_credentials(&[secret_file.to_owned()]));
    settings.folder.write("secret", SECRET_ACCESS_KEY);
    let server = Server::start(&settings);
    let curl = server.curl();
    assert_eq!(status_with(&curl, OTHER_ACCESS_KEY_ID, SECRET_ACCESS_KEY), 200);

    // Written in place, and put in place.
    settings.folder.write("secret", OTHER_SECRET);
    wait_until("the new secret is taken", || {
        status_with(&curl, OTHER_ACCESS_KEY_ID, OTHER_SECRET) == 200
    });
    assert_eq!(status_with(&curl, OTHER_ACCESS_KEY_ID, SECRET_ACCESS_KEY), 401);
    settings.folder.replace("secret", SECRET_ACCESS_KEY);
    wait_until("the old secret is taken again", || {
        status_with(&curl, OTHER_ACCESS_KEY_ID, SECRET_ACCESS_KEY) == 200
    });

    settings.key_stores = with_credentials(&[usual_credential()]);
    settings.write();
    wait_until("the new credential is taken", || {
        status_with(&curl, ACCESS_KEY_ID, SECRET_ACCESS_KEY) == 200
    });
    assert!(!server.process.log.text().contains("settings not reloaded"));
}

/// Kubernetes mounts a folder whose files are links through `..data`, and swaps that one link.
#[test]
fn a_swapped_link_is_noticed() {
    let settings = Settings::new();
    let folder = settings.folder.path();
    let key = fs::read(folder.join("usable.key")).unwrap();
    fs::remove_file(folder.join("usable.key")).unwrap();
    let swap = |version: &str, credential: String| {
        fs::create_dir(folder.join(version)).unwrap();
        let text = settings
            .text()
            .replace(&settings.key_stores, &with_credentials(&[credential]));
        fs::write(folder.join(version).join("settings.toml"), text).unwrap();
        fs::write(folder.join(version).join("usable.key"), &key).unwrap();
        symlink(version, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    };
    swap("..version-1", usual_credential());
    for file in ["settings.toml", "usable.key"] {
        symlink(format!("..data/{file}"), folder.join(file)).unwrap();
    }
    let server = Server::start_by(program().arg("--config").arg(settings.path()));
    let curl = server.curl();
    assert_eq!(status_with(&curl, ACCESS_KEY_ID, SECRET_ACCESS_KEY), 200);

    swap("..version-2", other_credential());
    fs::remove_dir_all(folder.join("..version-1")).unwrap();
    wait_until("the new version is taken", || {
        status_with(&curl, OTHER_ACCESS_KEY_ID, OTHER_SECRET) == 200
    });
    assert_eq!(status_with(&curl, ACCESS_KEY_ID, SECRET_ACCESS_KEY), 401);
}

/// A bad file leaves the old settings in force, and says why, with its line; a good one is taken again.
#[test]
fn a_bad_file_changes_nothing() {
    let mut settings = Settings::new().metrics();
    let server = Server::start(&settings);
    let good = settings.key_stores.clone();
    let key = settings.file("usable.key");
    settings.key_stores = good.replace("all_keys", "al_keys");
    settings.write();
    server.process.signal(Signal::HUP);
    let log = server.process.log.wait_for("did you mean `all_keys`?");
    assert!(log.contains("settings not reloaded"), "{log}");
    let refused = log.lines().find(|line| line.contains("settings not reloaded")).unwrap();
    assert!(refused.contains("ERROR"), "{log}");
    assert_eq!(status_with(&server.curl(), ACCESS_KEY_ID, SECRET_ACCESS_KEY), 200);

    // A file that it names, and the settings file itself, are gone.
    for gone in [key, settings.path()] {
        settings.key_stores.clone_from(&good);
        settings.write();
        server.reload();
        let before = server.process.log.count("settings not reloaded");
        let content = fs::read(&gone).unwrap();
        fs::remove_file(&gone).unwrap();
        server.process.signal(Signal::HUP);
        assert!(server.process.log.holds("settings not reloaded", before + 1));
        assert_eq!(status_with(&server.curl(), ACCESS_KEY_ID, SECRET_ACCESS_KEY), 200);
        fs::write(&gone, content).unwrap();
    }
    settings.key_stores = with_credentials(&[other_credential()]);
    settings.write();
    server.reload();
    assert_eq!(status_with(&server.curl(), OTHER_ACCESS_KEY_ID, OTHER_SECRET), 200);
    let metrics = server.metrics();
    assert!(metrics.sum("xks_reloads_total", &[]) >= 5.0);
    let log = server.process.log.text();
    assert!(
        log.lines()
            .any(|line| line.contains("settings reloaded") && line.contains("INFO")),
        "{log}"
    );
    assert!(
        ![SECRET_ACCESS_KEY, OTHER_SECRET]
            .iter()
            .any(|secret| log.contains(secret)),
        "{log}"
    );
}

/// A key store and a backend come and go, and so do the limits of one.
#[test]
fn key_stores_and_backends_are_replaced() {
    let mut settings = Settings::new().health().metrics();
    let server = Server::start(&settings);
    let second = key_store(
        "/example/second",
        "all_keys = true\nbackend = \"second\"",
        &[other_credential()],
    );
    let first = key_store(PREFIX, "all_keys = true\nbackend = \"keys\"", &[usual_credential()]);
    let (old_backends, old_key_stores) = (settings.backends.clone(), settings.key_stores.clone());
    settings.folder.write("second.key", "another 32 bytes, no secret key.");
    settings.backends += "[backends.second]\nkind = \"soft\"\nkeys = { second = \"second.key\" }\n";
    settings.key_stores = first + &second;
    settings.write();
    server.reload();
    let is_known = |backend| server.metrics().has("xks_backend_up", &[("backend", backend)]);
    wait_until("the second key manager has been looked at", || is_known("second"));
    let curl = server.curl_of("/example/second");
    let user = format!("{OTHER_ACCESS_KEY_ID}:{OTHER_SECRET}");
    assert_eq!(curl.call_as(&user, "keys/second/metadata", &body(&json!({}))).0, 200);
    assert_eq!(
        error(&curl.call_as(&user, "keys/usable/metadata", &body(&json!({})))).0,
        404
    );
    assert_eq!(
        server.curl().call("keys/usable/metadata", &body(&json!({})), &[]).0,
        200
    );

    settings.backends = old_backends;
    settings.key_stores = old_key_stores;
    settings.write();
    server.reload();
    let answer = curl.call_as(&user, "keys/second/metadata", &body(&json!({})));
    assert_eq!(error(&answer), (404, "InvalidUriPathException"));
    assert_eq!(
        server.curl().call("keys/usable/metadata", &body(&json!({})), &[]).0,
        200
    );
    wait_until("nobody speaks of the second key manager any more", || {
        !is_known("second")
    });
    assert!(is_known("keys"));
}

/// What only a start can change gets a warning, and everything else is in force.
#[test]
fn what_needs_a_restart_is_said() {
    let mut settings = Settings::new();
    let server = Server::start(&settings);
    settings.server = settings.server.replace("budget_ms = 30000", "budget_ms = 29000");
    settings.key_stores = with_credentials(&[other_credential()]);
    settings.write();
    server.reload();
    let log = server.process.log.text();
    let said = log.lines().find(|line| line.contains("[server]")).expect(&log);
    assert!(said.contains("WARN") && said.contains("next start"), "{log}");
    assert_eq!(status_with(&server.curl(), OTHER_ACCESS_KEY_ID, OTHER_SECRET), 200);
}

/// HSMs lock after a few wrong PINs: one that was refused is not sent again by the next reload, and the token
/// that was served stays so.
#[test]
fn a_refused_pin_is_tried_once() {
    let token = Token::new();
    token.add("second");
    let module = xks_pkcs11_fixture::shim_path();
    let usual = format!(
        "vendor = \"softhsm\"\ntoken_label = \"xks test\"\npin = {:?}",
        Token::PIN
    );
    let good = Token::backend_of(&module, "token", &usual);
    let second = |pin: &str| {
        let more = format!("vendor = \"softhsm\"\ntoken_label = \"second\"\npin = \"{pin}\"");
        Token::backend_of(&module, "second", &more)
    };
    let mut settings = token.settings("").backends(&good);
    settings.key_stores = settings.key_stores.replace("all_keys", "backend = \"token\"\nall_keys");
    let mut command: Command = token.program();
    let shim = Shim::elsewhere(&mut command, &token.folder.path().join("shim"), Profile::SoftHsm);
    let server = Server::start_by(command.arg("--config").arg(settings.write()));
    let is_served = || server.curl().call("keys/known/metadata", &body(&json!({})), &[]).0 == 200;
    let before = shim.counters().logins();
    settings.backends = good.clone() + &second("wrong 9753");
    settings.write();
    for round in 1..4 {
        server.process.signal(Signal::HUP);
        assert!(server.process.log.holds("settings not reloaded", round));
        assert!(is_served());
    }
    let log = server.process.log.text();
    assert_eq!(shim.counters().logins() - before, 1, "{log}");
    assert!(
        log.contains("the token rejected the PIN, which is not sent again") && !log.contains("wrong 9753"),
        "{log}"
    );
    settings.backends = good + &second(Token::PIN);
    settings.write();
    server.reload();
    assert!(is_served());
}

/// A new certificate is shown to who connects from then on; who was connected before stays so.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed() {
    let mut site = Site::new(&Leaf::SERVER);
    let settings = site.settings();
    let server = Server::start(&settings);
    let target = Target::plain(server.address(), PREFIX).with_tls(site.client());
    let first = site.identity.der().clone();
    let mut old = Connection::open(&target, Http::One).await.unwrap();
    let shown = |connection: &Connection| connection.handshake.as_ref().unwrap().certificates[0].clone();
    assert_eq!(shown(&old), first);
    let health = body(&json!({}));
    assert_eq!(old.post(&usual_signer(), "health", &health).await.unwrap().status, 200);

    site.renew(&Leaf {
        is_rsa: true,
        ..Leaf::SERVER
    });
    site.write(&settings.folder);
    let start = std::time::Instant::now();
    loop {
        let mut new = Connection::open(&target, Http::Two).await.unwrap();
        assert_eq!(new.post(&usual_signer(), "health", &health).await.unwrap().status, 200);
        if &shown(&new) == site.identity.der() {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "the new certificate is not taken");
        assert_eq!(shown(&new), first);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(old.post(&usual_signer(), "health", &health).await.unwrap().status, 200);
}

/// SIG-7: two hundred reloads, each with other settings than before, while 32 clients work: every request is
/// answered rightly, and every connection stays.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_reloads_disturb_nobody() {
    let mut settings = Settings::new();
    settings.tables = "[reload]\nwatch_secs = 0\n[log]\naudit = \"failures\"\n".to_owned();
    let server = Server::start(&settings);
    let load = Load::start(server.target(), usual_signer(), 32, &ALL_STYLES);
    load.more(32).await;
    block_in_place(|| {
        for number in 0..200 {
            settings.key_stores = match number % 3 {
                0 => with_credentials(&[other_credential(), usual_credential()]),
                1 => key_store(
                    PREFIX,
                    "keys = [\"usable\"]\nconcurrent_requests = 1000",
                    &[usual_credential()],
                ),
                _ => with_credentials(&[usual_credential()]),
            };
            settings.write();
            server.reload();
        }
    });
    load.more(32).await;
    let tally = load.finish().await;
    tally.assert_nothing_failed();
    assert_eq!(
        (tally.refused, tally.not_sent),
        (0, 0),
        "a connection was dropped: {tally:?}"
    );
    println!("200 reloads, {} plaintexts meanwhile", tally.right);
}
