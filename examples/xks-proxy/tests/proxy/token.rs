//! With a PKCS#11 module: the keys of a SoftHSM2 token.

use std::{
    path::PathBuf,
    process::{Command, Output},
    thread,
};

use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{Aead as _, Payload},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use xks_pkcs11_fixture::softhsm_path;

use crate::support::{Folder, Proxy, body, error, program, run};

const PIN: &str = "not 1234";
const LABEL: &str = "xks test";
/// The value of the key `known`. softhsm2-util takes one without zeros and line breaks.
const VALUE: &[u8; 32] = b"the value of a key for all to se";

/// A token with the keys `known` and `other`.
struct SoftHsm {
    folder: Folder,
    config: PathBuf,
    pin: PathBuf,
    serial: String,
}

impl SoftHsm {
    fn new() -> Self {
        let folder = Folder::new();
        let tokens = folder.path().join("tokens");
        std::fs::create_dir(&tokens).unwrap();
        let config = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
        let mut hsm = Self {
            config: folder.write("softhsm2.conf", &config),
            pin: folder.write("pin", &format!("{PIN}\n")),
            serial: String::new(),
            folder,
        };
        hsm.util(&["--init-token", "--free", "--label", LABEL, "--so-pin", "so 1234"]);
        hsm.import("known", "01", VALUE);
        hsm.import("other", "02", b"of this key nobody needs to know");
        let slots = hsm.util(&["--show-slots"]);
        let serial = slots
            .lines()
            .find_map(|line| line.trim().strip_prefix("Serial number:"));
        hsm.serial = serial.unwrap().trim().to_owned();
        hsm
    }

    fn import(&self, label: &str, id: &str, value: &[u8]) {
        let file = self.folder.path().join("key");
        std::fs::write(&file, value).unwrap();
        let file = file.to_str().unwrap();
        self.util(&[
            "--import", file, "--aes", "--token", LABEL, "--label", label, "--id", id,
        ]);
    }

    fn util(&self, arguments: &[&str]) -> String {
        let mut util = Command::new("softhsm2-util");
        run(util
            .env("SOFTHSM2_CONF", &self.config)
            .args(arguments)
            .args(["--pin", PIN]))
    }

    /// The program on the token, but for its PIN.
    fn program(&self) -> Command {
        let mut command = program();
        command
            .env("SOFTHSM2_CONF", &self.config)
            .arg("--pkcs11-module")
            .arg(softhsm_path());
        command
    }

    fn start(&self, arguments: &[&str]) -> Proxy {
        let mut command = self.program();
        command.args(["--vendor", "softhsm", "--pin-file"]).arg(&self.pin);
        Proxy::start(command.args(arguments))
    }
}

fn encode(bytes: &[u8]) -> Value {
    json!(BASE64_STANDARD.encode(bytes))
}

