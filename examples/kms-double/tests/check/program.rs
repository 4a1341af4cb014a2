//! The program: its exit codes, its two reports, and our own server over TLS.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::support::{ACCESS_KEY_ID, Broken, Folder, KEY, PREFIX, SECRET, Server};

fn check(folder: &Folder, url: &str, more: &[&str]) -> Output {
    let secret = folder.write("secret", &format!("{SECRET}\n"));
    Command::new(env!("CARGO_BIN_EXE_kms-double"))
        .args([
            "check",
            "--url",
            &format!("{url}{PREFIX}"),
            "--access-key",
            ACCESS_KEY_ID,
            "--key",
            KEY,
        ])
        .args(["--half-sent", "0", "--secret-file"])
        .arg(secret)
        .args(more)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_right_proxy_ends_it_with_0_and_a_broken_one_with_1() {
    let (folder, only) = (Folder::new(), ["--only", "round-trip/16", "--only", "GKM-1"]);
    let output = check(&folder, &Server::right().url, &only);
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert!(report.contains("pass       round-trip/16-bytes-no-aad "), "{report}");
    assert!(
        report.contains("Every MUST that was tried is kept: 9 pass, 0 fail, 0 warn, 0 note, 0 not tried"),
        "{report}"
    );

    let broken = Server::start(Broken::answers(|asked, answered| {
        if asked.is("metadata") && answered.status == 200 {
            let mut metadata = answered.json();
            metadata["keySpec"] = json!("RSA_0");
            answered.set_json(&metadata);
        }
    }));
    let output = check(&folder, &broken.url, &only);
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{report}");
    for line in [
        "FAIL       key-metadata/spec ",
        "sent      GetKeyMetadata of Usable-key.1\n",
        "expected  keySpec AES_256\n",
        "came      keySpec \"RSA_0\"\n",
        "means     CreateKey refuses the key: XksKeyInvalidConfigurationException\n",
        "The proxy does not conform: 8 pass, 1 fail",
    ] {
        assert!(report.contains(line), "{line}: {report}");
    }
    assert!(!report.contains(SECRET));
}

#[test]
fn json_has_the_documented_fields_and_goes_into_a_file() {
    let (folder, server) = (Folder::new(), Server::right());
    let file = folder.path("report.json");
    let out = [
        "--json",
        "--http",
        "both",
        "--only",
        "health",
        "--only",
        "disabled",
        "--out",
        file.to_str().unwrap(),
    ];
    let output = check(&folder, &server.url, &out);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), String::new()));
    let report: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let names = |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let mut fields = names(&report);
    fields.sort_unstable();
    let documented = [
        "cases",
        "clock_skew_seconds",
        "conformant",
        "format",
        "latency",
        "started",
        "summary",
        "took_ms",
        "url",
    ];
    assert_eq!(fields, documented);
    assert_eq!(report["format"], 1);
    assert_eq!(report["conformant"], true);
    assert_eq!(report["summary"]["not_tried"], 6, "{report}");
    let cases = report["cases"].as_array().unwrap();
    let case = cases
        .iter()
        .find(|case| case["name"] == "disabled/encrypt" && case["http"] == "2")
        .unwrap();
    assert_eq!(
        (&case["level"], &case["outcome"]),
        (&json!("must"), &json!("not_tried"))
    );
    assert_eq!(case["requirements"], json!(["ENC-11"]));
    assert_eq!(case["came"], "no --disabled key is given");
    assert!(report["latency"]["health"]["p99_ms"].as_f64().unwrap() > 0.0);
    // What the README says of the fields is what they are.
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    for name in documented
        .iter()
        .map(|name| (*name).to_owned())
        .chain(names(case))
        .chain(names(&report["summary"]))
    {
        assert!(readme.contains(&format!("`{name}`")), "{name} is not in the README");
    }
}

#[test]
fn what_cannot_run_ends_it_with_2() {
    let folder = Folder::new();
    let output = check(&folder, "http://127.0.0.1:1", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).starts_with("kms-double: cannot connect: "),
        "{}",
        text(&output.stderr)
    );
    let server = Server::right();
    for (more, error) in [
        (["--only", "no-such-case"], "no case begins with \"no-such-case\""),
        (["--ca-file", "/does/not/exist"], ""),
        (["--http", "3"], "invalid value '3'"),
    ] {
        let url = server
            .url
            .replace("http://", if error.is_empty() { "https://" } else { "http://" });
        let output = check(&folder, &url, &more);
        assert_eq!(output.status.code(), Some(2), "{more:?}");
        let said = text(&output.stderr);
        assert!(
            said.contains(if error.is_empty() { "/does/not/exist" } else { error }),
            "{said}"
        );
        assert!(!said.contains(SECRET));
    }
}

#[test]
fn cases_can_be_listed_without_a_proxy() {
    let output = Command::new(env!("CARGO_BIN_EXE_kms-double"))
        .args(["check", "--list"])
        .output()
        .unwrap();
    let list = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    assert!(list.contains("MUST    tampering/tag-bits "), "{list}");
    let mut names: Vec<_> = list
        .lines()
        .map(|line| line.split_whitespace().nth(1).unwrap())
        .collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(all, names.len(), "a name is there twice");
    assert!(all > 280, "{all}");
}

/// TRN-3, TRN-6: our own server, with certificates made for this test, over both versions of HTTP and with mutual TLS.
#[test]
fn our_own_server_keeps_everything_over_tls() {
    let folder = Folder::new();
    write_certificates(&folder);
    folder.write("usable.key", "32 bytes that are no secret key.");
    folder.write("settings.toml", &settings());
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

fn write_certificates(folder: &Folder) {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, "Root of a test");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
    folder.write("root.pem", &root.pem());
    for (name, common_name) in [("server", "localhost"), ("client", "cks.kms.us-east-1.amazonaws.com")] {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec!["localhost".to_owned(), common_name.to_owned()]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, common_name);
        folder.write(
            &format!("{name}.pem"),
            &parameters.signed_by(&key, &root).unwrap().pem(),
        );
        folder.write(&format!("{name}.key"), &key.serialize_pem());
    }
}

/// For our own server; a busy machine gets more time than KMS gives.
fn settings() -> String {
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
        [tls.client]
        roots = "root.pem"
        names = ["cks.kms.us-east-1.amazonaws.com"]
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
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
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
        // It goes on to write; nobody has to listen.
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
