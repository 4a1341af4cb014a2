//! How safe a commit is.

use crate::field::named_enum;

/// What can lose a commit that has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// The loss of all copies: it is on the disks of two databases at least, and a standby that takes over
    /// has it.
    Synchronous,
    /// The loss of the one database that has it.
    Single,
    /// A standby that takes over: it may not have got it yet.
    Asynchronous,
}

named_enum! {
    Durability,
    Synchronous => "synchronous",
    Single => "single",
    Asynchronous => "asynchronous",
}
