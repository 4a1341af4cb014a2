//! A folder that belongs to the user `postgres`, and goes when this process does.

use std::{
    env, fs,
    fs::Permissions,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::programs::{command, is_root};

#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Ends the server and removes the folder when this process is gone and so its input is closed.
    guardian: Child,
}

impl Folder {
    /// For a server of these programs, in the subfolder `data`.
    pub(crate) fn new(programs: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("xks-postgres-{}-{count}", process::id()));
        let _ = fs::remove_dir_all(&path); // of an earlier process with this id
        fs::create_dir(&path).unwrap();
        give(&path);
        let script = "cat >/dev/null; \"$0\" -D \"$1/data\" -m immediate stop; rm -rf \"$1\"";
        let guardian = command(Path::new("/bin/sh"))
            .args(["-c", script])
            .arg(programs.join("pg_ctl"))
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0) // so that a signal to the tests' group leaves it to do its work
            .spawn()
            .unwrap();
        Self { path, guardian }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file that only the server and root may read.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        give(&path);
        path
    }

    pub(crate) fn append(&self, name: &str, content: &str) {
        let mut all = fs::read_to_string(self.file(name)).unwrap();
        all.push_str(content);
        self.write(name, &all);
    }
}

/// Waits until the server has ended and the folder is removed.
impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.guardian.stdin.take());
        let _ = self.guardian.wait();
    }
}

/// Gives a file to the user `postgres`, where the server runs as that one.
fn give(path: &Path) {
    let number = |flag: &str| {
        let output = Command::new("id").args([flag, "postgres"]).output().ok()?;
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    };
    if is_root() {
        chown(path, number("-u"), number("-g")).unwrap();
    }
}
