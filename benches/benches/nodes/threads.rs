//! The processor time of this process's threads by their names, as Linux counts it.

use std::{fs, time::Duration};

/// What the threads whose name begins so have had of the processors, in nanoseconds.
pub(crate) fn processor_time(name: &str) -> Duration {
    let tasks = fs::read_dir("/proc/self/task")
        .expect("Linux")
        .map(|task| task.unwrap().path());
    let is_named = |task: &std::path::PathBuf| {
        let comm = fs::read_to_string(task.join("comm"));
        comm.is_ok_and(|comm| comm.starts_with(name))
    };
    let time = |task: std::path::PathBuf| -> Option<u64> {
        let schedstat = fs::read_to_string(task.join("schedstat")).ok()?; // a thread may have ended
        schedstat.split(' ').next()?.parse().ok()
    };
    Duration::from_nanos(tasks.filter(is_named).filter_map(time).sum())
}
