//! Logs that were tampered with, in each way that there is.

use proptest::prelude::*;

use super::*;
use crate::{Chain, SignedHead, SigningKey};

/// A log of two files with five records each, and a signed head after each record.
struct Log {
    files: [Vec<String>; 2],
    heads: Vec<String>,
    key: SigningKey,
}

fn origin() -> Origin {
    Origin::new("example/node-a/1").unwrap()
}

fn log() -> Log {
    let (key, _) = SigningKey::generate(Origin::new("example/audit").unwrap()).unwrap();
    let mut chain = Chain::new(origin());
    let mut heads = Vec::new();
    let files = [0, 1].map(|file| {
        let mut lines = Vec::new();
        chain.begin_file(&mut lines);
        heads.push(chain.head(0).sign(&key).unwrap().to_string());
        for record in 1..5 {
            chain
                .append(&format!(r#"{{"file":{file},"record":{record}}}"#), &mut lines)
                .unwrap();
            heads.push(chain.head(record).sign(&key).unwrap().to_string());
        }
        String::from_utf8(lines).unwrap().lines().map(str::to_owned).collect()
    });
    Log { files, heads, key }
}

impl Log {
    /// With the heads of these numbers of records.
    fn verified(&self, heads: &[usize]) -> Report {
        let mut verifier = Verifier::new();
        for size in heads {
            let head = self.heads[size - 1].parse::<SignedHead>().unwrap();
            verifier.head(&format!("head {size}"), head.verified([self.key.verifying_key()]));
        }
        for (name, lines) in ["a", "b"].into_iter().zip(&self.files) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            verifier.file(name, text.as_bytes()).unwrap();
        }
        verifier.finish()
    }
}

fn kinds(report: &Report) -> Vec<(String, FaultKind)> {
    let faults = report.faults.iter();
    faults
        .map(|fault| (fault.place.to_string(), fault.kind.clone()))
        .collect()
}

#[test]
fn a_whole_log_is_whole_and_its_end_is_anchored_or_not() {
    let log = log();
    for (heads, anchored, unanchored) in [(&[][..], None, 10), (&[3, 7], Some(7), 3), (&[10], Some(10), 0)] {
        let report = log.verified(heads);
        assert!(report.is_whole(), "{report:?}");
        assert_eq!((report.anchored, report.unanchored), (anchored, unanchored));
        assert_eq!((report.records, report.size, report.first), (10, 10, Some(0)));
        assert_eq!(report.origin, Some(origin()));
    }
    assert!(
        log.verified(&[10])
            .to_string()
            .ends_with("10 records in 2 files, 0 faults; all of them anchored")
    );
}

#[test]
fn each_change_is_named_with_its_place() {
    type Change = fn(&mut Log);
    let changes: &[(Change, &str, FaultKind)] = &[
        (
            |log| log.files[0][2] = log.files[0][2].replace("record", "changed"),
            "a:4",
            FaultKind::Changed { seq: 2 },
        ),
        // The last one of a file.
        (
            |log| log.files[0][4] = log.files[0][4].replace("record", "changed"),
            "b:1",
            FaultKind::Changed { seq: 4 },
        ),
        (
            |log| drop(log.files[0].remove(2)),
            "a:3",
            FaultKind::Missing { from: 2, to: 2 },
        ),
        (
            |log| log.files[0].truncate(1),
            "b:1",
            FaultKind::Missing { from: 1, to: 4 },
        ),
        (
            |log| log.files[1].swap(2, 3),
            "b:3",
            FaultKind::Missing { from: 7, to: 7 },
        ),
        (
            |log| log.files[1].push(log.files[0][1].clone()),
            "b:6",
            FaultKind::Moved { seq: 1 },
        ),
        (|log| log.files[0][3] = "{}".to_owned(), "a:4", FaultKind::NotARecord),
        (|log| drop(log.files[1].remove(0)), "b:1", FaultKind::NoOrigin),
        (
            |log| drop(log.files[1].pop()),
            "head 10",
            FaultKind::Cut { size: 9, head: 10 },
        ),
        // The last one, which no other follows.
        (
            |log| log.files[1][4] = log.files[1][4].replace("record", "changed"),
            "head 10",
            FaultKind::HeadDiffers { size: 10 },
        ),
        (
            |log| log.heads[9] = log.heads[9].replace("time 4", "time 5"),
            "head 10",
            FaultKind::HeadNotSigned,
        ),
        (
            |log| drop(log.files[0].drain(..)),
            "b:1",
            FaultKind::Missing { from: 0, to: 4 },
        ),
    ];
    for (change, place, kind) in changes {
        let mut log = log();
        change(&mut log);
        let report = log.verified(&[10]);
        assert_eq!(
            kinds(&report).first(),
            Some(&((*place).to_owned(), kind.clone())),
            "{report:?}"
        );
        assert!(
            report.to_string().starts_with(&format!("{place}: {kind}\n")),
            "{report}"
        );
    }
}

/// From some record on, with links that fit: only heads show it.
#[test]
fn a_log_that_was_written_again_does_not_fit_its_heads() {
    let mut log = log();
    let mut chain = Chain::new(origin());
    for (file, lines) in log.files.iter_mut().enumerate() {
        let mut bytes = Vec::new();
        chain.begin_file(&mut bytes);
        for record in 1..5 {
            chain
                .append(&format!(r#"{{"file":{file},"forged":{record}}}"#), &mut bytes)
                .unwrap();
        }
        *lines = String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect();
    }
    assert!(log.verified(&[]).is_whole());
    let report = log.verified(&[1, 3]);
    assert_eq!(
        kinds(&report),
        [("head 3".to_owned(), FaultKind::HeadDiffers { size: 3 })]
    );
    assert_eq!((report.anchored, report.unanchored), (Some(1), 9));
}

/// By a signed head of the place where the rest begins.
#[test]
fn old_files_may_be_deleted_below_a_signed_head() {
    let mut log = log();
    log.files[0].clear();
    let report = log.verified(&[5]);
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(
        (report.first, report.records, report.size, report.unanchored),
        (Some(5), 5, 10, 5)
    );
    assert!(!log.verified(&[6]).is_whole());
}

#[test]
fn what_was_being_written_is_no_record_and_no_fault() {
    let log = log();
    let mut verifier = Verifier::new();
    let first = format!(
        "{}\n{}\n{}",
        log.files[0][0],
        log.files[0][1],
        log.files[0][2].split_at(20).0
    );
    verifier.file("a", first.as_bytes()).unwrap();
    let report = verifier.finish();
    assert!(report.is_whole() && report.torn == [Place::new("a", 3)], "{report:?}");
    assert_eq!(report.records, 2);
}

#[test]
fn logs_do_not_mix() {
    let log = log();
    let mut other = Chain::new(Origin::new("example/node-b/1").unwrap());
    let mut lines = Vec::new();
    other.begin_file(&mut lines);
    let mut verifier = Verifier::new();
    let head: SignedHead = log.heads[0].parse().unwrap();
    verifier.head("head", head.verified([log.key.verifying_key()]));
    verifier.file("b", &*lines).unwrap();
    let report = verifier.finish();
    let origin = other.origin().clone();
    assert_eq!(kinds(&report)[0], ("b:1".to_owned(), FaultKind::OfAnother { origin }));
}

/// More than memory shall hold for a line.
#[test]
fn a_line_without_end_is_no_record() {
    let log = log();
    let long = vec![b'x'; 3 << 20];
    let text = [
        log.files[0][0].as_bytes(),
        b"\n",
        &long,
        b"\n",
        log.files[0][1].as_bytes(),
        b"\n",
    ]
    .concat();
    let mut verifier = Verifier::new();
    verifier.file("a", &*text).unwrap();
    let report = verifier.finish();
    assert_eq!(kinds(&report), [("a:2".to_owned(), FaultKind::NotARecord)]);
    assert_eq!(report.records, 2);
}

proptest! {
    /// Whatever is done to one byte of an anchored log is found.
    #[test]
    fn no_byte_can_be_changed(file in 0..2_usize, line in 0..5_usize, at in any::<prop::sample::Index>(), to in b' '..=b'~') {
        let mut log = log();
        let text = &mut log.files[file][line];
        let at = at.index(text.len());
        prop_assume!(text.as_bytes()[at] != to);
        text.replace_range(at..=at, std::str::from_utf8(&[to]).unwrap());
        prop_assert!(!log.verified(&[10]).is_whole());
    }

    /// Nor can whatever is read make it fail.
    #[test]
    fn anything_can_be_read(bytes: Vec<u8>) {
        let mut verifier = Verifier::new();
        verifier.head("head", None);
        verifier.file("a", &*bytes).unwrap();
        let report = verifier.finish();
        prop_assert!(!report.is_whole());
    }
}
