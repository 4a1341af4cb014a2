//! The requests: at a fixed rate to each node, whatever became of the ones before.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use xks_test_client::{Connection, Failure, Http};

use crate::{
    judge::{Answer, Request},
    shared::Shared,
    site::{self, Subject, Wanted},
};

/// How many requests to one node may be under way: those of a node that is stopped wait there.
const MOST: usize = 1000;
/// How much closer together requests come in a burst.
const BURST: u32 = 20;

/// The clients of one node.
struct Clients {
    shared: Arc<Shared>,
    node: usize,
    idle: Mutex<Vec<Connection>>,
    /// How long an answer is waited for: longer than a node is stopped.
    patience: Duration,
}

/// Sends requests to a node until the run is over.
pub(crate) async fn load(shared: Arc<Shared>, node: usize, rate: f64, seed: u64) {
    let clients = Arc::new(Clients {
        node,
        idle: Mutex::default(),
        patience: shared.lease * 10 + Duration::from_secs(20),
        shared: Arc::clone(&shared),
    });
    let mut rng = fastrand::Rng::with_seed(seed);
    let interval = Duration::from_secs_f64(1.0 / rate);
    let slots = Arc::new(Semaphore::new(MOST));
    let mut under_way = JoinSet::new();
    let mut next = Instant::now();
    while !shared.has_to_stop() {
        let is_burst = shared.has_burst(node);
        next += if is_burst { interval / BURST } else { interval };
        sleep_until(next).await;
        while under_way.try_join_next().is_some() {}
        let (Some(subject), Ok(slot)) = (
            shared.choose(&mut rng, is_burst),
            Arc::clone(&slots).try_acquire_owned(),
        ) else {
            continue;
        };
        let Some(wanted) = subject.request(&mut rng).cloned() else {
            continue;
        };
        let clients = Arc::clone(&clients);
        under_way.spawn(async move {
            clients.send(&subject, &wanted).await;
            drop(slot);
        });
    }
    while under_way.join_next().await.is_some() {}
}

impl Clients {
    async fn send(&self, subject: &Subject, wanted: &Wanted) {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let start = self.shared.now();
        let answer = timeout(self.patience, self.exchanged(kept, subject, wanted)).await;
        let request = Request {
            subject: subject.id,
            node: self.node,
            start,
            end: start,
            answer: answer.unwrap_or(Answer::Silence),
        };
        let operation = if wanted.decrypts { "decrypt" } else { "encrypt" };
        self.shared
            .answered(request, &format!("{operation} of {}", subject.name));
    }

    async fn exchanged(&self, kept: Option<Connection>, subject: &Subject, wanted: &Wanted) -> Answer {
        if let Some(mut connection) = kept {
            match connection.send(&wanted.prepared).await {
                // It was closed while it was idle.
                Err(Failure::NotSent) => {}
                answer => return self.read(connection, answer, subject, wanted),
            }
        }
        let Ok(mut connection) = Connection::open(&site::target(self.node), Http::One).await else {
            return Answer::NoConnection;
        };
        let answer = connection.send(&wanted.prepared).await;
        self.read(connection, answer, subject, wanted)
    }

    fn read(
        &self,
        connection: Connection,
        answer: Result<xks_test_client::Answer, Failure>,
        subject: &Subject,
        wanted: &Wanted,
    ) -> Answer {
        let Ok(answer) = answer else {
            return Answer::NoConnection;
        };
        if !connection.is_done() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(connection);
        }
        match answer.error() {
            (200, _) if wanted.decrypts && !Subject::is_plaintext(&answer.json) => {
                Answer::Wrong("another plaintext".to_owned())
            }
            (200, _) => Answer::Served,
            error if error == subject.refusal => Answer::Refused,
            (_, "DependencyTimeoutException") => Answer::Unleased,
            (status, name) => Answer::Wrong(format!("{status} {name}")),
        }
    }
}
