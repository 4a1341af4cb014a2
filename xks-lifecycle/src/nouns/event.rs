//! An event: who did what, to what, and what came of it.

use std::fmt;

use crate::{FieldError, FieldProblem, Timestamp, field::named_enum, store::Revision};

/// What somebody did, or tried to do. Events are appended and never changed; they hold no secret.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// Who: a user, a program, or the scheduler.
    pub actor: EventText,
    /// What was to be done, such as `disable`.
    pub command: EventText,
    /// What it was to be done to, as the path of the object: `keys/abc`.
    pub object: EventText,
    /// What came of it.
    pub outcome: Outcome,
    /// The revision that it made, if it changed the state. Set by the commit.
    pub revision: Option<Revision>,
    /// Why it was refused, or how it failed; of what a scheduler does because of a count, why.
    pub reason: Option<EventText>,
    /// The object before, as JSON.
    pub before: Option<EventText>,
    /// The object after it, as JSON.
    pub after: Option<EventText>,
}

/// What came of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Begun: it takes several steps, and another event says how it ended.
    Begun,
    /// Done.
    Done,
    /// Refused, and nothing was changed.
    Refused,
    /// Failed, perhaps halfway.
    Failed,
}

named_enum! {
    Outcome,
    Begun => "begun",
    Done => "done",
    Refused => "refused",
    Failed => "failed",
}

/// A text of an event: 1 to 65 536 bytes without NUL.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct EventText(Box<str>);

impl EventText {
    const MAX: usize = 65_536;

    /// Checks `text` and keeps it. `field` is what an error calls it.
    ///
    /// # Errors
    /// A [`FieldError`] of this field.
    pub fn new(field: &'static str, text: impl AsRef<str>) -> Result<Self, FieldError> {
        let text = text.as_ref();
        if text.is_empty() || text.len() > Self::MAX {
            let max = Self::MAX;
            return Err(FieldError::new(field, FieldProblem::Length { min: 1, max }));
        }
        if text.contains('\0') {
            return Err(FieldError::new(field, FieldProblem::Control)); // PostgreSQL keeps none
        }
        Ok(Self(text.into()))
    }

    /// As much of a text of the program's own as fits.
    pub(crate) fn cut(text: &str) -> Self {
        let text = text.replace('\0', " ");
        let mut ends = (0..=Self::MAX.min(text.len())).rev();
        let end = ends.find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        let text = text.get(..end).filter(|text| !text.is_empty()).unwrap_or("-");
        Self(text.into())
    }

    /// The JSON of what an event shows; nothing if it is too long.
    pub(crate) fn json(value: &impl serde::Serialize) -> Option<Self> {
        let json = serde_json::to_string(value).ok()?;
        (json.len() <= Self::MAX).then(|| Self(json.into()))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Event {
    /// An event without reason, before and after.
    ///
    /// # Errors
    /// Of the fields `actor`, `command` and `object`.
    pub fn new(
        time: Timestamp,
        actor: &str,
        command: &str,
        object: &str,
        outcome: Outcome,
    ) -> Result<Self, FieldError> {
        Ok(Self {
            time,
            actor: EventText::new("actor", actor)?,
            command: EventText::new("command", command)?,
            object: EventText::new("object", object)?,
            outcome,
            revision: None,
            reason: None,
            before: None,
            after: None,
        })
    }
}
