//! Keys under management: served in their external key stores, and by no other way.

use std::sync::Arc;

use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{Aead as _, Payload},
};
use serde_json::{Value, json};
use xks_backend_soft::{SoftBackend, SoftKey};
use xks_lifecycle::{KeySource, Name, commands::Backends, key_state::KeyCommand};

use crate::support::{
    Administrator, Curl, PREFIX, REGION, STORE, Server, Settings, Token, body, check, ciphertext, create_store, decode,
    encode, error, key_store, plaintext, quoted, run, usual_credential, wait_until,
};
use crate::token::digest_framed;

/// The backends as the server has them.
fn backends(name: &str, soft: SoftBackend) -> Backends {
    let soft = Arc::new(soft);
    Backends::new().with(Name::new("name", name).unwrap(), soft.clone(), soft)
}

/// Encrypts, and decrypts what it gets, under a key; returns the ciphertext.
fn round_trip(curl: &Curl, key: &str) -> Value {
    let (status, encrypted) = curl.call(&format!("keys/{key}/encrypt"), &plaintext(b"a secret"), &[]);
    assert_eq!(status, 200, "{encrypted}");
    assert_eq!(decrypt(curl, key, &encrypted), (200, b"a secret".to_vec()));
    encrypted
}

fn decrypt(curl: &Curl, key: &str, encrypted: &Value) -> (u16, Vec<u8>) {
    let (status, answer) = curl.call(&format!("keys/{key}/decrypt"), &ciphertext(encrypted), &[]);
    let plaintext = answer.get("plaintext").map(decode);
    (status, plaintext.unwrap_or_default())
}

fn metadata(curl: &Curl, key: &str) -> (u16, Value) {
    curl.call(&format!("keys/{key}/metadata"), &body(&json!({})), &[])
}

/// Software keys that are made in a folder, and a store.
fn soft() -> Settings {
    let mut settings = Settings::new()
        .tables(STORE)
        .tables("[lifecycle]\nbackends = [\"made\"]")
        .metrics();
    settings
        .backends
        .push_str("[backends.made]\nkind = \"soft\"\ndirectory = \"made\"\n");
    settings.key_stores = settings
        .key_stores
        .replace("all_keys = true", "backend = \"keys\"\nall_keys = true");
    assert_eq!(create_store(&settings).0, Some(0));
    settings
}

fn made(settings: &Settings) -> Backends {
    backends(
        "made",
        SoftBackend::new().with_directory(settings.file("made")).unwrap(),
    )
}

