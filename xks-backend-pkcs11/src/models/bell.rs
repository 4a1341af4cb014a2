//! The bell: no ring is lost, whenever it comes.

use std::time::Duration;

use loom::{sync::Arc, thread};

use super::by_loom::now;
use crate::bell::{Bell, Wake};

const PATIENCE: Duration = Duration::from_secs(1);

fn with(bell: &Arc<Bell>, act: fn(&Bell)) -> thread::JoinHandle<()> {
    let bell = Arc::clone(bell);
    thread::spawn(move || act(&bell))
}

#[test]
fn a_ring_wakes_the_one_who_waits_whenever_it_comes() {
    loom::model(|| {
        let bell = Arc::new(Bell::default());
        let ringer = with(&bell, Bell::ring);
        assert_eq!(bell.wait_until(now() + PATIENCE), Wake::Rung);
        assert!(!bell.is_rung(), "it has been heard");
        ringer.join().unwrap();
        assert_eq!(bell.wait_until(now()), Wake::Time);
    });
}

#[test]
fn two_rings_are_heard_once_or_twice() {
    loom::model(|| {
        let bell = Arc::new(Bell::default());
        let ringers = [with(&bell, Bell::ring), with(&bell, Bell::ring)];
        assert_eq!(bell.wait_until(now() + PATIENCE), Wake::Rung);
        ringers.into_iter().for_each(|ringer| ringer.join().unwrap());
        assert!(matches!(bell.wait_until(now()), Wake::Rung | Wake::Time));
        assert_eq!(bell.wait_until(now()), Wake::Time);
    });
}

#[test]
fn a_stop_ends_every_wait() {
    loom::model(|| {
        let bell = Arc::new(Bell::default());
        let wait = |bell: &Bell| assert_eq!(bell.wait_until(now() + PATIENCE), Wake::Stopped);
        let (stopper, waiter) = (with(&bell, Bell::stop), with(&bell, wait));
        wait(&bell);
        stopper.join().unwrap();
        waiter.join().unwrap();
        assert!(bell.is_rung());
    });
}

#[test]
fn a_ring_does_not_hide_a_stop() {
    loom::model(|| {
        let bell = Arc::new(Bell::default());
        let threads = [with(&bell, Bell::stop), with(&bell, Bell::ring)];
        while bell.wait_until(now() + PATIENCE) != Wake::Stopped {}
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
