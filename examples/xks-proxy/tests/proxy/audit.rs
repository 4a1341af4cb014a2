//! The audit log that shows tampering: a server writes it, is killed, starts again, and each change is found;
//! and what is in it of administration.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::administration::Site;
use crate::support::{Server, Settings, body, check, ended, fetch, program, run, wait_until};

/// A server whose audit log has files of this many records or so, and a key.
fn with_audit(keys: &str) -> Settings {
    let settings = Settings::new().metrics();
    let made = ended(program().args(["audit", "new-key"]).arg(settings.file("audit.key")));
    assert_eq!(made.0, Some(0), "{made:?}");
    settings.tables(&format!(
        "[audit]\ndirectory = \"audit\"\nname = \"example/node-a\"\nkey_file = \"audit.key\"\n{keys}"
    ))
}

fn public_key(settings: &Settings) -> String {
    let (code, out, err) = ended(program().args(["audit", "public-key"]).arg(settings.write()));
    assert_eq!(code, Some(0), "{err}");
    out.trim().to_owned()
}

/// The exit status of `audit verify`, and what it printed: for people, and for programs.
fn verify(folder: &Path, key: &str) -> (Option<i32>, String, Value) {
    let command = |json: &[&str]| {
        let mut command = program();
        command
            .args(["audit", "verify"])
            .arg(folder)
            .args(["--key", key])
            .args(json);
        ended(&mut command)
    };
    let (code, text, err) = command(&[]);
    let (code_of_json, json, _) = command(&["--json"]);
    assert_eq!(code, code_of_json, "{text}{err}");
    (code, text + &err, serde_json::from_str(&json).unwrap_or_default())
}

fn logs(settings: &Settings) -> Vec<PathBuf> {
    let entries = fs::read_dir(settings.file("audit")).unwrap();
    let mut logs: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    logs.retain(|path| path.extension().is_some_and(|end| end == "jsonl"));
    logs.sort_unstable();
    logs
}

/// Sends a request, and waits until the file that is written has its record.
fn ask(settings: &Settings, server: &Server, mark: &str) {
    assert_eq!(fetch(&format!("{}/{mark}", server.url()), &[]).0, 404);
    wait_until(mark, || {
        let newest = logs(settings).pop().unwrap();
        fs::read_to_string(newest)
            .unwrap()
            .contains(&format!("\"path\":\"/{mark}\""))
    });
}

