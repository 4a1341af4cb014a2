//! The server's resident memory, by itself and for each connection that is open and quiet.

use crate::{
    Keys, Row, Setup, Token,
    load::{Idle, Protocol},
    server::{Program, Server},
};

/// What was measured of one server, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Before any client connected.
    pub idle: u64,
    /// For each of so many connections.
    pub connections: [(usize, u64); 2],
}

impl Memory {
    /// Starts a server and opens 1000 connections to it, then as many as make 5000.
    ///
    /// # Errors
    /// When the server does not start or serve.
    pub fn measure(program: &Program, setup: &Setup, with_a_request: bool) -> anyhow::Result<Self> {
        let server = Server::start(program, setup)?;
        let (process, target) = (server.process(), server.target(Protocol::Http1)?);
        let idle = process.resident()?;
        let each = |connections: usize| -> anyhow::Result<_> {
            Ok((
                connections,
                process.resident()?.saturating_sub(idle) / connections as u64,
            ))
        };
        let _some = Idle::open(&target, 1000, with_a_request)?;
        let first = each(1000)?;
        let _more = Idle::open(&target, 4000, with_a_request)?;
        Ok(Self {
            idle,
            connections: [first, each(5000)?],
        })
    }
}

/// Idle on SoftHSM2, and what a connection takes.
///
/// # Errors
/// When the server does not start or serve.
pub fn memory(program: &Program, token: &Token) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let idle = Setup::new(Keys::Token(token.clone()));
    let idle = Server::start(program, &idle)?.process().resident()?;
    rows.push(Row::at_most(
        "resident memory of the server, idle, SoftHSM2, MB",
        20.0,
        idle as f64 / 1e6,
    ));
    for (tls, name) in [(false, "plain"), (true, "TLS")] {
        let setup = Setup {
            tls,
            ..Setup::new(Keys::Soft(1))
        };
        let memory = Memory::measure(program, &setup, true)?;
        let [.., (_, each)] = memory.connections;
        let what = format!("and for each of 5000 idle connections after an answer, {name}, KB");
        rows.push(Row::at_most(&what, 15.0, each as f64 / 1e3));
    }
    Ok(rows)
}
