//! Log files: rotation, files that are moved or cannot be written, and the number that is kept.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Clock, Server, Settings, ended, fetch, program, run, wait_until, without_our_variables};

/// Noon of a day long after this test was written, 2033-03-01, in seconds since 1970; and a day.
const NOON: i64 = 1_993_291_200;
const DAY: i64 = 24 * 60 * 60;

/// Settings whose log goes to the folder `logs`, in JSON, with these keys of `[log.file]`.
fn with_files(keys: &str) -> Settings {
    Settings::new().metrics().tables(&format!(
        "[log]\nformat = \"json\"\n[log.file]\ndirectory = \"logs\"\nprefix = \"xks\"\n{keys}"
    ))
}

/// Has the server log a line that says this: that of a request for a path of this name.
fn say(server: &Server, mark: &str) {
    assert_eq!(fetch(&format!("{}/{mark}", server.url()), &[]).0, 404);
}

/// Waits until a file holds a whole line of JSON with this mark.
fn wait_for(path: &Path, mark: &str) {
    let path_of_mark = format!("/{mark}");
    wait_until(&format!("{mark} in {}", path.display()), || {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .any(|line| line["path"] == *path_of_mark)
    });
}

/// Starts the server by this clock.
fn start_by(clock: &Clock, settings: &Settings) -> Server {
    let mut command = program();
    clock.rule(&mut command);
    Server::start_by(command.arg("--config").arg(settings.write()))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names
}

/// The lines, each of which an output writes with a time of its own.
fn without_times(text: &str) -> Vec<&str> {
    let rest = |line| str::split_once(line, ',').unwrap().1;
    text.lines().map(rest).collect()
}

fn lost_lines(server: &Server) -> f64 {
    server.metrics().value("xks_log_lines_lost_total", &[])
}

/// LOG-2: the same lines go to files, whose names say from when they are, and nothing is lost at the end.
#[test]
fn files_have_the_same_lines() {
    for (rotation, date) in [
        ("minutely", "dddd-dd-dd-dd-dd"),
        ("hourly", "dddd-dd-dd-dd"),
        ("daily", "dddd-dd-dd"),
        ("never", ""),
    ] {
        let settings = with_files(&format!("rotation = \"{rotation}\""));
        let server = Server::start(&settings);
        ["one", "two", "three"].iter().for_each(|mark| say(&server, mark));
        let (status, log) = server.stop();
        assert!(status.success(), "{log}");
        let logs = settings.file("logs");
        let mut text = String::new();
        for name in names(&logs) {
            let form: String = name.chars().map(|c| if c.is_ascii_digit() { 'd' } else { c }).collect();
            assert_eq!(
                form,
                if date.is_empty() {
                    "xks".into()
                } else {
                    format!("xks.{date}")
                }
            );
            let path = logs.join(name);
            // Records name principals: not every user may read them.
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0, "{path:?}");
            text += &fs::read_to_string(path).unwrap();
        }
        assert_eq!(without_times(&text), without_times(&log), "{rotation}");
        assert_eq!(text.matches("xks::audit").count(), 3, "{text}");
    }
}

/// `keep` is how many files there are, the present one among them, after each start.
#[test]
fn a_restart_keeps_as_many_files_as_were_asked_for() {
    let clock = Clock::new(NOON);
    let settings = with_files("keep = 3");
    let logs = settings.file("logs");
    fs::create_dir(&logs).unwrap();
    for day in 1..=5 {
        fs::write(logs.join(format!("xks.2020-01-0{day}")), "old\n").unwrap();
    }
    for start in 1..=3 {
        let server = start_by(&clock, &settings);
        say(&server, "mark");
        assert!(server.stop().0.success());
        let names = names(&logs);
        assert_eq!(names.len(), 3, "{names:?}");
        assert_eq!(names[..2], ["xks.2020-01-04", "xks.2020-01-05"]);
        // LOG-2: nor does it take anything from the file that is being written.
        let present = fs::read_to_string(logs.join(&names[2])).unwrap();
        assert_eq!(present.matches("xks::audit").count(), start, "{present}");
    }
}

