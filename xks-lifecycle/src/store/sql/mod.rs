//! What the databases that speak SQL share: the schema, as migrations, and rows as SQL has them.

use super::{Revision, StoreError, Table};
use crate::{Event, EventText, FieldError, Outcome, Timestamp, field::named};

/// What brings a database from the schema version of its place in this list to the next one, in SQLite's
/// dialect.
///
/// A migration is never changed once it was published. It expands: it adds tables, and columns at the end
/// that may be empty. What the version before it needs goes with the migration after the next, when no
/// program of that version serves the database any more.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("migration_1.sql"),
    include_str!("migration_2.sql"),
    include_str!("migration_3.sql"),
    include_str!("migration_4.sql"),
    include_str!("migration_5.sql"),
    include_str!("migration_6.sql"),
    include_str!("migration_7.sql"),
];

/// The schema version that this program knows.
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

/// The columns of a row, separated by commas; its cells begin at place 3.
pub(super) fn columns(table: Table) -> String {
    format!("id, revision, code, {}", table.columns().join(", "))
}

/// The columns of an event beside its number, in the order of [`EventRow`].
pub(super) const EVENT_COLUMNS: &str =
    "time, actor, command, object, outcome, revision, reason, state_before, state_after";

/// An event as a row.
pub(super) struct EventRow {
    pub(super) time: i64,
    pub(super) actor: String,
    pub(super) command: String,
    pub(super) object: String,
    pub(super) outcome: String,
    pub(super) revision: Option<i64>,
    pub(super) reason: Option<String>,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

impl EventRow {
    /// The row of an event of this revision, unless it has one already.
    pub(super) fn new(event: &Event, revision: Option<Revision>) -> Self {
        let text = |text: &Option<EventText>| text.as_ref().map(ToString::to_string);
        Self {
            time: event.time.seconds().cast_signed(),
            actor: event.actor.to_string(),
            command: event.command.to_string(),
            object: event.object.to_string(),
            outcome: event.outcome.to_string(),
            revision: event.revision.or(revision).map(|revision| revision.get().cast_signed()),
            reason: text(&event.reason),
            before: text(&event.before),
            after: text(&event.after),
        }
    }

    /// The event of the row with this number.
    pub(super) fn event(self, number: u64) -> Result<(u64, Event), StoreError> {
        let event = self.read();
        let event = event.map_err(|error| StoreError::Damaged(format!("event {number}: {error}")))?;
        Ok((number, event))
    }

    fn read(self) -> Result<Event, FieldError> {
        let outcome: Outcome = named("outcome", &self.outcome, Outcome::NAMES)?;
        let time = Timestamp::from_seconds("time", self.time.cast_unsigned())?;
        let text = |field, text: Option<String>| text.map(|text| EventText::new(field, text)).transpose();
        Ok(Event {
            revision: self.revision.map(|revision| Revision::new(revision.cast_unsigned())),
            reason: text("reason", self.reason)?,
            before: text("before", self.before)?,
            after: text("after", self.after)?,
            ..Event::new(time, &self.actor, &self.command, &self.object, outcome)?
        })
    }
}
