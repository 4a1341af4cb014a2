//! A long run of `xks-proxy` on SoftHSM2, with everything that may happen to it, and each answer checked.
//!
//! ```text
//! main      the command line                     disturber  does each phase: reloads, faults, keys that change
//! run       tokens, two lives of the proxy       client     a client at work; caller, hostile: its requests
//! plan      which phase comes when               witness    AES-GCM, framing and integrity value by hand
//! rules     which error is right in which phase  vault      ciphertexts for later
//! settings, process, shared                      tally, leftovers, report
//! ```
#![forbid(unsafe_code)]

mod caller;
mod client;
mod disturber;
mod hostile;
mod leftovers;
mod plan;
mod process;
mod report;
mod rules;
mod run;
mod settings;
mod shared;
mod tally;
mod vault;
mod witness;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use clap::Parser;
use xks_pkcs11_fixture::SoftHsm;
use xks_test_client::build_proxy;

use crate::{plan::Life, run::Run, shared::Versions};

/// Runs xks-proxy on SoftHSM2 for minutes, disturbs it, and checks each of its answers.
///
/// Exit code 0: everything was right, and nothing was left behind.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// How long; each kind of phase happens once at the least, though it take longer.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// The same in seconds.
    #[arg(long, conflicts_with = "minutes")]
    for_seconds: Option<u64>,
    /// How many clients call it at the same time.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Decides what happens in which order; by default one by chance, which is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// The program; by default it is built by cargo, in this program's profile.
    #[arg(long)]
    proxy: Option<PathBuf>,
    /// Which versions of HTTP the clients speak.
    #[arg(long, value_enum, default_value_t = Versions::Both)]
    http: Versions,
    /// Whether they speak TLS; both: it is started with TLS first, and again without.
    #[arg(long, value_enum, default_value_t = Tls::Both)]
    tls: Tls,
    /// Totals as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Tls {
    On,
    Off,
    Both,
}

impl Arguments {
    fn run(&self) -> anyhow::Result<Run> {
        let total = match self.for_seconds {
            Some(seconds) => Duration::from_secs(seconds),
            None => Duration::try_from_secs_f64(self.minutes * 60.0).context("--minutes")?,
        };
        if self.clients == 0 {
            bail!("without clients nothing happens");
        }
        Ok(Run {
            total,
            clients: self.clients,
            seed: self.seed.unwrap_or_else(|| fastrand::u64(..)),
            proxy: self.proxy.clone().map_or_else(build_proxy, Ok)?,
            versions: self.http,
            lives: Life::both(match self.tls {
                Tls::On => [true, true],
                Tls::Off => [false, false],
                Tls::Both => [true, false],
            }),
        })
    }
}

fn main() -> ExitCode {
    // Before all else: this program is started once more for each change of the token.
    let hsm = SoftHsm::for_others();
    let arguments = Arguments::parse();
    match soak(&arguments, hsm) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say_error(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "there is nothing else to say")]
fn say_error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

/// Whether everything was right.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "what the program is for")]
fn soak(arguments: &Arguments, hsm: SoftHsm) -> anyhow::Result<bool> {
    let run = arguments.run()?;
    let hsm = Arc::new(hsm);
    eprintln!("seed {}, in {}", run.seed, hsm.folder().display());
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(run.run(&hsm));
    runtime.shutdown_timeout(Duration::from_secs(5));
    let folder = hsm.folder().to_owned();
    let is_right = outcome.as_ref().is_ok_and(|(shared, _)| shared.tally().is_right());
    if !is_right {
        match Arc::try_unwrap(hsm) {
            Ok(mut hsm) => hsm.keep(),
            // Whoever holds it has not ended, and does not drop it either.
            Err(hsm) => std::mem::forget(hsm),
        }
    }
    let (shared, report) = outcome?;
    let mut tally = shared.tally();
    match arguments.json {
        true => println!("{:#}", report.json(&mut tally)),
        false => println!("{}", report.text(&mut tally)),
    }
    if !is_right {
        eprintln!("settings and logs are in {}", folder.display());
    }
    Ok(is_right)
}
