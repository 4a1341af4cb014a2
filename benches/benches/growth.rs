//! The cost of a request to the real server when there is more of everything: keys, key stores, connections,
//! AAD. It should cost the same, but for the AAD.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::time::Duration;

use xks_benches::{
    Keys, Setup, Size, Token, conditions,
    load::{Best, Idle, Load, Operation, Place, client_core, pin, raise_descriptor_limit},
    markdown::{put, table},
    measure::is_wanted,
    place,
    server::{Program, Server},
};
use xks_pkcs11_fixture::run_admin_if_asked;

fn main() -> anyhow::Result<()> {
    run_admin_if_asked();
    if !is_wanted() {
        println!("`cargo bench -p xks-benches --bench growth` builds the server and measures it.");
        return Ok(());
    }
    let conditions = conditions();
    let program = Program::build()?;
    raise_descriptor_limit()?;
    client_core().map_or(Ok(()), pin)?;
    let lines = [
        keys(&program)?,
        token_keys(&program)?,
        key_stores(&program)?,
        connections(&program)?,
        aad(&program, Keys::Soft(1), "software keys")?,
        aad(&program, Keys::Token(Token::new(1)), "SoftHSM2")?,
    ];
    let head = [
        "encrypt with CDIV: µs of the server's time",
        "",
        "",
        "",
        "",
        "most to least",
    ];
    let text = format!("{}\n{conditions}.\n", table(&head, &lines));
    println!("{text}");
    if std::env::args().any(|argument| argument == "write") {
        put("docs/performance.md", "growth", &text)?;
    }
    Ok(())
}

fn load() -> Load {
    Load {
        operation: Operation::EncryptCdiv,
        connections: 16,
        time: Duration::from_millis(500),
        ..Load::default()
    }
}

/// A line of the table: how many there were, and the cost.
fn line<const N: usize>(what: &str, counts: [usize; N], best: [Best; N]) -> Vec<String> {
    let mut line = vec![what.to_owned()];
    line.extend(
        counts
            .iter()
            .zip(&best)
            .map(|(count, best)| format!("{count}: {:.1}", best.cost)),
    );
    line.resize(5, String::new());
    let costs = best.map(|best| best.cost);
    let (least, most) = costs.iter().fold((f64::INFINITY, 0.0_f64), |(least, most), cost| {
        (cost.min(least), cost.max(most))
    });
    line.push(format!("{:.2}", most / least));
    line
}

/// Servers with ever more of something are asked in turn, each for things that are spread over all that it
/// has.
fn each<const N: usize>(
    program: &Program,
    counts: [usize; N],
    setup: impl Fn(usize) -> Setup,
    place: impl Fn(usize) -> anyhow::Result<Place>,
) -> anyhow::Result<[Best; N]> {
    let mut servers = Vec::new();
    let mut measured = Vec::new();
    for count in counts {
        let server = Server::start(program, &setup(count))?;
        let (target, process) = server.measured()?;
        let spread = (0..16).map(|step| place(step * count / 16)).collect::<Result<_, _>>()?;
        measured.push((target.among(spread), process));
        servers.push(server);
    }
    let each: Vec<_> = measured.iter().collect();
    let Ok(each) = each.try_into() else {
        anyhow::bail!("one for each count")
    };
    load().in_turn(6, each)
}

fn keys(program: &Program) -> anyhow::Result<Vec<String>> {
    let counts = [1, 100, 10_000];
    let setup = |count| Setup::new(Keys::Soft(count));
    let best = each(program, counts, setup, |number| place(0, number))?;
    Ok(line("software keys in a key store", counts, best))
}

fn token_keys(program: &Program) -> anyhow::Result<Vec<String>> {
    let counts = [10, 1000];
    let setup = |count| Setup::new(Keys::Token(Token::new(count)));
    let best = each(program, counts, setup, |number| place(0, number))?;
    Ok(line("keys in a token of SoftHSM2", counts, best))
}

fn key_stores(program: &Program) -> anyhow::Result<Vec<String>> {
    let counts = [1, 100, 1000];
    let setup = |key_stores| Setup {
        key_stores,
        ..Setup::new(Keys::Soft(1))
    };
    let best = each(program, counts, setup, |number| place(number, 0))?;
    Ok(line("key stores", counts, best))
}

/// Sixteen are busy, the others had an answer and are quiet.
fn connections(program: &Program) -> anyhow::Result<Vec<String>> {
    let counts = [16, 100, 1000, 10_000];
    let server = Server::start(program, &Setup::new(Keys::Soft(1)))?;
    let measured = server.measured()?;
    let mut quiet = Vec::new();
    let mut best = [Best::default(); 4];
    for (count, best) in counts.into_iter().zip(&mut best) {
        let open = 16 + quiet.iter().map(Idle::count).sum::<usize>();
        quiet.push(Idle::open(&measured.0, count - open, true)?);
        *best = load().best_of(6, &measured)?;
    }
    Ok(line("connections, of which 16 are busy", counts, best))
}

fn aad(program: &Program, keys: Keys, name: &str) -> anyhow::Result<Vec<String>> {
    let counts = [0, 200, 2048, 8192];
    let server = Server::start(program, &Setup::new(keys))?;
    let measured = server.measured()?;
    let mut best = [Best::default(); 4];
    for _ in 0..4 {
        for (aad, best) in counts.into_iter().zip(&mut best) {
            let size = Size { plaintext: 32, aad };
            best.take(&Load { size, ..load() }.put_on(&measured.0, Some(measured.1))?);
        }
    }
    Ok(line(&format!("bytes of AAD, {name}"), counts, best))
}
