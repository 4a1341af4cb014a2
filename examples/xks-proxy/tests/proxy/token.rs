//! With a PKCS#11 module: the keys of a SoftHSM2 token.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{Aead as _, Payload},
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::support::{Server, Settings, Token, body, decode, encode, ended, error, plaintext, quoted, wait_until};

/// ENC-9, DEC-3, GKM-1, GKM-4, HLT-1, HLT-6, TRN-11: all four operations, also with a setting that is not
/// heeded any more.
#[test]
fn a_token_is_served() {
    let token = Token::new();
    for dispatch in ["sessions = 4\nqueue = 16", "inline = true"] {
        let settings = token.settings(dispatch);
        let server = token.serve(&settings);
        let curl = server.curl();
        let (status, metadata) = curl.call("keys/known/metadata", &body(&json!({})), &[]);
        assert_eq!(
            (status, &metadata["keySpec"], &metadata["keyStatus"]),
            (200, &json!("AES_256"), &json!("ENABLED")),
            "{metadata}"
        );

        let plaintext = json!({
            "plaintext": "cGxhaW50ZXh0Cg==",
            "additionalAuthenticatedData": "YWFk",
            "ciphertextDataIntegrityValueAlgorithm": "SHA_256",
        });
        let (status, encrypted) = curl.call("keys/known/encrypt", &body(&plaintext), &[]);
        assert_eq!(status, 200, "{encrypted}");
        let mut ciphertext = json!({"additionalAuthenticatedData": "YWFk"});
        let mut integrity = Sha256::new_with_prefix(b"aad");
        for field in ["initializationVector", "ciphertext", "authenticationTag"] {
            ciphertext[field] = encrypted[field].clone();
            integrity.update(decode(&encrypted[field]));
        }
        assert_eq!(encrypted["ciphertextDataIntegrityValue"], encode(&integrity.finalize()));
        let decrypted = curl.call("keys/known/decrypt", &body(&ciphertext), &[]);
        assert_eq!(decrypted, (200, json!({"plaintext": "cGxhaW50ZXh0Cg=="})));

        ciphertext["additionalAuthenticatedData"] = json!("YWFl");
        let answer = curl.call("keys/known/decrypt", &body(&ciphertext), &[]);
        assert_eq!(error(&answer), (400, "InvalidCiphertextException"));
        let answer = curl.call("keys/absent/encrypt", &body(&plaintext), &[]);
        assert_eq!(error(&answer), (404, "KeyNotFoundException"));

        let (status, health) = curl.call("health", &body(&json!({})), &[]);
        let member = &health["ekmFleetDetails"][0];
        assert_eq!((status, &member["healthStatus"]), (200, &json!("ACTIVE")), "{health}");
        assert!(health.to_string().contains(&token.serial), "{health}");
        let model = member["model"].as_str().unwrap();
        assert!(model.contains("SoftHSM") && model.contains(&token.serial), "{model}");
        let proxy = concat!("xks-proxy ", env!("CARGO_PKG_VERSION"));
        assert_eq!(health["xksProxyModel"], proxy);
    }
}

/// A key that is not named is not served; one that is missing does not keep the server from starting, and
/// gets a warning.
#[test]
fn only_named_keys_are_served() {
    let token = Token::new();
    let label = format!("token_label = {:?}", Token::LABEL);
    let settings = token.settings_with(&label, "keys = [\"absent\", \"known\"]");
    let server = token.serve(&settings);
    let said = format!("{}{}", server.summary, server.process.log.text());
    assert!(
        said.lines()
            .any(|line| line.contains("absent") && line.contains("no key")),
        "{said}"
    );
    assert!(
        server
            .summary
            .lines()
            .any(|line| line.contains("known") && line.contains("AES_256")),
        "{said}"
    );
    let curl = server.curl();
    for (key, status) in [("known", 200), ("other", 404), ("absent", 404)] {
        let answer = curl.call(&format!("keys/{key}/metadata"), &body(&json!({})), &[]);
        assert_eq!(answer.0, status, "{key}: {answer:?}");
    }
    drop(server);

    let serial = format!("token_serial = \"{}\"\nkey_lookup = \"id\"", token.serial);
    let settings = token.settings(&serial);
    let server = token.serve(&settings);
    for (key, status) in [("02", 200), ("03", 404), ("known", 404)] {
        let answer = server
            .curl()
            .call(&format!("keys/{key}/metadata"), &body(&json!({})), &[]);
        assert_eq!(answer.0, status, "{key}: {answer:?}");
    }
}

