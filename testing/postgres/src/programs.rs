//! The installed programs, and how they are run.

use std::{
    env, fs,
    net::TcpListener,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
};

/// The newest installed programs, such as Debian's, whose own cluster is left alone.
pub(crate) fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin"));
    let found = found.filter(|programs| programs.join("initdb").exists());
    let number = |path: &PathBuf| path.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    let on_path = env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists());
    found
        .max_by_key(number)
        .or(on_path)
        .expect("no PostgreSQL: install Debian's postgresql, as scripts/setup does")
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// A command as the user `postgres` where this process is root's, as which PostgreSQL does not run.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=postgres", "--regid=postgres", "--init-groups"])
            .arg(program);
        command
    } else {
        Command::new(program)
    };
    command.env_remove("PGDATA").current_dir("/");
    command
}

/// Runs a command that must succeed, and returns what it wrote.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let written = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {written}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    written
}

/// A port outside of the range from which the system takes them, so that it is free again after a restart.
#[must_use]
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let first = 20_000 + process::id() % 1000 * 10;
    (0..)
        .map(|_| (first + TAKEN.fetch_add(1, Ordering::Relaxed)) as u16)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}
