//! Settings files of AWS's sample proxy, in the shapes that HSM vendors' guides give them: they are taken as they are.

use std::{fs, path::PathBuf};

use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{Aead as _, Payload},
};
use serde_json::json;
use xks_pkcs11_fixture::softhsm_path;

use crate::{
    support::{
        Authority, Curl, Folder, Leaf, PREFIX, REGION, Server, Site, Token, body, ciphertext, decode, encode, ended,
        error, fetch, plaintext, program, usual_signer,
    },
    token::digest_framed,
};

/// A file that is there on every machine that these tests run on, and a folder with what it names.
struct Old {
    folder: Folder,
    text: String,
}

/// The file of that HSM, and the name that its vendor gives the module.
const SHAPES: [(&str, &str, &str); 4] = [
    ("softhsm", include_str!("old/softhsm.toml"), "libsofthsm2.so"),
    ("nshield", include_str!("old/nshield.toml"), "libcknfast.so"),
    ("luna", include_str!("old/luna.toml"), "libCryptoki2_64.so"),
    ("cloudhsm", include_str!("old/cloudhsm.toml"), "libcloudhsm_pkcs11.so"),
];

impl Old {
    fn new(name: &str) -> Self {
        let (_, text, module) = SHAPES.into_iter().find(|(shape, ..)| *shape == name).unwrap();
        let folder = Folder::new();
        Site::new(&Leaf::SERVER).write(&folder);
        folder.write("roots.pem", &Authority::root("Root of clients").pem());
        let module = match name {
            "softhsm" => softhsm_path(),
            _ => folder.write(module, "some library"),
        };
        let path = |name: &str| folder.path().join(name).display().to_string();
        let text = text
            .replace("LOG-FOLDER", &path("logs"))
            .replace("\"CHAIN\"", &format!("{:?}", path("chain.pem")))
            .replace("\"KEY\"", &format!("{:?}", path("key.pem")))
            .replace("\"ROOTS\"", &format!("{:?}", path("roots.pem")))
            .replace("\"MODULE\"", &format!("{:?}", module.display().to_string()));
        Self { folder, text }
    }

    /// With another line in the place of one.
    fn with(mut self, line: &str, other: &str) -> Self {
        assert!(self.text.contains(line), "{line} is not in {}", self.text);
        self.text = self.text.replacen(line, other, 1);
        self
    }

    fn write(&self) -> PathBuf {
        self.folder.write("settings_old.toml", &self.text)
    }

    fn check(&self) -> (Option<i32>, String) {
        let (code, printed, _) = ended(program().arg("check").arg(self.write()));
        (code, printed)
    }

    /// Our format, as text and as values. It passes `check`.
    fn converted(&self) -> (String, toml::Value) {
        let (code, text, log) = ended(program().arg("convert").arg(self.write()));
        assert_eq!(code, Some(0), "{log}");
        let file = self.folder.write("converted.toml", &text);
        let (code, printed, _) = ended(program().arg("check").arg(file));
        assert_eq!(code, Some(0), "{printed}{text}");
        let values = toml::Value::Table(text.parse().expect(&text));
        (text, values)
    }
}

/// What stands at a path of keys and places.
fn at<'v>(value: &'v toml::Value, path: &str) -> Option<&'v toml::Value> {
    path.split('.')
        .try_fold(value, |value, step| match step.parse::<usize>() {
            Ok(place) => value.get(place),
            Err(_) => value.get(step),
        })
}

fn text_at<'v>(value: &'v toml::Value, path: &str) -> &'v str {
    let found = at(value, path).and_then(toml::Value::as_str);
    found.unwrap_or_else(|| panic!("no text at {path}: {value:#?}"))
}

fn number_at(value: &toml::Value, path: &str) -> i64 {
    let found = at(value, path).and_then(toml::Value::as_integer);
    found.unwrap_or_else(|| panic!("no number at {path}: {value:#?}"))
}

/// Each vendor's file passes as it is.
#[test]
fn the_file_of_each_vendor_passes() {
    for (name, ..) in SHAPES {
        let old = Old::new(name);
        let (code, printed) = old.check();
        assert_eq!(code, Some(0), "{name}: {printed}");
        assert!(printed.contains("0 errors"), "{name}: {printed}");
    }
}

