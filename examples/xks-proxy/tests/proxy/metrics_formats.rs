//! The two text formats of the metrics: content negotiation, and independent readers of each.

use std::{
    collections::{BTreeSet, HashMap},
    io::{self, Write as _},
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::json;

use crate::support::{Leaf, Metrics, Server, Settings, Site, Token, body, fetch, plaintext};

const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A server with something to say under every name: a fleet, a token, TLS, requests of each outcome.
fn with_every_metric() -> (Server, Token) {
    let (site, token) = (Site::new(&Leaf::SERVER), Token::new());
    let mut settings = token.settings("sessions = 2").metrics();
    site.write(&settings.folder);
    settings.tables += "[tls]\ncertificate_chain = \"chain.pem\"\nprivate_key = \"key.pem\"\n";
    settings.backends += "[backends.soft]\nkind = \"soft\"\nkeys = { known = \"usable.key\" }\n";
    settings.backends += "[backends.both]\nkind = \"fleet\"\nmembers = [\"token\", \"soft\"]\n";
    settings.key_stores = settings.key_stores.replace("all_keys", "backend = \"both\"\nall_keys");
    let server = token.serve(&settings);
    let curl = server.curl();
    for (path, body, status) in [
        ("keys/known/encrypt", plaintext(b"x"), 200),
        ("keys/none/metadata", body(&json!({})), 404),
    ] {
        assert_eq!(curl.call(path, &body, &["--insecure"]).0, status);
    }
    assert_ne!(fetch(&server.url().replace("https:", "http:"), &[]).0, 200);
    server.reload();
    (server, token)
}

/// What a client gets that sends these headers: the content type, and the text.
fn scrape(server: &Server, headers: &[&str]) -> (String, String) {
    let mut arguments = vec!["-D", "-", "-H", "Accept:"];
    headers.iter().for_each(|header| arguments.extend(["-H", header]));
    let (status, answer) = fetch(server.fact("metrics").unwrap(), &arguments);
    let (head, text) = answer.split_once("\r\n\r\n").expect(&answer);
    assert_eq!(status, 200, "{head}");
    let mut kinds = head.lines().filter_map(|line| line.strip_prefix("content-type: "));
    (kinds.next().expect(head).trim().to_owned(), text.to_owned())
}

/// Metrics are read, as health is.
#[test]
fn metrics_and_health_are_read_alone() {
    let server = Server::start(&Settings::new().metrics().health());
    for url in [server.fact("metrics").unwrap(), server.health_url()] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let (status, answer) = fetch(url, &["-D", "-", "-X", method]);
            assert_eq!(status, 405, "{method} {url}");
            assert!(answer.contains("allow: GET, HEAD\r\n"), "{method} {url}: {answer}");
        }
        assert_eq!(fetch(url, &["-I"]).0, 200, "{url}");
    }
}

/// RFC 9110, section 12.5.1; what Prometheus 2 and 3 send is among it.
#[test]
fn accept_decides_over_the_format() {
    let server = Server::start(&Settings::new().metrics());
    for (accept, expected) in [
        (&[][..], CLASSIC),
        (&["Accept: */*"], CLASSIC),
        (&["Accept: text/html,application/xhtml+xml,*/*;q=0.8"], CLASSIC),
        (&["Accept: text/plain"], CLASSIC),
        (&["Accept: text/plain;version=0.0.4;q=1,*/*;q=0.1"], CLASSIC),
        (&["Accept: application/openmetrics-text"], OPEN_METRICS),
        (
            &["accept: Application/OpenMetrics-Text; Version=\"1.0.0\"; charset=utf-8"],
            OPEN_METRICS,
        ),
        (
            &[
                "Accept: application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            ],
            OPEN_METRICS,
        ),
        (
            &[
                "Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            ],
            OPEN_METRICS,
        ),
        (
            &["Accept: text/plain", "Accept: application/openmetrics-text;q=0.5"],
            CLASSIC,
        ),
        (
            &["Accept: text/plain;q=0.5", "Accept: application/openmetrics-text;q=0.6"],
            OPEN_METRICS,
        ),
        (
            &["Accept: application/openmetrics-text, text/plain;q=0.9"],
            OPEN_METRICS,
        ),
        (&["Accept: application/openmetrics-text;q=0"], CLASSIC),
        (&["Accept: application/openmetrics-text;q=0, */*"], CLASSIC),
        (&["Accept: application/openmetrics-text;version=2.0.0"], CLASSIC),
        (
            &["Accept: application/openmetrics-text;q=high, text/plain;q=0.1"],
            CLASSIC,
        ),
        (&["Accept: application/json"], CLASSIC),
        (&["Accept: ,;=;,"], CLASSIC),
    ] {
        let (kind, text) = scrape(&server, accept);
        assert_eq!(kind, expected, "{accept:?}");
        assert_eq!(text.ends_with("# EOF\n"), kind == OPEN_METRICS, "{accept:?}: {text}");
    }
}

/// Each form by its own rules, and both with the same series and values.
#[test]
fn both_formats_say_the_same() {
    let (server, _token) = with_every_metric();
    let (_, open_metrics) = scrape(&server, &["Accept: application/openmetrics-text"]);
    let (_, classic) = scrape(&server, &[]);
    let series = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let mut names: Vec<_> = lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(series(&classic), series(&open_metrics));
    assert!(Metrics::parse(&classic).has("xks_fleet_member_breaker", &[("member", "soft")]));

    assert!(!classic.contains("# UNIT") && !classic.contains("# EOF"), "{classic}");
    assert_eq!(open_metrics.matches("# EOF\n").count(), 1);
    for (text, is_classic) in [(&classic, true), (&open_metrics, false)] {
        let mut types = HashMap::new();
        let mut described = "";
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a text behind the name");
                assert!(!help.ends_with('.'), "a full stop: {line}");
                described = name;
            } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
                assert_eq!(name, described, "TYPE after its HELP");
                assert!(types.insert(name, kind).is_none(), "{name} twice");
                assert_eq!(kind == "counter" && is_classic, name.ends_with("_total"), "{line}");
            } else if !line.starts_with('#') {
                // Samples stand under their own name.
                let end = line.find(['{', ' ']).unwrap();
                let name = match types.get(described) {
                    Some(&"counter") if !is_classic => format!("{described}_total"),
                    _ => described.to_owned(),
                };
                let is_part = |part| types[described] == "histogram" && line[..end] == format!("{name}{part}");
                assert!(
                    line[..end] == name || ["_sum", "_count", "_bucket"].into_iter().any(is_part),
                    "{line}"
                );
            }
        }
        assert!(types.len() > 10, "{text}");
    }
}

