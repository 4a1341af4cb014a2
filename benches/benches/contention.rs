//! Many callers of one proxy over software keys: whether they get in each other's way, and whether it costs them
//! anything when its key stores are replaced meanwhile. What two processors give is not twice what one gives where they
//! share a core, or somebody else's work; so callers with a proxy each are run in turn with them.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark may panic and print"
)]

use std::{
    iter,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use xks_benches::{
    DATA_KEY, Signed, answer, key_store,
    measure::{is_wanted, rate, slice},
    proxy,
};
use xks_core::Proxy;

/// How often key stores are replaced: more often than anybody does.
const BETWEEN_CHANGES: Duration = Duration::from_millis(1);

fn main() {
    let processors = thread::available_parallelism().unwrap().get();
    println!("encrypt with integrity value, {processors} processors; the best of many slices");
    let (shared, signed) = (proxy(), Signed::encrypt(DATA_KEY, true));
    let one_proxy = |callers| rate(callers, slice() / 8, || caller(&shared, &signed));
    let proxy_each = |callers| {
        let proxies: Vec<Proxy> = iter::repeat_with(proxy).take(callers).collect();
        let free = Mutex::new(proxies.iter());
        rate(callers, slice() / 8, || {
            let own = free.lock().unwrap().next().unwrap();
            caller(own, &signed)
        })
    };
    let mut changes = Changes::default();
    let mut best = [(0.0, 0.0); 4];
    let mut best_with_changes: f64 = 0.0;
    let counts = [1, 2, 8, 64];
    for _ in 0..if is_wanted() { 40 } else { 1 } {
        for (callers, (one, each)) in counts.into_iter().zip(&mut best) {
            *one = one_proxy(callers).max(*one);
            *each = proxy_each(callers).max(*each);
        }
        best_with_changes = best_with_changes.max(changes.during(&shared, || one_proxy(64)));
    }
    let [(alone, _), .., (many, _)] = best;
    for (callers, (one, each)) in counts.into_iter().zip(best) {
        println!(
            "  {callers:>2} callers: {one:>7.0}/s, {:.2} times what one caller gets, {:.3} times what they get with a proxy each",
            one / alone,
            one / each,
        );
    }
    println!(
        "  64 callers: {best_with_changes:>7.0}/s while key stores are replaced {:.0} times a second, {:.3} times what they get else",
        changes.rate(),
        best_with_changes / many,
    );
}

fn caller(proxy: &Proxy, signed: &Signed) -> impl FnMut() {
    || assert_eq!(answer(proxy, signed).status(), 200)
}

/// A thread that replaces key stores while others call.
#[derive(Default)]
struct Changes {
    made: u64,
    time: Duration,
}

impl Changes {
    fn during<T>(&mut self, proxy: &Proxy, work: impl FnOnce() -> T) -> T {
        let (stop, start) = (AtomicBool::new(false), Instant::now());
        let result = thread::scope(|scope| {
            let changing = scope.spawn(|| {
                let mut made = 0;
                while !stop.load(Ordering::Relaxed) {
                    proxy.key_stores().replace([key_store()]).unwrap();
                    made += 1;
                    thread::sleep(BETWEEN_CHANGES);
                }
                made
            });
            let result = work();
            stop.store(true, Ordering::Relaxed);
            self.made += changing.join().unwrap();
            result
        });
        self.time += start.elapsed();
        result
    }

    fn rate(&self) -> f64 {
        self.made as f64 / self.time.as_secs_f64()
    }
}
