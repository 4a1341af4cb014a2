//! Our share of the processor time that a request costs the server over SoftHSM2, beside that of another
//! build of it: the total, less what a bare call to the module costs and what bare hyper takes for an answer
//! of that size, all in turn within this run.
//! ```text
//! cargo bench -p xks-benches --bench share -- /path/to/another/xks-proxy
//! ```
//! Each round measures all of them; the medians of the rounds are printed. It is processor time, so other
//! work on the machine matters little, but it does: by its caches. Compare what one run has printed.

#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark may panic and print"
)]

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use xks_backend_pkcs11::{Config, Pin, Pkcs11Backend, Quirks, SlotSelector};
use xks_benches::{
    BareHyper, DATA_KEY, KEY, Keys, Service, Setup, Token, conditions, encrypt_request,
    load::{Load, Operation, Process, Target, client_core, pin},
    markdown::table,
    measure::{consume, is_wanted, processor_time},
    serve_if_asked,
    server::{Program, Server},
};
use xks_pkcs11_fixture::{Bare, BareSession, KeyTemplate, SoftHsm, softhsm_path};

const ROUNDS: usize = 15;
const CONNECTIONS: usize = 16;
const SLICE: Duration = Duration::from_millis(800);
/// In a round, of the bare module: the system counts processor time in hundredths of a second.
const CALLS: u32 = 30_000;
const TOKEN: &str = "bare";
const PIN: &str = "1234";

fn main() -> anyhow::Result<()> {
    serve_if_asked();
    let hsm = SoftHsm::reexec();
    let other = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let (true, Some(other)) = (is_wanted(), other) else {
        println!("`cargo bench -p xks-benches --bench share -- PROGRAM` compares the server with another build of it.");
        return Ok(());
    };
    let programs = [Program::build()?, Program::at(PathBuf::from(other))];
    client_core().map_or(Ok(()), pin)?;

    hsm.token(TOKEN, PIN);
    hsm.key(TOKEN, &KeyTemplate::aes256(KEY));
    // It initializes the module for the bare calls, and logs in.
    let config = Config::new(softhsm_path()).slot(SlotSelector::TokenLabel(TOKEN.into()));
    let _backend = Pkcs11Backend::open(config.pin(Pin::new(PIN)).quirks(Quirks::SOFTHSM))?;
    let mut session = Bare::load(&softhsm_path()).session(KEY);

    let token = Token::new(1);
    let start = |program| Server::start(program, &Setup::new(Keys::Token(token.clone())));
    let [ours, others] = [start(&programs[0])?, start(&programs[1])?];
    // An encryption with its integrity value is verified before it is answered: a second call.
    let kinds = [
        ("encrypt", Operation::Encrypt, 1.0),
        ("encrypt with CDIV", Operation::EncryptCdiv, 2.0),
    ];
    let mut lines = Vec::new();
    for (name, operation, calls) in kinds {
        let load = Load {
            operation,
            connections: CONNECTIONS,
            time: SLICE,
            ..Load::default()
        };
        let size = load.sample(&ours.measured()?.0)?.len();
        let hyper = BareHyper::start(Service::Constant(size))?;
        let mut rounds = [const { Vec::new() }; 4];
        for _ in 0..ROUNDS {
            let figures = [
                bare_call(&mut session) * calls,
                cost(&load, &hyper.measured()?)?,
                cost(&load, &ours.measured()?)?,
                cost(&load, &others.measured()?)?,
            ];
            for (round, figure) in rounds.iter_mut().zip(figures) {
                round.push(figure);
            }
        }
        let [module, hyper, ours, others] = rounds.map(median);
        let [share, other_share] = [ours, others].map(|total| total - module - hyper);
        let figures = [module, hyper, ours, others, share, other_share];
        let mut line = vec![name.to_owned()];
        line.extend(figures.map(|microseconds| format!("{microseconds:.1}")));
        line.push(format!("{:.2}", share / other_share));
        lines.push(line);
    }
    let head = [
        "µs of processor time a request",
        "bare calls",
        "bare hyper",
        "this build",
        "the other",
        "this build's share",
        "the other's",
        "ratio",
    ];
    println!("{}\n{}.", table(&head, &lines), conditions());
    Ok(())
}

/// Microseconds of this process for a call to the module.
fn bare_call(session: &mut BareSession) -> f64 {
    let (aad, plaintext) = (encrypt_request(DATA_KEY).bind_aad(None), [b'p'; 32]);
    let before = processor_time(None);
    for _ in 0..CALLS {
        consume(session.encrypt(aad.as_bytes(), &plaintext));
    }
    (processor_time(None) - before).as_secs_f64() * 1e6 / f64::from(CALLS)
}

/// Microseconds of the server for a request.
fn cost(load: &Load, (target, process): &(Target, Process)) -> anyhow::Result<f64> {
    let outcome = load.put_on(target, Some(*process))?;
    ensure!(outcome.is_all_good(), "not everything was answered with 200: {outcome}");
    outcome.cost().context("no processor time")
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
