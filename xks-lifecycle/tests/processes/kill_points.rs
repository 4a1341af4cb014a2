//! A process that is killed at any step of any command leaves nothing that the next one does not finish:
//! nothing is lost, doubled or orphaned.

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, abort},
    sync::atomic::{AtomicUsize, Ordering},
};

use xks_lifecycle::kill_point::{KillPoint, on_kill_point};

use crate::{script::Site, support::TempDir};

const DIRECTORY: &str = "XKS_LIFECYCLE_KILL_DIRECTORY";
const KILLED_AT: &str = "XKS_LIFECYCLE_KILLED_AT";
const TRACE: &str = "trace";
const SIGABRT: i32 = 6;

/// Run by the test below: gives all commands, and ends itself at the point that it was given.
#[test]
#[ignore = "it is the child of another test"]
fn child() {
    let Some(directory) = env::var_os(DIRECTORY) else {
        return;
    };
    let directory = Path::new(&directory);
    let end: Option<usize> = env::var(KILLED_AT).ok().map(|number| number.parse().unwrap());
    let trace = directory.join(TRACE);
    let passed = AtomicUsize::new(0);
    on_kill_point(move |point| {
        let number = passed.fetch_add(1, Ordering::Relaxed);
        let mut names = fs::read_to_string(&trace).unwrap_or_default();
        names.push_str(&format!("{point}\n"));
        fs::write(&trace, names).unwrap();
        if end == Some(number) {
            abort();
        }
    });
    let mut site = Site::open(directory);
    site.recover();
    site.finish();
}

/// Gives all commands in a process of their own. Returns the kill points that it has passed.
fn run(directory: &Path, killed_at: Option<usize>) -> Vec<String> {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "kill_points::child", "--ignored", "--nocapture"]);
    command.env(DIRECTORY, directory);
    if let Some(number) = killed_at {
        command.env(KILLED_AT, number.to_string());
    }
    let output = command.output().unwrap();
    match killed_at {
        Some(_) => assert_eq!(output.status.signal(), Some(SIGABRT), "{output:?}"),
        None => assert!(output.status.success(), "{output:?}"),
    }
    let trace = fs::read_to_string(directory.join(TRACE)).unwrap();
    trace.lines().map(str::to_owned).collect()
}

#[test]
fn nothing_is_lost_doubled_or_orphaned_wherever_a_process_ends() {
    let whole = TempDir::new();
    let points = run(whole.path(), None);
    let reached: BTreeSet<_> = points.iter().map(String::as_str).collect();
    // Jobs are killed in the tests of those who work on them.
    let of_jobs = [
        KillPoint::Claiming,
        KillPoint::Claimed,
        KillPoint::Calling,
        KillPoint::Called,
    ];
    let of_commands = KillPoint::ALL.iter().filter(|point| !of_jobs.contains(point));
    let known: BTreeSet<_> = of_commands.map(|point| point.as_str()).collect();
    assert_eq!(reached, known, "every kill point is reached");
    let mut site = Site::open(whole.path());
    site.recover();
    site.check();
    let expected = site.summary();

    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(point) = points.get(number) else { return };
                    let killed = TempDir::new();
                    let passed = run(killed.path(), Some(number));
                    assert_eq!(passed, points[..=number]);
                    let mut site = Site::open(killed.path());
                    site.recover();
                    site.check();
                    let done = site.done();
                    site.finish();
                    site.check();
                    assert_eq!(site.summary(), expected, "killed at {number} ({point}) of {done:?}");
                }
            });
        }
    });
}
