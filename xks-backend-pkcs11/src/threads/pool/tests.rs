//! The threads, without a module.

use std::sync::{
    atomic::{AtomicUsize, Ordering},
    mpsc,
};

use super::*;

/// A busy machine begins a job within it.
const DEADLINE: Duration = Duration::from_secs(1);
/// For tests that no deadline may end.
const LONG: Duration = Duration::from_secs(600);
/// So many threads have one processor.
const LIMITED: usize = 3;

fn pool(threads: usize, queue_length: usize, max_abandoned: usize) -> Arc<Pool<usize>> {
    patient_pool(threads, queue_length, max_abandoned, DEADLINE)
}

fn patient_pool(threads: usize, queue_length: usize, max_abandoned: usize, deadline: Duration) -> Arc<Pool<usize>> {
    let size = Size {
        threads,
        queue_length,
        max_abandoned,
        deadline,
        processors: if threads == LIMITED { 1 } else { threads },
    };
    Pool::numbered(&size, |_| true)
}

type Hung = (mpsc::Sender<()>, tokio::task::JoinHandle<Result<(), Refused>>);

/// Holds a thread until the sender is dropped.
fn hang(pool: &Arc<Pool<usize>>) -> Hung {
    hang_within(pool, pool.shared.deadline)
}

fn hang_within(pool: &Arc<Pool<usize>>, patience: Duration) -> Hung {
    let (release, held) = mpsc::channel::<()>();
    let (pool, (started, has_started)) = (Arc::clone(pool), mpsc::channel());
    let call = tokio::spawn(async move {
        let work = move |_: &mut usize, _| {
            started.send(()).unwrap();
            let _ = held.recv();
            Ok(())
        };
        pool.run_within(patience, work).await
    });
    tokio::task::block_in_place(|| has_started.recv().unwrap());
    (release, call)
}

fn kind<T>(outcome: Result<T, Refused>) -> Refusal {
    outcome.map(|_| ()).unwrap_err().refusal
}

#[track_caller]
fn wait_for(pool: &Pool<usize>, what: impl Fn(&Load) -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !what(&pool.load()) {
        assert!(Instant::now() < end, "{:?}", pool.load());
        thread::sleep(Duration::from_millis(1));
    }
}

async fn number(pool: &Pool<usize>) -> Result<usize, Refused> {
    pool.run(|slot, _| Ok(*slot)).await
}

/// TRN-8: a call that hangs is answered at the deadline, and costs no other job anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_hung_call_is_abandoned_and_its_thread_replaced() {
    let pool = pool(1, 8, 1);
    assert_eq!(number(&pool).await.unwrap(), 0);
    let (release, call) = hang(&pool);
    assert_eq!(kind(call.await.unwrap()), Refusal::Timeout);
    wait_for(&pool, |load| load.abandoned == 1);
    assert_eq!(number(&pool).await.unwrap(), 1, "another thread has another slot");
    drop(release);
    wait_for(&pool, |load| load.abandoned == 0);
    assert_eq!(number(&pool).await.unwrap(), 1);
    assert_eq!(pool.stop_within(Duration::from_secs(10)), 0);
    assert_eq!(pool.load().timed_out, 1);
}

/// A job that may take longer than requests is not abandoned when they are late, and those behind it do not
/// wait any longer because of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_may_take_longer_than_others() {
    let pool = pool(1, 8, 1);
    let (release, call) = hang_within(&pool, LONG);
    let waits = {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move { pool.run_within(LONG, |slot, _| Ok(*slot)).await })
    };
    wait_for(&pool, |load| load.queued == 1);
    // Behind one that is not late when these are.
    for _ in 0..3 {
        assert_eq!(kind(number(&pool).await), Refusal::Timeout);
    }
    let load = pool.load();
    assert_eq!((load.abandoned, load.queued, load.running), (0, 1, 1));
    assert_eq!((load.oldest, load.timed_out), (None, 3), "it may take so long");
    drop(release);
    call.await.unwrap().unwrap();
    assert_eq!(waits.await.unwrap().unwrap(), 0);
    assert_eq!(pool.stop_within(Duration::from_secs(10)), 0);
}

/// One that has less time than others is answered at its own deadline, whenever the deadline thread would
/// look next.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_may_have_less_time_than_others() {
    let pool = patient_pool(1, 8, 1, LONG);
    number(&pool).await.unwrap();
    let (release, call) = hang(&pool);
    let late = pool.run_within(DEADLINE, |slot, _| Ok(*slot));
    assert_eq!(kind(late.await), Refusal::Timeout);
    assert_eq!(pool.load().abandoned, 0);
    drop(release);
    call.await.unwrap().unwrap();
    let (release, call) = hang_within(&pool, DEADLINE);
    assert_eq!(kind(call.await.unwrap()), Refusal::Timeout);
    wait_for(&pool, |load| load.abandoned == 1);
    assert_eq!(number(&pool).await.unwrap(), 1, "another thread is there");
    drop(release);
    assert_eq!(pool.stop_within(Duration::from_secs(10)), 0);
}

