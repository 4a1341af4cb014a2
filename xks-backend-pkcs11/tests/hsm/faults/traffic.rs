//! Continuous requests, as KMS sends them: plaintexts are compared, and every failure is counted.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{runtime::Runtime, task::JoinHandle};
use xks_core::{
    BackendError, KeyBackend,
    aad::AadFraming,
    backend::{BackendErrorKind, Encrypted},
};

use crate::support::{aad, copy, decrypt, encrypt_with};

/// How long a task waits between an encryption with its decryption and the next.
const PAUSE: Duration = Duration::from_millis(1);

/// Tasks that encrypt something new, decrypt it, and now and then decrypt again what they encrypted first.
pub(crate) struct Traffic {
    runtime: Runtime,
    tasks: Vec<JoinHandle<()>>,
    /// How often each task has done what it does.
    rounds: Vec<Arc<AtomicU64>>,
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
}

/// The results of the requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) ok: u64,
    /// Each kind of failure: its count, the longest and the total time of such requests, and the first one's
    /// text.
    pub(crate) failures: Vec<Failures>,
    /// The request that took longest.
    pub(crate) slowest: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct Failures {
    pub(crate) kind: BackendErrorKind,
    pub(crate) count: u64,
    pub(crate) total: Duration,
    pub(crate) first: String,
}

impl Traffic {
    /// Starts so many tasks on a runtime of their own with so many threads.
    pub(crate) fn start<B: KeyBackend + 'static>(backend: &Arc<B>, keys: &[&str], tasks: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(tasks.min(8))
            .enable_time()
            .build();
        let mut traffic = Self {
            runtime: runtime.unwrap(),
            tasks: Vec::new(),
            rounds: (0..tasks).map(|_| Arc::default()).collect(),
            stop: Arc::default(),
            tally: Arc::default(),
        };
        for task in 0..tasks {
            let source = Source {
                backend: Arc::clone(backend) as _,
                key: keys[task % keys.len()].to_owned(),
                task,
                rounds: Arc::clone(&traffic.rounds[task]),
                tally: Arc::clone(&traffic.tally),
            };
            let stop = Arc::clone(&traffic.stop);
            traffic.tasks.push(traffic.runtime.spawn(source.run(stop)));
        }
        traffic
    }

    pub(crate) fn so_far(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// Waits until so many more requests have succeeded; says how long that took.
    #[track_caller]
    pub(crate) fn wait_for_successes(&self, more: u64) -> Duration {
        let (start, before) = (Instant::now(), self.so_far().ok);
        crate::support::wait_until("requests that succeed", || self.so_far().ok >= before + more);
        start.elapsed()
    }

    /// Waits until so many more requests have failed.
    #[track_caller]
    pub(crate) fn wait_for_failures(&self, more: u64) {
        let before = self.so_far().failed();
        crate::support::wait_until("requests that fail", || self.so_far().failed() >= before + more);
    }

    /// Waits until all requests that are running now have ended.
    #[track_caller]
    pub(crate) fn wait_for_everyone(&self) {
        let count = || self.rounds.iter().map(|rounds| rounds.load(Ordering::SeqCst));
        let before: Vec<_> = count().collect();
        crate::support::wait_until("an answer for every request", || {
            count().zip(&before).all(|(now, before)| now > *before + 1)
        });
    }

    /// Ends it when every task is between two requests. Panics if one of them got another plaintext than it
    /// sent.
    #[track_caller]
    pub(crate) fn stop(mut self) -> Tally {
        self.stop.store(true, Ordering::SeqCst);
        for task in std::mem::take(&mut self.tasks) {
            self.runtime.block_on(task).expect("every answer is the right one");
        }
        let tally = self.so_far();
        assert!(tally.ok > 0, "nothing succeeded: {tally:?}");
        tally
    }

    /// Drops the requests that are under way, as when clients go away.
    pub(crate) fn abandon(mut self) {
        for task in std::mem::take(&mut self.tasks) {
            task.abort();
            let outcome = self.runtime.block_on(task);
            assert!(outcome.is_err_and(|error| error.is_cancelled()), "a wrong answer");
        }
    }
}

