//! The PKCS#11 backend beside the bare calls on SoftHSM2; and before an HSM that takes 2 ms for an operation, at its
//! limit and beyond. Ratios are taken in the same run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark may panic and print"
)]

use std::{
    hint::black_box,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use xks_backend_pkcs11::{Config, Dispatch, Pin, Pkcs11Backend, Quirks, SlotSelector};
use xks_benches::measure::{processor_time, rate, slice};
use xks_core::{
    AadFraming, BackendErrorKind, BoundAad, EncryptRequest, KeyBackend as _, KeyId, RequestMetadata, Zeroizing,
};
use xks_pkcs11_fixture::{Bare, KeyTemplate, Shim, SoftHsm, softhsm_path};

const TOKEN: &str = "bench";
const PIN: &str = "1234";
const KEY: &str = "key-1";
/// What an HSM at the end of a network takes.
const LATENCY: Duration = Duration::from_millis(2);
const SESSIONS: usize = 30;

fn main() {
    let hsm = SoftHsm::reexec();
    hsm.token(TOKEN, PIN);
    hsm.key(TOKEN, &KeyTemplate::aes256(KEY));
    let slice = slice();
    println!("SoftHSM2, encrypt, 32 bytes with AAD 200, inline dispatch beside the bare calls");
    for threads in [1, 2, 4] {
        beside_bare_calls(threads, slice);
    }
    println!(
        "\nan HSM of {LATENCY:?} an operation, {SESSIONS} sessions: at most {:.0}/s",
        capacity()
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(slow_hsm(slice * 8));
}

fn config(module: &std::path::Path) -> Config {
    Config::new(module)
        .slot(SlotSelector::TokenLabel(TOKEN.into()))
        .pin(Pin::new(PIN))
        .quirks(Quirks::SOFTHSM)
        .sessions(SESSIONS)
}

fn request() -> EncryptRequest<'static> {
    let aad = BoundAad::new(AadFraming::Spec, Some(&[b'a'; 200]), None).unwrap();
    EncryptRequest::new(RequestMetadata::default(), Zeroizing::new(vec![b'p'; 32]), aad)
}

/// Slices of both in turn, and the median of their ratios.
fn beside_bare_calls(threads: usize, slice: Duration) {
    let backend = Pkcs11Backend::open(config(&softhsm_path()).dispatch(Dispatch::Inline)).unwrap();
    let module = Bare::load(&softhsm_path());
    let key: KeyId = KEY.parse().unwrap();
    let (aad, plaintext) = (request().bind_aad(None), [b'p'; 32]);
    let bare = || {
        let mut session = module.session(KEY);
        let aad = &aad;
        move || {
            black_box(session.encrypt(aad.as_bytes(), &plaintext));
        }
    };
    let ours = || {
        let (backend, key, mut request) = (&backend, &key, request());
        move || {
            let outcome = pin!(backend.encrypt(key, &mut request)).poll(&mut Context::from_waker(Waker::noop()));
            let Poll::Ready(Ok(encrypted)) = outcome else {
                panic!("{outcome:?}")
            };
            black_box(encrypted);
        }
    };
    let mut rounds = Vec::new();
    for _ in 0..9 {
        rounds.push((rate(threads, slice, bare), rate(threads, slice, ours)));
    }
    rounds.sort_by(|a, b| (a.1 / a.0).total_cmp(&(b.1 / b.0)));
    let (bare, ours) = rounds[rounds.len() / 2];
    println!(
        "  {threads} threads: {bare:>7.0}/s bare, {ours:>7.0}/s ours: {:.3} (bar: 0.9)",
        ours / bare
    );
}

fn capacity() -> f64 {
    SESSIONS as f64 / LATENCY.as_secs_f64()
}

#[derive(Default)]
struct Tally {
    ok: AtomicU64,
    throttled: AtomicU64,
    other: AtomicU64,
    /// Microseconds.
    longest: AtomicU64,
}

async fn slow_hsm(slice: Duration) {
    let shim = Shim::load();
    let config = config(shim.path());
    let backend = Arc::new(Pkcs11Backend::open(config.clone()).unwrap());
    shim.latency_of_operations(LATENCY);

    // As many as are served at once, and as many again and more that wait.
    let tally = Arc::new(Tally::default());
    let (before, end) = (processor_time(None), Instant::now() + slice);
    let health = tokio::spawn(latency_of_health(Arc::clone(&backend), end));
    let callers: Vec<_> = (0..64)
        .map(|_| {
            let (backend, tally) = (Arc::clone(&backend), Arc::clone(&tally));
            tokio::spawn(async move {
                while Instant::now() < end {
                    call(&backend, &tally).await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let served = tally.ok.load(Ordering::Relaxed) as f64;
    println!(
        "  {:.0} µs of processor time a call, SoftHSM2's own and that of the caller included; a core has 67",
        (processor_time(None) - before).as_secs_f64() * 1e6 / served
    );
    report("64 callers", &tally, slice, health.await.unwrap());

    // Twice what it can do, whether or not it keeps up.
    let tally = Arc::new(Tally::default());
    let start = Instant::now();
    let health = tokio::spawn(latency_of_health(Arc::clone(&backend), start + slice));
    let mut calls = tokio::task::JoinSet::new();
    let mut sent = 0;
    while start.elapsed() < slice {
        let due = (start.elapsed().as_secs_f64() * capacity() * 2.0) as u64;
        for _ in sent..due {
            let (backend, tally) = (Arc::clone(&backend), Arc::clone(&tally));
            calls.spawn(async move { call(&backend, &tally).await });
        }
        sent = due;
        while calls.try_join_next().is_some() {}
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    calls.join_all().await;
    report("twice the load", &tally, slice, health.await.unwrap());
    assert!(backend.shutdown(Duration::from_secs(10)));
    shim.assert_clean();
}

async fn call(backend: &Pkcs11Backend, tally: &Tally) {
    let start = Instant::now();
    let outcome = backend.encrypt(&KEY.parse().unwrap(), &mut request()).await;
    let took = u64::try_from(start.elapsed().as_micros()).unwrap();
    tally.longest.fetch_max(took, Ordering::Relaxed);
    let count = match outcome {
        Ok(_) => &tally.ok,
        Err(error) if error.kind() == BackendErrorKind::Throttled => &tally.throttled,
        Err(_) => &tally.other,
    };
    count.fetch_add(1, Ordering::Relaxed);
}

/// The 99th percentile of how late a health answer comes that is asked for every millisecond.
async fn latency_of_health(backend: Arc<Pkcs11Backend>, end: Instant) -> Duration {
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let start = Instant::now();
        backend.health().await.unwrap();
        tokio::task::yield_now().await; // behind whatever else waits for this thread
        latencies.push(start.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    latencies.sort();
    latencies[latencies.len() * 99 / 100]
}

fn report(what: &str, tally: &Tally, slice: Duration, health: Duration) {
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let served = count(&tally.ok) as f64 / slice.as_secs_f64();
    println!(
        "  {what}: {served:.0}/s served, {:.1} % of what there is (bar at 64 callers: 95 %); {} throttled, {} failed, \
         the longest after {:.1} ms; health p99 {:.2} ms (bar: 5 ms)",
        served / capacity() * 100.0,
        count(&tally.throttled),
        count(&tally.other),
        count(&tally.longest) as f64 / 1000.0,
        health.as_secs_f64() * 1000.0,
    );
}
