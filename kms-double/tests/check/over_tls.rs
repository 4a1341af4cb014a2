//! The program on our own server, over TLS.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::Value;

use crate::{
    program::{check, text},
    support::{ACCESS_KEY_ID, Folder, KEY, PREFIX, SECRET},
};

/// TRN-3, TRN-6: our own server, with certificates made for this test, over both versions of HTTP and with
/// mutual TLS.
#[test]
fn our_own_server_keeps_everything_over_tls() {
    let folder = Folder::new();
    write_certificates(&folder, 90);
    folder.write("usable.key", "32 bytes that are no secret key.");
    folder.write("settings.toml", &settings(MUTUAL));
    let server = Started::new(
        Command::new(xks_proxy())
            .arg("--config")
            .arg(folder.path("settings.toml")),
    );
    let path = |name: &str| folder.path(name).to_str().unwrap().to_owned();
    let url = server.url.replace("127.0.0.1", "localhost");
    let (root, certificate, key) = (path("root.pem"), path("client.pem"), path("client.key"));
    let tls = [
        "--ca-file",
        &root,
        "--client-cert",
        &certificate,
        "--client-key",
        &key,
        "--http",
        "both",
    ];
    let output = check(&folder, &url, &[&tls[..], &["--json"]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    let named = |outcome: &str| -> Vec<&str> {
        let cases = report["cases"].as_array().unwrap().iter();
        cases
            .filter(|case| case["outcome"] == outcome)
            .map(|case| case["name"].as_str().unwrap())
            .collect()
    };
    assert_eq!(named("fail"), Vec::<&str>::new(), "{report:#}");
    assert_eq!(output.status.code(), Some(0));
    for name in [
        "tls/https",
        "tls/suites",
        "tls/client-certificate-demanded",
        "http/version-1.1",
        "http/version-2",
    ] {
        assert_eq!(
            named("pass").iter().filter(|passed| **passed == name).count(),
            2,
            "{name}: {report:#}"
        );
    }

    // Without the root, nothing is believed; and when told to believe everything, that is a failure.
    let without = ["--client-cert", &certificate, "--client-key", &key];
    let output = check(&folder, &url, &without);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
    let insecure = [&without[..], &["--insecure", "--only", "tls/https"]].concat();
    let output = check(&folder, &url, &insecure);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("FAIL       tls/https"));
}

/// TRN-6: a server that asks no client for a certificate, and whose own is about to end.
#[test]
fn a_server_without_mutual_tls_is_seen() {
    let folder = Folder::new();
    write_certificates(&folder, 10);
    folder.write("usable.key", "32 bytes that are no secret key.");
    folder.write("settings.toml", &settings(""));
    let server = Started::new(
        Command::new(xks_proxy())
            .arg("--config")
            .arg(folder.path("settings.toml")),
    );
    let path = |name: &str| folder.path(name).to_str().unwrap().to_owned();
    let (root, certificate, key) = (path("root.pem"), path("client.pem"), path("client.key"));
    let tls = [
        "--ca-file",
        &root,
        "--client-cert",
        &certificate,
        "--client-key",
        &key,
        "--only",
        "tls/",
    ];
    let output = check(&folder, &server.url, &tls);
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(
        report.contains("FAIL       tls/client-certificate-demanded "),
        "{report}"
    );
    assert!(report.contains("note       tls/certificate-lasts "), "{report}");
    assert!(report.contains("pass       tls/https "), "{report}");
}

/// A server whose certificate is a certificate authority, as `openssl req -x509` makes it: what is wrong, and
/// the remedy.
#[test]
fn a_certificate_authority_as_server_is_named() {
    let folder = Folder::new();
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    folder.write("server.pem", &parameters.self_signed(&key).unwrap().pem());
    folder.write("server.key", &key.serialize_pem());
    folder.write("usable.key", "32 bytes that are no secret key.");
    folder.write("settings.toml", &settings(""));
    let server = Started::new(
        Command::new(xks_proxy())
            .arg("--config")
            .arg(folder.path("settings.toml")),
    );
    let root = folder.path("server.pem").to_str().unwrap().to_owned();
    let output = check(&folder, &server.url, &["--ca-file", &root]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("the server's certificate is a certificate authority (basicConstraints CA:TRUE)")
            && said.contains("issue the server's certificate with CA:FALSE"),
        "{said}"
    );
    // A case of its own where any certificate is taken.
    let output = check(&folder, &server.url, &["--insecure", "--only", "tls/https"]);
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(
        report.contains("FAIL       tls/https") && report.contains("is a certificate authority"),
        "{report}"
    );
}

const MUTUAL: &str = r#"
        [tls.client]
        roots = "root.pem"
        names = ["cks.kms.us-east-1.amazonaws.com"]
"#;

fn write_certificates(folder: &Folder, days: u64) {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, "Root of a test");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
    folder.write("root.pem", &root.pem());
    for (name, common_name) in [("server", "localhost"), ("client", "cks.kms.us-east-1.amazonaws.com")] {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec![
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            common_name.to_owned(),
        ])
        .unwrap();
        parameters.distinguished_name.push(DnType::CommonName, common_name);
        parameters.not_after = (SystemTime::now() + Duration::from_secs(days * 86_400)).into();
        folder.write(
            &format!("{name}.pem"),
            &parameters.signed_by(&key, &root).unwrap().pem(),
        );
        folder.write(&format!("{name}.key"), &key.serialize_pem());
    }
}

/// For our own server; a busy machine gets more time than KMS gives.
fn settings(client: &str) -> String {
    format!(
        r#"
        [server]
        listen = "127.0.0.1:0"
        budget_ms = 30000
        drain_delay_secs = 0
        [health]
        listen = "127.0.0.1:0"
        [tls]
        certificate_chain = "server.pem"
        private_key = "server.key"
        {client}
        [backends.keys]
        kind = "soft"
        keys = {{ "{KEY}" = "usable.key" }}
        [[key_stores]]
        uri_path_prefix = "{PREFIX}"
        regions = ["us-east-1"]
        all_keys = true
        [[key_stores.credentials]]
        access_key_id = "{ACCESS_KEY_ID}"
        secret_access_key = "{SECRET}"
        "#
    )
}

/// The server's program, which is built with the workspace's tests; else it is built here.
fn xks_proxy() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_kms-double")).with_file_name("xks-proxy");
    if !beside.exists() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        let target = beside.parent().and_then(Path::parent).unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["build", "--package", "xks-proxy", "--manifest-path"])
            .arg(manifest);
        cargo.arg("--target-dir").arg(target);
        if beside.parent().is_some_and(|folder| folder.ends_with("release")) {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success());
    }
    beside
}

/// A server that has said where it listens.
struct Started {
    child: Child,
    url: String,
}

impl Started {
    fn new(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let address = lines.find_map(|line| {
            line.trim()
                .strip_prefix("address ")
                .map(|address| address.trim().to_owned())
        });
        let url = address.expect("it says where it listens");
        assert!(lines.any(|line| line == "Ready."), "it is ready");
        // It goes on to write; the client need not read.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