/// A log of two incarnations, of which the first was killed; files that were compressed; and whatever is
/// done to them.
#[test]
fn what_a_server_wrote_is_verified_and_each_change_is_found() {
    let settings = with_audit("head_interval_secs = 3600");
    let key = public_key(&settings);
    let folder = settings.file("audit");

    let server = Server::start(&settings);
    ask(&settings, &server, "one");
    assert_eq!(server.curl().call("health", &body(&json!({})), &[]).0, 200);
    ask(&settings, &server, "two");
    server.process.stop(Signal::KILL);
    let first = logs(&settings).pop().unwrap();
    // As the disk may leave it.
    fs::write(&first, fs::read_to_string(&first).unwrap() + "{\"seq\":7,\"prev\":\"00").unwrap();
    let server = Server::start(&settings);
    ask(&settings, &server, "three");
    assert_eq!(server.metrics().value("xks_audit_records_lost_total", &[]), 0.0);
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
    let second = logs(&settings).pop().unwrap();
    run(std::process::Command::new("gzip").arg(&first));

    let (code, text, json) = verify(&folder, &key);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.ends_with("Whole.\n"), "{text}");
    let export = |format: &str| {
        let mut command = program();
        ended(command.args(["audit", "export", "--format", format]).arg(&folder))
    };
    // Both logs in their order, the compressed one first; the torn line is no record.
    let (code, lines, err) = export("json");
    assert_eq!((code, lines.lines().count()), (Some(0), 7), "{err}");
    let paths: Vec<_> = ["/one", "/two", "/three"].map(|path| lines.find(path).unwrap()).into();
    assert!(
        paths.is_sorted() && lines.ends_with(&fs::read_to_string(&second).unwrap()),
        "{lines}"
    );
    let (code, cef, err) = export("cef");
    assert_eq!((code, cef.lines().count()), (Some(0), 7), "{err}");
    let one = cef.lines().nth(1).unwrap();
    assert!(
        one.starts_with("CEF:0|xks-proxy|xks-proxy|") && one.contains(" request=/one "),
        "{cef}"
    );
    let numbers = |name: &str| {
        let logs = json["logs"].as_array().unwrap().iter();
        logs.map(|log| log[name].as_u64().unwrap()).collect::<Vec<_>>()
    };
    // `opened` and three requests; `opened`, `follows` and one. The head at the end vouches for all of them.
    assert_eq!((numbers("records"), numbers("unanchored")), (vec![4, 3], vec![0, 0]));
    assert_eq!(json["logs"][0]["torn"].as_array().unwrap().len(), 1);
    let record = fs::read_to_string(&second).unwrap();
    let record: Value = serde_json::from_str(record.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&record["path"], &record["target"], &record["seq"]),
        (&json!("/three"), &json!("xks::audit"), &json!(2))
    );

    let whole = fs::read_to_string(&second).unwrap();
    let lines: Vec<_> = whole.lines().collect();
    for (changed, kind) in [
        (whole.replace("/three", "/four"), "head-differs"),
        (format!("{}\n{}\n", lines[0], lines[2]), "missing"),
        (format!("{}\n{}\n", lines[0], lines[1]), "cut"),
        (format!("{whole}{}\n", lines[1]), "moved"),
        (whole.replace("\"size\":4", "\"size\":3"), "changed"),
    ] {
        fs::write(&second, &changed).unwrap();
        let (code, text, json) = verify(&folder, &key);
        assert_eq!(code, Some(3), "{kind}: {text}");
        let mut faults = json["logs"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|log| log["faults"].as_array().unwrap());
        assert!(faults.any(|fault| fault["kind"] == kind), "{kind}: {text}");
    }
    fs::write(&second, &whole).unwrap();
    cut_back_is_found(&folder, &key, (&second, &whole), &settings.file("newest.heads"));
    let packed = PathBuf::from(format!("{}.gz", first.display()));
    let bytes = fs::read(&packed).unwrap();
    fs::write(&packed, &bytes[..bytes.len() - 9]).unwrap();
    assert_eq!(verify(&folder, &key).0, Some(1), "half a file cannot be read");
    fs::remove_file(&packed).unwrap();
    let (code, text, _) = verify(&folder, &key);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("the end was cut off"), "{text}");
    assert_eq!(verify(&settings.file("usable.key"), &key).0, Some(1));
}

/// A log whose end is cut off with the heads of that end looks whole, but not where a later head is known.
fn cut_back_is_found(folder: &Path, key: &str, (log, whole): (&Path, &str), state: &Path) {
    let verify = || {
        let mut command = program();
        command.args(["audit", "verify", "--key", key]).arg(folder);
        let (without, text, _) = ended(&mut command);
        let (with, said, _) = ended(command.arg("--state").arg(state));
        (without, with, text + &said)
    };
    let (without, with, text) = verify();
    assert_eq!((without, with), (Some(0), Some(0)), "{text}");
    let kept = fs::read(state).unwrap();
    let heads = PathBuf::from(log.to_str().unwrap().replace(".000000000000.jsonl", ".heads"));
    let all = fs::read_to_string(&heads).unwrap();
    let end_of_first = all.find("\n\u{2014} ").unwrap() + 1;
    let end_of_first = end_of_first + all[end_of_first..].find('\n').unwrap() + 1;
    assert!(end_of_first < all.len(), "{all}");
    fs::write(&heads, &all[..end_of_first]).unwrap();
    let two: String = whole.lines().take(2).map(|line| format!("{line}\n")).collect();
    fs::write(log, two).unwrap();
    let (without, with, text) = verify();
    assert_eq!((without, with), (Some(0), Some(3)), "{text}");
    assert!(text.contains("newest.heads: the end was cut off"), "{text}");
    assert_eq!(fs::read(state).unwrap(), kept);
    fs::write(&heads, &all).unwrap();
    fs::write(log, whole).unwrap();
}

