//! More than the server can do: what is answered is answered in time, and the rest is refused at once.

use std::time::Duration;

use crate::{
    Keys, Row, Setup, Token,
    load::{Load, Operation, Outcome, Protocol},
    server::{Program, Server},
};

/// Milliseconds that a request may take, by default.
const BUDGET: f64 = 200.0;

/// What came of so many times the capacity.
#[derive(Clone, Debug)]
pub struct Overload {
    /// Requests a second that the server can answer.
    pub capacity: f64,
    /// How many times as many were due.
    pub times: f64,
    /// What came of it.
    pub outcome: Outcome,
}

impl Overload {
    /// Measures what the server can do on one core, and offers twice and four times as much.
    ///
    /// # Errors
    /// When the server does not start or serve.
    pub fn measure(program: &Program, token: &Token) -> anyhow::Result<Vec<Self>> {
        let keys = Keys::Token(token.clone());
        let server = Server::start(program, &Setup::new(keys))?;
        let target = server.target(Protocol::Http1)?;
        let load = Load {
            operation: Operation::EncryptCdiv,
            connections: 64,
            time: Duration::from_secs(1),
            ..Load::default()
        };
        let capacity = load.best_of(2, &server.measured()?)?.rate;
        let mut all = Vec::new();
        for times in [2.0, 4.0] {
            let load = Load {
                connections: 2000,
                time: Duration::from_secs(2),
                rate: Some(capacity * times),
                patience: Duration::from_millis(5), // so that latencies are the server's
                ..load.clone()
            };
            let outcome = load.put_on(&target, Some(server.process()))?;
            all.push(Self {
                capacity,
                times,
                outcome,
            });
        }
        Ok(all)
    }

    /// Whether whatever was answered is 200 in time, or 429.
    #[must_use]
    pub fn is_in_order(&self) -> bool {
        let known = self.outcome.answers.keys().all(|status| [200, 429].contains(status));
        known && self.outcome.failed == 0 && self.outcome.good().count() > 0 && self.outcome.good().at(1.0) <= BUDGET
    }
}

/// Twice and four times the capacity.
///
/// # Errors
/// When the server does not start or serve.
pub fn overload(program: &Program, token: &Token) -> anyhow::Result<Vec<Row>> {
    let rows = Overload::measure(program, token)?.into_iter().map(|overload| {
        let Outcome {
            answers,
            failed,
            unsent,
            ..
        } = &overload.outcome;
        let each = answers.iter().map(|(status, latencies)| {
            format!(
                "{status}: {}, p99 {:.0} ms, max {:.0} ms",
                latencies.count(),
                latencies.at(0.99),
                latencies.at(1.0)
            )
        });
        Row {
            what: format!(
                "SoftHSM2, {} times the {:.0}/s that one core can do",
                overload.times, overload.capacity
            ),
            bar: format!("200 within {BUDGET} ms, else 429"),
            measured: format!(
                "{}; {failed} broken, {unsent} unsent",
                each.collect::<Vec<_>>().join("; ")
            ),
            held: overload.is_in_order(),
        }
    });
    Ok(rows.collect())
}
