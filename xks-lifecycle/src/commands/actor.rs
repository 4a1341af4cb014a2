//! Who gives a command.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    EventText, FieldError, FieldProblem,
    store::{Claim, Revision},
};

/// Who gives a command, as events show it: a user of the machine, a person, a program, the scheduler. 1 to
/// 256 characters without control characters.
///
/// ```
/// use xks_lifecycle::commands::Actor;
///
/// let actor = Actor::new("uid:1000 (alice)")?;
/// assert_eq!(actor.to_string(), "uid:1000 (alice)");
/// # Ok::<(), xks_lifecycle::FieldError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    text: EventText,
    /// The claim under which commands are given: they change nothing when another has taken it over.
    claim: Option<Claim>,
    last_commit: Option<LastCommit>,
}

/// What an actor's commands have committed last, or found as they want it, those that failed after that too:
/// to wait for other nodes, [confirm](super::Commands::confirm) this revision. A clone is the same.
#[derive(Clone, Debug, Default)]
pub struct LastCommit(Arc<AtomicU64>);

impl LastCommit {
    /// Returns the revision; none if no command has come as far as that.
    #[must_use]
    pub fn revision(&self) -> Option<Revision> {
        let revision = self.0.load(Ordering::Relaxed);
        (revision > 0).then(|| Revision::new(revision))
    }
}

impl PartialEq for LastCommit {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for LastCommit {}

impl Actor {
    const MAX: usize = 256;

    /// Checks a name and keeps it.
    ///
    /// # Errors
    /// Of the field `actor`.
    pub fn new(name: &str) -> Result<Self, FieldError> {
        if name.chars().count() > Self::MAX {
            let problem = FieldProblem::Length { min: 1, max: Self::MAX };
            return Err(FieldError::new("actor", problem));
        }
        if name.chars().any(char::is_control) {
            return Err(FieldError::new("actor", FieldProblem::Control));
        }
        let text = EventText::new("actor", name)?;
        Ok(Self {
            text,
            claim: None,
            last_commit: None,
        })
    }

    /// Returns the same actor, whose commands note what they commit.
    #[must_use]
    pub fn noting(self, last_commit: &LastCommit) -> Self {
        let last_commit = Some(last_commit.clone());
        Self { last_commit, ..self }
    }

    /// Notes that what a command wants is in the state at this revision.
    pub(super) fn note(&self, revision: Revision) {
        if let Some(LastCommit(noted)) = &self.last_commit {
            noted.fetch_max(revision.get(), Ordering::Relaxed);
        }
    }

    /// The same actor, who changes something only while the claim is as it is here.
    pub(crate) fn under(&self, claim: Claim) -> Self {
        let claim = Some(claim);
        Self { claim, ..self.clone() }
    }

    pub(crate) const fn text(&self) -> &EventText {
        &self.text
    }

    pub(super) const fn claim(&self) -> Option<&Claim> {
        self.claim.as_ref()
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_legal_names_are_actors() {
        assert!(Actor::new("uid:0").is_ok());
        for bad in ["", "a\nb", "a\0", &"a".repeat(257)] {
            assert_eq!(Actor::new(bad).unwrap_err().field(), "actor", "{bad:?}");
        }
    }
}
