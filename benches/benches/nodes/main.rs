//! Three nodes on one PostgreSQL: how long a confirmed `disable` takes beside one bare commit whose
//! notification three connections hear, in turn; and the processor time of renewals.
//!
//! ```text
//! cargo bench -p xks-benches --bench nodes
//! ```
//!
//! The nodes are in this process, each with its own store, its own connections and its own two threads, as
//! the server has them. They serve vault keys under load meanwhile, each from a thread of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark may panic and print"
)]

mod bare;
mod load;
mod node;
mod site;
mod threads;

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use xks_benches::{
    Row, conditions,
    measure::{is_wanted, ratio},
};
use xks_lifecycle::key_state::KeyCommand;

use self::{bare::Bare, load::Load, site::Site, threads::processor_time};

/// Requests a second at each node: together they take about a sixth of a core.
const RATE: u32 = 5_000;
/// How long leases last by default.
const DEFAULT_LEASE: Duration = Duration::from_secs(30);
/// A lease for those who cannot wait: that of the tests with faults.
const SHORT_LEASE: Duration = Duration::from_secs(1);

fn main() {
    println!("{}.", conditions());
    let (rounds, times) = if is_wanted() { (1000, 1) } else { (3, 60) };
    let site = Site::new();
    confirmed(&site, rounds);
    // Four renewals of the one, forty of the other.
    renewals(&site, DEFAULT_LEASE, Duration::from_secs(30) / times);
    renewals(&site, SHORT_LEASE, Duration::from_secs(10) / times);
}

/// Disables a key on one node after the other, with a bare commit in turn.
fn confirmed(site: &Site, rounds: usize) {
    let nodes = site.nodes(DEFAULT_LEASE);
    let bare = Bare::new(&site.server);
    let loads: Vec<_> = nodes.iter().map(|node| Load::start(node, &site.key, RATE)).collect();
    let [mut heard, mut answered, mut committed, mut disabled] = [const { Vec::new() }; 4];
    let (began, before) = (Instant::now(), processor_time("load-"));
    for round in 0..rounds {
        heard.push(bare.heard());
        answered.push(bare.answered());
        let node = &nodes[round % nodes.len()];
        let start = Instant::now();
        committed.push(node.command(&site.key, KeyCommand::Disable) - start);
        disabled.push(start.elapsed());
        for load in &loads {
            assert!(!load.ask(), "a request that began after the confirmation was served");
        }
        node.command(&site.key, KeyCommand::Enable);
        for load in &loads {
            assert!(load.ask(), "the key is enabled again");
        }
        // What a round leaves to do is done before the next one.
        sleep(Duration::from_millis(5));
    }
    let share = (processor_time("load-") - before).as_secs_f64() / began.elapsed().as_secs_f64();
    for load in loads {
        load.stop();
    }
    for times in [&mut heard, &mut answered, &mut committed, &mut disabled] {
        times.sort_unstable();
    }
    println!(
        "{rounds} rounds, three nodes, vault keys, {} requests a second (with their pipeline {:.0} % of a core)",
        3 * RATE,
        share * 100.0
    );
    for (what, times) in [
        ("one commit, and its notification heard by three connections", &heard),
        ("the same, each answered by a write that the committer sees", &answered),
        ("a disable until its commit has returned", &committed),
        ("a confirmed disable", &disabled),
    ] {
        println!("{what}: median {}, p99 {}", at(times, 0.5).1, at(times, 0.99).1);
    }
    for (what, bare) in [("heard", &heard), ("heard and answered", &answered)] {
        for (name, place, bar) in [("median", 0.5, 4.0), ("p99", 0.99, 12.0)] {
            let of = |times| at(times, place).0;
            let what = format!("confirmed disable, {name}: times that of a commit that three have {what}");
            println!("{}", Row::at_most(&what, bar, ratio(of(&disabled), of(bare))));
        }
    }
    for node in nodes {
        node.leave();
    }
}

/// The processor time of nodes that only renew their leases: their share of a core.
fn renewals(site: &Site, lease: Duration, time: Duration) {
    let nodes = site.nodes(lease);
    let counters = || nodes.iter().map(|node| node.counter()).sum::<u64>();
    let times = || (processor_time("node-"), site.database_time());
    sleep(Duration::from_millis(500)); // the end of the start
    let (began, renewed, before) = (Instant::now(), counters(), times());
    sleep(time);
    let (took, renewed, after) = (began.elapsed(), counters() - renewed, times());
    let share = |of: Duration| of.as_secs_f64() / took.as_secs_f64() / nodes.len() as f64 * 100.0;
    let what = format!(
        "renewals of a lease of {} s: % of a core for each node ({renewed} renewals of {} nodes; the database {:.2} %)",
        lease.as_secs(),
        nodes.len(),
        share(after.1.saturating_sub(before.1))
    );
    println!("{}", Row::at_most(&what, 1.0, share(after.0 - before.0)));
    for node in nodes {
        node.leave();
    }
}

/// The time at a place of sorted times, and that in words.
fn at(times: &[Duration], place: f64) -> (Duration, String) {
    let time = times[((times.len() - 1) as f64 * place).round() as usize];
    (time, format!("{:.2} ms", time.as_secs_f64() * 1e3))
}
