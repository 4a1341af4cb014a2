//! The row of a node in the store.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Unusable, Usable};
use crate::store::{Claim, ClaimKind, Revision};

/// What the store knows of one incarnation of a node. It is a [claim](Claim), whose condition for any change
/// names node, incarnation and counter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct NodeRow {
    /// The node's name.
    pub node: Arc<str>,
    /// The process: another one each time that it starts.
    pub process: Arc<str>,
    /// How often the process had joined when it made this row.
    pub join: u32,
    /// Incremented by each renewal.
    pub counter: u64,
    /// The revision that the node serves; none until it has read a snapshot.
    pub served: Option<Revision>,
    /// How long the node trusts its lease after a renewal.
    pub lease: Duration,
    /// What else the node tells of itself, such as its version.
    pub facts: Facts,
    /// Which versions it can use of those that are published. A program that knew nothing of that says
    /// nothing.
    pub usable: Arc<Usable>,
    /// Whether it serves on when it has lost the store. Then its row tells of its end only when it or a
    /// person removes it.
    pub serves_on: bool,
}

/// What a node tells of itself, by names.
pub type Facts = Arc<BTreeMap<Box<str>, Box<str>>>;

/// Why a row of the store is not that of a node.
#[derive(Debug, Error)]
#[error("the claim of node `{id}` cannot be read: {problem}")]
pub struct NodeRowError {
    id: Box<str>,
    problem: String,
}

impl NodeRowError {
    /// Returns the id of the claim.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

#[derive(Serialize, Deserialize)]
struct Body {
    served: Option<u64>,
    lease_ms: u64,
    #[serde(default)]
    facts: BTreeMap<Box<str>, Box<str>>,
    #[serde(default)]
    usable: UsableBody,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    serves_on: bool,
}

#[derive(Default, Serialize, Deserialize)]
struct UsableBody {
    tried: Option<u64>,
    /// Versions and reasons.
    #[serde(default)]
    failed: Vec<(Box<str>, Box<str>)>,
    #[serde(default)]
    more: u64,
}

impl From<&Usable> for UsableBody {
    fn from(usable: &Usable) -> Self {
        let failed = usable.failed.iter();
        Self {
            tried: usable.tried.map(Revision::get),
            failed: failed
                .map(|failed| (failed.version.clone(), failed.reason.clone()))
                .collect(),
            more: usable.more,
        }
    }
}

impl From<UsableBody> for Usable {
    fn from(body: UsableBody) -> Self {
        let failed = body.failed.into_iter();
        Self {
            tried: body.tried.map(Revision::new),
            failed: failed.map(|(version, reason)| Unusable { version, reason }).collect(),
            more: body.more,
        }
    }
}

impl NodeRow {
    /// Returns the name of this incarnation.
    #[must_use]
    pub fn incarnation(&self) -> String {
        format!("{}.{}", self.process, self.join)
    }

    /// Returns the id of its claim: node and incarnation.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.node, self.incarnation())
    }

    /// Returns whether the node serves this revision.
    #[must_use]
    pub fn serves(&self, revision: Revision) -> bool {
        self.served.is_some_and(|served| served >= revision)
    }

    /// Returns the claim in which the store keeps it.
    #[must_use]
    pub fn to_claim(&self) -> Claim {
        let body = Body {
            served: self.served.map(Revision::get),
            lease_ms: u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX),
            facts: (*self.facts).clone(),
            usable: (&*self.usable).into(),
            serves_on: self.serves_on,
        };
        let body = serde_json::to_string(&body).unwrap_or_default(); // it always has one
        Claim::new(ClaimKind::Node, &self.id(), &self.incarnation(), self.counter, &body)
    }

    /// Reads it from a claim.
    ///
    /// # Errors
    /// [`NodeRowError`] when the claim is not that of a node.
    pub fn from_claim(claim: &Claim) -> Result<Self, NodeRowError> {
        let error = |problem: String| NodeRowError {
            id: claim.id.clone(),
            problem,
        };
        let body: Body = serde_json::from_str(&claim.body).map_err(|problem| error(problem.to_string()))?;
        let names = || {
            let (node, incarnation) = claim.id.rsplit_once('/')?;
            let (process, join) = incarnation.rsplit_once('.')?;
            (incarnation == &*claim.owner).then_some((node, process, join.parse().ok()?))
        };
        let (node, process, join) =
            names().ok_or_else(|| error("its id is not node and incarnation of its owner".to_owned()))?;
        Ok(Self {
            node: node.into(),
            process: process.into(),
            join,
            counter: claim.counter,
            served: body.served.map(Revision::new),
            lease: Duration::from_millis(body.lease_ms),
            facts: Arc::new(body.facts),
            usable: Arc::new(body.usable.into()),
            serves_on: body.serves_on,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_are_written() {
        for served in [None, Some(Revision::new(7))] {
            let row = NodeRow {
                node: "rack/7".into(),
                process: "abc".into(),
                join: 3,
                counter: 9,
                served,
                lease: Duration::from_millis(1500),
                facts: Arc::new([("version".into(), "1".into())].into()),
                usable: Arc::new(Usable {
                    tried: served,
                    failed: vec![Unusable {
                        version: "key/01020304".into(),
                        reason: "it is not there".into(),
                    }],
                    more: 9,
                }),
                serves_on: served.is_some(),
            };
            let claim = row.to_claim();
            assert_eq!((&*claim.id, &*claim.owner), ("rack/7/abc.3", "abc.3"));
            assert_eq!(NodeRow::from_claim(&claim).unwrap(), row);
            assert_eq!(
                (row.serves(Revision::new(7)), row.serves(Revision::new(8))),
                (served.is_some(), false)
            );
        }
    }

    /// Later versions may say more.
    #[test]
    fn what_is_unknown_is_passed_over_and_what_is_missing_is_an_error() {
        let claim = |id, owner, body| Claim::new(ClaimKind::Node, id, owner, 1, body);
        let body = r#"{"served":null,"lease_ms":1,"later":2}"#;
        NodeRow::from_claim(&claim("a/b.1", "b.1", body)).unwrap();
        for (id, owner, body) in [
            ("a/b.1", "b.1", "{}"),
            ("a/b.1", "b.2", body),
            ("a", "a", body),
            ("a/b", "b", body),
            ("a/b.x", "b.x", body),
        ] {
            let error = NodeRow::from_claim(&claim(id, owner, body)).unwrap_err();
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("the claim of node `{id}` cannot be read: ")),
                "{error}"
            );
        }
    }
}
