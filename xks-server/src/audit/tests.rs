//! The writer on a real disk, with all that may happen to its files, and its folder verified.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use xks_audit::{Origin, Report, SigningKey};

use super::{
    folder::Found,
    heads::Heads,
    queue::{Batch, Queue},
    writer::Writer,
};
use crate::settings::{AuditSettings, Durability};

/// A folder that is deleted at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("xks-server-audit-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn settings(&self) -> AuditSettings {
        AuditSettings {
            directory: self.0.clone(),
            name: name(),
            max_file_bytes: 1 << 20,
            keep: None,
            durability: Durability::Batched,
            heads: None,
        }
    }

    /// Writes a log without heads.
    fn writer(&self) -> Writer {
        Writer::open(self.settings(), None, &Queue::default()).unwrap()
    }

    fn names(&self, end: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<_> = entries.filter(|path| path.to_str().unwrap().ends_with(end)).collect();
        names.sort_unstable();
        names
    }

    fn verified(&self, key: Option<&SigningKey>) -> Vec<Report> {
        let mut found = Found::new(key.map(|key| key.verifying_key().clone()).into_iter().collect());
        found.take(&self.0).unwrap();
        found.verify().unwrap().reports
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn name() -> Origin {
    Origin::new("example/node-a").unwrap()
}

fn key() -> (SigningKey, SigningKey) {
    let (key, document) = SigningKey::generate(name()).unwrap();
    (SigningKey::from_pkcs8(name(), &document).unwrap(), key)
}

fn heads(folder: &Path, key: SigningKey) -> Option<Heads> {
    Some(Heads::new(key, name(), folder.to_owned(), Duration::from_secs(3600)).unwrap())
}

fn batch(records: &[&str]) -> Batch {
    Batch {
        records: records
            .iter()
            .flat_map(|record| format!("{record}\n").into_bytes())
            .collect(),
        ..Batch::default()
    }
}

/// Writes each record as a batch of its own, and signs at the end.
fn write(writer: &mut Writer, records: &[&str]) {
    let queue = Queue::default();
    for record in records {
        writer.write(&batch(&[record]), &queue);
    }
    writer.sign();
    assert_eq!(queue.lost(), 0);
}

fn faults(reports: &[Report]) -> Vec<&'static str> {
    let faults = reports.iter().flat_map(|report| &report.faults);
    faults.map(|fault| fault.kind.as_str()).collect()
}

