//! Measures how long work takes, on a machine that does other things too: the best of many short runs, since
//! whatever else runs can only make one longer; what is compared is run in turn, so that neither has the
//! better time of day.

use std::{
    hint::black_box,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Short enough that most runs are over before the processor is given to another process.
const RUN: Duration = Duration::from_micros(100);

/// Whether numbers are wanted. `cargo test` runs the benchmarks too, to see that they run.
#[must_use]
pub fn is_wanted() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// How long a rate is taken.
#[must_use]
pub fn slice() -> Duration {
    Duration::from_millis(if is_wanted() { 400 } else { 20 })
}

/// The shortest time that `work` takes.
pub fn fastest<T>(mut work: impl FnMut() -> T) -> Duration {
    let [best] = in_turn([&mut || consume(work())]);
    best
}

/// The shortest times that two take, in turn.
pub fn interleaved<A, B>(mut one: impl FnMut() -> A, mut other: impl FnMut() -> B) -> (Duration, Duration) {
    let [one, other] = in_turn([&mut || consume(one()), &mut || consume(other())]);
    (one, other)
}

/// The shortest times that several take, in turn.
pub fn in_turn<const N: usize>(mut works: [&mut dyn FnMut(); N]) -> [Duration; N] {
    let rounds = if is_wanted() { 3000 } else { 2 };
    let counts = works.each_mut().map(|work| {
        (0..100).for_each(|_| work()); // caches and branch predictors get to know it
        let one = run(work, 10).max(Duration::from_nanos(1));
        u32::try_from(RUN.as_nanos() / one.as_nanos()).unwrap_or(1).max(1)
    });
    let mut best = [Duration::MAX; N];
    for _ in 0..rounds {
        for ((work, count), best) in works.iter_mut().zip(counts).zip(&mut best) {
            *best = run(work, count).min(*best);
        }
    }
    best
}

/// Takes a result, so that the compiler cannot leave out the work for it.
pub fn consume<T>(result: T) {
    black_box(result);
}

fn run(work: &mut dyn FnMut(), count: u32) -> Duration {
    let start = Instant::now();
    for _ in 0..count {
        work();
    }
    start.elapsed() / count
}

/// How many times as long the first takes.
#[must_use]
pub fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

/// How often `new()()` is done in a second, on so many threads.
pub fn rate<F: FnMut()>(threads: usize, slice: Duration, new: impl Fn() -> F + Sync) -> f64 {
    let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut work = new();
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    work();
                    count += 1;
                }
                done.fetch_add(count, Ordering::Relaxed);
            });
        }
        thread::sleep(slice);
        stop.store(true, Ordering::Relaxed);
    });
    done.into_inner() as f64 / start.elapsed().as_secs_f64()
}

/// The best rate of many rounds in which as many threads do `new()()` at once: each round is short enough
/// that some find the processors free, whatever else the machine does.
pub fn best_rate<F: FnMut()>(threads: usize, new: impl Fn() -> F + Sync) -> f64 {
    let round = RUN * 20;
    let calls = round.as_nanos() / run(&mut new(), 20).as_nanos().max(1);
    let calls = usize::try_from(calls).unwrap_or(1).div_ceil(threads).max(20);
    let rounds = if is_wanted() { 500 } else { 2 };
    let start = Barrier::new(threads);
    let rounds_of_thread = || {
        let mut work = new();
        let round = |_| {
            start.wait();
            let start = Instant::now();
            (0..calls).for_each(|_| work());
            (start, Instant::now())
        };
        (0..rounds).map(round).collect::<Vec<_>>()
    };
    let times: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(rounds_of_thread)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("it does not panic"))
            .collect()
    });
    let time = |round: usize| {
        let of_round = || times.iter().filter_map(move |times| times.get(round));
        let (first, last) = (
            of_round().map(|(start, _)| *start).min()?,
            of_round().map(|(_, end)| *end).max()?,
        );
        Some(last - first)
    };
    let best = (0..rounds).filter_map(time).min().unwrap_or_default();
    (threads * calls) as f64 / best.as_secs_f64()
}

/// What a process, by default this one, has had of the processors, as Linux counts it: in hundredths of a
/// second.
#[must_use]
pub fn processor_time(pid: Option<u32>) -> Duration {
    let process = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("a process that runs, on Linux");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = fields.split_whitespace().skip(11).take(2);
    Duration::from_millis(10 * ticks.map(|ticks| ticks.parse::<u64>().expect("a number")).sum::<u64>())
}