impl Tally {
    pub(crate) fn failed(&self) -> u64 {
        self.failures.iter().map(|failures| failures.count).sum()
    }

    pub(crate) fn of(&self, kind: BackendErrorKind) -> u64 {
        let failures = self.failures.iter().find(|failures| failures.kind == kind);
        failures.map_or(0, |failures| failures.count)
    }

    /// Panics if any request failed in another way.
    #[track_caller]
    pub(crate) fn assert_only(&self, kinds: &[BackendErrorKind]) {
        if let Some(other) = self.failures.iter().find(|failures| !kinds.contains(&failures.kind)) {
            panic!(
                "not only {kinds:?}, but {} times {}: {self:?}",
                other.count, other.first
            );
        }
    }

    /// How long a request took on average that failed so.
    pub(crate) fn average_failure(&self, kind: BackendErrorKind) -> Duration {
        let failures = self.failures.iter().find(|failures| failures.kind == kind);
        failures.map_or(Duration::ZERO, |failures| {
            failures.total / u32::try_from(failures.count).unwrap()
        })
    }

    fn note<T>(&mut self, outcome: Result<T, BackendError>, took: Duration) -> Option<T> {
        self.slowest = self.slowest.max(took);
        let error = match outcome {
            Ok(done) => {
                self.ok += 1;
                return Some(done);
            }
            Err(error) => error,
        };
        let known = self.failures.iter_mut().find(|failures| failures.kind == error.kind());
        match known {
            Some(failures) => {
                failures.count += 1;
                failures.total += took;
            }
            None => self.failures.push(Failures {
                kind: error.kind(),
                count: 1,
                total: took,
                first: format!("{error:?}"),
            }),
        }
        None
    }
}

/// One task.
struct Source {
    backend: Arc<dyn KeyBackend>,
    key: String,
    task: usize,
    rounds: Arc<AtomicU64>,
    tally: Arc<Mutex<Tally>>,
}

impl Source {
    async fn run(self, stop: Arc<AtomicBool>) {
        let mut first: Option<(u64, Encrypted)> = None;
        for round in 0.. {
            if stop.load(Ordering::SeqCst) {
                break;
            }
            if let Some(encrypted) = self.encrypt(round).await {
                self.decrypt(round, &encrypted).await;
                first.get_or_insert((round, encrypted));
            }
            if let Some((round, encrypted)) = first.as_ref().filter(|_| round % 8 == 7) {
                self.decrypt(*round, encrypted).await;
            }
            self.rounds.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn encrypt(&self, round: u64) -> Option<Encrypted> {
        let name = format!("task {}, round {round}", self.task);
        let (plaintext, start) = (self.plaintext(round), Instant::now());
        let aad = aad(AadFraming::Spec, Some(name.as_bytes()));
        let outcome = encrypt_with(&*self.backend, &self.key, &plaintext, aad).await;
        let encrypted = lock(&self.tally).note(outcome, start.elapsed())?;
        assert_eq!(encrypted.ciphertext().len(), plaintext.len());
        assert!(
            plaintext.len() < 16 || encrypted.ciphertext() != plaintext,
            "{name}: not encrypted"
        );
        Some(encrypted)
    }

    async fn decrypt(&self, round: u64, encrypted: &Encrypted) {
        let start = Instant::now();
        let outcome = decrypt(&*self.backend, &self.key, &copy(encrypted)).await;
        let plaintext = lock(&self.tally).note(outcome, start.elapsed());
        if let Some(plaintext) = plaintext {
            assert!(plaintext == self.plaintext(round), "another plaintext than went in");
        }
    }

    /// Different for each request: up to 600 bytes.
    fn plaintext(&self, round: u64) -> Vec<u8> {
        let seed = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (self.task as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
        let range: Range<u64> = 0..seed % 75;
        range
            .flat_map(|word| {
                seed.wrapping_add(word)
                    .wrapping_mul(0x2545_f491_4f6c_dd1d)
                    .to_le_bytes()
            })
            .collect()
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