/// A file whose name only begins like that of a log file stays.
#[test]
fn only_own_files_are_deleted() {
    let (daily, hourly, minutely) = ("xks.2020-02-29", "xks.2020-02-29-23", "xks.2020-02-29-23-59");
    for (rotation, own) in [
        ("daily", daily),
        ("hourly", hourly),
        ("minutely", minutely),
        ("never", "xks"),
    ] {
        let settings = with_files(&format!("rotation = \"{rotation}\"\nkeep = 2"));
        let logs = settings.file("logs");
        fs::create_dir(&logs).unwrap();
        let mut others: Vec<String> = [
            "xks.pem",
            "xks-notes.txt",
            "xks.2020-01-01.gz",
            "xks.2020-01-01.1",
            "xks.2020-01-01-",
            "xks.2020-01-01T00",
            "xks.2020-1-1",
            "xks.2020-13-01",
            "xks.2021-02-29",
            "xks.2020-01-32",
            "xks.2020-01-00",
            "xks.2020-01-01-24",
            "xks.2020-01-01-00-60",
            "xks.20200101",
            "xks.+020-01-01",
            "xks.2020_01_01",
            "xks..2020-01-01",
            "xks2020-01-01",
            "xks-2020-01-01",
            "xks-b.2020-01-01",
            "xks-b.2020-01-01-01",
            "xks-b.2020-01-01-01-01",
            "my-xks.2020-01-01",
            "XKS.2020-01-01",
        ]
        .map(str::to_owned)
        .into();
        let foreign_dates = [daily, hourly, minutely].into_iter().filter(|name| *name != own);
        others.extend(foreign_dates.map(str::to_owned));
        for name in &others {
            fs::write(logs.join(name), "somebody's\n").unwrap();
        }
        // As long as an own name, and no file.
        let shape = |year: &str| own.replace("2020", year);
        if rotation != "never" {
            fs::create_dir(logs.join(shape("2016"))).unwrap();
            symlink(logs.join("xks.pem"), logs.join(shape("2012"))).unwrap();
            others.extend([shape("2016"), shape("2012")]);
            for year in ["2000", "2004", "2008", "2020"] {
                fs::write(logs.join(shape(year)), "old\n").unwrap();
            }
        }
        let server = Server::start(&settings);
        say(&server, "mark");
        let (status, log) = server.stop();
        assert!(status.success(), "{log}");
        let mut left = names(&logs);
        left.retain(|name| !others.contains(name));
        assert_eq!(
            names(&logs).len(),
            others.len() + left.len(),
            "{rotation}: one of others is gone"
        );
        if rotation == "never" {
            assert_eq!(left, ["xks"]);
        } else {
            assert_eq!(left.len(), 2, "{rotation}: {left:?}");
            assert_eq!(left[0], own, "{rotation}: the newest one stays");
        }
    }
}

/// What rotates files by itself renames or deletes them; the next lines are in a new one. SIGHUP has it made
/// at once, and even without that nothing goes to the former one.
#[test]
fn a_file_that_was_moved_is_made_again() {
    for rotation in ["never", "daily"] {
        let settings = with_files(&format!("rotation = \"{rotation}\""));
        let server = Server::start(&settings);
        let logs = settings.file("logs");
        say(&server, "first");
        let path = logs.join(&names(&logs)[0]);
        wait_for(&path, "first");
        let moved = logs.join("moved");

        fs::rename(&path, &moved).unwrap();
        server.process.signal(Signal::HUP);
        wait_until("a new file", || path.exists());
        say(&server, "second");
        wait_for(&path, "second");

        fs::rename(&path, &moved).unwrap();
        say(&server, "third");
        wait_for(&path, "third");

        // Another file in its place, as `create` of logrotate makes it.
        fs::rename(&path, &moved).unwrap();
        fs::write(&path, "").unwrap();
        say(&server, "fourth");
        wait_for(&path, "fourth");
        assert!(!fs::read_to_string(&moved).unwrap().contains("/fourth"));

        // Emptied where it is, as `copytruncate` does.
        fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        say(&server, "fifth");
        wait_for(&path, "fifth");
        assert!(
            fs::read_to_string(&path).unwrap().starts_with('{'),
            "no gap at the beginning"
        );

        // The folder too.
        fs::remove_dir_all(&logs).unwrap();
        say(&server, "sixth");
        wait_for(&path, "sixth");
        assert_eq!(lost_lines(&server), 0.0);
    }
}

/// A clock that jumps ahead and comes back: each line is in the file of its day, and no file goes for that.
#[test]
fn a_clock_that_jumps_stops_nothing() {
    let clock = Clock::new(NOON);
    let settings = with_files("keep = 3");
    let logs = settings.file("logs");
    let server = start_by(&clock, &settings);
    let mut days: Vec<String> = Vec::new();
    for (mark, at, day) in [
        ("first", 0, "2033-03-01"),
        ("ahead", 400, "2034-04-05"),
        ("back", 0, "2033-03-01"),
        ("second", 1, "2033-03-02"),
        ("third", 2, "2033-03-03"),
        ("before", -1, "2033-02-28"),
        ("third-once-more", 2, "2033-03-03"),
    ] {
        clock.set(NOON + at * DAY);
        say(&server, mark);
        wait_for(&logs.join(format!("xks.{day}")), mark);
        days.push(format!("xks.{day}"));
    }
    days.sort_unstable();
    days.dedup();
    // Three that are not of the future, of which the oldest had to go when the clock came back to the third
    // day.
    days.retain(|day| day != "xks.2033-02-28");
    wait_until("the oldest is gone", || names(&logs) == days);
    assert_eq!(lost_lines(&server), 0.0);
    assert!(server.stop().0.success());
}

