//! The program: its exit codes and its two reports.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};

use crate::support::{ACCESS_KEY_ID, Broken, Folder, KEY, PREFIX, SECRET, Server};

pub(crate) fn check(folder: &Folder, url: &str, more: &[&str]) -> Output {
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

pub(crate) fn text(bytes: &[u8]) -> String {
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
        report.contains("Every MUST that was tested is met: 9 pass, 0 fail, 0 warn, 0 note, 0 not tried"),
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
        "means     CreateKey rejects the key: XksKeyInvalidConfigurationException\n",
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
    assert_eq!(case["came"], "--disabled is not given");
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
        (
            ["--only", "no-such-case"],
            "no case name or requirement begins with \"no-such-case\"",
        ),
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
