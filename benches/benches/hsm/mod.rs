//! The PKCS#11 backend in process: beside the bare calls on SoftHSM2, and before an HSM that takes 2 ms for
//! an operation, at its limit and beyond. The process has to be one that [`SoftHsm::reexec`] started.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use xks_backend_pkcs11::{Config, Dispatch, Pin, Pkcs11Backend, Quirks, SlotSelector};
use xks_benches::{
    DATA_KEY, KEY, Row, encrypt_request,
    measure::{best_rate, consume, is_wanted, processor_time, rate, slice},
    ready,
};
use xks_core::{KeyBackend as _, backend::BackendErrorKind};
use xks_pkcs11_fixture::{Bare, KeyTemplate, Shim, SoftHsm, softhsm_path};

const TOKEN: &str = "in-process";
const PIN: &str = "1234";
/// What an HSM at the end of a network takes.
const LATENCY: Duration = Duration::from_millis(2);
const SESSIONS: usize = 30;

/// All that is promised of it.
pub(crate) fn rows(hsm: &SoftHsm) -> Vec<Row> {
    hsm.token(TOKEN, PIN);
    hsm.key(TOKEN, &KeyTemplate::aes256(KEY));
    let mut rows: Vec<_> = [1, 2, 4].map(beside_bare_calls).into();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    rows.extend(runtime.block_on(slow_hsm(slice() * 8)));
    rows
}

fn config(module: &std::path::Path) -> Config {
    Config::new(module)
        .slot(SlotSelector::TokenLabel(TOKEN.into()))
        .pin(Pin::new(PIN))
        .quirks(Quirks::SOFTHSM)
        .sessions(SESSIONS)
}

/// Both dispatches, each in turn with the bare calls, at the best of each.
fn beside_bare_calls(threads: usize) -> Row {
    let open = |dispatch| Pkcs11Backend::open(config(&softhsm_path()).dispatch(dispatch)).unwrap();
    let (inline, on_threads) = (open(Dispatch::Inline), open(Dispatch::Threads));
    let module = Bare::load(&softhsm_path());
    let (aad, plaintext) = (encrypt_request(DATA_KEY).bind_aad(None), [b'p'; 32]);
    let bare = || {
        let mut session = module.session(KEY);
        let aad = &aad;
        move || consume(session.encrypt(aad.as_bytes(), &plaintext))
    };
    let (inline, on_threads) = (
        || {
            let (key, mut request) = (KEY.parse().unwrap(), encrypt_request(DATA_KEY));
            let backend = &inline;
            move || consume(ready(backend.encrypt(&key, &mut request)).unwrap())
        },
        || {
            let (key, mut request) = (KEY.parse().unwrap(), encrypt_request(DATA_KEY));
            let backend = &on_threads;
            move || consume(pollster::block_on(backend.encrypt(&key, &mut request)).unwrap())
        },
    );
    let [mut bare_calls, mut ours, mut over_threads] = [0.0_f64; 3];
    for _ in 0..if is_wanted() { 5 } else { 1 } {
        bare_calls = best_rate(threads, bare).max(bare_calls);
        ours = best_rate(threads, inline).max(ours);
        over_threads = best_rate(threads, on_threads).max(over_threads);
    }
    let what = format!(
        "encrypt on SoftHSM2, inline, {threads} callers: share of the bare calls' rate ({ours:.0} of {bare_calls:.0}/s; {:.2} \
         on threads)",
        over_threads / bare_calls
    );
    Row::at_least(&what, 0.9, ours / bare_calls)
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

impl Tally {
    fn count(&self, of: &AtomicU64) -> f64 {
        of.load(Ordering::Relaxed) as f64
    }
}

async fn slow_hsm(slice: Duration) -> [Row; 4] {
    let shim = Shim::load();
    let config = config(shim.path());
    let backend = Arc::new(Pkcs11Backend::open(config.clone()).unwrap());
    shim.latency_of_operations(LATENCY);

    // What such an HSM gives: the latency is a sleep, which takes longer than asked for.
    let module = Bare::load(shim.path());
    let (aad, plaintext) = (encrypt_request(DATA_KEY).bind_aad(None), [b'p'; 32]);
    let bare = || {
        let mut session = module.session(KEY);
        let aad = &aad;
        move || consume(session.encrypt(aad.as_bytes(), &plaintext))
    };
    let bare = tokio::task::block_in_place(|| rate(SESSIONS, slice, bare)) / capacity();

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
    let served = tally.count(&tally.ok);
    let share = served / slice.as_secs_f64() / capacity();
    let cost = (processor_time(None) - before).as_secs_f64() * 1e6 / served;
    let what = format!(
        "an HSM of 2 ms with {SESSIONS} sessions, 64 callers: share of {:.0}/s (bare calls: {bare:.3}; {cost:.0} µs of \
         processor time a call, SoftHSM2 and caller included)",
        capacity()
    );
    let at_its_limit = Row::at_least(&what, 0.95, share);
    let waited = health.await.unwrap();

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
    let waited_beyond = health.await.unwrap();
    let refused = Row {
        what: "twice as many as it can do: served, refused with 429, failed; the longest, ms".to_owned(),
        bar: "none failed, the longest ≤ 200".to_owned(),
        measured: format!(
            "{}, {}, {}; {:.0}",
            tally.count(&tally.ok),
            tally.count(&tally.throttled),
            tally.count(&tally.other),
            tally.count(&tally.longest) / 1e3
        ),
        held: tally.count(&tally.other) == 0.0 && tally.count(&tally.longest) <= 200e3,
    };
    assert!(backend.shutdown(Duration::from_secs(10)));
    shim.assert_clean();
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
    [
        at_its_limit,
        Row::at_most("p99 of health meanwhile, ms", 5.0, milliseconds(waited)),
        refused,
        Row::at_most("p99 of health meanwhile, ms", 5.0, milliseconds(waited_beyond)),
    ]
}

async fn call(backend: &Pkcs11Backend, tally: &Tally) {
    let start = Instant::now();
    let outcome = backend
        .encrypt(&KEY.parse().unwrap(), &mut encrypt_request(DATA_KEY))
        .await;
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