/// What the conversion of the file says, and what it means: the values are those of the file.
#[test]
fn what_nshield_was_told_is_converted() {
    let (_, new) = Old::new("nshield").converted();
    for (path, text) in [
        ("server.listen", "0.0.0.0:443"),
        ("health.listen", "0.0.0.0:80"),
        ("log.level", "debug"),
        ("log.output", "none"),
        ("log.file.prefix", "xks-proxy.log"),
        ("log.file.rotation", "hourly"),
        ("backends.hsm.kind", "pkcs11"),
        ("backends.hsm.vendor", "nshield"),
        ("backends.hsm.pin", ""),
        ("key_stores.0.uri_path_prefix", "/example/nshield"),
        ("key_stores.0.regions.0", "eu-central-1"),
        ("key_stores.0.keys.0", "xks-keyset-1"),
        ("key_stores.0.keys.1", "xks-keyset-2"),
        ("key_stores.0.aad_framing", "digest"),
        ("key_stores.0.credentials.0.access_key_id", "NSHIELD2ACCESS3KEY4ID5"),
        (
            "key_stores.0.credentials.0.secret_access_key",
            "ThisIsTheSecretOfTheNshieldFile+0123456789/=",
        ),
    ] {
        assert_eq!(text_at(&new, path), text, "{path}");
    }
    for (path, number) in [
        ("server.tcp_keepalive.idle_secs", 60),
        ("server.tcp_keepalive.interval_secs", 1),
        ("server.tcp_keepalive.retries", 3),
        ("backends.hsm.sessions", 30),
    ] {
        assert_eq!(number_at(&new, path), number, "{path}");
    }
    assert!(text_at(&new, "tls.certificate_chain").ends_with("/chain.pem"));
    assert!(text_at(&new, "tls.private_key").ends_with("/key.pem"));
    assert!(text_at(&new, "backends.hsm.module").ends_with("/libcknfast.so"));
    assert!(text_at(&new, "log.file.directory").ends_with("/logs"));
    assert_eq!(at(&new, "tls.client"), None, "mutual TLS was off");
    // The IVs are written back, which is what this vendor's are anyway.
    assert!(at(&new, "backends.hsm.iv_source").is_none_or(|source| source.as_str() == Some("written-back")));
}

#[test]
fn what_luna_was_told_is_converted() {
    let (_, new) = Old::new("luna").converted();
    for (path, text) in [
        ("server.listen", "0.0.0.0:8443"),
        ("health.listen", "0.0.0.0:8080"),
        ("tls.client.names.0", "cks.kms.us-west-2.amazonaws.com"),
        ("log.level", "warn"),
        ("log.output", "stdout"),
        ("backends.hsm.vendor", "luna"),
        ("backends.hsm.pin", "a \"quoted\" PIN \\ with more"),
        ("key_stores.0.uri_path_prefix", "/example/luna-a"),
        ("key_stores.1.uri_path_prefix", "/example/luna-b"),
        ("key_stores.0.ciphertext_metadata", "a2V5LXNldD0x"),
        ("key_stores.1.ciphertext_metadata", "a2V5LXNldD0x"),
        ("key_stores.1.aad_framing", "digest"),
        ("key_stores.1.credentials.0.access_key_id", "LUNA2B3ACCESS4KEY5ID67"),
    ] {
        assert_eq!(text_at(&new, path), text, "{path}");
    }
    assert!(text_at(&new, "tls.client.roots").ends_with("/roots.pem"));
    assert_eq!(at(&new, "log.file"), None, "there were no files");
    // Four characters of Base64 are three bytes.
    assert_eq!(number_at(&new, "key_stores.0.max_plaintext_bytes"), 6144);
    assert_eq!(number_at(&new, "key_stores.1.max_aad_bytes"), 12288);
    assert_eq!(number_at(&new, "server.tcp_keepalive.idle_secs"), 120);
}

