//! The pool: every job is answered once, in time, and no caller is forgotten; however callers, workers, the
//! deadline thread and the end get in between one another.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Waker},
    time::{Duration, Instant},
};

use shuttle::{future::block_on, thread};

use super::by_shuttle::{Condvar, Mutex, check, now, pass};
use crate::threads::{
    Load, Pool, Refusal, Size,
    pool::{GRAIN, STANDSTILL},
};

const DEADLINE: Duration = Duration::from_millis(100);
/// Long enough for no time to be left.
const OVER: Duration = Duration::from_secs(1);
const END: Duration = Duration::from_secs(10);
const WAYS: usize = 1000;

fn pool(threads: usize, queue_length: usize, max_abandoned: usize) -> Arc<Pool<usize>> {
    pool_on(threads, threads, queue_length, max_abandoned)
}

fn pool_on(processors: usize, threads: usize, queue_length: usize, max_abandoned: usize) -> Arc<Pool<usize>> {
    let size = Size {
        threads,
        queue_length,
        max_abandoned,
        deadline: DEADLINE,
        processors,
    };
    Pool::numbered(&size, |_| true)
}

/// What keeps a job in the module until it is let go.
#[derive(Clone, Default)]
struct Hold(Arc<(Mutex<Held>, Condvar)>);

#[derive(Default)]
struct Held {
    /// The deadline of the job that has come.
    deadline: Option<Instant>,
    is_let_go: bool,
}

impl Hold {
    fn hang(&self, deadline: Instant) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        state.deadline = Some(deadline);
        changed.notify_all();
        while !state.is_let_go {
            state = changed.wait(state).unwrap();
        }
    }

    /// Waits until a job hangs, and says until when its caller waits.
    fn deadline(&self) -> Instant {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        loop {
            if let Some(deadline) = state.deadline {
                return deadline;
            }
            state = changed.wait(state).unwrap();
        }
    }

    fn let_go(&self) {
        self.0.0.lock().unwrap().is_let_go = true;
        self.0.1.notify_all();
    }
}

type Caller<T> = thread::JoinHandle<Result<T, Refusal>>;

fn call_until<T: Send + 'static>(
    pool: &Arc<Pool<usize>>,
    work: impl FnOnce(Instant) -> T + Send + 'static,
) -> Caller<T> {
    let pool = Arc::clone(pool);
    thread::spawn(move || block_on(pool.run(|_, deadline| Ok(work(deadline)))).map_err(|error| error.refusal))
}

fn call<T: Send + 'static>(pool: &Arc<Pool<usize>>, work: impl FnOnce() -> T + Send + 'static) -> Caller<T> {
    call_until(pool, |_| work())
}

fn hanging(pool: &Arc<Pool<usize>>, hold: &Hold) -> Caller<()> {
    let hold = hold.clone();
    call_until(pool, move |deadline| hold.hang(deadline))
}

/// Three callers at once: each gets the answer to its own job, which is done once.
fn do_three(pool: &Arc<Pool<usize>>, done: &Arc<AtomicUsize>) {
    let callers: Vec<_> = (0..3)
        .map(|number| {
            let done = Arc::clone(done);
            call(pool, move || {
                thread::yield_now();
                done.fetch_add(1, Relaxed);
                number
            })
        })
        .collect();
    for (number, caller) in callers.into_iter().enumerate() {
        assert_eq!(caller.join().unwrap(), Ok(number));
    }
}

#[test]
fn every_job_is_done_and_answered_once() {
    check(WAYS, || {
        let (pool, done) = (pool(2, 8, 2), Arc::new(AtomicUsize::new(0)));
        do_three(&pool, &done);
        assert_eq!(done.load(Relaxed), 3);
        assert_eq!(pool.stop_within(END), 0);
    });
}

/// A caller that has lost interest costs no other an answer, and its job is done once at most.
#[test]
fn futures_may_be_dropped_at_any_time() {
    check(WAYS, || {
        let (pool, done) = (pool(1, 8, 1), Arc::new(AtomicUsize::new(0)));
        let dropping = {
            let (pool, done) = (Arc::clone(&pool), Arc::clone(&done));
            thread::spawn(move || {
                let job = pool.run(move |_, _| Ok(done.fetch_add(1, Relaxed)));
                let _ = pin!(job).poll(&mut Context::from_waker(Waker::noop()));
            })
        };
        let other = call(&pool, || 7);
        dropping.join().unwrap();
        assert_eq!(other.join().unwrap(), Ok(7));
        assert_eq!(pool.stop_within(END), 0);
        assert!(done.load(Relaxed) <= 1);
    });
}

