//! Three nodes of `xks-proxy` on PostgreSQL under faults. One driver, with one clock, asks all of them all
//! the time while keys are disabled and enabled through any of them.
//!
//! ```text
//! main     the command line                          judge    is an answer right after what was confirmed?
//! run      world, site, load, flippers, faults       weather  is it explained by a fault?
//! plan     which fault comes when                    load     requests, at a fixed rate
//! faults   does it                                   flipper  commands that close and open a subject
//! network  namespaces, partitions                    site     keys, key stores, a version, credentials
//! database, pooler, node: the processes              shared, tally, report, starvation
//! ```
#![forbid(unsafe_code)]

mod admin;
mod database;
mod faults;
mod flipper;
mod judge;
mod load;
mod network;
mod node;
mod plan;
mod pooler;
mod report;
mod run;
mod shared;
mod site;
mod starvation;
mod tally;
mod weather;

use std::{
    convert::Infallible,
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Parser;
use xks_test_client::build_proxy;

use crate::{
    node::Place,
    plan::{Kind, Plan},
    pooler::Mode,
    report::Report,
    run::{NODES, Run, make_world, say},
    shared::Shared,
};

/// Runs three nodes of xks-proxy on PostgreSQL, disturbs them, and judges each answer by the commands that
/// were confirmed.
///
/// Exit code 0: nothing was wrong; with --expect-violations: a violation was found.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// How many times a key is disabled and enabled, or something like it, at the least.
    #[arg(long, default_value_t = 500)]
    flips: u64,
    /// How many faults.
    #[arg(long, default_value_t = 20)]
    faults: u64,
    /// The length of a lease, in seconds.
    #[arg(long, default_value_t = 1)]
    lease: u64,
    /// Requests a second to each node.
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// Decides which fault comes when; by default one by chance, which is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Only faults whose names begin so.
    #[arg(long)]
    only: Vec<String>,
    /// The program; by default it is built by cargo, in this program's profile.
    #[arg(long)]
    proxy: Option<PathBuf>,
    /// The nodes break a rule (XKS_BROKEN_NODES): the run ends with the first violation, and fails if there
    /// is none.
    #[arg(long)]
    expect_violations: bool,
    /// Loses the database for so many seconds, in two ways, while nothing is disabled: no request may fail.
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["flips", "faults", "expect_violations"])]
    fail_over: Option<u64>,
    /// Keeps the folder with settings and logs.
    #[arg(long)]
    keep: bool,
}

impl Arguments {
    fn kinds(&self) -> anyhow::Result<Vec<Kind>> {
        let is_wanted =
            |kind: &Kind| self.only.is_empty() || self.only.iter().any(|name| kind.name().starts_with(name));
        let kinds: Vec<_> = Kind::ALL.into_iter().filter(is_wanted).collect();
        if kinds.is_empty() {
            bail!(
                "--only: no fault has such a name; there are {:?}",
                Kind::ALL.map(Kind::name)
            );
        }
        Ok(kinds)
    }
}

fn main() -> ExitCode {
    match drive(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Goes into namespaces of its own. All that needs more than that comes before.
fn enter(arguments: &Arguments) -> anyhow::Result<Infallible> {
    let folder = env::temp_dir().join(format!("xks-nodes-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    // The database has its files there, as a user of its own.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
    let built = match &arguments.proxy {
        Some(_) => Vec::new(),
        None => vec!["--proxy".into(), build_proxy()?.into()],
    };
    network::enter(&folder, &built)
}

/// Whether all was as it should be.
#[expect(clippy::print_stdout, reason = "what the program is for")]
fn drive(arguments: &Arguments) -> anyhow::Result<bool> {
    let kinds = arguments.kinds()?;
    let Some(folder) = network::inside() else {
        match enter(arguments)? {}
    };
    let proxy = arguments.proxy.as_ref().context("no --proxy")?;
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    say(&format!("seed {seed}, in {}", folder.display()));
    let lease = Duration::from_secs(arguments.lease);
    let shared = Arc::new(Shared::new(lease, lease * 2, folder.clone(), NODES));
    let mut place = Place {
        proxy: fs::canonicalize(proxy).with_context(|| proxy.display().to_string())?,
        folder: folder.clone(),
        lease,
        database_files: [PathBuf::new(), PathBuf::new()],
    };
    let run = Run {
        seed,
        flips: arguments.flips,
        faults: arguments.faults,
        rate: arguments.rate,
        ends_with_violation: arguments.expect_violations,
    };
    // Where transactions are pooled nothing is notified: what is made then is confirmed a quarter of a lease
    // later.
    let last = match arguments.fail_over {
        Some(_) => Mode::Session,
        None => Mode::Transaction,
    };
    let world = make_world(&mut place, &shared, last)?;
    starvation::watch(&shared, &world.nodes);
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(async {
        match arguments.fail_over {
            Some(seconds) => run.fail_over(&world, Duration::from_secs(seconds)).await,
            None => run.run(&world, Plan::new(seed, &kinds, NODES)).await,
        }
    });
    let (is_right, has_violations) = {
        let state = shared.state();
        let report = Report {
            seed,
            lease,
            took: shared.now(),
            flips: shared.flips(),
            tally: &state.tally,
        };
        println!("{report}");
        (state.tally.is_right(), state.tally.violations > 0)
    };
    outcome?;
    drop(world);
    let is_as_expected = match arguments.expect_violations {
        true => has_violations,
        false => is_right,
    };
    if is_as_expected && !arguments.keep {
        remove(&folder);
    } else {
        say(&format!("settings and logs are in {}", folder.display()));
    }
    Ok(is_as_expected)
}

fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder) {
        say(&format!("{} cannot be removed: {error}", folder.display()));
    }
}
