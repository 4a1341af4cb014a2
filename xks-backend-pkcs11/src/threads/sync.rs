//! What threads meet by, and the time: those of the standard library; in the models of `models/`, those of a
//! model checker, which tries the ways in which threads may get in between one another.

#[cfg(not(all(test, any(model = "loom", model = "shuttle"))))]
mod real {
    use std::time::Instant;
    pub(crate) use std::{
        sync::{Condvar, Mutex, MutexGuard, atomic},
        thread,
    };

    pub(crate) fn now() -> Instant {
        Instant::now()
    }
}

#[cfg(not(all(test, any(model = "loom", model = "shuttle"))))]
pub(crate) use self::real::*;

#[cfg(all(test, model = "loom"))]
pub(crate) use super::models::by_loom::*;

#[cfg(all(test, model = "shuttle"))]
pub(crate) use super::models::by_shuttle::*;
