//! Whether the module has come to a standstill: calls are in it, and none returns. It cannot be finalized
//! then, so that nothing in this process can fix it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::threads::Load;

/// The supervisor's calls of the module.
#[derive(Debug, Default)]
pub(crate) struct Supervision(Mutex<Seen>);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// When the call that the supervisor is in began.
    pub(super) in_call_since: Option<Instant>,
    pub(super) returned: Option<Instant>,
    /// Since when the module could not be initialized again, because calls are in it.
    pub(super) wedged_since: Option<Instant>,
}

impl Supervision {
    /// The supervisor calls the module from now on, until what is returned is dropped.
    pub(crate) fn begin(&self) -> Supervised<'_> {
        self.seen().in_call_since = Some(Instant::now());
        Supervised(self)
    }

    /// One of the supervisor's calls has returned, and there are more.
    pub(crate) fn note_return(&self) {
        let now = Instant::now();
        let mut seen = self.seen();
        seen.returned = Some(now);
        if seen.in_call_since.is_some() {
            seen.in_call_since = Some(now);
        }
    }

    pub(crate) fn note_wedged(&self, is_wedged: bool) {
        let mut seen = self.seen();
        seen.wedged_since = is_wedged.then(|| seen.wedged_since.unwrap_or_else(Instant::now));
    }

    pub(super) fn look(&self) -> Seen {
        *self.seen()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Three values, each of them whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The supervisor is in calls of the module.
pub(crate) struct Supervised<'a>(&'a Supervision);

impl Supervised<'_> {
    /// Ends it; no call has returned if none was made.
    pub(crate) fn end(self, has_called: bool) {
        if !has_called {
            self.0.seen().in_call_since = None;
        }
    }
}

impl Drop for Supervised<'_> {
    fn drop(&mut self) {
        let mut seen = self.0.seen();
        if seen.in_call_since.take().is_some() {
            seen.returned = Some(Instant::now());
        }
    }
}

/// Since when no call has returned although there are some in the module, the supervisor's among them, for
/// longer than requests may take.
pub(super) fn silent_since(load: &Load, seen: &Seen, deadline: Duration, now: Instant) -> Option<Instant> {
    let tested = seen.in_call_since?;
    if now.saturating_duration_since(tested) <= deadline {
        return None;
    }
    let oldest = load.oldest.map_or(tested, |oldest| oldest.min(tested));
    let returned = [load.returned, seen.returned];
    Some(returned.into_iter().flatten().fold(oldest, Instant::max))
}

/// Since when nothing but the return of a call, or another process, can have requests served.
pub(super) fn stuck_since(load: &Load, seen: &Seen, deadline: Duration, now: Instant) -> Option<Instant> {
    let all_threads = load.newest.filter(|_| load.is_stuck);
    let since = [silent_since(load, seen, deadline, now), all_threads, seen.wedged_since];
    since.into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_millis(200);

    /// HLT-1: only what returns nothing is stuck; a slow token is not.
    #[test]
    fn what_is_stuck() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let hung = |oldest, returned| Load {
            oldest,
            newest: oldest,
            returned,
            abandoned: usize::from(oldest.is_some()),
            ..Load::default()
        };
        let tested = |in_call_since| Seen {
            in_call_since,
            ..Seen::default()
        };
        let stuck = |load, seen: Seen| stuck_since(&load, &seen, DEADLINE, at(20));
        assert_eq!(stuck(hung(None, None), tested(None)), None);
        assert_eq!(stuck(hung(Some(start), None), tested(None)), None, "the test returns");
        assert_eq!(stuck(hung(Some(start), None), tested(Some(at(7)))), Some(start));
        assert_eq!(stuck(hung(Some(start), Some(at(9))), tested(Some(at(7)))), Some(at(9)));
        assert_eq!(stuck(hung(None, None), tested(Some(at(7)))), Some(at(7)));
        assert_eq!(
            stuck(hung(Some(start), None), tested(Some(at(20)))),
            None,
            "it has just begun"
        );
        let all = Load {
            is_stuck: true,
            ..hung(Some(at(5)), Some(at(3)))
        };
        assert_eq!(stuck(all, tested(None)), Some(at(5)), "no thread is left for requests");
        let wedged = Seen {
            wedged_since: Some(at(1)),
            ..Seen::default()
        };
        assert_eq!(stuck(hung(None, None), wedged), Some(at(1)));
    }

    #[test]
    fn each_return_is_seen() {
        let supervision = Supervision::default();
        assert!(supervision.look().in_call_since.is_none());
        let supervised = supervision.begin();
        let began = supervision.look().in_call_since.unwrap();
        std::thread::sleep(Duration::from_millis(2));
        supervision.note_return();
        assert!(supervision.look().in_call_since.is_some_and(|since| since > began));
        drop(supervised);
        assert!(supervision.look().in_call_since.is_none() && supervision.look().returned.is_some());
        supervision.note_wedged(true);
        let since = supervision.look().wedged_since;
        std::thread::sleep(Duration::from_millis(2));
        supervision.note_wedged(true);
        assert_eq!(supervision.look().wedged_since, since);
        supervision.note_wedged(false);
        assert_eq!(supervision.look().wedged_since, None);
    }
}
