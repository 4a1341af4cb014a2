//! Several nodes on one store, and commands that are felt on all of them when they return.
//!
//! A node serves while it trusts its lease: a row of its own in the store, which it renews. A command waits
//! until each row says that its node serves the command's revision, or is gone because its node has left or
//! is dead.
//!
//! ```text
//! node       insert row ──▶ commit ──▶ read the snapshot ──▶ renew ──▶ serve, and renew each quarter of a lease
//! commander  commit ──▶ read the rows ──▶ wait for each: serves the revision │ has left │ is dead ──▶ answer
//! ```
//!
//! # Rules
//! * **Rows are of incarnations.** Each join has a new one, so that a row tells of one unbroken presence.
//!   What a process that was killed has left is another row, for which everybody waits.
//! * **Join**: the row is committed before the snapshot is read. A command that has not seen the row was
//!   committed before, so the snapshot has it.
//! * **Trust** begins before a renewal is sent, and lasts the lease time, on a clock that goes on while the
//!   machine is suspended. It is given only if the node serves the head that the renewal returned: so a node
//!   that cannot read what was committed stops to serve, even if no command waits for it.
//! * **A renewal that finds no row**, and any lapse of trust, means to join again.
//! * **Dead** is a node whose counter did not change for its lease time, with drift and margin, on the clock
//!   of one observer, **and** whose row that observer has deleted with node, incarnation and counter as seen
//!   in the condition. The store's clock takes no part. An observer that restarts waits the full
//!   time.
//! * **Publish, then promote**: a new version of a key encrypts only when every node can use it in its own
//!   key managers. Each opens what the creator of the version has encrypted with it, in the background, and
//!   says in its row through which revision it has tried all that was published, and what does not work.
//! * **Leave**: the row is deleted when the last answer has gone.
//! * A request checks the lease when it starts, and [again](Lease::holds) before its answer leaves.
//!
//! # Promise
//! A request that starts after the confirmation returned is not served from an earlier state. One that had
//! started may be: between the second check and the last byte are instants in which a process can be stopped.
//!
//! # Where to look
//! [`Life`], [`Observer`], [`Usability`] and [`Confirming`] decide, as pure functions of events and of what
//! the clock shows, and are explored exhaustively by the tests. [`Node`] runs them over a store. [`Terms`]
//! are the times. [`NodeRow`] is what is in the store.

mod confirmation;
mod confirming;
mod lease;
mod life;
mod moment;
mod node;
mod observer;
mod row;
mod terms;
mod trial;
mod usable;

pub use self::{
    confirmation::{Confirmation, Missing},
    confirming::{Confirming, Fate},
    lease::{Lease, Pass},
    life::{Event, Life, Step, Trust},
    moment::Moment,
    node::{Node, NodeError},
    observer::Observer,
    row::{Facts, NodeRow, NodeRowError},
    terms::Terms,
    usable::{Unusable, Usability, Usable},
};