/// The GCM AAD input of AWS's sample proxy.
pub(crate) fn digest_framed(aad: Option<&[u8]>, metadata: &[u8]) -> Vec<u8> {
    let length = u16::try_from(aad.map_or(0, <[u8]>::len)).unwrap();
    let mut input = length.to_be_bytes().to_vec();
    if let Some(aad) = aad {
        input.extend_from_slice(&Sha256::digest(aad));
    }
    input.push(u8::try_from(metadata.len()).unwrap());
    input.extend_from_slice(metadata);
    input
}

/// Ciphertexts go from AWS's sample proxy to this one and back, on one token.
#[test]
fn digest_framing_is_that_of_the_sample_proxy() {
    let token = Token::new();
    let (digest, spec) = (
        token.settings_with("", "all_keys = true\naad_framing = \"digest\""),
        token.settings(""),
    );
    let (digest, spec) = ((token.serve(&digest), digest), (token.serve(&spec), spec));
    let (curl, with_spec) = (digest.0.curl(), spec.0.curl());
    let cipher = Aes256Gcm::new_from_slice(Token::VALUE).unwrap();
    let longest = [b'a'; 8192];
    let aads: [Option<&[u8]>; 4] = [None, Some(b""), Some(b"aad"), Some(&longest)];
    for (aad, metadata) in aads.into_iter().zip([&b""[..], b"", b"key set 1", b""]) {
        let iv = *b"12 bytes: IV";
        let input = digest_framed(aad, metadata);
        let payload = Payload {
            msg: b"made by hand",
            aad: &input,
        };
        let sealed = cipher.encrypt(&iv.into(), payload).unwrap();
        let (ciphertext, tag) = sealed.split_at(sealed.len() - 16);
        let mut fields = json!({
            "ciphertext": encode(ciphertext),
            "initializationVector": encode(&iv),
            "authenticationTag": encode(tag),
        });
        if let Some(aad) = aad {
            fields["additionalAuthenticatedData"] = encode(aad);
        }
        if !metadata.is_empty() {
            fields["ciphertextMetadata"] = encode(metadata);
        }
        let answer = curl.call("keys/known/decrypt", &body(&fields), &[]);
        assert_eq!(answer, (200, json!({"plaintext": encode(b"made by hand")})));
        let answer = with_spec.call("keys/known/decrypt", &body(&fields), &[]);
        // Without AAD both are the same bytes.
        if aad.is_some_and(|aad| !aad.is_empty()) {
            assert_eq!(error(&answer), (400, "InvalidCiphertextException"));
        }

        let mut request = plaintext(b"made by the proxy");
        if let Some(aad) = aad {
            request["additionalAuthenticatedData"] = encode(aad);
        }
        let (status, encrypted) = curl.call("keys/known/encrypt", &request, &[]);
        assert_eq!(status, 200, "{encrypted}");
        let mut both = decode(&encrypted["ciphertext"]);
        both.extend(decode(&encrypted["authenticationTag"]));
        let iv: [u8; 12] = decode(&encrypted["initializationVector"]).try_into().unwrap();
        let input = digest_framed(aad, b"");
        let payload = Payload {
            msg: &both,
            aad: &input,
        };
        assert_eq!(cipher.decrypt(&iv.into(), payload).unwrap(), b"made by the proxy");
    }
}

/// The PIN of a token: from the environment, from a file, or as it stands in the settings; never printed.
#[test]
fn a_pin_has_three_places_and_stays_secret() {
    let token = Token::new();
    for pin in [
        "pin_env = \"OUR_PIN\"".to_owned(),
        format!("pin_file = {}", quoted(&token.pin)),
        format!("pin = {:?}", Token::PIN),
    ] {
        let settings = token
            .settings("")
            .backends(&token.backend("token", &format!("vendor = \"softhsm\"\n{pin}")));
        let mut command = token.program();
        command
            .arg("--config")
            .arg(settings.write())
            .env("OUR_PIN", Token::PIN)
            .env("RUST_LOG", "trace");
        let server = Server::start_by(&mut command);
        let answer = server.curl().call("keys/known/metadata", &body(&json!({})), &[]);
        assert_eq!(answer.0, 200, "{answer:?}");
        let summary = server.summary.clone();
        let (status, log) = server.stop();
        assert!(status.success());
        assert!(
            !summary.contains(Token::PIN) && !log.contains(Token::PIN),
            "{summary}{log}"
        );
    }
}

