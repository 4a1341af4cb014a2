//! Objects are made while no search is under way.
//!
//! SoftHSM2 2.6.1 reads the files of its token in each search, also that of an object which another thread is
//! just making. The making fails then, with `CKR_TEMPLATE_INCONSISTENT` or `CKR_GENERAL_ERROR`, and leaves an
//! object without a name (its issue 573). So searches and the making of objects that stay wait for each
//! other, but only so long: a module that hangs in one must not stop the other.

use std::{
    sync::{
        RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

/// The longest that a search waits. An AES key is made in a few milliseconds by a module that needs this.
const SEARCHES_WAIT: Duration = Duration::from_millis(250);

/// The longest that an object's making waits.
const MAKING_WAITS: Duration = Duration::from_secs(1);

const PAUSE: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
pub(crate) struct Making {
    /// How many objects are being made, or wait for it: no search begins meanwhile.
    objects: AtomicUsize,
    lock: RwLock<()>,
}

/// To be held while an object is made.
pub(crate) struct Apart<'a> {
    making: &'a Making,
    /// None when searches took too long.
    _alone: Option<RwLockWriteGuard<'a, ()>>,
}

impl Making {
    /// To be held during a search; none when an object takes too long.
    pub(crate) fn search(&self) -> Option<RwLockReadGuard<'_, ()>> {
        wait(SEARCHES_WAIT, || {
            let is_free = self.objects.load(SeqCst) == 0;
            is_free.then(|| taken(self.lock.try_read())).flatten()
        })
    }

    /// To be held while an object is made.
    pub(crate) fn apart(&self) -> Apart<'_> {
        self.objects.fetch_add(1, SeqCst);
        Apart {
            making: self,
            _alone: wait(MAKING_WAITS, || taken(self.lock.try_write())),
        }
    }
}

impl Drop for Apart<'_> {
    fn drop(&mut self) {
        self.making.objects.fetch_sub(1, SeqCst);
    }
}

fn taken<G>(outcome: Result<G, TryLockError<G>>) -> Option<G> {
    match outcome {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// What is had within this time.
fn wait<T>(time: Duration, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    // No clock is read in the usual case.
    if let Some(had) = attempt() {
        return Some(had);
    }
    let end = Instant::now() + time;
    while Instant::now() < end {
        thread::sleep(PAUSE);
        if let Some(had) = attempt() {
            return Some(had);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_go_together_and_making_goes_alone() {
        let making = Making::default();
        let searches = (making.search(), making.search());
        assert!(searches.0.is_some() && searches.1.is_some());
        assert!(making.apart()._alone.is_none(), "two searches are under way");
        drop(searches);
        let apart = making.apart();
        assert!(apart._alone.is_some());
        assert!(making.search().is_none(), "an object is being made");
        drop(apart);
        assert!(making.search().is_some());
    }

    /// A search that comes while one is under way does not block the creation of an object for good.
    #[test]
    fn searches_without_end_let_an_object_be_made() {
        let making = Making::default();
        let is_made = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !is_made.load(SeqCst) {
                        let _search = making.search();
                        thread::sleep(PAUSE);
                    }
                });
            }
            thread::sleep(5 * PAUSE);
            let apart = making.apart();
            is_made.store(true, SeqCst);
            assert!(apart._alone.is_some());
        });
    }
}
