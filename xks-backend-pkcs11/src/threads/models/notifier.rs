//! The notifier: no notification is lost, whenever it comes.

use std::time::Duration;

use loom::{sync::Arc, thread};

use super::by_loom::now;
use crate::threads::{Notifier, Wake};

const PATIENCE: Duration = Duration::from_secs(1);

fn with(notifier: &Arc<Notifier>, act: fn(&Notifier)) -> thread::JoinHandle<()> {
    let notifier = Arc::clone(notifier);
    thread::spawn(move || act(&notifier))
}

#[test]
fn a_notification_wakes_the_waiting_thread_whenever_it_comes() {
    loom::model(|| {
        let notifier = Arc::new(Notifier::default());
        let notifying = with(&notifier, Notifier::notify);
        assert_eq!(notifier.wait_until(now() + PATIENCE), Wake::Notified);
        assert!(!notifier.is_notified(), "it has been heard");
        notifying.join().unwrap();
        assert_eq!(notifier.wait_until(now()), Wake::Time);
    });
}

#[test]
fn two_notifications_wake_once_or_twice() {
    loom::model(|| {
        let notifier = Arc::new(Notifier::default());
        let notifying = [with(&notifier, Notifier::notify), with(&notifier, Notifier::notify)];
        assert_eq!(notifier.wait_until(now() + PATIENCE), Wake::Notified);
        notifying.into_iter().for_each(|notifying| notifying.join().unwrap());
        assert!(matches!(notifier.wait_until(now()), Wake::Notified | Wake::Time));
        assert_eq!(notifier.wait_until(now()), Wake::Time);
    });
}

#[test]
fn a_stop_ends_every_wait() {
    loom::model(|| {
        let notifier = Arc::new(Notifier::default());
        let wait = |notifier: &Notifier| assert_eq!(notifier.wait_until(now() + PATIENCE), Wake::Stopped);
        let (stopper, waiter) = (with(&notifier, Notifier::stop), with(&notifier, wait));
        wait(&notifier);
        stopper.join().unwrap();
        waiter.join().unwrap();
        assert!(notifier.is_notified());
    });
}

#[test]
fn a_notification_does_not_hide_a_stop() {
    loom::model(|| {
        let notifier = Arc::new(Notifier::default());
        let threads = [with(&notifier, Notifier::stop), with(&notifier, Notifier::notify)];
        while notifier.wait_until(now() + PATIENCE) != Wake::Stopped {}
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