#[test]
fn what_cloudhsm_was_told_is_converted() {
    let (_, new) = Old::new("cloudhsm").converted();
    for (path, text) in [
        ("server.listen", "127.0.0.1:8000"),
        ("health.listen", "127.0.0.1:80"), // the sample proxy's default
        ("log.level", "trace"),
        ("log.file.rotation", "minutely"),
        ("backends.hsm.vendor", "cloudhsm"),
        ("backends.hsm.pin", "crypto_user:password"),
        ("key_stores.0.uri_path_prefix", ""),
        (
            "environment.PKCS11_LOGGER_LIBRARY_PATH",
            "/opt/cloudhsm/lib/libcloudhsm_pkcs11.so",
        ),
        ("environment.PKCS11_LOGGER_LOG_FILE_PATH", "/tmp/pkcs11.log"),
        ("environment.PKCS11_LOGGER_FLAGS", "120"),
    ] {
        assert_eq!(text_at(&new, path), text, "{path}");
    }
    assert_eq!(at(&new, "tls"), None);
}

/// Where the IV comes from is what the file says, whichever vendor's module it is.
#[test]
fn the_source_of_ivs_is_the_files() {
    for (name, can_generate, zero_required, source) in [
        ("nshield", false, true, "token-random"),
        ("nshield", true, false, "appended-16"),
        ("luna", false, false, "token-random"),
        ("luna", true, true, "written-back"),
        ("softhsm", true, true, "written-back"),
    ] {
        let mut old = Old::new(name);
        let (before, _) = old.text.split_once("[hsm_capabilities]").unwrap();
        old.text = format!(
            "{before}[hsm_capabilities]\ncan_generate_iv = {can_generate}\nis_zero_iv_required = {zero_required}\n"
        );
        let (_, new) = old.converted();
        assert_eq!(text_at(&new, "backends.hsm.iv_source"), source, "{name}");
    }
}

/// An entry that came with the file and that nobody filled in is skipped, and said.
#[test]
fn a_placeholder_is_skipped() {
    let old = Old::new("softhsm");
    let (code, printed) = old.check();
    assert_eq!(code, Some(0), "{printed}");
    let line = 1
        + old
            .text
            .lines()
            .position(|line| line == "# Left as it came with the file.")
            .unwrap()
        + 1;
    assert!(printed.contains(&format!(":{line}: warning: ")), "{printed}");
    let (_, new) = old.converted();
    assert_eq!(at(&new, "key_stores").unwrap().as_array().unwrap().len(), 1);
}

/// What would let somebody in whom the old proxy kept out, or what serves nobody, is an error that says so.
#[test]
fn what_cannot_be_kept_is_refused() {
    let store = "sigv4_access_key_id = \"BETWEEN2TENAND3TENCHARACTERS\"";
    for (line, other, said) in [
        (
            "is_mtls_enabled = false",
            "is_mtls_enabled = false\nsecondary_auth = \"Oso\"\n[security.oso]\npolar_file_path = \"x.polar\"",
            "Oso",
        ),
        (
            "is_sigv4_auth_enabled = true",
            "is_sigv4_auth_enabled = false",
            "is_sigv4_auth_enabled",
        ),
        ("is_mtls_enabled = false", "is_mtls_enabled = true", "is_mtls_enabled"),
        ("service = \"kms-xks-proxy\"", "service = \"another\"", "service"),
        (store, "sigv4_access_key_id = \"\"", "sigv4_access_key_id"),
        (store, "sigv4_access_key_id = \"short\"", "sigv4_access_key_id"),
        (
            "user_pin = ",
            "user_pim = ",
            "unknown key `user_pim`; did you mean `user_pin`?",
        ),
    ] {
        let old = Old::new("softhsm").with(line, other);
        let (code, printed) = old.check();
        assert_eq!(code, Some(78), "{said}: {printed}");
        let mut errors = printed.lines().filter(|line| line.contains(": error: "));
        assert!(errors.any(|line| line.contains(said)), "{said}: {printed}");
        let (code, _, log) = ended(program().arg("--config").arg(old.write()));
        assert!(code == Some(78) && log.contains(said), "{said}: {log}");
        assert_ne!(ended(program().arg("convert").arg(old.write())).0, Some(0));
    }
}

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

/// ENC-7: the old file, the old token, and a ciphertext as the sample proxy made it: it decrypts; and what is encrypted
/// now has the old framing, and the constant metadata.
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