/// TRN-8: the caller of a call that hangs is answered when its deadline has come, and no later; what the call
/// returns in the end goes to no caller. Another thread serves meanwhile.
#[test]
fn a_call_that_hangs_is_answered_at_its_deadline() {
    // Two may be abandoned: the first thread is, when it has no turn for so long that it has not come to
    // the job.
    check(WAYS, || {
        let (pool, hold) = (pool(1, 8, 2), Hold::default());
        pass(DEADLINE / 2);
        let hung = hanging(&pool, &hold);
        let is_there = |load: Load| load.queued + load.running > 0;
        while !is_there(pool.load()) {
            thread::yield_now();
        }
        // The deadline thread looks once before the job's time is over, wherever the job is then.
        pass(DEADLINE / 2);
        let deadline = hold.deadline();
        // Its time is over then, and no more passes until its caller has been answered.
        pass(deadline.saturating_duration_since(now()) + GRAIN);
        assert_eq!(hung.join().unwrap(), Err(Refusal::Timeout));
        pass(DEADLINE);
        assert_eq!(call(&pool, || 7).join().unwrap(), Ok(7));
        hold.let_go();
        // The thread whose place was taken ends.
        let is_well = |load: Load| (load.sessions, load.abandoned) == (1, 0);
        while !is_well(pool.load()) {
            thread::yield_now();
        }
        assert_eq!(pool.stop_within(END), 0);
        assert_eq!(pool.load().timed_out, 1);
    });
}

/// The same for a call that has less time than others: it is answered at its own deadline, wherever the
/// deadline thread is when it comes.
#[test]
fn a_call_with_less_time_is_answered_at_its_own_deadline() {
    check(WAYS, || {
        let (pool, hold) = (pool(1, 8, 2), Hold::default());
        let short = DEADLINE / 10;
        let hung = {
            let (pool, hold) = (Arc::clone(&pool), hold.clone());
            thread::spawn(move || {
                let call = pool.run_within(short, move |_, deadline| {
                    hold.hang(deadline);
                    Ok(())
                });
                block_on(call).map_err(|error| error.refusal)
            })
        };
        while pool.load().queued + pool.load().running == 0 {
            thread::yield_now();
        }
        // Its time is over, and that of no other would be.
        pass(short + GRAIN);
        assert_eq!(hung.join().unwrap(), Err(Refusal::Timeout));
        hold.let_go();
        assert_eq!(pool.stop_within(END), 0);
    });
}

/// Of quick calls no more are made than there are processors; no job is forgotten over that, and where a call
/// stands still, other threads serve.
#[test]
fn jobs_that_are_held_back_are_done() {
    check(WAYS, || {
        let (pool, hold) = (pool_on(1, 2, 8, 0), Hold::default());
        for number in 0..2 {
            assert_eq!(call(&pool, move || number).join().unwrap(), Ok(number));
        }
        let callers: Vec<_> = (0..3).map(|number| call(&pool, move || number)).collect();
        for (number, caller) in callers.into_iter().enumerate() {
            assert_eq!(caller.join().unwrap(), Ok(number));
        }
        // Whichever of the two comes first, and wherever the other is meanwhile.
        let hung = hanging(&pool, &hold);
        let done = Arc::new(AtomicBool::new(false));
        let other = {
            let done = Arc::clone(&done);
            call(&pool, move || done.store(true, Relaxed))
        };
        hold.deadline();
        while pool.load().queued == 0 && !done.load(Relaxed) {
            thread::yield_now();
        }
        pass(STANDSTILL + GRAIN);
        assert_eq!(other.join().unwrap(), Ok(()));
        hold.let_go();
        assert_eq!(hung.join().unwrap(), Ok(()));
        assert_eq!(pool.stop_within(END), 0);
    });
}

/// A caller has its answer soon, also when the call behind it hangs.
#[test]
fn no_answer_waits_behind_a_call_that_hangs() {
    check(WAYS, || {
        let (pool, hold, done) = (pool(1, 8, 0), Hold::default(), Arc::new(AtomicBool::new(false)));
        let quick = {
            let done = Arc::clone(&done);
            call(&pool, move || done.store(true, Relaxed))
        };
        let hung = hanging(&pool, &hold);
        hold.deadline();
        if !done.load(Relaxed) {
            hold.let_go(); // it came first
        }
        pass(STANDSTILL + GRAIN);
        assert_eq!(quick.join().unwrap(), Ok(()));
        hold.let_go();
        assert_eq!(hung.join().unwrap(), Ok(()));
        assert_eq!(pool.stop_within(END), 0);
    });
}