#[test]
fn external_key_stores_of_the_store_are_served_beside_those_of_the_file() {
    let settings = soft();
    let administrator = Administrator::new(&settings, made(&settings));
    let (one, two) = (
        administrator.key_store("/managed/one"),
        administrator.key_store("/managed/two"),
    );
    let sets = [
        administrator.key_set(KeySource::Hsm, Some(&one), Some("made")),
        administrator.key_set(KeySource::Vault, Some(&one), None),
        administrator.key_set(KeySource::Vault, Some(&two), None),
    ];
    let [hsm, vault, other] = sets.map(|set| administrator.create_key(set));
    drop(administrator);
    let [hsm_id, vault_id, other_id] = [&hsm, &vault, &other].map(|entry| entry.key.id.to_string());

    let server = Server::start(&settings);
    assert_eq!(server.readiness(), 200);
    assert!(
        server.fact("store").unwrap().ends_with(", 3 keys under management"),
        "{}",
        server.summary
    );
    let told = format!("/managed/one (/managed/one): {REGION}, live credentials: 1\n");
    assert!(server.summary.contains(&told), "{}", server.summary);
    let curl = one.curl(&server);
    assert_eq!(curl.call("health", &body(&json!({})), &[]).0, 200);
    let [of_hsm, _] = [&hsm_id, &vault_id].map(|key| round_trip(&curl, key));
    round_trip(&server.curl(), "usable");
    wait_until("the keys are counted", || {
        server.metrics().has("xks_managed_versions", &[])
    });
    let metrics = server.metrics();
    for (name, labels, expected) in [
        ("xks_managed_key_stores", &[("served", "true")][..], 2.0),
        ("xks_managed_key_stores", &[("served", "false")], 0.0),
        ("xks_managed_keys", &[("state", "enabled")], 3.0),
        ("xks_managed_keys", &[("state", "destroyed")], 0.0),
        ("xks_managed_versions", &[], 3.0),
        ("xks_managed_versions_near_limit", &[], 0.0),
        ("xks_managed_versions_unfinished", &[], 0.0),
        ("xks_managed_rotation_failures_total", &[], 0.0),
        ("xks_store_failures_total", &[], 0.0),
    ] {
        assert_eq!(metrics.value(name, labels), expected, "{name} {labels:?}");
    }
    assert!(metrics.value("xks_store_revision", &[]) > 0.0);
    let left = metrics.value("xks_managed_least_encryptions_left", &[]);
    assert!(left > 4_000_000_000.0 && left <= 4_294_967_296.0, "{left}");
    // What is another key store's is not found, whichever credential signs.
    assert_eq!(error(&metadata(&curl, &other_id)), (404, "KeyNotFoundException"));
    assert_eq!(error(&metadata(&server.curl(), &hsm_id)), (404, "KeyNotFoundException"));
    let stranger = curl.call_as(&two.user, &format!("keys/{hsm_id}/metadata"), &body(&json!({})));
    assert_eq!(error(&stranger), (401, "AuthenticationFailedException"));
    // The key in the backend is reached by no label.
    let label = hsm.versions[0].backend_key().unwrap().to_string();
    assert_eq!(error(&metadata(&curl, &label)), (404, "KeyNotFoundException"));
    // A reload leaves them.
    let more = settings.tables.clone() + "[log]\naudit = \"all\"\n";
    let settings = Settings {
        tables: more,
        ..settings
    };
    settings.write();
    server.reload();
    assert_eq!(decrypt(&curl, &hsm_id, &of_hsm), (200, b"a secret".to_vec()));
    drop(server);

    let administrator = Administrator::new(&settings, made(&settings));
    administrator.run(administrator.commands.block(&administrator.actor, one.id, None));
    let id = two.user.split(':').next().unwrap().parse().unwrap();
    administrator.run(administrator.commands.revoke_credential(&administrator.actor, &id));
    drop(administrator);
    let server = Server::start(&settings);
    let curl = one.curl(&server);
    assert_eq!(metadata(&curl, &hsm_id).1["keyStatus"], "DISABLED");
    let encrypted = curl.call(&format!("keys/{hsm_id}/encrypt"), &plaintext(b"a"), &[]);
    assert_eq!(error(&encrypted), (400, "InvalidStateException"));
    let decrypted = curl.call(&format!("keys/{hsm_id}/decrypt"), &ciphertext(&of_hsm), &[]);
    assert_eq!(error(&decrypted), (400, "InvalidStateException"));
    assert_eq!(curl.call("health", &body(&json!({})), &[]).0, 200);
    let revoked = two.curl(&server).call("health", &body(&json!({})), &[]);
    assert_eq!(error(&revoked), (401, "AuthenticationFailedException"));
}

/// A server that has nothing but keys of the store is ready.
#[test]
fn sealed_keys_need_no_backend() {
    let settings = Settings::new().tables(STORE).backends("").key_stores("");
    assert_eq!(create_store(&settings).0, Some(0));
    let administrator = Administrator::new(&settings, Backends::new());
    let store = administrator.key_store("/managed/one");
    let set = administrator.key_set(KeySource::Vault, Some(&store), None);
    let key = administrator.create_key(set);
    drop(administrator);
    let server = Server::start(&settings);
    assert_eq!(server.readiness(), 200);
    round_trip(&store.curl(&server), key.key.id.as_str());
}

/// Where the file has the prefix, the file's key store is served, and the other one as soon as it is free.
#[test]
fn a_prefix_of_the_file_stays_with_the_file() {
    let settings = soft();
    let administrator = Administrator::new(&settings, made(&settings));
    let store = administrator.key_store(PREFIX);
    let set = administrator.key_set(KeySource::Vault, Some(&store), None);
    let key = administrator.create_key(set).key.id.to_string();
    drop(administrator);
    let server = Server::start(&settings);
    let log = server.process.log.wait_for("is not served: the URI path prefix");
    assert_eq!(
        server.metrics().value("xks_managed_key_stores", &[("served", "false")]),
        1.0
    );
    assert!(
        log.contains("belongs to the settings file; give it another prefix, or remove what has this one"),
        "{log}"
    );
    round_trip(&server.curl(), "usable");
    let moved = settings.key_stores.replace(PREFIX, "/example/moved");
    let moved = Settings {
        key_stores: moved,
        ..settings
    };
    moved.write();
    server.reload();
    round_trip(&store.curl(&server), &key);
    // And now it is not the file's to take.
    let back = Settings {
        key_stores: moved.key_stores.replace("/example/moved", PREFIX),
        ..moved
    };
    back.write();
    server.process.signal(rustix::process::Signal::HUP);
    server
        .process
        .log
        .wait_for("belongs to an external key store under management");
    round_trip(&store.curl(&server), &key);
}

