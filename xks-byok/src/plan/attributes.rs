//! Description, key policy, tags and state: what KMS keys of every origin have, and where it is not as it is
//! wanted.

use std::{collections::BTreeMap, fmt};

use super::{Action, Plan, is_same_policy};
use crate::aws::KeyMetadata;

/// Something of a KMS key that is not as it is wanted: both sides, as texts. A job mends it; until one is
/// started it is only shown.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Drift {
    /// What differs, such as `description`.
    pub what: String,
    /// As the state wants it.
    pub wanted: String,
    /// As it is in AWS.
    pub found: String,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, wanted, found } = self;
        write!(f, "{what}: wanted {wanted}, found {found}")
    }
}

/// What is wanted of a key of any origin.
pub(super) struct Attributes<'a> {
    pub(super) description: &'a str,
    pub(super) policy: Option<&'a str>,
    pub(super) tags: &'a BTreeMap<String, String>,
}

impl Plan {
    pub(super) fn drift(&mut self, what: impl Into<String>, wanted: impl fmt::Display, found: impl fmt::Display) {
        self.drift.push(Drift {
            what: what.into(),
            wanted: wanted.to_string(),
            found: found.to_string(),
        });
    }

    /// Changes description, policy and tags where they are not as they are wanted. Other tags are left alone.
    pub(super) fn change(
        &mut self,
        wanted: &Attributes<'_>,
        metadata: &KeyMetadata,
        policy: Option<&str>,
        tags: &BTreeMap<String, String>,
    ) {
        if wanted.description != metadata.description {
            self.drift("description", wanted.description, &metadata.description);
            let description = wanted.description.to_owned();
            self.push(Action::UpdateDescription { description }, "the description is another");
        }
        if let (Some(wanted), Some(found)) = (wanted.policy, policy)
            && !is_same_policy(wanted, found)
        {
            self.drift("policy", wanted, found);
            let policy = wanted.to_owned();
            self.push(Action::PutPolicy { policy }, "the key policy is another");
        }
        let has = |key: &str, value: &str| tags.get(key).is_some_and(|found| found == value);
        let missing = wanted.tags.iter().filter(|(key, value)| !has(key, value));
        let missing: BTreeMap<_, _> = missing.map(|(key, value)| (key.clone(), value.clone())).collect();
        for (key, value) in &missing {
            let found = tags.get(key).map_or("none", String::as_str);
            self.drift(format!("tag {key}"), value, found);
        }
        if !missing.is_empty() {
            self.push(Action::Tag { tags: missing }, "tags are missing, or have another value");
        }
    }
}