/// Rotation deletes what is older than `keep` files, but never what another instance has open.
#[test]
fn days_that_go_by_take_old_files_with_them() {
    let clock = Clock::new(NOON);
    let settings = with_files("keep = 2");
    let logs = settings.file("logs");
    let quiet = start_by(&clock, &settings);
    say(&quiet, "quiet");
    wait_for(&logs.join("xks.2033-03-01"), "quiet");

    // Two of one name: a warning, and both write whole lines.
    let busy = start_by(&clock, &settings);
    busy.process.log.wait_for("another process writes to this log file");
    say(&busy, "busy");
    wait_for(&logs.join("xks.2033-03-01"), "busy");
    for day in 1..=4 {
        clock.set(NOON + day * DAY);
        say(&busy, "busy");
        wait_for(&logs.join(format!("xks.2033-03-0{}", day + 1)), "busy");
    }
    let expected = ["xks.2033-03-01", "xks.2033-03-04", "xks.2033-03-05"];
    wait_until("days 2 and 3 are gone, day 1 is not", || names(&logs) == expected);

    drop(quiet);
    clock.set(NOON + 5 * DAY);
    say(&busy, "busy");
    wait_until("two are left", || names(&logs) == ["xks.2033-03-05", "xks.2033-03-06"]);
    assert_eq!(lost_lines(&busy), 0.0);
}

/// LOG-2: when a disk is full, what is lost is counted to the line, and when there is room again, the next
/// record begins on a line of its own. So it does after a crash in the middle of a line.
#[test]
fn a_full_disk_tears_one_line_and_no_other() {
    let settings = with_files("rotation = \"never\"");
    let path = settings.file("logs").join("xks");
    fs::create_dir(settings.file("logs")).unwrap();
    fs::write(&path, "{\"torn\": ").unwrap();
    let mut command = Command::new("sh");
    without_our_variables(&mut command);
    // Files of 8 KiB at the most, of which the system keeps what fits.
    let script = "trap '' XFSZ; ulimit -f 16; exec \"$0\" --config \"$1\"";
    let server = Server::start_by(
        command
            .args(["-c", script, env!("CARGO_BIN_EXE_xks-proxy")])
            .arg(settings.write()),
    );
    say(&server, "first");
    wait_for(&path, "first");
    let mut number = 0;
    wait_until("the file is full", || {
        number += 1;
        say(&server, &format!("mark-{number}"));
        lost_lines(&server) > 0.0
    });
    let count = |text: &str| {
        let lines = text.lines();
        lines.filter(|line| serde_json::from_str::<Value>(line).is_ok()).count()
    };
    wait_until("each line is in the file or counted", || {
        let in_file = count(&fs::read_to_string(&path).unwrap()) as f64;
        in_file + lost_lines(&server) == count(&server.process.log.text()) as f64
    });
    let trouble = server.process.log.wait_for("log lines are lost");
    assert_eq!(trouble.matches("log lines are lost").count(), 1, "{trouble}");

    // Room, in the middle of a line.
    let text = fs::read_to_string(&path).unwrap();
    let torn = &text.lines().nth(1).unwrap()[..20];
    let end = text.find(torn).unwrap() + torn.len();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(end as u64).unwrap();
    say(&server, "after");
    wait_for(&path, "after");
    server.process.log.wait_for("the log is being written again");
    let text = fs::read_to_string(&path).unwrap();
    let broken: Vec<_> = text.lines().filter(|line| count(line) == 0).collect();
    assert_eq!(broken, ["{\"torn\": ", torn], "{text}");
}

