//! Load on a proxy, this or another: as much as it takes, or at a fixed rate.
//!
//! The client is one thread and cheap: requests are signed before, over HTTP/1.1 they are written as they
//! lie, and of an answer only the status and the length are read. At a fixed rate a request's latency counts
//! from the moment at which it was due, so that a server that stalls cannot hide it by being asked less.

mod idle;
mod operation;
mod outcome;
mod process;
mod target;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
};
use xks_test_client::{
    Connection,
    pace::{Due, Pace},
};

pub use self::{
    idle::Idle,
    operation::Operation,
    outcome::{Best, Latencies, Outcome},
    process::{Process, client_core, pin, raise_descriptor_limit, server_core},
    target::{Place, Protocol, Target},
};
use self::{operation::Requests, outcome::Tally};
use crate::Size;

/// What is asked for, how often and for how long.
#[derive(Clone, Debug)]
pub struct Load {
    /// What is asked for.
    pub operation: Operation,
    /// Of an encryption or a decryption.
    pub size: Size,
    /// Connections, all of them opened before the time begins.
    pub connections: usize,
    /// Requests under way at the same time on a connection; HTTP/1.1 has one.
    pub streams: usize,
    /// How long; less than the five minutes for which a signature holds.
    pub time: Duration,
    /// Requests a second, whether or not they are answered; none: the next one when the last one is answered.
    pub rate: Option<f64>,
    /// A request for which no connection was free for so long after it was due is not sent any more.
    pub patience: Duration,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            operation: Operation::Encrypt,
            size: crate::DATA_KEY,
            connections: 8,
            streams: 1,
            time: Duration::from_secs(2),
            rate: None,
            patience: Duration::from_millis(250), // KMS has given up by then
        }
    }
}

impl Load {
    /// Puts it on the target. With the server's process its processor time is measured too.
    ///
    /// # Errors
    /// When the target cannot be reached, or the first answer on a connection is none.
    pub fn put_on(&self, target: &Target, server: Option<Process>) -> anyhow::Result<Outcome> {
        runtime()?.block_on(self.run(target, server))
    }

    /// The body of one answer.
    ///
    /// # Errors
    /// When there is none, or another than to 200.
    pub fn sample(&self, target: &Target) -> anyhow::Result<Vec<u8>> {
        runtime()?.block_on(async {
            let requests = Requests::prepare(target, self.operation, self.size).await?;
            let mut connection = target.connect().await?;
            let status = connection.exchange(requests.at(0)).await?;
            ensure!(status == 200, "{status} is answered");
            Ok(connection.body().to_vec())
        })
    }

    /// The same several times, on several targets in turn: for each the lowest cost, the highest rate and the
    /// best latencies, of whichever time had them, since whatever else runs on the machine can only make them
    /// worse.
    ///
    /// # Errors
    /// As [`put_on`](Self::put_on), and when something else than 200 is answered.
    pub fn in_turn<const N: usize>(&self, times: usize, targets: [&(Target, Process); N]) -> anyhow::Result<[Best; N]> {
        let mut best = [Best::default(); N];
        for _ in 0..times {
            for ((target, server), best) in targets.into_iter().zip(&mut best) {
                let outcome = self.put_on(target, Some(*server))?;
                ensure!(outcome.is_all_good(), "not everything was answered with 200: {outcome}");
                best.take(&outcome);
            }
        }
        Ok(best)
    }

    /// The best of several times on one target.
    ///
    /// # Errors
    /// As [`in_turn`](Self::in_turn).
    pub fn best_of(&self, times: usize, target: &(Target, Process)) -> anyhow::Result<Best> {
        let [best] = self.in_turn(times, [target])?;
        Ok(best)
    }

    async fn run(&self, target: &Target, server: Option<Process>) -> anyhow::Result<Outcome> {
        let requests = Arc::new(Requests::prepare(target, self.operation, self.size).await?);
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            let mut connection = target.connect().await?;
            connection.exchange(requests.at(0)).await.context("the first request")?;
            while target.protocol == Protocol::Http2 && connections.len() % self.streams != self.streams - 1 {
                connections.extend(connection.another());
            }
            connections.push(connection);
        }
        let own = Process::this();
        let before = (server.map(Process::time), own.time());
        let start = Instant::now();
        let (pace, due) = match self.rate {
            Some(rate) => {
                let (pace, due) = Pace::start(start, rate, self.time)?;
                (Some(tokio::spawn(pace.keep())), due)
            }
            None => (None, Due::whenever_until(start + self.time)),
        };
        let mut workers = JoinSet::new();
        let work = Work {
            target: target.clone(),
            requests,
            due,
            patience: self.patience,
        };
        for (number, connection) in connections.into_iter().enumerate() {
            workers.spawn(work.clone().on(connection, number));
        }
        drop(work);
        let mut tally = Tally::default();
        while let Some(worker) = workers.join_next().await {
            tally.add(worker?);
        }
        let elapsed = start.elapsed();
        if let Some(pace) = pace {
            pace.await??;
        }
        let server_time = server.zip(before.0).map(|(server, before)| server.time() - before);
        Ok(tally.outcome(elapsed, server_time, own.time() - before.1))
    }
}

/// What all who send have in common.
#[derive(Clone)]
struct Work {
    target: Target,
    requests: Arc<Requests>,
    due: Due,
    patience: Duration,
}

impl Work {
    /// Sends what is due over a connection, one after the other.
    async fn on(mut self, mut connection: Connection, mut number: usize) -> Tally {
        let mut tally = Tally::default();
        while let Some(moment) = self.due.next().await {
            if moment.elapsed() > self.patience {
                tally.unsent();
                continue;
            }
            number += 1;
            let answer = connection.exchange(self.requests.at(number)).await;
            match answer {
                Ok(status) => tally.answered(status, moment.elapsed()),
                Err(_) => tally.failed(),
            }
            if answer.is_err() || connection.is_done() {
                let Ok(new) = self.target.connect().await else {
                    tally.failed();
                    break;
                };
                connection = new;
            }
        }
        tally
    }
}

fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}
