//! Key administration: the software keys against the contract of `KeyManager`, in memory and in a directory;
//! and whether the conformance kit notices broken key managers. That is tested here because it needs AWS-LC
//! and a good key manager, of which `xks-core` has neither.

#![cfg(feature = "aws-lc-rs")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may panic"
)]

mod broken;
mod directory;
mod mutants;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use xks_backend_soft::SoftBackend;
use xks_core::testkit::conformance::manager::Fixture;

mod in_memory {
    // Its keys end with it.
    xks_core::manager_conformance!(super::of(super::SoftBackend::new()), all but changes_outlive_a_restart);
}

mod in_a_directory {
    xks_core::manager_conformance!(super::in_directory(), all);
}

fn of(backend: SoftBackend) -> Fixture {
    let backend = Arc::new(backend);
    Fixture::new(Arc::clone(&backend) as _, backend)
}

/// The directory belongs to the first backend, so a second one gets a copy, as the first would find its own.
fn in_directory() -> Fixture {
    let directory = TempDir::new();
    let backend = SoftBackend::new().with_directory(directory.path()).unwrap();
    of(backend).restart(move || {
        let copy = TempDir::new();
        copy.fill_from(directory.path());
        let backend = Arc::new(SoftBackend::new().with_directory(copy.path()).unwrap());
        (Arc::clone(&backend) as _, backend)
    })
}

/// A directory that is removed in the end.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("xks-backend-soft-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn fill_from(&self, other: &Path) {
        fs::create_dir(&self.0).unwrap();
        for file in fs::read_dir(other).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), self.0.join(file.file_name())).unwrap();
        }
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