/// The key of a version, material for AWS, a root and a test key are reached by no key store of the file:
/// whether it lists them or has all keys, over the same backend, another one of the same token, or a fleet,
/// before a reload and after.
#[test]
fn there_is_no_way_around() {
    let token = Token::new();
    let pin = quoted(&token.pin);
    let more = format!("vendor = \"softhsm\"\npin_file = {pin}");
    let serial = format!("{more}\ntoken_serial = \"{}\"\n", token.serial);
    token.import("test", "03", b"a key for tests, not for any KMS");
    let fleet = "[backends.fleet]\nkind = \"fleet\"\nmembers = [\"member\"]\n";
    let settings = Settings::new()
        .tables(STORE)
        .tables("[[store.roots]]\nname = \"hsm\"\nbackend = \"token\"\nkey = \"other\"\n")
        .tables("[lifecycle]\nbackends = [\"token\"]")
        .backends(
            &[
                token.backend("token", &format!("{more}\ntest_key = \"test\"")),
                token.backend("second", &serial),
                token.backend("member", &format!("{more}\nslot_index = 0")),
                fleet.to_owned(),
            ]
            .concat(),
        );
    let ways = ["token", "second", "fleet"];
    let stores = |ways: &[&str]| -> String {
        let all = ways.iter().map(|way| {
            let keys = format!("backend = \"{way}\"\nall_keys = true");
            key_store(&format!("/example/{way}"), &keys, &[usual_credential()])
        });
        all.collect()
    };
    let settings = settings.key_stores(
        &(stores(&ways)
            + &key_store(
                PREFIX,
                "backend = \"second\"\nkeys = [\"known\"]",
                &[usual_credential()],
            )),
    );
    let created = crate::support::ended(token.program().args(["store", "create"]).arg(settings.write()));
    assert_eq!(created.0, Some(0), "{created:?}");

    // Before anything is adopted.
    let server = token.serve(&settings);
    let old: Vec<_> = ways
        .map(|way| round_trip(&server.curl_of(&format!("/example/{way}")), "known"))
        .into();
    assert_eq!(old[0].get("ciphertextMetadata"), None);
    drop(server);

    // What the HSM would have made and adopted: a software backend stands for it, and gives the same names.
    let known = SoftBackend::new().with_key("known".parse().unwrap(), SoftKey::generate().unwrap());
    let administrator = Administrator::new(&settings, backends("token", known));
    let managed = administrator.key_store("/managed/one");
    let set = administrator.key_set(KeySource::Hsm, Some(&managed), Some("token"));
    let made = administrator.create_key(set);
    let label = made.versions[0].backend_key().unwrap().to_string();
    token.import(&label, "04", b"what the HSM would have made, so");
    let adopted = administrator.key_set(KeySource::Adopted, None, Some("token"));
    administrator.adopt(adopted, "known");
    // The server makes one material, and finds a key that encrypts in the place of the other: it is neither
    // taken for material nor served.
    let material = administrator.import(set, "alias/made");
    let in_place = administrator.import(set, "alias/in-place");
    token.import(&in_place, "05", b"a key for XKS in a place of mate");
    drop(administrator);

    let server = token.serve(&settings);
    let id = |label: &str| label.rsplit_once('.').unwrap().1.to_owned();
    for (words, label) in [
        ("which was to be made, is made", &material),
        ("cannot be made or destroyed", &in_place),
    ] {
        let log = server.process.log.wait_for(words);
        let line = log.lines().find(|line| line.contains(words)).unwrap();
        assert!(line.contains(&id(label)), "{line}");
    }
    round_trip(&managed.curl(&server), made.key.id.as_str());
    let refused = |server: &Server, way: &str| {
        let curl = server.curl_of(&format!("/example/{way}"));
        for key in [&*label, &*material, &*in_place, "other", "test"] {
            assert_eq!(
                error(&metadata(&curl, key)),
                (404, "KeyNotFoundException"),
                "{way} {key}"
            );
            let encrypted = curl.call(&format!("keys/{key}/encrypt"), &plaintext(b"a"), &[]);
            assert_eq!(error(&encrypted), (404, "KeyNotFoundException"), "{way} {key}");
        }
        // What was encrypted before decrypts, and what is encrypted now says by which version.
        let encrypted = round_trip(&curl, "known");
        assert_eq!(decode(&encrypted["ciphertextMetadata"])[0], 0x81, "{way}: {encrypted}");
        assert_eq!(decrypt(&curl, "known", &old[0]), (200, b"a secret".to_vec()), "{way}");
    };
    for way in ways {
        refused(&server, way);
    }
    round_trip(&server.curl(), "known");
    // After a reload, for a key store that was not there before too.
    let others = settings.backends.clone() + &token.backend("late", &format!("{serial}sessions = 3\n"));
    let stores = settings.key_stores.clone() + &stores(&["late"]);
    let settings = Settings {
        key_stores: stores,
        backends: others,
        ..settings
    };
    settings.write();
    server.reload();
    for way in ["token", "second", "fleet", "late"] {
        refused(&server, way);
    }
    drop(server);

    // Its state holds wherever it is reached.
    let known = SoftBackend::new().with_key("known".parse().unwrap(), SoftKey::generate().unwrap());
    let administrator = Administrator::new(&settings, backends("token", known));
    let id = "known".parse().unwrap();
    let command = KeyCommand::Disable;
    let disable = administrator
        .commands
        .change_key(&administrator.actor, &id, None, command);
    administrator.run(disable);
    drop(administrator);
    let server = token.serve(&settings);
    for way in [
        "/example/token",
        "/example/second",
        "/example/fleet",
        "/example/late",
        PREFIX,
    ] {
        let curl = server.curl_of(way);
        assert_eq!(metadata(&curl, "known").1["keyStatus"], "DISABLED", "{way}");
        let encrypted = curl.call("keys/known/encrypt", &plaintext(b"a"), &[]);
        assert_eq!(error(&encrypted), (400, "InvalidStateException"), "{way}");
        let decrypted = curl.call("keys/known/decrypt", &ciphertext(&old[0]), &[]);
        assert_eq!(error(&decrypted), (400, "InvalidStateException"), "{way}");
    }
}

