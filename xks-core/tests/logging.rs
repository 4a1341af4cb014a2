//! The log: one line for each request, which no client can forge and which holds no secret.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may panic"
)]

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;
use xks_core::{
    BackendError, KeyBackend, KeyId, Request, Zeroizing,
    aad::AadFraming,
    async_trait,
    authorize::{Authorizer, Decision, Rule, Rules, Subject},
    backend::{
        BackendErrorKind, DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health, KeyMetadata,
    },
    dependency::Reply,
    fleet::Fleet,
};

mod support;

use support::{Client, base64, decrypt_body, encrypt_body, metadata_body};
use xks_test_client::SECRET_ACCESS_KEY;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

struct Dead;

#[async_trait]
impl KeyBackend for Dead {
    async fn key_metadata(&self, _: &KeyId, _: &GetKeyMetadataRequest<'_>) -> Result<KeyMetadata, BackendError> {
        Err(BackendError::new(BackendErrorKind::Unavailable, "no \"link\""))
    }
    async fn encrypt(&self, _: &KeyId, _: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        Err(BackendErrorKind::Unavailable.into())
    }
    async fn decrypt(&self, _: &KeyId, _: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        Err(BackendErrorKind::Unavailable.into())
    }
    async fn health(&self) -> Result<Health, BackendError> {
        Err(BackendErrorKind::Unavailable.into())
    }
}

