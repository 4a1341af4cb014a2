//! The confirmation in the answer to a command: which nodes serve what it has committed.
//!
//! The status of an answer tells of the command alone: 200 or 201 say that its state is committed, also where
//! `confirmed` is false. 202 would say that the server has still to do it; but no request can take a commit
//! back, each node that can reach the store takes it in by itself, and one that cannot stops to serve when
//! its lease ends. A client that needs to know gives the command again: it finds nothing to do, and waits for
//! the nodes once more.
//!
//! A command that fails after it has committed something, such as one whose key manager cannot be reached,
//! has the confirmation in its problem.

use std::time::Duration;

use serde::Serialize;
use xks_lifecycle::{
    commands::Commands,
    nodes::{Confirmation, Missing},
    store::{Durability, Revision},
};

use crate::{answer::Answer, problem::Problem};

/// The nodes are asked once, however little the client wants to wait.
const SHORTEST: Duration = Duration::from_millis(1);

/// An answer with the revision that nodes have to serve before it is sent.
pub(crate) struct Done {
    answer: Answer,
    revision: Revision,
}

impl Done {
    pub(crate) const fn new(answer: Answer, revision: Revision) -> Self {
        Self { answer, revision }
    }

    /// Says that an object was made, and where it is.
    pub(crate) fn created(self, object: impl std::fmt::Display) -> Self {
        Self {
            answer: self.answer.created(object),
            ..self
        }
    }

    /// Waits for the nodes, and says in the answer which of them have confirmed. `patience` is what the
    /// client wants to wait at most, if it says so.
    pub(crate) async fn confirmed(self, commands: &Commands, patience: Option<Duration>) -> Result<Answer, Problem> {
        let confirmation = confirm(commands, self.revision, patience).await;
        let shown = ShownConfirmation::new(&confirmation, commands.node().is_none());
        self.answer.with("confirmation", &shown)
    }
}

/// Waits for the nodes. `patience` is what the client wants to wait at most, if it says so.
pub(crate) async fn confirm(commands: &Commands, revision: Revision, patience: Option<Duration>) -> Confirmation {
    let most = commands.patience();
    let patience = patience.map_or(most, |patience| patience.clamp(SHORTEST, most.max(SHORTEST)));
    commands.confirm_within(revision, patience).await
}

/// A confirmation, as answers show it.
#[derive(Serialize)]
pub(crate) struct ShownConfirmation<'c> {
    /// Whether a request that starts now is served from this revision or a later one, on every node.
    confirmed: bool,
    revision: Revision,
    /// Whether the state belongs to one process, which serves a revision when the command returns.
    is_one_process: bool,
    /// The nodes that serve the revision.
    nodes: &'c [Box<str>],
    /// Nodes that served before, and do no more: they have left, or are dead.
    ended: &'c [Box<str>],
    /// The nodes that have not confirmed, the revision that each serves, and why.
    missing: &'c [Missing],
    /// Why the nodes could not be asked, if the store has failed.
    store: Option<&'c str>,
    /// How long it took.
    seconds: f64,
    /// What can lose the commit: `synchronous`, `single` or `asynchronous`; none if the store did not say.
    durable: Option<Durability>,
}

impl<'c> ShownConfirmation<'c> {
    pub(crate) fn new(confirmation: &'c Confirmation, is_one_process: bool) -> Self {
        Self {
            confirmed: confirmation.is_confirmed(),
            revision: confirmation.revision,
            is_one_process,
            nodes: &confirmation.confirmed,
            ended: &confirmation.ended,
            missing: &confirmation.missing,
            store: confirmation.store.as_deref(),
            seconds: confirmation.took.as_secs_f64(),
            durable: confirmation.durable,
        }
    }
}