/// What settings tell is told by `check`, with the line.
/// Keys that AWS's sample proxy has used come under management: what it has encrypted stays readable, with
/// its constant metadata or without, also when the key was rotated, and nobody has said what the metadata
/// were.
#[test]
fn what_the_sample_proxy_has_encrypted_stays_readable() {
    let token = Token::new();
    let settings = token
        .settings_with("", "keys = [\"known\"]\naad_framing = \"digest\"")
        .tables(STORE)
        .tables("[lifecycle]\nbackends = [\"token\"]");
    let created = crate::support::ended(token.program().args(["store", "create"]).arg(settings.write()));
    assert_eq!(created.0, Some(0), "{created:?}");
    let known = SoftBackend::new().with_key("known".parse().unwrap(), SoftKey::generate().unwrap());
    let administrator = Administrator::new(&settings, backends("token", known));
    let set = administrator.key_set(KeySource::Adopted, None, Some("token"));
    let key = administrator.adopt(set, "known").key.id;
    let rotate = administrator.commands.rotate(&administrator.actor, &key, None);
    let rotated = administrator.run(rotate);
    let label = rotated.versions[1].backend_key().unwrap().as_str();
    token.import(label, "04", b"what the HSM would have made, so");
    drop(administrator);

    let server = token.serve(&settings);
    let curl = server.curl();
    let cipher = Aes256Gcm::new_from_slice(Token::VALUE).unwrap();
    for metadata in [&b""[..], b"key-set=1", &[0x81; 4]] {
        let payload = Payload {
            msg: b"made by the sample proxy",
            aad: &digest_framed(Some(b"aad"), metadata),
        };
        let iv = *b"12 bytes: IV";
        let sealed = cipher.encrypt(&iv.into(), payload).unwrap();
        let (sealed, tag) = sealed.split_at(sealed.len() - 16);
        let mut fields = json!({
            "ciphertext": encode(sealed),
            "initializationVector": encode(&iv),
            "authenticationTag": encode(tag),
            "additionalAuthenticatedData": encode(b"aad"),
        });
        if !metadata.is_empty() {
            fields["ciphertextMetadata"] = encode(metadata);
        }
        let answer = curl.call("keys/known/decrypt", &body(&fields), &[]);
        assert_eq!(answer, (200, json!({"plaintext": encode(b"made by the sample proxy")})));
        // The ciphertext authenticates its metadata.
        fields["ciphertextMetadata"] = encode(b"key-set=2");
        let answer = curl.call("keys/known/decrypt", &body(&fields), &[]);
        assert_eq!(error(&answer), (400, "InvalidCiphertextException"));
    }
    let encrypted = round_trip(&curl, "known");
    assert_eq!(decode(&encrypted["ciphertextMetadata"])[0], 0x81, "{encrypted}");
}

