//! The sessions of callers on their own threads: a waiting caller gets the one that comes back, and the end
//! waits for all.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use shuttle::thread;

use super::by_shuttle::{check, pass};
use crate::threads::{Refusal, Sessions};

const DEADLINE: Duration = Duration::from_millis(100);
const END: Duration = Duration::from_secs(10);
const WAYS: usize = 2000;

fn sessions(number: usize, queue_length: usize) -> Arc<Sessions<usize>> {
    Arc::new(Sessions::new(0..number, |_| true, queue_length, DEADLINE))
}

type Caller = thread::JoinHandle<Result<usize, Refusal>>;

/// Takes a session for a while; no other caller has it then.
fn call(sessions: &Arc<Sessions<usize>>, users: &Arc<[AtomicUsize; 2]>) -> Caller {
    let (sessions, users) = (Arc::clone(sessions), Arc::clone(users));
    thread::spawn(move || {
        let work = |slot: &mut usize, _| {
            let user = &users[*slot];
            assert_eq!(user.fetch_add(1, Relaxed), 0, "two have the same session");
            thread::yield_now();
            user.fetch_sub(1, Relaxed);
            Ok(*slot)
        };
        sessions.run(work).map_err(|error| error.refusal)
    })
}

#[test]
fn every_waiting_caller_is_served() {
    check(WAYS, || {
        let (sessions, users) = (sessions(2, 2), Arc::default());
        let callers: Vec<_> = (0..4).map(|_| call(&sessions, &users)).collect();
        for caller in callers {
            caller.join().unwrap().unwrap();
        }
        assert_eq!(sessions.load().sessions, 2);
        assert_eq!(sessions.stop_within(END), 0);
    });
}

#[test]
fn no_more_wait_than_may() {
    check(WAYS, || {
        let sessions = sessions(1, 1);
        let work = |_: &mut usize, _| {
            let waiting: Vec<_> = (0..3)
                .map(|_| {
                    let sessions = Arc::clone(&sessions);
                    thread::spawn(move || sessions.run(|_, _| Ok(())).map_err(|error| error.refusal))
                })
                .collect();
            while sessions.load().refused < 2 {
                thread::yield_now();
            }
            Ok(waiting)
        };
        let waiting = sessions.run(work).unwrap();
        let outcomes: Vec<_> = waiting.into_iter().map(|caller| caller.join().unwrap()).collect();
        let served = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(served, 1);
        assert!(outcomes.contains(&Err(Refusal::Throttled)));
    });
}

/// Whose time is over as a session comes back has it, or leaves it to another.
#[test]
fn no_session_is_lost_to_one_who_waits_no_longer() {
    check(WAYS, || {
        let (sessions, users) = (sessions(1, 2), Arc::default());
        let callers: Vec<_> = (0..3).map(|_| call(&sessions, &users)).collect();
        let clock = thread::spawn(|| pass(DEADLINE));
        for caller in callers {
            assert!(matches!(caller.join().unwrap(), Ok(0) | Err(Refusal::Timeout)));
        }
        clock.join().unwrap();
        assert_eq!(sessions.load().sessions, 1);
        assert_eq!(sessions.stop_within(END), 0);
    });
}

/// Each caller that ends it, however many there are, waits no longer than until the last session has come
/// back.
#[test]
fn an_end_waits_for_all_and_for_nothing_else() {
    check(WAYS, || {
        let (sessions, users) = (sessions(1, 2), Arc::default());
        let callers: Vec<_> = (0..2).map(|_| call(&sessions, &users)).collect();
        let other = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || sessions.stop_within(END))
        };
        assert_eq!(sessions.stop_within(END), 0);
        assert_eq!(other.join().unwrap(), 0);
        for caller in callers {
            assert!(matches!(caller.join().unwrap(), Ok(0) | Err(Refusal::Unavailable)));
        }
    });
}

/// A caller that waits for a session is refused when the end comes, also when none comes back.
#[test]
fn an_end_refuses_those_who_wait() {
    check(WAYS, || {
        let sessions = sessions(1, 1);
        let outcome = sessions.run(|_, _| {
            let waiter = {
                let sessions = Arc::clone(&sessions);
                thread::spawn(move || sessions.run(|_, _| Ok(())).map_err(|error| error.refusal))
            };
            while sessions.load().queued == 0 {
                thread::yield_now();
            }
            assert_eq!(sessions.stop_within(Duration::ZERO), 1);
            assert_eq!(waiter.join().unwrap(), Err(Refusal::Unavailable));
            Ok(())
        });
        outcome.unwrap();
    });
}
