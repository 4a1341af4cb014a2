//! Whether the machine has time for the nodes: what other programs take of it is no fault of theirs. The
//! system counts for how long each thread was ready and had no processor.

use std::{
    fs,
    sync::{Arc, Mutex},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use crate::{node::Node, shared::Shared, weather::Felt};

/// How often it is looked.
const INTERVAL: Duration = Duration::from_millis(100);
/// From which part of the time on in which a node's threads waited for a processor it may miss renewals.
const PRESSURE: f64 = 0.5;

/// Says in a thread of its own while the machine is too busy, until the run is over.
pub(crate) fn watch(shared: &Arc<Shared>, nodes: &[Arc<Mutex<Node>>]) {
    let (shared, nodes) = (Arc::clone(shared), nodes.to_vec());
    thread::spawn(move || {
        let all: Vec<_> = (0..shared.nodes()).collect();
        let mut last = Instant::now();
        let mut waited: Vec<_> = nodes.iter().map(|node| waited(node)).collect();
        let mut starves = None;
        while !shared.has_to_stop() {
            sleep(INTERVAL);
            let now = Instant::now();
            let took = now - last;
            last = now;
            // This thread is one that waits, too.
            let mut is_starved = took > INTERVAL + shared.lease / 8;
            for (node, before) in nodes.iter().zip(&mut waited) {
                let found = self::waited(node);
                if let (Some(found), Some(before)) = (found, *before) {
                    is_starved |= found.saturating_sub(before) > took.mul_f64(PRESSURE);
                }
                *before = found;
            }
            match (is_starved, starves) {
                (true, None) => starves = Some(shared.excuse(Felt::Alone, &all)),
                (false, Some(fault)) => {
                    shared.end(fault);
                    starves = None;
                }
                _ => {}
            }
            if is_starved {
                shared.state().tally.starved += took;
            }
        }
    });
}

/// For how long a node's threads have waited for a processor, as far as it is known.
fn waited(node: &Mutex<Node>) -> Option<Duration> {
    let process = node.try_lock().ok()?.process()?;
    let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten();
    let of = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').nth(1)?.parse::<u64>().ok()
    };
    Some(Duration::from_nanos(threads.filter_map(of).sum()))
}