#[test]
fn ways_around_that_settings_tell_are_errors() {
    let token = Token::new();
    let pin = quoted(&token.pin);
    let more = format!("vendor = \"softhsm\"\npin_file = {pin}");
    let settings = |second: &str, keys: &str| {
        let second = format!("{more}\n{second}\ntoken_serial = \"{}\"", token.serial);
        Settings::new()
            .tables(STORE)
            .tables("[[store.roots]]\nname = \"hsm\"\nbackend = \"token\"\nkey = \"other\"\n")
            .tables("[lifecycle]\ndeployment = \"prod\"\nbackends = [\"token\"]")
            .backends(&(token.backend("token", &more) + &token.backend("second", &second)))
            .key_stores(&key_store(
                PREFIX,
                &format!("backend = \"second\"\nkeys = [{keys}]"),
                &[usual_credential()],
            ))
    };
    let said = |settings: &Settings| {
        let (code, printed) = check(settings);
        let errors = printed.lines().filter_map(|line| line.split_once(": error: "));
        let errors: Vec<_> = errors.map(|(_, error)| error.to_owned()).collect();
        assert_eq!(code == Some(0), errors.is_empty(), "{printed}");
        errors
    };
    assert_eq!(said(&settings("", "\"known\"")), Vec::<String>::new());
    assert_eq!(
        said(&settings("", "\"known\", \"other\"")),
        ["other is the root \"hsm\" of [store], which must not be an external key"]
    );
    assert_eq!(
        said(&settings("", "\"prod.known.01020304\", \"test.known.01020304\"")),
        [
            "prod.known.01020304 is the label of a key under management of `lifecycle.deployment = \"prod\"`: it is \
             served under its external key id alone"
        ]
    );
    assert_eq!(
        said(&settings("", "\"prod.material.aaaaaaaaaaaaaaaaaaaaaaaa\"")),
        [
            "prod.material.aaaaaaaaaaaaaaaaaaaaaaaa is the label of material of `lifecycle.deployment = \"prod\"` that \
             AWS imports: no key store serves it"
        ]
    );
    let other_names = "[backends.second] may be the device of [backends.token], which has keys under management, and \
                       has another `key_lookup`: set the same";
    assert_eq!(said(&settings("key_lookup = \"id\"", "\"01\"")), [other_names]);
}

/// Without its store a server goes on with what it has, and encrypts nothing that it cannot count.
#[test]
fn a_store_that_is_gone_stops_what_has_to_be_counted() {
    let settings = soft();
    let administrator = Administrator::new(&settings, made(&settings));
    let store = administrator.key_store("/managed/one");
    let set = administrator.key_set(KeySource::Vault, Some(&store), None);
    let [used, unused] = [(); 2].map(|()| administrator.create_key(set).key.id.to_string());
    drop(administrator);
    let server = Server::start(&settings);
    let curl = store.curl(&server);
    let encrypted = round_trip(&curl, &used);
    std::fs::rename(settings.file("state.db"), settings.file("aside.db")).unwrap();
    let body = plaintext(b"a secret");
    let answer = run(&mut curl.process(&format!("keys/{unused}/encrypt"), &body));
    assert!(answer.contains("DependencyTimeoutException"), "{answer}");
    server
        .process
        .log
        .wait_for("no encryptions could be reserved in the store");
    assert_eq!(decrypt(&curl, &used, &encrypted), (200, b"a secret".to_vec()));
    round_trip(&server.curl(), "usable");
    std::fs::rename(settings.file("aside.db"), settings.file("state.db")).unwrap();
    round_trip(&curl, &unused);
    let (status, log) = server.stop();
    assert_eq!(status.code(), Some(0), "{log}");
}
