//! A migration from the sample proxy: its settings file, its token, and what it encrypted.

use std::fs;

use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{Aead as _, Payload},
};
use serde_json::json;

use crate::{
    support::{
        ACCESS_KEY_ID, Curl, OTHER_SECRET, Old, PREFIX, REGION, SECRET_ACCESS_KEY, Server, Token, body, ciphertext,
        decode, encode, error, fetch, plaintext, usual_signer,
    },
    token::digest_framed,
};

fn served(token: &Token, old: &Old) -> (Server, Curl) {
    let server = Server::start_by(token.program().env("XKS_PROXY_SETTINGS_TOML", old.write()));
    let signer = usual_signer();
    let curl = Curl {
        base: format!("{}{PREFIX}", server.url()),
        region: REGION.to_owned(),
        user: format!("{}:{}", signer.access_key_id, signer.secret_access_key),
    };
    (server, curl)
}

/// ENC-7: the old file, the old token, and a ciphertext as the sample proxy made it: it decrypts; and what is
/// encrypted now has the old framing, and the constant metadata.
#[test]
fn an_old_file_serves_an_old_token() {
    let token = Token::new();
    let cipher = Aes256Gcm::new_from_slice(Token::VALUE).unwrap();
    for metadata in [&b""[..], b"key-set=1"] {
        let mut old = Old::new("softhsm");
        if !metadata.is_empty() {
            let line = "service = \"kms-xks-proxy\"";
            old = old.with(line, &format!("{line}\nciphertext_metadata_b64 = {}", encode(metadata)));
        }
        let (server, curl) = served(&token, &old);
        assert_eq!(fetch(&format!("{}/ping", server.url()), &[]).0, 200);

        let input = digest_framed(Some(b"aad"), metadata);
        let iv = *b"12 bytes: IV";
        let payload = Payload {
            msg: b"made by the sample proxy",
            aad: &input,
        };
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

        let mut request = plaintext(b"made now");
        request["additionalAuthenticatedData"] = encode(b"aad");
        let (status, encrypted) = curl.call("keys/known/encrypt", &request, &[]);
        assert_eq!(status, 200, "{encrypted}");
        let told = encrypted.get("ciphertextMetadata").map(decode).unwrap_or_default();
        assert_eq!(told, metadata);
        let mut both = decode(&encrypted["ciphertext"]);
        both.extend(decode(&encrypted["authenticationTag"]));
        let iv: [u8; 12] = decode(&encrypted["initializationVector"]).try_into().unwrap();
        let payload = Payload {
            msg: &both,
            aad: &input,
        };
        assert_eq!(cipher.decrypt(&iv.into(), payload).unwrap(), b"made now");
        let mut again = ciphertext(&encrypted);
        again["additionalAuthenticatedData"] = encode(b"aad");
        let answer = curl.call("keys/known/decrypt", &again, &[]);
        assert_eq!(answer, (200, json!({"plaintext": encode(b"made now")})));

        // Only the keys of the set are served.
        let answer = curl.call("keys/other/metadata", &body(&json!({})), &[]);
        assert_eq!(error(&answer), (404, "KeyNotFoundException"));
        let (status, _) = server.stop();
        assert!(status.success());
        let log = fs::read_to_string(old.folder.path().join("logs/sample.log")).unwrap();
        assert!(log.contains("kms_request_id"), "{log}");
    }
}

/// TRN-7: the sample proxy answers `/ping` on its API's port, beside `port_http_ping`.
#[test]
fn the_port_of_the_api_answers_health_checks() {
    let token = Token::new();
    // At an address that no other test has.
    let old = Old::new("softhsm")
        .with("ip = \"127.0.0.1\"", "ip = \"127.0.0.79\"")
        .with("port_http_ping = 0", "port_http_ping = 8079");
    let (server, _) = served(&token, &old);
    assert_eq!(server.health_url(), "http://127.0.0.79:8079/ping");
    for path in ["/", "/ping"] {
        assert_eq!(
            fetch(&format!("{}{path}", server.url()), &[]),
            (200, "ready\n".to_owned()),
            "{path}"
        );
    }
}

/// The converted file serves the same, and what was encrypted under the old one decrypts.
#[test]
fn a_converted_file_goes_on_where_the_old_one_ended() {
    let (token, old) = (Token::new(), Old::new("softhsm"));
    let (server, curl) = served(&token, &old);
    let (status, encrypted) = curl.call("keys/known/encrypt", &plaintext(b"before"), &[]);
    assert_eq!(status, 200, "{encrypted}");
    drop(server);
    let (text, _) = old.converted();
    let new = Old {
        folder: old.folder,
        text,
    };
    let (_server, curl) = served(&token, &new);
    let answer = curl.call("keys/known/decrypt", &ciphertext(&encrypted), &[]);
    assert_eq!(answer, (200, json!({"plaintext": encode(b"before")})));
    let answer = curl.call("keys/other/metadata", &body(&json!({})), &[]);
    assert_eq!(error(&answer), (404, "KeyNotFoundException"));
}

/// URI-4, SIG-6: one credential for two prefixes is served, and each prefix has its own keys only. One access
/// key id with two secrets names neither.
#[test]
fn a_credential_may_serve_two_prefixes() {
    let token = Token::new();
    let second = format!(
        "[[external_key_stores]]\nuri_path_prefix = \"/example/second\"\nsigv4_access_key_id = {:?}\n\
         sigv4_secret_access_key = {:?}\nxks_key_id_set = [\"other\"]\n\n[pkcs11]",
        ACCESS_KEY_ID, SECRET_ACCESS_KEY
    );
    let old = Old::new("softhsm").with("[pkcs11]", &second);
    let (code, printed) = old.check();
    assert_eq!(code, Some(0), "{printed}");
    assert!(
        printed.contains(": warning: another key store has the same credential"),
        "{printed}"
    );
    let (server, curl) = served(&token, &old);
    let other = Curl {
        base: format!("{}/example/second", server.url()),
        ..curl.clone()
    };
    for (curl, own, foreign) in [(&curl, "known", "other"), (&other, "other", "known")] {
        let encrypt = |key: &str| curl.call(&format!("keys/{key}/encrypt"), &plaintext(b"x"), &[]);
        assert_eq!(encrypt(own).0, 200, "{own}");
        assert_eq!(error(&encrypt(foreign)), (404, "KeyNotFoundException"), "{foreign}");
    }
    let (code, printed) = old.with(SECRET_ACCESS_KEY, OTHER_SECRET).check();
    assert_eq!(code, Some(78), "{printed}");
    assert!(printed.contains("must have one secret"), "{printed}");
}
