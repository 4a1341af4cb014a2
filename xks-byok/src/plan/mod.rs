//! Plans: the steps from what is observed to what is wanted, each with its reason, decided by pure functions.
//!
//! ```text
//! Desired (of the state) ─┐
//!                         ├──▶ plan ──▶ steps, then perhaps a question or a wait
//! Observed (of AWS) ──────┘
//! ```
//!
//! A plan is made from scratch after each step, so no step refers to the outcome of another. Order of steps:
//! enable, change, disable. Nothing is deleted that is not wanted gone; what other people keep on a key (its
//! other aliases, tags and policies) is left alone.

mod attributes;
mod connection;
mod desired;
mod difference;
mod import;
mod key;
mod key_store;
mod lint;
mod policy;
mod status;
mod step;

pub(crate) use self::import::AHEAD;
pub use self::{
    attributes::Drift,
    connection::{Cause, cause},
    desired::{Desired, DesiredKey, DesiredKeyStore, Undesirable},
    difference::{Difference, difference},
    import::{DesiredImport, DesiredMaterial, material_label},
    lint::lint,
    policy::{is_same_policy, policy_json},
    status::{Availability, Status, availability, refusal},
    step::{Action, Step, Update},
};
use crate::observe::Observed;

/// What a plan depends on besides what is wanted and observed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Context {
    /// The value of the operation tag of what is created: another one for each job.
    pub operation: String,
    /// Whether this job has asked for a connection already, so that a failed one is no former one.
    pub has_connected: bool,
    /// Whether AWS may not show yet what this job has created.
    pub is_settling: bool,
}

/// The way from what is observed to what is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// The steps, in their order.
    pub steps: Vec<Step>,
    /// What comes after the last step; done if there is nothing.
    pub then: Then,
    /// What should be known before it begins.
    pub warnings: Vec<String>,
    /// What differs on both sides. The steps mend it.
    pub drift: Vec<Drift>,
}

/// What comes after the steps of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Then {
    /// It is as it is wanted.
    #[default]
    Done,
    /// AWS is at work: the reason. Look again later.
    Wait(String),
    /// A person has to decide or to mend something: the question.
    Ask(String),
}

impl Plan {
    fn ask(mut self, question: impl Into<String>) -> Self {
        self.then = Then::Ask(question.into());
        self
    }

    fn wait(mut self, reason: impl Into<String>) -> Self {
        self.then = Then::Wait(reason.into());
        self
    }

    fn push(&mut self, action: Action, reason: impl Into<String>) {
        let reason = reason.into();
        self.steps.push(Step { action, reason });
    }

    /// Returns whether nothing is left to do.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.steps.is_empty() && self.then == Then::Done
    }

    /// Returns from which step on a plan goes on as this one: a rest of a stored plan.
    #[must_use]
    pub fn suffix_of(&self, stored: &[Step]) -> Option<usize> {
        let start = stored.len().checked_sub(self.steps.len())?;
        let rest = stored.get(start..)?;
        let actions = |steps: &[Step]| steps.iter().map(|step| step.action.clone()).collect::<Vec<_>>();
        (actions(rest) == actions(&self.steps)).then_some(start)
    }
}

/// Plans. It is pure, and takes some microseconds.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, context: &Context) -> Plan {
    match (desired, observed) {
        (Desired::KeyStore(desired), Observed::KeyStore(observed)) => {
            key_store::plan(desired, observed.as_deref(), context)
        }
        (Desired::Key(desired), Observed::Key(observed)) => key::plan(desired, observed, context),
        (Desired::Import(desired), Observed::Import(observed)) => import::plan(desired, observed, context),
        (Desired::KeyStore(_) | Desired::Key(_) | Desired::Import(_), _) => {
            Plan::default().ask("what was observed is of another kind than what is wanted: start another job")
        }
    }
}
