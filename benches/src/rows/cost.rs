//! The server's cost of a request, and its latency at the rate of KMS's default quota.

use std::time::Duration;

use crate::{
    Keys, Row, Setup, Token,
    load::{Load, Operation},
    server::{Program, Server},
};

/// Requests a second that KMS allows an account at first.
const QUOTA: f64 = 1800.0;

/// The server's processor time for an encryption over HTTP/1.1 with keep-alive.
///
/// # Errors
/// When the server does not start or serve.
pub fn cost(program: &Program, token: &Token) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (keys, name, bars) in [
        (Keys::Soft(1), "software keys", [Some(18.0), None]),
        (Keys::Token(token.clone()), "SoftHSM2", [Some(40.0), Some(60.0)]),
    ] {
        let server = Server::start(program, &Setup::new(keys))?;
        for (operation, with, bar) in [
            (Operation::Encrypt, "", bars[0]),
            (Operation::EncryptCdiv, " with CDIV", bars[1]),
        ] {
            let Some(bar) = bar else { continue };
            let load = Load {
                operation,
                connections: 16,
                time: Duration::from_millis(700),
                ..Load::default()
            };
            let cost = load.best_of(4, &server.measured()?)?.cost;
            let what = format!("processor time of the server for an encrypt{with} over HTTP/1.1, {name}, µs");
            rows.push(Row::at_most(&what, bar, cost));
        }
    }
    Ok(rows)
}

/// Latencies at the quota, with the server on one core.
///
/// # Errors
/// When the server does not start or serve.
pub fn quota(program: &Program, token: &Token) -> anyhow::Result<Vec<Row>> {
    let server = Server::start(program, &Setup::new(Keys::Token(token.clone())))?;
    let load = Load {
        operation: Operation::EncryptCdiv,
        connections: 16,
        time: Duration::from_secs(2),
        rate: Some(QUOTA),
        ..Load::default()
    };
    let [p50, p99, p999] = load.best_of(5, &server.measured()?)?.latency;
    let what =
        format!("p99 at {QUOTA} encrypts with CDIV a second on one core, SoftHSM2, ms (p50 {p50:.2}, p99.9 {p999:.2})");
    Ok(vec![Row::at_most(&what, 0.5, p99)])
}

/// Whether a token with many keys is as fast as one with few, to a tenth.
///
/// # Errors
/// When the server does not start or serve.
pub fn many_keys(program: &Program) -> anyhow::Result<Row> {
    let start = |keys| {
        let token = Token::new(keys);
        Server::start(program, &Setup::new(Keys::Token(token)))
    };
    let [few, many] = [start(10)?, start(1000)?];
    let load = Load {
        operation: Operation::EncryptCdiv,
        connections: 16,
        time: Duration::from_millis(500),
        ..Load::default()
    };
    let [few, many] = load.in_turn(6, [&few.measured()?, &many.measured()?])?;
    let what = format!(
        "encrypt with CDIV, SoftHSM2 with 1000 keys: share of the rate with 10 ({:.0} of {:.0}/s)",
        many.rate, few.rate
    );
    Ok(Row::at_least(&what, 0.9, many.rate / few.rate))
}