const RECORDS: [&str; 3] = [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#];

fn compress(path: &Path) {
    let mut gz = GzEncoder::new(Vec::new(), Compression::default());
    gz.write_all(&fs::read(path).unwrap()).unwrap();
    fs::write(format!("{}.gz", path.display()), gz.finish().unwrap()).unwrap();
    fs::remove_file(path).unwrap();
}

#[test]
fn logs_of_several_starts_are_one_chain() {
    let folder = Folder::new();
    let (of_writer, key) = key();
    let mut of_writer = Some(of_writer);
    for _ in 0..3 {
        let heads = of_writer.take().and_then(|key| heads(&folder.0, key));
        let mut writer = Writer::open(folder.settings(), heads, &Queue::default()).unwrap();
        write(&mut writer, &RECORDS);
    }
    let files = folder.names(".jsonl");
    assert_eq!(files.len(), 3, "{files:?}");
    let text = fs::read_to_string(&files[2]).unwrap();
    assert!(text.lines().nth(1).unwrap().contains(r#""audit":"follows""#), "{text}");
    // As another program does with old files; and one that was being written when the machine stopped.
    compress(&files[0]);
    let torn = fs::OpenOptions::new().append(true).open(&files[2]);
    torn.unwrap().write_all(br#"{"seq":5,"pre"#).unwrap();
    let reports = folder.verified(Some(&key));
    assert_eq!(faults(&reports), Vec::<&str>::new());
    let records: Vec<_> = reports
        .iter()
        .map(|report| (report.records, report.unanchored))
        .collect();
    assert_eq!(records, [(4, 0), (5, 5), (5, 5)]);
    assert_eq!(reports[2].torn.len(), 1);

    // A whole log that is not there any more, and one whose end was cut off.
    let middle = fs::read_to_string(&files[1]).unwrap();
    fs::remove_file(&files[1]).unwrap();
    assert_eq!(faults(&folder.verified(Some(&key))), ["cut"]);
    fs::write(
        &files[1],
        middle.trim_end().rsplit_once('\n').unwrap().0.to_owned() + "\n",
    )
    .unwrap();
    assert_eq!(faults(&folder.verified(Some(&key))), ["cut"]);
    fs::write(&files[1], middle.replacen(r#""n":3"#, r#""n":4"#, 1)).unwrap();
    assert_eq!(faults(&folder.verified(Some(&key))), ["head-differs"]);
    fs::write(
        &files[1],
        middle.replacen(r#""audit":"opened""#, r#""audit":"Opened""#, 1),
    )
    .unwrap();
    assert!(faults(&folder.verified(Some(&key))).contains(&"no-origin"));
}

/// A signed head of the last log vouches for the former ones too.
#[test]
fn a_head_anchors_the_logs_before() {
    let folder = Folder::new();
    let (of_writer, key) = key();
    write(&mut folder.writer(), &RECORDS);
    write(&mut folder.writer(), &RECORDS);
    write(
        &mut Writer::open(folder.settings(), heads(&folder.0, of_writer), &Queue::default()).unwrap(),
        &RECORDS,
    );
    let anchored: Vec<_> = folder
        .verified(Some(&key))
        .iter()
        .map(|report| report.unanchored)
        .collect();
    assert_eq!(anchored, [0, 0, 0]);
}

#[test]
fn files_change_with_their_length_and_old_ones_go() {
    let folder = Folder::new();
    let (of_writer, key) = key();
    let settings = AuditSettings {
        max_file_bytes: 1,
        keep: Some(3),
        ..folder.settings()
    };
    write(
        &mut Writer::open(settings.clone(), None, &Queue::default()).unwrap(),
        &RECORDS,
    );
    let mut writer = Writer::open(settings, heads(&folder.0, of_writer), &Queue::default()).unwrap();
    write(&mut writer, &RECORDS);
    write(&mut writer, &RECORDS);
    assert_eq!(folder.names(".jsonl").len(), 3);
    let reports = folder.verified(Some(&key));
    // What the log says it has deleted itself is not missing.
    assert_eq!((faults(&reports), reports.len()), (vec![], 1), "{reports:?}");
    assert!(reports[0].first > Some(0) && reports[0].unanchored == 0, "{reports:?}");
    // What somebody else has deleted is.
    fs::remove_file(&folder.names(".jsonl")[1]).unwrap();
    assert_eq!(faults(&folder.verified(Some(&key)))[0], "missing");
}

#[test]
fn a_file_that_was_moved_or_deleted_is_followed_by_another() {
    let folder = Folder::new();
    let mut writer = folder.writer();
    write(&mut writer, &RECORDS);
    let moved = folder.0.join("moved.jsonl.1");
    fs::rename(writer.path(), &moved).unwrap();
    write(&mut writer, &RECORDS);
    assert_eq!(folder.names(".jsonl").len(), 1);
    assert_eq!(faults(&folder.verified(None)), Vec::<&str>::new());
    fs::remove_file(writer.path()).unwrap();
    write(&mut writer, &RECORDS);
    // With the file its records are gone, and that shows.
    assert_eq!(faults(&folder.verified(None)), ["missing"]);
}

/// Nor does a start fail where the end of the last log cannot be read: it follows the one before, and says
/// so.
#[test]
fn a_file_that_cannot_be_read_is_no_obstacle() {
    let folder = Folder::new();
    write(&mut folder.writer(), &RECORDS);
    write(&mut folder.writer(), &RECORDS);
    let files = folder.names(".jsonl");
    compress(&files[1]);
    let packed = format!("{}.gz", files[1].display());
    let bytes = fs::read(&packed).unwrap();
    fs::write(&packed, &bytes[..bytes.len() - 9]).unwrap();
    let mut writer = folder.writer();
    write(&mut writer, &RECORDS);
    let text = fs::read_to_string(writer.path()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let first = files[0]
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .split('.')
        .nth(1)
        .unwrap();
    assert!(
        lines[1].contains(&format!(r#""follows","origin":"example/node-a/{first}""#)),
        "{text}"
    );
    assert!(
        lines[2].contains("cannot read") && lines[2].contains(&*packed),
        "{text}"
    );
}

/// The next file of the log cannot be made, since something has its name already.
#[test]
fn a_name_that_is_taken_begins_another_log() {
    let folder = Folder::new();
    let mut writer = folder.writer();
    write(&mut writer, &RECORDS);
    let name = writer
        .path()
        .to_str()
        .unwrap()
        .replace(".000000000000.", ".000000000004.");
    fs::create_dir(name).unwrap();
    fs::rename(writer.path(), folder.0.join("moved.jsonl.1")).unwrap();
    write(&mut writer, &RECORDS);
    let reports = folder.verified(None);
    assert_eq!(faults(&reports), Vec::<&str>::new());
    // `opened` and three; `opened`, `follows`, the reason and three.
    let records: Vec<_> = reports.iter().map(|report| report.records).collect();
    assert_eq!(records, [4, 6]);
}

/// A full disk, and one that takes what it does not keep.
#[test]
fn what_cannot_be_written_begins_another_log() {
    for device in ["/dev/full", "/dev/null"] {
        let folder = Folder::new();
        let mut writer = folder.writer();
        write(&mut writer, &RECORDS);
        writer.write_to(File::options().append(true).open(device).unwrap(), Path::new(device));
        write(&mut writer, &RECORDS);
        let reports = folder.verified(None);
        assert_eq!(faults(&reports), Vec::<&str>::new(), "{device}");
        let records: Vec<_> = reports.iter().map(|report| report.records).collect();
        assert_eq!(records, [4, 6], "{device}");
        let text = fs::read_to_string(writer.path()).unwrap();
        assert!(text.lines().nth(2).unwrap().contains("audit_trouble"), "{text}");
    }
}

/// A file whose disk does not answer holds up the writer alone.
#[test]
fn a_file_that_hangs_delays_no_request() {
    let folder = Folder::new();
    let mut writer = folder.writer();
    let (mut reader, pipe) = io::pipe().unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}", reader.as_raw_fd()));
    writer.write_to(File::from(OwnedFd::from(pipe)), &path);
    let queue = Queue::default();
    let of_thread = queue.clone();
    let thread = thread::spawn(move || writer.run(&of_thread));
    let long = format!(r#"{{"long":"{}"}}"#, "x".repeat(1 << 17));
    queue.push(long.as_bytes());
    // It has begun, and cannot end, since nothing reads.
    reader.read_exact(&mut [0]).unwrap();
    RECORDS.iter().for_each(|record| queue.push(record.as_bytes()));
    assert!(!thread.is_finished());
    drop(reader);
    queue.close();
    thread.join().unwrap();
    assert_eq!(queue.lost(), 0);
    let reports = folder.verified(None);
    assert_eq!(faults(&reports), Vec::<&str>::new());
    // Its first record, those that say why another log was begun, and four.
    let records: Vec<_> = reports.iter().map(|report| report.records).collect();
    assert_eq!(records, [1, 7]);
}

/// The last ones are lost where there is no disk at the end either, and that is counted.
#[test]
fn lost_records_are_counted_and_said() {
    let folder = Folder::new();
    let mut writer = folder.writer();
    let queue = Queue::default();
    writer.write(
        &Batch {
            lost: 2,
            ..batch(&["no record", RECORDS[0]])
        },
        &queue,
    );
    let reports = folder.verified(None);
    assert!(reports[0].is_whole() && reports[0].lost == 3, "{reports:?}");
    // The queue has counted the others.
    assert_eq!(queue.lost(), 1);
    fs::remove_dir_all(&folder.0).unwrap();
    fs::write(&folder.0, "a file in its place").unwrap();
    queue.close();
    writer.write(&batch(&RECORDS), &queue);
    assert_eq!(queue.lost(), 4);
    fs::remove_file(&folder.0).unwrap();
}
