//! The nodes on the store, as the one that answers sees them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xks_lifecycle::{
    commands::{NodeEntry, Nodes},
    nodes::Unusable,
    store::Revision,
};

use super::{
    resource::{Limit, Nothing, object},
    table::Routes,
};
use crate::{
    answer::{Answer, Page},
    call::Call,
    confirmation::Done,
    problem::Problem,
};

const PATH: &str = "nodes";

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/nodes", list)
        .get("/nodes/{id}", show)
        .delete("/nodes/{id}", remove)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    name: Option<String>,
    after: Option<String>,
    #[serde(default)]
    limit: Limit,
}

/// A list of nodes.
#[derive(Serialize)]
struct List {
    /// Whether the state belongs to one process, which is no node.
    is_one_process: bool,
    /// The revision of the store.
    head: Revision,
    /// Why rows of the store cannot be read as those of nodes: no command is confirmed while there is one.
    unreadable: Vec<String>,
    #[serde(flatten)]
    page: Page<ShownNode>,
}

/// A node, as answers show it.
#[derive(Serialize)]
struct ShownNode {
    /// Its incarnation: another one each time that it joins.
    id: String,
    name: String,
    /// Whether it is the node that answers.
    is_this: bool,
    /// How long it trusts its lease after a renewal.
    lease_seconds: f64,
    /// Whether it serves on when its lease has ended: then its row stays until it or a person removes it.
    serves_on: bool,
    /// How long ago the node that answers saw it renew its lease, at least.
    seconds_since_renewal: f64,
    /// The revision that it serves; none while it joins.
    serves: Option<Revision>,
    head: Revision,
    /// It can use every version that was published until this revision.
    usable_through: Option<Revision>,
    /// Published versions that it cannot use, or some of them, and how many more.
    unusable: Vec<Unusable>,
    unusable_more: u64,
    /// What else it says of itself.
    facts: BTreeMap<Box<str>, Box<str>>,
}

impl ShownNode {
    fn new(entry: NodeEntry, head: Revision) -> Self {
        let NodeEntry {
            row,
            is_this,
            unchanged,
            ..
        } = entry;
        Self {
            id: row.incarnation(),
            name: (*row.node).to_owned(),
            is_this,
            lease_seconds: row.lease.as_secs_f64(),
            serves_on: row.serves_on,
            seconds_since_renewal: unchanged.as_secs_f64(),
            serves: row.served,
            head: head.max(row.served.unwrap_or_default()),
            usable_through: row.usable.through(),
            unusable: row.usable.failed.clone(),
            unusable_more: row.usable.more,
            facts: (*row.facts).clone(),
        }
    }
}

async fn all(call: &Call) -> Result<(Nodes, bool), Problem> {
    let nodes = call.commands.nodes().await?;
    let is_one_process = nodes.is_none();
    let none = || Nodes::none(call.commands.revision());
    Ok((nodes.unwrap_or_else(none), is_one_process))
}

async fn list(call: Call) -> Result<Answer, Problem> {
    let query: ListQuery = call.query()?;
    let (
        Nodes {
            head,
            nodes,
            unreadable,
            ..
        },
        is_one_process,
    ) = all(&call).await?;
    let mut nodes: Vec<_> = nodes.into_iter().map(|entry| ShownNode::new(entry, head)).collect();
    nodes.sort_by(|one, other| one.id.cmp(&other.id));
    let wanted = nodes.into_iter().filter(|node| {
        let is_named = query.name.as_ref().is_none_or(|name| node.name == *name);
        is_named && query.after.as_ref().is_none_or(|after| node.id > *after)
    });
    Answer::json(&List {
        is_one_process,
        head,
        unreadable,
        page: Page::of(wanted, query.limit.get(), |last| last.id.clone()),
    })
}

async fn show(call: Call) -> Result<Answer, Problem> {
    let (Nodes { head, nodes, .. }, _) = all(&call).await?;
    let found = nodes.into_iter().find(|entry| entry.row.incarnation() == call.param(0));
    let found = found.ok_or_else(|| Problem::unknown(PATH, call.param(0)))?;
    Answer::json(&ShownNode::new(found, head))
}

/// Removes the row of a node that has ended and whose row does not go by itself. A claim that cannot be read
/// is named by its whole id.
async fn remove(call: Call) -> Result<Done, Problem> {
    let work = async {
        let _: Nothing = call.body()?;
        let (Nodes { nodes, .. }, _) = all(&call).await?;
        let found = nodes.iter().find(|entry| entry.row.incarnation() == call.param(0));
        let id = found.map_or_else(|| call.param(0).to_owned(), |entry| entry.row.id());
        call.commands.remove_node(&call.actor, &id).await?;
        Ok(Answer::json(&Nothing {})?.done(call.commands.revision()))
    };
    call.command("remove-node", &object(PATH, call.param(0)), work).await
}
