//! Many callers of one proxy over software keys: whether they get in each other's way, and whether it costs
//! them anything when its key stores are replaced meanwhile. The best of many short rounds tells how callers
//! scale; the processor time of a call grows when processors wait for each other's memory. What of both is
//! the machine's own tell callers that have a proxy each, and hashing, which shares nothing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark may panic and print"
)]

use std::{
    fmt, iter,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};
use xks_benches::{
    DATA_KEY, Signed, answer, key_store,
    measure::{best_rate, consume, is_wanted, processor_time, rate, slice},
    proxy,
};
use xks_core::Proxy;

const CALLERS: [usize; 4] = [1, 2, 8, MANY];
const MANY: usize = 64;
/// How often key stores are replaced: more often than in practice.
const BETWEEN_CHANGES: Duration = Duration::from_millis(1);

fn main() {
    let processors = thread::available_parallelism().unwrap().get();
    println!("encrypt with integrity value, {processors} processors; the processor time of a call");
    let (shared, signed) = (proxy(), Signed::encrypt(DATA_KEY, true));
    let proxies: Vec<Proxy> = iter::repeat_with(proxy).take(MANY).collect();
    let next = AtomicUsize::new(0);
    let together = || caller(&shared, &signed);
    let apart = || caller(&proxies[next.fetch_add(1, Ordering::Relaxed) % MANY], &signed);
    let hashing = || || consume((0..10).fold([0; 32], |hash, _| Sha256::digest(hash).into()));
    let mut tallies = [(); 4].map(|()| <[Tally; 3]>::default());
    let (mut changing, mut changes) = (Tally::default(), Changes::default());
    for _ in 0..if is_wanted() { 4 } else { 1 } {
        for (callers, tallies) in CALLERS.into_iter().zip(&mut tallies) {
            tallies[0].add(callers, together);
            tallies[1].add(callers, apart);
            tallies[2].add(callers, hashing);
        }
        changes.during(&shared, || changing.add(MANY, together));
    }
    for (callers, [together, apart, hashing]) in CALLERS.into_iter().zip(&tallies) {
        let of_one = |tally: &Tally, one: &Tally| tally.rate / one.rate;
        println!(
            "  {callers:>2} callers: {together}, {:.2} times one; with a proxy each {apart}, {:.2} times; hashing {:.2} times",
            of_one(together, &tallies[0][0]),
            of_one(apart, &tallies[0][1]),
            of_one(hashing, &tallies[0][2]),
        );
    }
    println!(
        "  {MANY} callers: {changing}, while key stores are replaced {:.0} times a second",
        changes.rate()
    );
}

fn caller(proxy: &Proxy, signed: &Signed) -> impl FnMut() {
    || assert_eq!(answer(proxy, signed).status(), 200)
}

/// What so many callers got.
#[derive(Default)]
struct Tally {
    /// In a second, at best.
    rate: f64,
    calls: f64,
    processors: Duration,
}

impl Tally {
    fn add<F: FnMut()>(&mut self, callers: usize, new: impl Fn() -> F + Sync) {
        self.rate = best_rate(callers, &new).max(self.rate);
        let (before, start) = (processor_time(None), Instant::now());
        let rate = rate(callers, slice(), new);
        self.calls += rate * start.elapsed().as_secs_f64();
        self.processors += processor_time(None) - before;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.processors.as_secs_f64() * 1e6 / self.calls;
        write!(f, "{:>7.0}/s at {time:.2} µs", self.rate)
    }
}

/// A thread that replaces key stores while others call.
#[derive(Default)]
struct Changes {
    made: u64,
    time: Duration,
}

impl Changes {
    fn during(&mut self, proxy: &Proxy, work: impl FnOnce()) {
        let (stop, start) = (AtomicBool::new(false), Instant::now());
        thread::scope(|scope| {
            let changing = scope.spawn(|| {
                let mut made = 0;
                while !stop.load(Ordering::Relaxed) {
                    proxy.key_stores().replace([key_store()]).unwrap();
                    made += 1;
                    thread::sleep(BETWEEN_CHANGES);
                }
                made
            });
            work();
            stop.store(true, Ordering::Relaxed);
            self.made += changing.join().unwrap();
        });
        self.time += start.elapsed();
    }

    fn rate(&self) -> f64 {
        self.made as f64 / self.time.as_secs_f64()
    }
}