/// TRN-8.
#[tokio::test(flavor = "multi_thread")]
async fn when_all_threads_hang_requests_fail_at_once() {
    let pool = pool(1, 8, 1);
    let (first, call) = hang(&pool);
    call.await.unwrap().unwrap_err();
    wait_for(&pool, |load| load.abandoned == 1);
    let (second, call) = hang(&pool);
    call.await.unwrap().unwrap_err();
    wait_for(&pool, |load| load.is_stuck);
    let start = Instant::now();
    assert_eq!(kind(number(&pool).await), Refusal::Unavailable);
    assert!(start.elapsed() < DEADLINE);
    // The second thread goes on as soon as its call returns.
    drop(second);
    wait_for(&pool, |load| !load.is_stuck);
    assert_eq!(number(&pool).await.unwrap(), 1);
    drop(first);
    assert_eq!(pool.stop_within(Duration::from_secs(10)), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_at_once_and_what_waits_too_long_is_not_done() {
    let pool = pool(1, 1, 0);
    let (release, hung) = hang(&pool);
    let done = Arc::new(AtomicUsize::new(0));
    let waiting = {
        let (pool, done) = (Arc::clone(&pool), Arc::clone(&done));
        let work = move |_: &mut usize, _| Ok(done.fetch_add(1, Ordering::Relaxed));
        tokio::spawn(async move { pool.run(work).await })
    };
    wait_for(&pool, |load| load.queued == 1);
    assert_eq!(kind(number(&pool).await), Refusal::Throttled);
    assert_eq!(kind(waiting.await.unwrap()), Refusal::Timeout);
    assert_eq!(kind(hung.await.unwrap()), Refusal::Timeout);
    drop(release);
    wait_for(&pool, |load| load.running == 0);
    number(&pool).await.unwrap();
    assert_eq!(done.load(Ordering::Relaxed), 0);
    let load = pool.load();
    assert_eq!((load.refused, load.timed_out), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_caller_waits_for_is_not_done() {
    let pool = patient_pool(1, 8, 0, LONG);
    let (release, _hung) = hang(&pool);
    let done = Arc::new(AtomicUsize::new(0));
    let task = {
        let (pool, done) = (Arc::clone(&pool), Arc::clone(&done));
        let work = move |_: &mut usize, _| Ok(done.fetch_add(1, Ordering::Relaxed));
        tokio::spawn(async move { pool.run(work).await })
    };
    wait_for(&pool, |load| load.queued == 1);
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    drop(release);
    number(&pool).await.unwrap();
    assert_eq!(done.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_its_request_alone() {
    let pool = patient_pool(1, 8, 0, Duration::from_secs(60)); // a backtrace takes its time
    let outcome = pool.run(|_, _| -> Result<(), Refused> { panic!("on purpose") }).await;
    assert_eq!(kind(outcome), Refusal::Unavailable);
    assert_eq!(number(&pool).await.unwrap(), 1, "the slot is a new one");
    assert_eq!(pool.stop_within(Duration::from_secs(10)), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_pool_refuses_and_forgets_no_caller() {
    let pool = patient_pool(1, 8, 0, LONG);
    let (release, _hung) = hang(&pool);
    let waiting = {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move { number(&pool).await })
    };
    wait_for(&pool, |load| load.queued == 1);
    assert_ne!(pool.stop_within(Duration::ZERO), 0, "a thread hangs");
    assert_eq!(kind(waiting.await.unwrap()), Refusal::Unavailable);
    assert_eq!(kind(number(&pool).await), Refusal::Unavailable);
    drop(release);
    assert_eq!(pool.stop_within(Duration::from_secs(10)), 0);
}

/// A caller that has its answer is woken while the next call hangs.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_waits_behind_a_call_that_hangs() {
    let pool = patient_pool(1, 8, 0, LONG);
    let (release, first) = hang(&pool);
    let quick = {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move { number(&pool).await })
    };
    wait_for(&pool, |load| load.queued == 1);
    let (release_next, held) = mpsc::channel::<()>();
    let next = {
        let pool = Arc::clone(&pool);
        let work = move |_: &mut usize, _| Ok(held.recv().is_err());
        tokio::spawn(async move { pool.run(work).await })
    };
    wait_for(&pool, |load| load.queued == 2);
    drop(release);
    first.await.unwrap().unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(60), quick).await;
    assert_eq!(answer.expect("its answer is there").unwrap().unwrap(), 0);
    drop(release_next);
    assert!(next.await.unwrap().unwrap());
    assert_eq!(pool.stop_within(Duration::from_secs(10)), 0);
}

/// A quick module is not asked by more threads than there are processors; one that stands still, by all of
/// them.
#[tokio::test(flavor = "multi_thread")]
async fn quick_calls_are_made_by_few_threads_unless_they_stand_still() {
    let pool = patient_pool(LIMITED, 8, 0, Duration::from_secs(60));
    for _ in 0..200 {
        number(&pool).await.unwrap();
    }
    let (release, hung) = hang(&pool);
    // One that is just through with something would take the next at once.
    while pool.shared.state().idle.len() < LIMITED - 1 {
        thread::sleep(Duration::from_millis(1));
    }
    let start = Instant::now();
    number(&pool).await.unwrap();
    assert!(start.elapsed() >= STANDSTILL, "another thread waits for the first");
    let (release_too, hung_too) = hang(&pool);
    number(&pool).await.unwrap();
    drop((release, release_too));
    hung.await.unwrap().unwrap();
    hung_too.await.unwrap().unwrap();
    let start = Instant::now();
    for _ in 0..200 {
        number(&pool).await.unwrap();
    }
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "no job is held back for good"
    );
    assert_eq!(pool.stop_within(Duration::from_secs(10)), 0);
}