/// A program of `scripts/setup` reads this; a line says where it is not there.
fn read_by(program: &str, arguments: &[&str], text: &str) -> Option<Output> {
    let tools = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools"));
    let paths = [tools.join("bin"), tools.join("prometheus-client/bin")];
    let own = std::env::var_os("PATH").unwrap_or_default();
    let paths = paths.into_iter().chain(std::env::split_paths(&own));
    let mut command = Command::new(program);
    command
        .env("PATH", std::env::join_paths(paths).unwrap())
        .args(arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut reader = match command.spawn() {
        Ok(reader) => reader,
        Err(error) => {
            let _ = writeln!(io::stderr(), "the metrics were not read by {program}: {error}");
            return None;
        }
    };
    // One that does not read to the end says why.
    let _ = reader.stdin.take().unwrap().write_all(text.as_bytes());
    Some(reader.wait_with_output().unwrap())
}

/// Prometheus' own tool finds nothing to complain of.
#[test]
fn promtool_has_no_complaint() {
    let (server, _token) = with_every_metric();
    let (_, text) = scrape(&server, &[]);
    if let Some(output) = read_by("promtool", &["check", "metrics"], &text) {
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}{text}");
    }
}

/// The names of metrics in a text.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let names = words.filter(|word| word.starts_with("xks_"));
    names.map(|name| name.strip_suffix("_bucket").unwrap_or(name)).collect()
}

/// The rules have each metric of the guide's table of alerts, and none that the guide does not list.
#[test]
fn the_rules_for_prometheus_are_those_of_the_guide() {
    let (guide, rules) = (
        include_str!("../../README.md"),
        include_str!("../../settings/alerts.yml"),
    );
    let (_, section) = guide.split_once("\n## Metrics\n").unwrap();
    let (listed, alerts) = section.split_once("\nAlerts, which").unwrap();
    let (alerts, _) = alerts.split_once("\n## ").unwrap();
    let (listed, alerts, ruled) = (metrics_in(listed), metrics_in(alerts), metrics_in(rules));
    assert!(alerts.len() > 15, "{alerts:?}");
    assert!(alerts.is_subset(&ruled), "{:?}", alerts.difference(&ruled));
    assert!(ruled.is_subset(&listed), "{:?}", ruled.difference(&listed));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/settings/alerts.yml");
    if let Some(output) = read_by("promtool", &["check", "rules", path], "") {
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        let count = rules.matches("- alert: ").count();
        assert!(
            output.status.success() && said.contains(&format!("{count} rules found")),
            "{said}"
        );
    }
}

/// Python's parsers, of which that of OpenMetrics is strict.
#[test]
fn independent_parsers_read_both_formats() {
    let (server, _token) = with_every_metric();
    for (accept, parser) in [
        ("Accept: text/plain", "prometheus_client.parser"),
        (
            "Accept: application/openmetrics-text",
            "prometheus_client.openmetrics.parser",
        ),
    ] {
        let (_, text) = scrape(&server, &[accept]);
        let script = "import importlib, importlib.util, sys
if not importlib.util.find_spec('prometheus_client'):
    sys.exit(77)
parser = importlib.import_module(sys.argv[1])
for family in parser.text_string_to_metric_families(sys.stdin.read()):
    for sample in family.samples:
        print(family.name, family.type, sample.name, sample.value)
";
        let Some(output) = read_by("python3", &["-c", script, parser], &text) else {
            continue;
        };
        if output.status.code() == Some(77) {
            let _ = writeln!(
                io::stderr(),
                "the metrics were not read by Python: no prometheus_client"
            );
            continue;
        }
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{}{text}",
            String::from_utf8_lossy(&output.stderr)
        );
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(said.lines().count(), samples.count(), "{said}");
        assert!(said.contains("xks_requests counter xks_requests_total 1"), "{said}");
    }
}
