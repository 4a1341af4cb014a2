//! Files of audit logs, and of their heads.

use sha2::{Digest as _, Sha256};
use xks_audit::{SignedHead, Verifier};

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuditFile {
    /// Has no fault.
    Whole,
    /// Is no log, or one with faults.
    Broken,
    /// Has heads.
    Heads,
}

/// A log is whole by its verifier if it is by the rules, written once more; heads come back from their texts.
pub fn audit(input: &[u8]) -> AuditFile {
    let mut verifier = Verifier::new();
    verifier.file("file", input).expect("memory can be read");
    let report = verifier.finish();
    assert_eq!(report.is_whole(), is_whole(input), "{report:?}");
    assert_eq!(report.unanchored, report.size - report.first.unwrap_or(0), "{report:?}");

    let (mut file, mut has_heads) = (input, false);
    while let Some(head) = SignedHead::read(&mut file).expect("memory can be read") {
        let Ok(head) = head else { continue };
        let text = head.to_string();
        assert_eq!(text.parse().as_ref(), Ok(&head));
        assert!(
            input.windows(text.len()).any(|window| window == text.as_bytes()),
            "a head has one form: {text}"
        );
        assert_eq!(head.verified([]), None);
        has_heads = true;
    }
    match (has_heads, report.is_whole()) {
        (true, _) => AuditFile::Heads,
        (false, true) => AuditFile::Whole,
        (false, false) => AuditFile::Broken,
    }
}

/// The rules, for a log in one file: each line has its number and the hash of the line before, and the first
/// one names the log. What is behind the last end of a line is no line.
fn is_whole(file: &[u8]) -> bool {
    let mut prev = "0".repeat(64);
    let mut lines: Vec<_> = file.split(|byte| *byte == b'\n').collect();
    lines.pop();
    lines.iter().enumerate().all(|(seq, line)| {
        let begin = format!(r#"{{"seq":{seq},"prev":"{prev}""#);
        prev = Sha256::digest(line).iter().map(|byte| format!("{byte:02x}")).collect();
        let Some(rest) = line.strip_prefix(begin.as_bytes()) else {
            return false;
        };
        rest.ends_with(b"}") && (seq > 0 || names_a_log(rest))
    })
}

fn names_a_log(members: &[u8]) -> bool {
    [
        &br#","audit":"opened","origin":""#[..],
        br#","audit":"continued","origin":""#,
    ]
    .iter()
    .any(|begin| {
        let origin = members.strip_prefix(*begin);
        let origin = origin.and_then(|rest| rest.strip_suffix(br#"","version":1}"#));
        origin.is_some_and(|origin| {
            (1..=256).contains(&origin.len())
                && origin
                    .iter()
                    .all(|byte| byte.is_ascii_graphic() && !b"+\"\\".contains(byte))
        })
    })
}
