//! The deadline thread: answers callers whose deadline has come. It never calls the module.

use std::{sync::Arc, time::Instant};

use super::{
    GRAIN, NO_SESSION, Shared, State,
    worker::{Replaced, Worker},
};
use crate::threads::{Slot, notifier::Wake, sync::now};

impl<P: Slot> Shared<P> {
    /// The life of the deadline thread. A job that has less time than others calls it when it comes.
    pub(super) fn keep_deadlines(self: &Arc<Self>) {
        // Requests may have come before this thread.
        let mut next = now();
        while self.notifier.wait_until(next) != Wake::Stopped {
            next = self.look(now());
        }
    }

    /// Does what is due, and says when to look again.
    fn look(self: &Arc<Self>, now: Instant) -> Instant {
        if self.state().answered.overdue_at().is_some_and(|at| at <= now) {
            self.wake_answered();
        }
        // In one go: a job that comes in between would be compared with a look that is over.
        let mut state = self.state();
        let late = self.answer_late(&mut state, now);
        let called = state.call(now, self.processors);
        let held_back = state.held_back_until().unwrap_or(late);
        let next = (now + self.deadline).min(late).min(held_back).max(now + GRAIN);
        state.next_look = next;
        drop(state);
        if let Some(worker) = called {
            worker.called.notify_one();
        }
        next
    }

    /// Answers those whose time is over, and abandons the calls that do not return; says when to look
    /// again.
    fn answer_late(self: &Arc<Self>, state: &mut State<P>, now: Instant) -> Instant {
        let mut next = now + self.deadline;
        let mut timed_out = 0;
        // Each has a deadline of its own, so that a later one may be over before an earlier one.
        state.queue.retain(|job| {
            let is_late = job.deadline() <= now;
            if is_late {
                timed_out += u64::from(job.waiter.give_up(NO_SESSION));
            } else {
                next = next.min(job.deadline());
            }
            !is_late
        });
        let mut lost = Vec::new();
        for worker in &state.workers {
            let call = worker.call();
            let Some(running) = &call.running else { continue };
            match &running.waiter {
                Some(waiter) if waiter.deadline() > now => next = next.min(waiter.deadline()),
                Some(waiter) if waiter.give_up("the PKCS#11 module did not return within the deadline") => {
                    timed_out += 1;
                }
                Some(_) | None => {}
            }
            // One that could not be replaced before, may be now.
            if call.abandoned != Some(Replaced::Yes) {
                if running.hangs_at() > now {
                    next = next.min(running.hangs_at());
                } else {
                    lost.push((Arc::clone(worker), running.since));
                }
            }
        }
        state.timed_out += timed_out;
        for (worker, since) in lost {
            self.abandon(&worker, since, state);
        }
        next
    }

    /// Gives up a thread whose call, begun at `since`, does not return, and starts another in its place if it
    /// may.
    fn abandon(self: &Arc<Self>, worker: &Arc<Worker>, since: Instant, state: &mut State<P>) {
        let is_replaced = |worker: &&Arc<Worker>| worker.call().abandoned == Some(Replaced::Yes);
        let may_replace = !state.is_stopped && state.workers.iter().filter(is_replaced).count() < self.max_abandoned;
        let mut call = worker.call();
        if call.running.as_ref().is_none_or(|running| running.since != since) {
            return; // it has returned just now
        }
        let is_news = call.abandoned.replace(Replaced::No).is_none();
        if is_news && call.running.as_ref().is_some_and(|running| running.waiter.is_some()) {
            state.busy -= 1;
        }
        if worker.is_retired() || may_replace && Self::start_worker(self, state).is_ok() {
            call.abandoned = Some(Replaced::Yes);
        }
        if is_news {
            tracing::warn!(
                token = self.name,
                is_replaced = call.abandoned == Some(Replaced::Yes),
                "a call of the PKCS#11 module did not return within the deadline: its thread and session are \
                 abandoned"
            );
        }
    }
}
