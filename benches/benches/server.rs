//! The real server, built and started as an operator does: what requests cost it over each protocol and
//! on each kind of keys, how long they take, what the audit log costs, what connections take of the memory,
//! and what it does with more than it can.
//!
//! The server is kept to one core and the client to another, where there are two.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::time::Duration;

use xks_benches::{
    Keys, Setup, Token, conditions,
    load::{Load, Operation, Protocol, client_core, pin, raise_descriptor_limit},
    markdown::{put, table},
    measure::is_wanted,
    rows::{Memory, Overload},
    server::{Program, Server},
};
use xks_pkcs11_fixture::run_admin_if_asked;

fn main() -> anyhow::Result<()> {
    run_admin_if_asked();
    if !is_wanted() {
        println!("`cargo bench -p xks-benches --bench server` builds the server and measures it.");
        return Ok(());
    }
    let conditions = conditions();
    let program = Program::build()?;
    raise_descriptor_limit()?;
    client_core().map_or(Ok(()), pin)?;
    let token = Token::new(1);
    let tables = [
        matrix(&program, &token)?,
        memory(&program)?,
        overload(&program, &token)?,
    ];
    let text = format!("{}\n{conditions}.\n", tables.join("\n"));
    println!("{text}");
    if std::env::args().any(|argument| argument == "write") {
        put("docs/performance.md", "server", &text)?;
    }
    Ok(())
}

fn matrix(program: &Program, token: &Token) -> anyhow::Result<String> {
    let mut lines = Vec::new();
    for (keys, name) in [(Keys::Soft(1), "software"), (Keys::Token(token.clone()), "SoftHSM2")] {
        for (tls, audit) in [(false, false), (false, true), (true, false)] {
            let keys = keys.clone();
            let server = Server::start(
                program,
                &Setup {
                    tls,
                    audit,
                    ..Setup::new(keys)
                },
            )?;
            for (protocol, version) in [(Protocol::Http1, "HTTP/1.1"), (Protocol::Http2, "HTTP/2")] {
                if audit && protocol == Protocol::Http2 {
                    continue;
                }
                let scheme = if tls { "TLS" } else { "plain" };
                let log = if audit { ", audit log" } else { "" };
                let mut line = vec![format!("{name}, {version}, {scheme}{log}")];
                line.extend(row(&server, protocol)?);
                lines.push(line);
            }
        }
    }
    let head = [
        "encrypt with CDIV",
        "requests/s",
        "µs of the server's time",
        "requests/s and core",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
    ];
    Ok(table(&head, &lines))
}

/// At full load, and latencies at half of it.
fn row(server: &Server, protocol: Protocol) -> anyhow::Result<Vec<String>> {
    let (connections, streams) = match protocol {
        Protocol::Http1 => (16, 1),
        Protocol::Http2 => (4, 4),
    };
    let full = Load {
        operation: Operation::EncryptCdiv,
        connections,
        streams,
        time: Duration::from_millis(700),
        ..Load::default()
    };
    let measured = (server.target(protocol)?, server.process());
    let best = full.best_of(3, &measured)?;
    let half = Load {
        rate: Some(best.rate / 2.0),
        ..full
    };
    let latency = half
        .best_of(3, &measured)?
        .latency
        .map(|latency| format!("{latency:.2}"));
    let mut cells = vec![
        format!("{:.0}", best.rate),
        format!("{:.1}", best.cost),
        format!("{:.0}", 1e6 / best.cost),
    ];
    cells.extend(latency);
    Ok(cells)
}

fn memory(program: &Program) -> anyhow::Result<String> {
    let mut lines = Vec::new();
    for (tls, name) in [(false, "plain"), (true, "TLS")] {
        for (with_a_request, when) in [(false, "before the first byte"), (true, "after an answer")] {
            let setup = Setup {
                tls,
                ..Setup::new(Keys::Soft(1))
            };
            let memory = Memory::measure(program, &setup, with_a_request)?;
            let mut line = vec![format!("{name}, {when}"), format!("{:.1}", memory.idle as f64 / 1e6)];
            line.extend(memory.connections.map(|(_, each)| format!("{:.1}", each as f64 / 1e3)));
            lines.push(line);
        }
    }
    let head = [
        "resident memory",
        "MB idle",
        "KB for each of 1000 connections",
        "KB for each of 5000",
    ];
    Ok(table(&head, &lines))
}

fn overload(program: &Program, token: &Token) -> anyhow::Result<String> {
    let mut lines = Vec::new();
    for Overload {
        capacity,
        times,
        outcome,
    } in Overload::measure(program, token)?
    {
        for (status, latencies) in &outcome.answers {
            let mut line = vec![
                format!("{times} times {capacity:.0}/s: {status}"),
                latencies.count().to_string(),
            ];
            line.extend([0.5, 0.99, 1.0].map(|share| format!("{:.1}", latencies.at(share))));
            lines.push(line);
        }
        let other = format!("{times} times {capacity:.0}/s: broken, and no connection free");
        lines.push(vec![other, format!("{}, {}", outcome.failed, outcome.unsent)]);
    }
    Ok(table(&["offered", "requests", "p50 ms", "p99 ms", "max ms"], &lines))
}
