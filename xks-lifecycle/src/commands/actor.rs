//! Who gives a command.

use std::fmt;

use crate::{EventText, FieldError, FieldProblem};

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
pub struct Actor(EventText);

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
        EventText::new("actor", name).map(Self)
    }

    pub(crate) const fn text(&self) -> &EventText {
        &self.0
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
