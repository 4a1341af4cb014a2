//! The ways in which threads may get in between one another, tried by a model checker. `scripts/test models`
//! runs these.
//!
//! **loom** tries every way that there is, with everything that the memory order permits: the gate and the
//! notifier, which are small enough. It knows no time. **shuttle** tries many thousands of ways, chosen at
//! random, of programs that may be larger: the pool and the sessions, in which threads start others, wait
//! until a time, and answer futures.
//!
//! Time is what a model says: it stands still until a model has it pass. So a wait that ends by time alone,
//! where it should end by a wake-up, is a deadlock, which the checkers report.

#[cfg(model = "loom")]
pub(crate) mod by_loom;
#[cfg(model = "shuttle")]
pub(crate) mod by_shuttle;
#[cfg(model = "loom")]
mod gate;
#[cfg(model = "loom")]
mod notifier;
#[cfg(model = "shuttle")]
mod pool;
#[cfg(model = "shuttle")]
mod sessions;