/// LOG-1, LOG-2, MD-4, ENC-12, DEC-5, SIG-8: one test, because a process has one log.
#[tokio::test]
async fn the_log_has_one_honest_line_for_each_request() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("trace,aws_sigv4=off") // the signer is the client's
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let client = Client::soft(AadFraming::Spec);
    log.lines();

    // A success names what there is to name.
    let mut body = encrypt_body(b"planted plaintext", Some(b"planted aad"), true);
    body["requestMetadata"]["awsSourceVpce"] = json!("vpce-17");
    body["requestMetadata"]["sourceIdentity"] = json!("bob");
    let (_, encrypted) = client.encrypt("usable", &body).await;
    let lines = log.lines();
    let [line] = &lines[..] else {
        panic!("not one line: {lines:?}")
    };
    for part in [
        "INFO",
        "xks::audit",
        "kms_request_id=\"4112f4d6-",
        "operation=\"Encrypt\"",
        "key=\"usable\"",
        "key_store=\"/tenant\"",
        "status=200",
        "user/Alice",
        "kms_operation=\"Encrypt\"",
        "kms_via_service=\"ebs\"",
        "vpce-17",
        r#"extra="sourceIdentity: \"bob\"""#,
        "access_key_id=\"BETWEEN",
        "duration_us=",
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }

    // A failure names its error, and what was wrong.
    client.post("keys/ghost/metadata", &metadata_body()).await;
    let lines = log.lines();
    assert!(
        lines[0].contains("WARN") && lines[0].contains("error=\"KeyNotFoundException\""),
        "{lines:?}"
    );

    // A prefix that no key store has is named: it is the usual error when a key store is created.
    let stray = Request::new("POST", "/wrong/prefix/kms/xks/v1/health?signature=00ff", b"{}");
    client.proxy.handle(stray).await;
    let stray = Request::new("POST", "/wrong/prefix/kms/xks/v1/health", b"{}");
    client.proxy.handle(stray).await;
    let lines = log.lines();
    for line in &lines {
        assert!(line.contains("path=\"/wrong/prefix/kms/xks/v1/health\""), "{line}");
    }
    assert!(
        lines.len() == 2 && lines[1].contains("no key store has this prefix"),
        "{lines:?}"
    );

    // A denial names its rule, and an internal failure stands out.
    let rules = Rules::new([Rule::deny("not in this VPC").vpc("vpc-9")]);
    let denied = Client::new(support::proxy(
        support::key_store(support::soft_backend()).authorizer(rules),
    ));
    log.lines(); // what building a key store has to say
    let mut body = metadata_body();
    body["requestMetadata"]["awsSourceVpc"] = json!("vpc-9");
    denied.post("keys/usable/metadata", &body).await;
    let lines = log.lines();
    for part in [
        "WARN",
        "policy=\"not in this VPC\"",
        "source_vpc=\"vpc-9\"",
        "kms_key_arn=\"arn:aws:kms:",
        "principal=\"arn:aws:iam:",
    ] {
        assert!(lines[0].contains(part), "{part}: {lines:?}");
    }
    struct Panics;
    impl Authorizer for Panics {
        fn authorize<'a>(&'a self, _: &'a Subject<'a>) -> Reply<'a, Decision> {
            panic!("as the test wants it")
        }
    }
    let failing = Client::new(support::proxy(
        support::key_store(support::soft_backend()).authorizer(Panics),
    ));
    log.lines();
    failing.post("keys/usable/metadata", &metadata_body()).await;
    let lines = log.lines();
    assert!(lines[0].contains("ERROR") && lines[0].contains("reason=\"a backend or an authorizer panicked\""));
    client.send("GET", "/tenant/kms/xks/v1/health", b"").await;
    assert!(log.lines()[0].contains("method=\"GET\""));

    // Of a fleet, the member that served is named, and one that fails stands out, with its reason, once.
    let fleet = Fleet::builder()
        .member("hsm-a", Arc::new(Dead))
        .standby_member("hsm-b", support::soft_backend());
    let fleet = Client::new(support::proxy(support::key_store(Arc::new(fleet.build().unwrap()))));
    log.lines();
    for _ in 0..10 {
        fleet.post("keys/usable/metadata", &metadata_body()).await;
    }
    let lines = log.lines();
    let served = r#"served_by="hsm-b""#;
    let tried = r#"served_by="hsm-b" tried_before="hsm-a""#;
    assert_eq!(lines.iter().filter(|line| line.contains(served)).count(), 10);
    assert_eq!(lines.iter().filter(|line| line.contains(tried)).count(), 3);
    let [opened] = &lines
        .iter()
        .filter(|line| line.contains("xks::fleet"))
        .collect::<Vec<_>>()[..]
    else {
        panic!("not one event of the fleet: {lines:?}")
    };
    for part in [
        "WARN",
        r#"member="hsm-a""#,
        "back_off_ms=1000",
        r#"reason="no \"link\"""#,
    ] {
        assert!(opened.contains(part), "{part} is not in {opened}");
    }

    // Nobody forges a field, or floods the log.
    let mut forged = metadata_body();
    forged["requestMetadata"]["kmsRequestId"] = json!("x operation=\"Decrypt\" status=200");
    client.post("keys/ghost/metadata", &forged).await;
    let lines = log.lines();
    assert!(lines[0].contains(r#"kms_request_id="x operation=\"Decrypt\" status=200" operation="GetKeyMetadata""#));
    forged["requestMetadata"]["kmsRequestId"] = json!("x".repeat(100_000));
    client.post("keys/usable/metadata", &forged).await;
    client
        .send_unsigned("POST", &format!("/{}?signature=00ff", "x".repeat(60_000)), &[], b"")
        .await;
    let lines = log.lines();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.len() < 4000 && !line.contains("00ff")));

    // Nobody forges a line or steers a terminal.
    let mut forged = metadata_body();
    let attack = "id\n2026-01-01T00:00:00Z INFO xks::audit: status=200\r\u{1b}[2J\u{2028}";
    for field in [
        "kmsRequestId",
        "awsPrincipalArn",
        "kmsOperation",
        "kmsKeyArn",
        "kmsViaService",
        "awsSourceVpc",
        "new",
    ] {
        forged["requestMetadata"][field] = json!(attack);
    }
    forged["requestMetadata"][attack] = json!("name");
    client.post("keys/usable/metadata", &forged).await;
    client.send_unsigned("GE\nT", &format!("/a\n{attack}"), &[], b"").await;
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains(['\u{1b}', '\u{2028}', '\r'])));

    // No secret, whatever happens to it.
    let mut signer = client.signer.clone();
    signer.secret_access_key = "w".repeat(43);
    let headers = signer.sign("POST", "h", "/tenant/kms/xks/v1/health", &[], b"{}");
    client
        .send_unsigned("POST", "/tenant/kms/xks/v1/health", &headers, b"{}")
        .await;
    client
        .decrypt("usable", &decrypt_body(&encrypted, Some(b"planted aad")))
        .await;
    client
        .decrypt("usable", &decrypt_body(&encrypted, Some(b"other")))
        .await;
    client.encrypt("usable", &encrypt_body(&[b'p'; 5000], None, true)).await;
    client
        .send(
            "POST",
            "/tenant/kms/xks/v1/keys/usable/encrypt",
            br#"{"plaintext": "planted""#,
        )
        .await;
    let mut broken = encrypt_body(b"planted plaintext", None, true);
    broken["plaintext"] = json!("planted!");
    client.encrypt("usable", &broken).await;
    let log = log.lines().concat();
    let text = |bytes: &[u8]| base64(bytes).as_str().unwrap().to_owned();
    for secret in [
        "planted",
        &text(b"planted plaintext"),
        &text(&[b'p'; 5000])[..40],
        SECRET_ACCESS_KEY,
        &"w".repeat(43),
    ] {
        assert!(!log.contains(secret), "{secret}");
    }
    let signature = headers
        .iter()
        .find(|(name, _)| name == "authorization")
        .unwrap()
        .1
        .rsplit('=')
        .next()
        .unwrap();
    assert!(!log.contains(signature));
}