fn decode(value: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// What it does when it should not start: it ends by itself.
fn refused(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.args(["--listen", "127.0.0.1:0"]).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// ENC-9, DEC-3, GKM-1, GKM-4, HLT-1: all four operations, on threads of the backend's own and on the server's.
#[test]
fn a_token_is_served() {
    let hsm = SoftHsm::new();
    for dispatch in [&["--sessions", "4", "--queue", "16"][..], &["--inline"]] {
        let proxy = hsm.start(dispatch);
        let (status, metadata) = proxy.curl("keys/known/metadata", &body(&json!({})), &[]);
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
        let (status, encrypted) = proxy.curl("keys/known/encrypt", &body(&plaintext), &[]);
        assert_eq!(status, 200, "{encrypted}");
        let mut ciphertext = json!({"additionalAuthenticatedData": "YWFk"});
        let mut integrity = Sha256::new_with_prefix(b"aad");
        for field in ["initializationVector", "ciphertext", "authenticationTag"] {
            ciphertext[field] = encrypted[field].clone();
            integrity.update(decode(&encrypted[field]));
        }
        assert_eq!(encrypted["ciphertextDataIntegrityValue"], encode(&integrity.finalize()));
        let decrypted = proxy.curl("keys/known/decrypt", &body(&ciphertext), &[]);
        assert_eq!(decrypted, (200, json!({"plaintext": "cGxhaW50ZXh0Cg=="})));

        ciphertext["additionalAuthenticatedData"] = json!("YWFl");
        let answer = proxy.curl("keys/known/decrypt", &body(&ciphertext), &[]);
        assert_eq!(error(&answer), (400, "InvalidCiphertextException"));
        let answer = proxy.curl("keys/absent/encrypt", &body(&plaintext), &[]);
        assert_eq!(error(&answer), (404, "KeyNotFoundException"));

        let (status, health) = proxy.curl("health", &body(&json!({})), &[]);
        let member = &health["ekmFleetDetails"][0];
        assert_eq!((status, &member["healthStatus"]), (200, &json!("ACTIVE")), "{health}");
        assert_eq!(member["id"], json!(hsm.serial));
        let model = member["model"].as_str().unwrap();
        assert!(model.contains("SoftHSM") && model.contains(&hsm.serial), "{model}");
        assert!(proxy.text.contains(model), "{}", proxy.text);
    }
}

/// A key that is not named is not served; one that is missing keeps nobody from starting.
#[test]
fn only_named_keys_are_served() {
    let hsm = SoftHsm::new();
    let proxy = hsm.start(&["--token-label", LABEL, "--key", "absent", "--key", "known"]);
    assert!(proxy.paste()["ciphertext"].is_string());
    let missing = "absent        the token has no key";
    assert!(
        proxy.text.contains(missing) && proxy.text.contains("known         AES_256"),
        "{}",
        proxy.text
    );
    let answer = proxy.curl("keys/other/metadata", &body(&json!({})), &[]);
    assert_eq!(error(&answer), (404, "KeyNotFoundException"));
    drop(proxy);

    let proxy = hsm.start(&["--token-serial", &hsm.serial, "--key-lookup", "id"]);
    for (key, status) in [("02", 200), ("03", 404), ("known", 404)] {
        let answer = proxy.curl(&format!("keys/{key}/metadata"), &body(&json!({})), &[]);
        assert_eq!(answer.0, status, "{key}: {answer:?}");
    }
}

/// The GCM AAD input of AWS's sample proxy.
fn digest_framed(aad: Option<&[u8]>, metadata: &[u8]) -> Vec<u8> {
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
    let hsm = SoftHsm::new();
    let proxy = hsm.start(&["--aad-framing", "digest"]);
    let with_spec = hsm.start(&[]);
    let cipher = Aes256Gcm::new_from_slice(VALUE).unwrap();
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
        let answer = proxy.curl("keys/known/decrypt", &body(&fields), &[]);
        assert_eq!(answer, (200, json!({"plaintext": encode(b"made by hand")})));
        let answer = with_spec.curl("keys/known/decrypt", &body(&fields), &[]);
        // Without AAD both are the same bytes.
        if aad.is_some_and(|aad| !aad.is_empty()) {
            assert_eq!(error(&answer), (400, "InvalidCiphertextException"));
        }

        let mut fields = json!({"plaintext": encode(b"made by the proxy")});
        if let Some(aad) = aad {
            fields["additionalAuthenticatedData"] = encode(aad);
        }
        let (status, encrypted) = proxy.curl("keys/known/encrypt", &body(&fields), &[]);
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

/// A credential that somebody has already is not printed, and the printed command works all the same.
#[test]
fn a_given_credential_stays_secret() {
    const ID: &str = "BETWEEN2TENAND3TENCHARACTERS";
    const SECRET: &str = "ASecretOf43To64CharactersThatNobodyShouldSee";
    let hsm = SoftHsm::new();
    let file = hsm.folder.write("it's a secret", &format!("{SECRET}\n"));
    let with_file = ["--secret-access-key-file", file.to_str().unwrap()];
    for options in [&with_file[..], &[]] {
        let mut command = hsm.program();
        command.arg("--pin-env").arg("OUR_PIN").env("OUR_PIN", PIN);
        command
            .args(["--uri-path-prefix", "/example/path", "--region", "eu-central-1"])
            .args(["--key", "known", "--access-key-id", ID])
            .args(options);
        if options.is_empty() {
            command.env("XKS_SECRET_ACCESS_KEY", SECRET);
        }
        let mut proxy = Proxy::start(&mut command);
        assert!(
            !proxy.text.contains(SECRET) && proxy.console_json.is_none(),
            "{}",
            proxy.text
        );
        assert!(proxy.url("").ends_with("/example/path/kms/xks/v1/"));
        if options.is_empty() {
            proxy.curl_command = format!("XKS_SECRET_ACCESS_KEY={SECRET}\n{}", proxy.curl_command);
        }
        assert!(proxy.paste()["ciphertext"].is_string());
        let user = format!("{ID}:{SECRET}");
        let answer = proxy.curl_as(&user, "keys/known/metadata", &body(&json!({})), &[]);
        assert_eq!(answer.0, 200, "{answer:?}");
    }
}

/// What keeps it from starting is said in the log, with what to do, and it ends with failure.
#[test]
fn it_says_why_it_does_not_start() {
    let hsm = SoftHsm::new();
    let wrong = hsm.folder.write("wrong", "5678");
    let (code, log) = refused(hsm.program().arg("--pin-file").arg(wrong));
    assert_eq!(code, Some(77), "{log}");
    assert!(
        log.contains("refuses the PIN, which is not tried again") && log.lines().count() == 1,
        "{log}"
    );
    assert!(!log.contains("5678"), "{log}");

    let (code, log) = refused(program().args(["--pkcs11-module", "/no/such/module.so"]));
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("/no/such/module.so cannot be used") && log.lines().count() == 1,
        "{log}"
    );

    let (code, log) = refused(hsm.program().args(["--token-label", "another"]));
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("\"another\"") && log.contains(LABEL) && log.contains(&hsm.serial),
        "{log}"
    );

    // A vendor whose modules make IVs, and a module that makes none: it would encrypt under zeros.
    let (code, log) = refused(
        hsm.program()
            .arg("--pin-file")
            .arg(&hsm.pin)
            .args(["--vendor", "nshield"]),
    );
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("the self-test failed") && log.contains("zeros"), "{log}");

    let (code, log) = refused(hsm.program().args(["--deadline-ms", "300"]));
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("--budget"), "{log}");
    let (code, log) = refused(hsm.program().args(["--key", "a", "--test-key", "a"]));
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("--test-key"), "{log}");

    for arguments in [
        &["--inline"][..],
        &["--secret-access-key-file", "x"],
        &["--vendor", "nobody", "--pkcs11-module", "x"],
    ] {
        let (code, log) = refused(program().args(arguments));
        assert_eq!(code, Some(2), "{log}");
    }
}

/// The module is finalized before the process ends, also while requests come in: a module may crash otherwise.
#[test]
fn it_stops_in_good_order_while_busy() {
    let hsm = SoftHsm::new();
    for dispatch in [&[][..], &["--inline"]] {
        let proxy = hsm.start(dispatch);
        let user = format!("{}:{}", proxy.facts["access key id"], proxy.facts["secret access key"]);
        let clients = [0; 3].map(|_| {
            let mut curl = proxy.curl_process(&user, "keys/known/encrypt", &body(&json!({"plaintext": "eA=="})));
            thread::spawn(move || {
                let mut answered = 0;
                while curl.output().unwrap().status.success() {
                    answered += 1;
                }
                answered
            })
        });
        thread::sleep(std::time::Duration::from_millis(300));
        let (status, log) = proxy.stop("-TERM");
        assert!(status.success(), "{status}: {log}");
        assert!(log.contains("the token is closed") && !log.contains("WARN"), "{log}");
        let answered: i32 = clients.into_iter().map(|client| client.join().unwrap()).sum();
        assert!(answered > 0);
    }
}