/// A job that was answered while it waited, and one whose caller has gone, never reaches the module.
#[test]
fn a_job_whose_time_was_over_in_the_queue_is_not_done() {
    check(WAYS, || {
        let (pool, hold, done) = (pool(1, 8, 0), Hold::default(), Arc::new(AtomicBool::new(false)));
        let hung = hanging(&pool, &hold);
        hold.deadline();
        let late = {
            let done = Arc::clone(&done);
            call(&pool, move || done.store(true, Relaxed))
        };
        while pool.load().queued == 0 {
            thread::yield_now();
        }
        pass(OVER);
        let release = {
            let hold = hold.clone();
            thread::spawn(move || hold.let_go())
        };
        assert_eq!(late.join().unwrap(), Err(Refusal::Timeout));
        // It may have returned before it was noticed that its time was over.
        assert!(matches!(hung.join().unwrap(), Ok(()) | Err(Refusal::Timeout)));
        release.join().unwrap();
        assert_eq!(pool.stop_within(END), 0);
        assert!(!done.load(Relaxed));
    });
}

#[test]
fn no_more_wait_than_may() {
    check(WAYS, || {
        let (pool, hold) = (pool(1, 1, 0), Hold::default());
        let hung = hanging(&pool, &hold);
        hold.deadline();
        let callers: Vec<_> = (0..3).map(|_| call(&pool, || ())).collect();
        while pool.load().refused < 2 {
            thread::yield_now();
        }
        assert!(pool.load().queued <= 1);
        hold.let_go();
        let outcomes = callers.into_iter().map(|caller| caller.join().unwrap());
        let refused = outcomes.filter(|outcome| *outcome == Err(Refusal::Throttled)).count();
        assert_eq!(refused, 2);
        assert_eq!(hung.join().unwrap(), Ok(()));
        assert_eq!(pool.stop_within(END), 0);
    });
}

/// A job that comes as the pool is stopped is served or refused, and no thread is left.
#[test]
fn an_end_forgets_no_caller() {
    check(WAYS, || {
        let pool = pool(2, 8, 2);
        let callers: Vec<_> = (0..2).map(|_| call(&pool, || ())).collect();
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || assert_eq!(pool.stop_within(END), 0))
        };
        assert_eq!(pool.stop_within(END), 0);
        other.join().unwrap();
        for caller in callers {
            assert!(matches!(caller.join().unwrap(), Ok(()) | Err(Refusal::Unavailable)));
        }
    });
}

/// Threads are renewed as jobs come and as the pool ends: each job is done, none of the former threads is
/// left, and as many are there as before.
#[test]
fn threads_are_renewed_at_any_time() {
    check(WAYS, || {
        let (pool, done) = (pool(2, 8, 2), Arc::new(AtomicUsize::new(0)));
        let renewal = {
            let renew = pool.renewal();
            thread::spawn(move || renew(now() + END))
        };
        do_three(&pool, &done);
        renewal.join().unwrap();
        assert_eq!((done.load(Relaxed), pool.load().sessions), (3, 2));
        let renewal = {
            let renew = pool.renewal();
            thread::spawn(move || renew(now() + END))
        };
        assert_eq!(pool.stop_within(END), 0);
        renewal.join().unwrap();
        assert_eq!(pool.stop_within(END), 0);
    });
}

/// When every thread hangs that may, requests are refused at once; when a call returns, its thread serves
/// again.
#[test]
fn threads_that_return_serve_again() {
    check(WAYS, || {
        let (pool, hold) = (pool(1, 8, 0), Hold::default());
        let hung = hanging(&pool, &hold);
        hold.deadline();
        pass(DEADLINE + DEADLINE / 10);
        assert_eq!(hung.join().unwrap(), Err(Refusal::Timeout));
        let release = {
            let hold = hold.clone();
            thread::spawn(move || hold.let_go())
        };
        let meanwhile = call(&pool, || 7).join().unwrap();
        assert!(matches!(meanwhile, Ok(7) | Err(Refusal::Unavailable)), "{meanwhile:?}");
        release.join().unwrap();
        let mut attempts = 0;
        while call(&pool, || 7).join().unwrap() != Ok(7) {
            attempts += 1;
            assert!(attempts < 1000, "the thread never came back");
            thread::yield_now();
        }
        assert_eq!(pool.stop_within(END), 0);
    });
}

/// A thread without a session leaves the jobs to others, tries again when it has rested, and is woken by the
/// end.
#[test]
fn threads_without_a_session_rest_and_come_back() {
    check(WAYS, || {
        let may = Arc::new(AtomicBool::new(false));
        let size = Size {
            threads: 2,
            queue_length: 8,
            max_abandoned: 0,
            deadline: OVER * 10,
            processors: 2,
        };
        let fit = Arc::clone(&may);
        let pool = Pool::numbered(&size, move |slot| *slot == 0 || fit.load(Relaxed));
        let early = call(&pool, || 7).join().unwrap();
        assert!(matches!(early, Ok(7)), "{early:?}");
        may.store(true, Relaxed);
        let clock = thread::spawn(|| pass(OVER));
        assert_eq!(call(&pool, || 8).join().unwrap(), Ok(8));
        clock.join().unwrap();
        assert_eq!(pool.stop_within(END), 0);
    });
}