/// `[environment]` is set before a module is loaded: this one reads from it where its tokens are.
#[test]
fn a_module_finds_its_variables() {
    let token = Token::new();
    let settings = token
        .settings("")
        .tables(&format!("[environment]\nSOFTHSM2_CONF = {}", quoted(&token.config)));
    let server = Server::start(&settings);
    let answer = server.curl().call("keys/known/metadata", &body(&json!({})), &[]);
    assert_eq!(answer.0, 200, "{answer:?}");
    // It is one process still, which its parent can stop.
    let (status, log) = server.stop();
    assert!(status.success() && log.contains("token closed"), "{status}: {log}");
}

/// What it does with settings that it should not start with.
fn refused(token: &Token, settings: &Settings) -> (Option<i32>, String) {
    let (code, out, log) = ended(token.program().arg("--config").arg(settings.write()));
    assert_eq!(out, "", "{log}");
    (code, log)
}

/// What keeps it from starting is in the log, with what to do, and it ends with failure.
#[test]
fn it_says_why_it_does_not_start() {
    let token = Token::new();
    let pinless = |more: &str| token.settings("").server("").backends(&token.backend("token", more));

    let settings = pinless("vendor = \"softhsm\"\npin_file = \"wrong\"");
    settings.folder.write("wrong", "5678");
    let (code, log) = refused(&token, &settings);
    assert_eq!(code, Some(77), "{log}");
    assert!(
        log.contains("rejected the PIN, which is not sent again") && log.lines().count() == 1,
        "{log}"
    );
    assert!(!log.contains("5678"), "{log}");

    // A file that is no library.
    let mut settings = pinless("");
    let no_library = settings.folder.write("no-library.so", "no library");
    settings.backends = format!(
        "[backends.token]\nkind = \"pkcs11\"\nmodule = {}\n",
        quoted(&no_library)
    );
    let (code, log) = refused(&token, &settings);
    assert_eq!(code, Some(78), "{log}");
    assert!(
        log.contains("no-library.so cannot be used") && log.lines().count() == 1,
        "{log}"
    );

    // No file at all: that is seen before anything is loaded.
    settings.backends = "[backends.token]\nkind = \"pkcs11\"\nmodule = \"/no/such/module.so\"\n".to_owned();
    let (code, log) = refused(&token, &settings);
    assert_eq!(code, Some(78), "{log}");
    assert!(log.contains("/no/such/module.so") && log.lines().count() == 1, "{log}");

    let (code, log) = refused(&token, &pinless("token_label = \"another\""));
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("\"another\"") && log.contains(Token::LABEL) && log.contains(&token.serial),
        "{log}"
    );

    // A vendor whose modules make IVs, and a module that makes none: it would encrypt under zeros.
    let nshield = format!("vendor = \"nshield\"\npin_file = {}", quoted(&token.pin));
    let (code, log) = refused(&token, &pinless(&nshield));
    assert_eq!(code, Some(78), "{log}");
    assert!(log.contains("the self-test failed") && log.contains("zeros"), "{log}");

    for (more, said) in [
        ("deadline_ms = 300", "deadline_ms"),
        ("key_refresh_secs = 0", "key_refresh_secs"),
        ("test_key = \"a\"\nno_test_key = true", "test_key"),
        ("token_label = \"a\"\nslot_index = 0", "slot_index"),
        ("vendor = \"nobody\"", "vendor"),
        ("pin = \"1\"\npin_env = \"OUR_PIN\"", "pin"),
    ] {
        let (code, log) = refused(&token, &pinless(more));
        assert_eq!(code, Some(78), "{log}");
        assert!(log.contains(": error: ") && log.contains(said), "{said}: {log}");
    }
    let settings = token.settings_with("test_key = \"known\"", "keys = [\"known\"]");
    let (code, log) = refused(&token, &settings);
    assert_eq!(code, Some(78), "{log}");
    assert!(log.contains("known") && log.contains("test key"), "{log}");
}

/// The module is finalized before the process ends, also while requests come in: a module may crash
/// otherwise.
#[test]
fn it_stops_in_good_order_while_busy() {
    let token = Token::new();
    let server = token.serve(&token.settings(""));
    let clients = [0; 3].map(|_| {
        let mut curl = server.curl().process("keys/known/encrypt", &plaintext(b"x"));
        let answered = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&answered);
        let client = thread::spawn(move || {
            while curl.output().unwrap().status.success() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        (client, answered)
    });
    wait_until("every client is answered", || {
        clients.iter().all(|(_, answered)| answered.load(Ordering::Relaxed) > 1)
    });
    let (status, log) = server.stop();
    assert!(status.success(), "{status}: {log}");
    assert!(
        log.contains("token closed") && !log.contains("with open connections"),
        "{log}"
    );
    for (client, _) in clients {
        client.join().unwrap();
    }
}