/// LOG-2: the same where standard error is a file.
#[test]
fn a_full_disk_under_standard_error_tears_one_line_and_no_other() {
    let settings = Settings::new().metrics().tables("[log]\nformat = \"json\"");
    let path = settings.folder.write("stderr", "");
    let mut command = Command::new("sh");
    without_our_variables(&mut command);
    // Files of 8 KiB at the most, of which the system keeps what fits.
    let script = "trap '' XFSZ; ulimit -f 16; exec \"$0\" --config \"$1\" 2>>\"$2\"";
    let server = Server::start_by(
        command
            .args(["-c", script, env!("CARGO_BIN_EXE_xks-proxy")])
            .arg(settings.write())
            .arg(&path),
    );
    let mut number = 0;
    wait_until("the file is full", || {
        number += 1;
        say(&server, &format!("mark-{number}"));
        lost_lines(&server) > 0.0
    });
    // Room, in the middle of a line; at the end of one if the file happened to be full just there.
    let text = fs::read_to_string(&path).unwrap();
    let last = text.lines().last().unwrap();
    let torn = if text.ends_with('\n') {
        ""
    } else {
        &text.lines().next().unwrap()[..20]
    };
    assert!(
        torn.is_empty() || serde_json::from_str::<Value>(last).is_err(),
        "{text}"
    );
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(torn.len() as u64).unwrap();
    say(&server, "after");
    wait_for(&path, "after");
    let text = fs::read_to_string(&path).unwrap();
    let mut lines = text.lines();
    assert!(torn.is_empty() || lines.next() == Some(torn), "{text}");
    lines.for_each(|line| assert!(serde_json::from_str::<Value>(line).is_ok(), "{text}"));
}

/// A reader of standard error that hangs, and a disk that was full: the files go on.
#[test]
fn one_output_does_not_hold_up_another() {
    let settings = with_files("rotation = \"never\"");
    let path = settings.file("logs").join("xks");
    let pipe = settings.file("pipe");
    run(Command::new("mkfifo").arg(&pipe));
    // Open, and never read. The system keeps 64 KiB of what is written.
    let reader = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let mut command = Command::new("sh");
    without_our_variables(&mut command);
    let script = "exec \"$0\" --config \"$1\" 2>\"$2\"";
    let server = Server::start_by(
        command
            .args(["-c", script, env!("CARGO_BIN_EXE_xks-proxy")])
            .arg(settings.write())
            .arg(&pipe),
    );
    // Much more than the pipe takes.
    let long = "x".repeat(1000);
    for number in 0..200 {
        say(&server, &format!("{long}-{number}"));
    }
    say(&server, "first");
    wait_for(&path, "first");

    let full = settings.file("full");
    symlink("/dev/full", &full).unwrap();
    fs::rename(&full, &path).unwrap();
    say(&server, "second");
    wait_until("lines are lost", || lost_lines(&server) > 0.0);
    fs::remove_file(&path).unwrap();
    say(&server, "third");
    wait_for(&path, "third");
    wait_until("it is said", || {
        fs::read_to_string(&path)
            .unwrap()
            .contains("the log is being written again")
    });
    drop(reader);
}

/// Without standard error as an output of the log, what is wrong with the files stands there all the same.
#[test]
fn trouble_with_files_is_told_elsewhere() {
    let mut settings = with_files("rotation = \"never\"");
    settings.tables = settings.tables.replace("[log]\n", "[log]\noutput = \"none\"\n");
    let server = Server::start(&settings);
    let path = settings.file("logs").join("xks");
    fs::remove_file(&path).unwrap();
    symlink("/dev/full", &path).unwrap();
    say(&server, "mark");
    let log = server.process.log.wait_for("log lines are lost");
    assert!(!log.contains("xks::audit"), "{log}");
}

/// A log that cannot be written is no reason to guess: the start fails, in one line that names the file.
#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let in_the_way = |path: PathBuf, settings: &Settings| {
        let (code, _, log) = ended(program().arg("--config").arg(settings.write()));
        assert_eq!(code, Some(1), "{log}");
        assert!(
            log.contains(path.to_str().unwrap()) && log.lines().count() == 1,
            "{log}"
        );
    };
    let settings = with_files("rotation = \"never\"");
    fs::create_dir_all(settings.file("logs").join("xks")).unwrap();
    in_the_way(settings.file("logs").join("xks"), &settings);

    let settings = with_files("rotation = \"never\"");
    fs::write(settings.file("logs"), "no folder").unwrap();
    in_the_way(settings.file("logs"), &settings);
}

/// The file of a new day cannot be opened: lines go on into the former one, with one warning.
#[test]
fn a_new_day_that_cannot_begin_loses_nothing() {
    let clock = Clock::new(NOON);
    let settings = with_files("");
    let logs = settings.file("logs");
    fs::create_dir_all(logs.join("xks.2033-03-02")).unwrap();
    let server = start_by(&clock, &settings);
    say(&server, "first");
    clock.set(NOON + DAY);
    for mark in ["second", "third"] {
        say(&server, mark);
        wait_for(&logs.join("xks.2033-03-01"), mark);
    }
    assert_eq!(server.process.log.count("cannot open the log file"), 1);
    clock.set(NOON + 2 * DAY);
    say(&server, "fourth");
    wait_for(&logs.join("xks.2033-03-03"), "fourth");
    assert_eq!(lost_lines(&server), 0.0);
}
