//! `audit export`: the records of audit logs, in their order, for other programs: as the lines that they are,
//! or in ArcSight's Common Event Format.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

use anyhow::Context as _;
use serde_json::{Map, Value};
use xks_audit::{Line, Lines};

use super::folder::{Found, open};
use crate::program::Program;

/// What records are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// The lines as they are, which can be verified again
    Json,
    /// Common Event Format, version 0
    Cef,
}

/// Writes all records to standard output: log by log, and of each log from its first record on.
pub(super) fn export(found: Found, format: Format, program: Program) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut left_out = 0_u64;
    for path in found.into_paths() {
        let exported = file(&path, format, program, &mut out);
        left_out += exported.with_context(|| format!("cannot export {}", path.display()))?;
    }
    out.flush().context("cannot write to standard output")?;
    anyhow::ensure!(
        left_out == 0,
        "{left_out} lines are left out, since they are no records: `audit verify` names them"
    );
    Ok(())
}

/// Writes the records of a file, and returns how many lines are none. What was being written when the machine
/// stopped is neither.
fn file(path: &Path, format: Format, program: Program, out: &mut impl Write) -> io::Result<u64> {
    let (mut lines, mut left_out) = (Lines::new(open(path)?), 0);
    while let Some(line) = lines.read()? {
        let line = match line {
            Line::Whole(line) => line,
            Line::Torn => break,
            _ => b"",
        };
        let (Ok(text), Ok(record)) = (std::str::from_utf8(line), serde_json::from_slice(line)) else {
            left_out += 1;
            continue;
        };
        match format {
            Format::Json => writeln!(out, "{text}")?,
            Format::Cef => writeln!(out, "{}", cef(text, &record, program))?,
        }
    }
    Ok(left_out)
}

/// A record in the Common Event Format. All of it is in `cs1`; the other fields are those that such programs
/// look for.
fn cef(text: &str, record: &Map<String, Value>, program: Program) -> String {
    let member = |names: &[&str]| names.iter().find_map(|name| record.get(*name)?.as_str());
    let act = member(&["operation", "command", "audit"]).unwrap_or("request");
    let outcome = member(&["outcome"]).unwrap_or_else(|| match member(&["level"]) {
        Some("WARN") => "refused",
        Some("ERROR") => "failed",
        _ => "done",
    });
    let severity = match outcome {
        "failed" => 8,
        "refused" => 5,
        // Records that could not be written.
        _ if act == "lost" => 8,
        _ => 3,
    };
    let mut line = format!(
        "CEF:0|{0}|{0}|{1}|{2}|{2} {3}|{severity}|",
        in_header(program.name),
        in_header(program.version),
        in_header(act),
        in_header(outcome),
    );
    let seq = record.get("seq").and_then(Value::as_u64).map(|seq| seq.to_string());
    let time = member(&["timestamp"]).and_then(time);
    let fields = [
        ("rt", time.as_deref()),
        ("externalId", seq.as_deref()),
        ("act", Some(act)),
        ("outcome", Some(outcome)),
        ("suser", member(&["actor", "principal"])),
        ("request", member(&["object", "path"])),
        ("reason", member(&["reason", "error"])),
        ("cs1Label", Some("record")),
        ("cs1", Some(text)),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            let before = if line.ends_with('|') { "" } else { " " };
            line.extend([before, name, "=", &in_field(value)]);
        }
    }
    line
}

/// Backslashes and vertical bars are escaped; an end of line would end the record.
fn in_header(text: &str) -> String {
    text.replace('\\', r"\\").replace('|', r"\|").replace(['\n', '\r'], " ")
}

/// Backslashes, equals signs and ends of lines are escaped.
fn in_field(text: &str) -> String {
    let text = text.replace('\\', r"\\").replace('=', r"\=");
    text.replace('\n', r"\n").replace('\r', r"\r")
}

/// A time of RFC 3339 in UTC, as `MMM dd yyyy HH:mm:ss.SSS zzz`; none if it is another text.
fn time(text: &str) -> Option<String> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let mut parts = date.splitn(3, '-');
    let (year, month, day) = (parts.next()?, parts.next()?.parse::<usize>().ok()?, parts.next()?);
    let month = MONTHS.get(month.checked_sub(1)?)?;
    let (seconds, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let milliseconds: String = fraction.chars().chain("000".chars()).take(3).collect();
    Some(format!("{month} {day} {year} {seconds}.{milliseconds} UTC"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let program = Program {
            name: "a|b",
            version: "1.0",
        };
        cef(text, &serde_json::from_str(text).unwrap(), program)
    }

    /// What a client has sent adds no field and no line.
    #[test]
    fn what_would_end_a_field_is_escaped() {
        let text = r#"{"seq":7,"timestamp":"2026-11-30T12:34:56.789012Z","level":"WARN","operation":"De|crypt","principal":"a=b\\c\nd suser=root"}"#;
        assert_eq!(
            shown(text),
            r#"CEF:0|a\|b|a\|b|1.0|De\|crypt|De\|crypt refused|5|rt=Nov 30 2026 12:34:56.789 UTC externalId=7 "#
                .to_owned()
                + r#"act=De|crypt outcome=refused suser=a\=b\\c\nd suser\=root cs1Label=record cs1="#
                + r#"{"seq":7,"timestamp":"2026-11-30T12:34:56.789012Z","level":"WARN","operation":"De|crypt","#
                + r#""principal":"a\=b\\\\c\\nd suser\=root"}"#
        );
    }

    #[test]
    fn each_kind_of_record_has_its_severity() {
        for (text, header) in [
            (
                r#"{"seq":0,"audit":"opened"}"#,
                "|opened|opened done|3|externalId=0 act=opened",
            ),
            (r#"{"audit":"lost","records":3}"#, "|lost|lost done|8|act=lost"),
            (
                r#"{"command":"create","outcome":"failed"}"#,
                "|create|create failed|8|act=create",
            ),
            (
                r#"{"path":"/x","timestamp":"now"}"#,
                "|request|request done|3|act=request outcome=done request=/x",
            ),
        ] {
            assert!(shown(text).contains(header), "{}", shown(text));
        }
        assert_eq!(time("2026-01-02T03:04:05Z").unwrap(), "Jan 02 2026 03:04:05.000 UTC");
        for wrong in [
            "",
            "Z",
            "2026-13-02T03:04:05Z",
            "2026-00-02T03:04:05Z",
            "2026-01-02 03:04:05",
        ] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
    }
}
