//! A wall clock for the program that a test can set, ahead and back, while the program runs.

use std::{
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{Folder, run};

pub(crate) struct Clock(Folder);

impl Clock {
    /// Compiles what stands between the program and the system's clock. `at` is in seconds since 1970.
    pub(crate) fn new(at: i64) -> Self {
        let clock = Self(Folder::new());
        run(Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(clock.0.path().join("clock.so"))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proxy/support/clock.c")));
        clock.set(at);
        clock
    }

    /// From now on it is this time, and goes on from there.
    pub(crate) fn set(&self, at: i64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        self.0.replace("ahead", &(at - i64::try_from(now).unwrap()).to_string());
    }

    /// Has a program go by this clock.
    pub(crate) fn rule(&self, command: &mut Command) {
        // The path of a library to be loaded first may hold no space.
        command
            .current_dir(self.0.path())
            .env("LD_PRELOAD", "./clock.so")
            .env("TEST_CLOCK_AHEAD", self.0.path().join("ahead"));
    }
}
