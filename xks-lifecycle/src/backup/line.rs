//! The lines of a backup.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xks_core::text::{Hex, decode_hex};

use super::FORMAT;
use crate::{
    Event, EventText, FieldError, Object, Outcome, Timestamp,
    field::named,
    store::{Cell, Claim, Head, Revision, Row, RowCode, Table},
};

/// A line, without its code.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// The first one.
    Backup(First),
    /// A row of a table.
    Row(RowLine),
    /// A count, or usage.
    Claim(ClaimLine),
    /// An event.
    Event(EventLine),
    /// The last one.
    End {
        /// How many there are before it.
        lines: u64,
    },
}

/// What the first line says.
#[derive(Serialize, Deserialize)]
pub(super) struct First {
    pub(super) format: u64,
    revision: u64,
    time: u64,
    code: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RowLine {
    table: String,
    id: String,
    revision: u64,
    code: String,
    /// By the names of the columns. Empty ones are left out.
    cells: BTreeMap<String, CellText>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum CellText {
    Integer(i64),
    Text(String),
    Bytes { hex: String },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClaimLine {
    kind: String,
    id: String,
    owner: String,
    counter: u64,
    body: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventLine {
    time: u64,
    actor: String,
    command: String,
    object: String,
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

/// The end of a line: its code, and the end of the object.
pub(super) fn mac(code: &RowCode) -> String {
    format!(",\"mac\":\"{}\"}}", Hex(code))
}

/// Takes a line apart: what its code is over, and the code.
pub(super) fn split(line: &[u8]) -> Option<(&[u8], RowCode)> {
    let length = mac(&RowCode::default()).len();
    let (content, end) = line.split_at_checked(line.len().checked_sub(length)?)?;
    let digits = end.strip_prefix(b",\"mac\":\"")?.strip_suffix(b"\"}")?;
    let mut code = RowCode::default();
    decode_hex(digits, &mut code).ok()?;
    Some((content, code))
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0; digits.len() / 2];
    decode_hex(digits, &mut bytes).ok()?;
    Some(bytes)
}

impl Line {
    /// Reads what the code of a line is over: an object without its end.
    pub(super) fn read(content: &[u8]) -> Option<Self> {
        serde_json::from_slice(&[content, b"}"].concat()).ok()
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() // texts and numbers alone
    }

    pub(super) fn row(row: &Row<'_>) -> Self {
        let cell = |(name, cell): (&&str, &Cell<'_>)| {
            let text = match cell {
                Cell::Null => return None,
                Cell::Integer(number) => CellText::Integer(*number),
                Cell::Text(text) => CellText::Text(text.to_string()),
                Cell::Bytes(bytes) => CellText::Bytes {
                    hex: Hex(bytes).to_string(),
                },
            };
            Some(((*name).to_owned(), text))
        };
        Self::Row(RowLine {
            table: row.table.to_string(),
            id: row.id.to_string(),
            revision: row.revision.get(),
            code: Hex(&row.code).to_string(),
            cells: row.table.columns().iter().zip(&row.cells).filter_map(cell).collect(),
        })
    }

    pub(super) fn claim(claim: &Claim) -> Self {
        Self::Claim(ClaimLine {
            kind: claim.kind.to_string(),
            id: claim.id.to_string(),
            owner: claim.owner.to_string(),
            counter: claim.counter,
            body: claim.body.to_string(),
        })
    }

    pub(super) fn event(event: &Event) -> Self {
        let text = |text: &Option<EventText>| text.as_ref().map(ToString::to_string);
        Self::Event(EventLine {
            time: event.time.seconds(),
            actor: event.actor.to_string(),
            command: event.command.to_string(),
            object: event.object.to_string(),
            outcome: event.outcome.to_string(),
            revision: event.revision.map(Revision::get),
            reason: text(&event.reason),
            before: text(&event.before),
            after: text(&event.after),
        })
    }

    /// What the line is about, as messages call it.
    pub(super) fn name(&self) -> Option<String> {
        match self {
            Self::Row(row) => Some(Object(row.table.parse().ok()?, row.id.as_str().into()).to_string()),
            Self::Claim(claim) => Some(format!("{} of {}", claim.kind, claim.id)),
            Self::Event(event) => Some(format!("event of {}", event.object)),
            Self::Backup(_) | Self::End { .. } => None,
        }
    }
}

impl First {
    pub(super) fn new(head: &Head, now: Timestamp) -> Self {
        Self {
            format: FORMAT,
            revision: head.revision.get(),
            time: now.seconds(),
            code: Hex(&head.code).to_string(),
        }
    }

    /// The head of the state, and when the backup was made.
    pub(super) fn read(self) -> Option<(Head, Timestamp)> {
        let code = bytes(&self.code)?.try_into().ok()?;
        let time = Timestamp::from_seconds("time", self.time).ok()?;
        Some((Head::new(Revision::new(self.revision), code), time))
    }
}

impl RowLine {
    /// The row. Nothing, if its table or a column of it is not known.
    pub(super) fn read(mut self) -> Option<Row<'static>> {
        let table: Table = self.table.parse().ok()?;
        let mut cells = Vec::with_capacity(table.columns().len());
        for column in table.columns() {
            cells.push(match self.cells.remove(*column) {
                None => Cell::Null,
                Some(CellText::Integer(number)) => Cell::Integer(number),
                Some(CellText::Text(text)) => Cell::Text(text.into()),
                Some(CellText::Bytes { hex }) => Cell::Bytes(bytes(&hex)?.into()),
            });
        }
        if !self.cells.is_empty() {
            return None;
        }
        let code = bytes(&self.code)?.try_into().ok()?;
        Some(Row::new(
            table,
            self.id.into(),
            Revision::new(self.revision),
            code,
            cells,
        ))
    }
}

impl ClaimLine {
    pub(super) fn read(self) -> Option<Claim> {
        let kind = self.kind.parse().ok()?;
        Some(Claim::new(kind, &self.id, &self.owner, self.counter, &self.body))
    }
}

impl EventLine {
    pub(super) fn read(self) -> Result<Event, FieldError> {
        let time = Timestamp::from_seconds("time", self.time)?;
        let outcome = named("outcome", &self.outcome, Outcome::NAMES)?;
        let text = |field, text: Option<String>| text.map(|text| EventText::new(field, text)).transpose();
        Ok(Event {
            revision: self.revision.map(Revision::new),
            reason: text("reason", self.reason)?,
            before: text("before", self.before)?,
            after: text("after", self.after)?,
            ..Event::new(time, &self.actor, &self.command, &self.object, outcome)?
        })
    }
}
