//! Many clients at once, each of which encrypts and decrypts, and looks whether what comes back is what went
//! in.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{net::TcpStream, task::JoinSet};

use super::{Answer, Connection, Failure, Http, Signer, Target, ciphertext, encode, plaintext};

/// No client works longer than this, whatever happens.
const LONGEST: Duration = Duration::from_secs(600);

/// How a client uses its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// HTTP/1.1: one connection for as long as the server keeps it.
    KeepAlive,
    /// HTTP/1.1: a connection for each request.
    Reconnecting,
    /// HTTP/2: one connection for as long as the server keeps it.
    Http2,
}

/// What became of the requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Plaintexts that came back right.
    pub(crate) right: u64,
    /// Plaintexts that came back wrong.
    pub(crate) wrong: u64,
    /// Connections that were not taken.
    pub(crate) refused: u64,
    /// Requests that the server's end of the connection kept from being sent.
    pub(crate) not_sent: u64,
    /// Requests that had a connection and got no answer, by what happened.
    pub(crate) lost: BTreeMap<String, u64>,
    /// Other answers than 200, by status and name.
    pub(crate) errors: BTreeMap<String, u64>,
}

impl Tally {
    /// Every request was answered, and rightly.
    pub(crate) fn assert_nothing_failed(&self) {
        let failed = self.wrong == 0 && self.lost.is_empty() && self.errors.is_empty();
        assert!(failed && self.right > 0, "{self:?}");
    }

    fn add(mut self, other: Self) -> Self {
        self.right += other.right;
        self.wrong += other.wrong;
        self.refused += other.refused;
        self.not_sent += other.not_sent;
        for (what, times) in other.lost {
            *self.lost.entry(what).or_default() += times;
        }
        for (what, times) in other.errors {
            *self.errors.entry(what).or_default() += times;
        }
        self
    }
}

/// Clients at work.
pub(crate) struct Load {
    common: Arc<Common>,
    clients: JoinSet<Tally>,
}

struct Common {
    target: Target,
    key: String,
    signer: Mutex<Signer>,
    has_to_stop: AtomicBool,
    /// Of each client.
    right: Vec<AtomicU64>,
    start: Instant,
}

impl Load {
    /// This many clients of the key `usable`, whose styles take turns.
    pub(crate) fn start(target: Target, signer: Signer, clients: usize, styles: &[Style]) -> Self {
        Self::on_key("usable", target, signer, clients, styles)
    }

    pub(crate) fn on_key(key: &str, target: Target, signer: Signer, clients: usize, styles: &[Style]) -> Self {
        let common = Arc::new(Common {
            target,
            key: key.to_owned(),
            signer: Mutex::new(signer),
            has_to_stop: AtomicBool::new(false),
            right: (0..clients).map(|_| AtomicU64::new(0)).collect(),
            start: Instant::now(),
        });
        let clients = (0..clients).zip(styles.iter().cycle()).map(|(number, style)| {
            let client = Client {
                style: *style,
                number,
                common: Arc::clone(&common),
                connection: None,
                tally: Tally::default(),
            };
            client.work()
        });
        Self {
            clients: clients.collect(),
            common,
        }
    }

    /// From the next request on, clients sign with this.
    pub(crate) fn sign_with(&self, signer: Signer) {
        *self.common.signer.lock().unwrap() = signer;
    }

    /// Waits until this many more plaintexts have come back.
    pub(crate) async fn more(&self, wanted: u64) {
        let enough = self.right().iter().sum::<u64>() + wanted;
        self.wait_until(|right| right.iter().sum::<u64>() >= enough).await;
    }

    /// Waits until this many more plaintexts have come back to each client.
    pub(crate) async fn more_of_each(&self, wanted: u64) {
        let before = self.right();
        self.wait_until(|right| {
            right
                .iter()
                .zip(&before)
                .all(|(right, before)| *right >= before + wanted)
        })
        .await;
    }

    fn right(&self) -> Vec<u64> {
        let right = self.common.right.iter();
        right.map(|right| right.load(Ordering::Relaxed)).collect()
    }

    async fn wait_until(&self, holds: impl Fn(&[u64]) -> bool) {
        while !holds(&self.right()) {
            assert!(self.common.start.elapsed() < LONGEST, "the clients are stuck");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Tells them to stop, and sums up.
    pub(crate) async fn finish(self) -> Tally {
        self.common.has_to_stop.store(true, Ordering::Relaxed);
        let tallies = self.clients.join_all().await;
        tallies.into_iter().fold(Tally::default(), Tally::add)
    }
}

struct Client {
    style: Style,
    number: usize,
    common: Arc<Common>,
    connection: Option<Connection>,
    tally: Tally,
}

impl Client {
    async fn work(mut self) -> Tally {
        let mut request = 0_u64;
        let key = self.common.key.clone();
        while !self.common.has_to_stop.load(Ordering::Relaxed) && self.common.start.elapsed() < LONGEST {
            request += 1;
            let text = format!("text {request} of client {}", self.number);
            let path = format!("keys/{key}/encrypt");
            let Some(encrypted) = self.call(&path, &plaintext(text.as_bytes())).await else {
                continue;
            };
            let path = format!("keys/{key}/decrypt");
            let Some(decrypted) = self.call(&path, &ciphertext(&encrypted)).await else {
                continue;
            };
            if decrypted["plaintext"] == encode(text.as_bytes()) {
                self.tally.right += 1;
                self.common.right[self.number].fetch_add(1, Ordering::Relaxed);
            } else {
                self.tally.wrong += 1;
            }
        }
        self.tally
    }

    /// The body of an answer with status 200; everything else is counted.
    async fn call(&mut self, path: &str, body: &Value) -> Option<Value> {
        let answer = self.answer(path, body).await?;
        if answer.status == 200 {
            return Some(answer.json);
        }
        let (status, name) = answer.error();
        *self.tally.errors.entry(format!("{status} {name}")).or_default() += 1;
        None
    }

    async fn answer(&mut self, path: &str, body: &Value) -> Option<Answer> {
        let signer = self.common.signer.lock().unwrap().clone();
        let mut connection = self.connected().await?;
        match connection.post(&signer, path, body).await {
            Ok(answer) => {
                if self.style != Style::Reconnecting {
                    self.connection = Some(connection);
                }
                Some(answer)
            }
            Err(Failure::NotSent) => {
                self.tally.not_sent += 1;
                None
            }
            Err(Failure::NoAnswer(why)) => self.lost(&why),
        }
    }

    /// The connection there is, or a new one.
    async fn connected(&mut self) -> Option<Connection> {
        if let Some(mut connection) = self.connection.take()
            && connection.is_usable().await
        {
            return Some(connection);
        }
        let target = &self.common.target;
        let http = match self.style {
            Style::Http2 => Http::Two,
            Style::KeepAlive | Style::Reconnecting => Http::One,
        };
        let Ok(stream) = TcpStream::connect(target.address).await else {
            self.tally.refused += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
            return None;
        };
        match Connection::over(stream, target, http).await {
            Ok(connection) => Some(connection),
            Err(why) => self.lost(&why),
        }
    }

    fn lost<T>(&mut self, why: &str) -> Option<T> {
        *self.tally.lost.entry(format!("{:?}: {why}", self.style)).or_default() += 1;
        None
    }
}
