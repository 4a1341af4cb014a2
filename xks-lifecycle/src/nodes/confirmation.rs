//! The answer to a command that waits for all nodes.

use std::{borrow::Cow, time::Duration};

use serde::Serialize;

use super::{Confirming, Fate, NodeRow, NodeRowError, usable::Versions};
use crate::store::{Durability, Revision};

/// Who has confirmed a command, and who has not. Its state is committed in any case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Confirmation {
    /// The revision that was waited for.
    pub revision: Revision,
    /// The nodes that serve the revision, or can use what was published.
    pub confirmed: Vec<Box<str>>,
    /// Nodes that served when the command was committed, and do no more: they have left, or are dead.
    pub ended: Vec<Box<str>>,
    /// The nodes that have not confirmed.
    pub missing: Vec<Missing>,
    /// Why the nodes could not be asked any more, if the store has failed.
    pub store: Option<String>,
    /// How long it took.
    #[serde(serialize_with = "seconds")]
    pub took: Duration,
    /// What can lose the commit; none if the store did not say.
    pub durable: Option<Durability>,
}

/// A node that does not serve a revision, or cannot use what was published, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Missing {
    /// Its name.
    pub node: Box<str>,
    /// The revision that it serves; none while it joins.
    pub serves: Option<Revision>,
    /// Why it is missing.
    pub reason: Cow<'static, str>,
}

/// Why a node is missing.
fn reason(row: &NodeRow, revision: Revision, versions: Option<&Versions>) -> Cow<'static, str> {
    let Some(versions) = versions else {
        return match row.served {
            Some(_) if row.serves_on => "it has not said that it serves the revision, and serves on when its lease \
                                         has ended, since it may have lost the store: it counts until it renews, or \
                                         a person who has stopped it removes its row"
                .into(),
            None => "it joins, and has not read the state yet".into(),
            Some(_) => "it has not said that it serves the revision, and its lease has not ended".into(),
        };
    };
    let usable = &row.usable;
    match usable.first_of(versions) {
        Some(failed) => {
            let others = usable.failed.len() as u64 - 1 + usable.more;
            let others = if others == 0 {
                String::new()
            } else {
                format!(" (and {others} more)")
            };
            format!("it cannot use version {}{others}: {}", failed.version, failed.reason).into()
        }
        None if usable.has_tried(revision) => format!("it cannot use {} versions", usable.more).into(),
        None => "it has not tried yet what was published, and its lease has not ended".into(),
    }
}

impl Confirmation {
    /// Returns whether every node has confirmed: a request that starts now is served from this revision or a
    /// later one, or every node can use what was published.
    #[must_use]
    pub const fn is_confirmed(&self) -> bool {
        self.missing.is_empty() && self.store.is_none()
    }

    pub(super) fn new(
        confirming: &Confirming,
        unreadable: &[NodeRowError],
        store: Option<String>,
        took: Duration,
    ) -> Self {
        let revision = confirming.revision();
        let of = |wanted| {
            let nodes = confirming.nodes().filter(move |(_, fate)| *fate == wanted);
            nodes.map(|(row, _)| row)
        };
        let unreadable = unreadable.iter().map(|error| Missing {
            node: error.id().into(),
            serves: None,
            reason: format!("{error}; remove the row if the node has ended").into(),
        });
        let missing = of(Fate::Awaited).map(|row| Missing {
            node: Box::from(&*row.node),
            serves: row.served,
            reason: reason(row, revision, confirming.versions()),
        });
        Self {
            revision,
            confirmed: of(Fate::Serves).map(|row| Box::from(&*row.node)).collect(),
            ended: of(Fate::Ended).map(|row| Box::from(&*row.node)).collect(),
            missing: missing.chain(unreadable).collect(),
            store: match (confirming.is_over(), confirming.is_begun()) {
                (true, _) => None,
                (false, true) => store,
                // What was not asked has not confirmed.
                (false, false) => Some(store.unwrap_or_else(|| "the nodes were not asked in time".to_owned())),
            },
            took,
            durable: None,
        }
    }

    /// Who has not confirmed, and why, in words.
    pub(crate) fn obstacles(&self) -> String {
        let missing = self.missing.iter();
        let nodes = missing.map(|missing| format!("node `{}`: {}", missing.node, missing.reason));
        let store = self.store.iter().map(|error| format!("the store: {error}"));
        nodes.chain(store).collect::<Vec<_>>().join("; ")
    }

    /// That of a state which belongs to one process: it serves a revision when the command returns.
    pub(crate) const fn of_one_process(revision: Revision, durable: Option<Durability>) -> Self {
        Self {
            revision,
            confirmed: Vec::new(),
            ended: Vec::new(),
            missing: Vec::new(),
            store: None,
            took: Duration::ZERO,
            durable,
        }
    }
}

fn seconds<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(took.as_secs_f64())
}