/// All events of the life cycle are in the chain of requests, those of refused commands too; and who has read
/// what, which is no event.
#[test]
fn administration_is_in_the_log() {
    let site = Site::start("[audit]\ndirectory = \"audit\"\nname = \"example/node-a\"\n");
    site.done(&["tenants", "create", "--name", "payroll"]);
    let (code, ..) = site.give(&["tenants", "create", "--name", ""]);
    assert_ne!(code, Some(0));
    site.done(&["tenants", "show", "payroll"]);
    let events: Value = serde_json::from_str(&site.done(&["events", "--last", "100", "--json"])).unwrap();
    let path = logs(&site.settings).pop().unwrap();
    let (status, log) = site.server.stop();
    assert!(status.success(), "{log}");

    let text = fs::read_to_string(&path).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |names: &[&str], record: &Value| names.iter().map(|name| record[name].clone()).collect::<Vec<_>>();
    let members = [
        "actor", "command", "object", "outcome", "revision", "reason", "before", "after",
    ];
    let events: Vec<_> = events["items"].as_array().unwrap().iter().collect();
    let found: Vec<_> = records
        .iter()
        .filter(|record| record["target"] == "xks::administration" && record["command"] != "read")
        .collect();
    let of = |records: &[&Value]| records.iter().map(|record| told(&members, record)).collect::<Vec<_>>();
    assert_eq!(of(&found), of(&events), "{text}");
    let create = |outcome: &str| {
        let mut creates = found.iter().filter(|record| record["command"] == "create");
        creates.any(|record| record["outcome"] == outcome && record["actor"].as_str().unwrap().starts_with("uid:"))
    };
    assert!(create("done") && create("refused"), "{text}");
    let has_read = |path: &str| {
        records.iter().any(|record| {
            record["command"] == "read"
                && record["actor"].as_str().unwrap().starts_with("uid:")
                && record["object"].as_str().unwrap().starts_with(path)
                && record["status"] == 200
        })
    };
    assert!(has_read("/admin/v1/tenants") && has_read("/admin/v1/events"), "{text}");

    let verified = ended(
        program()
            .args(["audit", "verify", "--json"])
            .arg(site.settings.file("audit")),
    );
    let report: Value = serde_json::from_str(&verified.1).unwrap();
    assert_eq!(
        (verified.0, &report["logs"][0]["records"]),
        (Some(0), &json!(records.len())),
        "{report}"
    );
    // A record cannot be given another actor.
    fs::write(&path, text.replacen("\"actor\":\"uid:", "\"actor\":\"uid:9", 1)).unwrap();
    let changed = ended(program().args(["audit", "verify"]).arg(&path));
    assert_eq!(changed.0, Some(3), "{changed:?}");
}

/// What would look like more than it is, is refused.
#[test]
fn settings_that_promise_too_much_are_refused() {
    for (keys, wrong) in [
        ("durability = \"every_answer\"\n", "every_answer"),
        ("name = \"a name\"\n", "`name`"),
        ("keep = 3\n", "`keep` requires `key_file`"),
        ("key_file = \"usable.key\"\n", "not a private key of P-256"),
    ] {
        let settings = Settings::new().tables(&format!("[audit]\ndirectory = \"audit\"\n{keys}"));
        let (code, text) = check(&settings);
        assert_eq!(code, Some(78), "{text}");
        assert!(text.contains(wrong), "{text}");
    }
}
