//! The rotation of an account's own access key, one step at a time.
//!
//! ```text
//! plan(state, access keys of the user, now) ──▶ Step ──▶ apply ──▶ Effect, which the caller commits
//!
//! Idle ──mark──▶ Creating ──create──▶ Proving ──prove, switch──▶ Switched ──deactivate, delete──▶ Idle
//!                   ▲  └─ a key whose secret was lost is deleted      │
//!                   └──────── a key that AWS never accepts is deleted ┘ (from Proving)
//! ```
//!
//! # Rules
//! * The account always has a credential that works: the old access key stays active until the new one has
//!   signed a call, is committed as the account's credential, and has been used for a while.
//! * A state is committed before the call that it announces. So a process that ends at any moment, and an
//!   answer that is lost, leave a state from which [`plan`] goes on, on any node.
//! * The secret of an access key is shown once. A key that came while the state was
//!   [`Creating`](State::Creating), in the minutes of our call, and whose secret is not ours, is deleted: a
//!   lost answer has its secret. After a call that AWS has refused the state is [`Idle`](State::Idle) again,
//!   so that a key of somebody else that came in the way is not touched. Somebody who makes a second key for
//!   this user in the very minutes in which an answer of ours is lost loses it: IAM does not tell who has
//!   made a key.
//! * A user has two access keys at most. A second one that was there before belongs to somebody else: the
//!   rotation is blocked, and does not touch it.
//! * IAM's answers flip between old and new for a while: [`observe`] trusts several equal reads in a row.

mod apply;
mod observe;
mod plan;
#[cfg(test)]
mod tests;

pub use self::{
    apply::{Effect, RotationError, apply},
    observe::{EQUAL_READS, observe},
    plan::{Blocked, Limits, State, Step, plan},
};
