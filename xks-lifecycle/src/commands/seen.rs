//! Whether an object is as it was seen, when two commands are given at once.

use std::collections::BTreeMap;

use crate::{CommandError, Object, store::Revision};

/// What was seen of an object when a command was given, or began.
pub(super) struct Seen {
    object: Object,
    /// What the caller has seen.
    given: Option<Revision>,
    /// What the command has found first: the revision, and the fields as JSON.
    first: Option<(Revision, serde_json::Value)>,
}

impl Seen {
    pub(super) const fn new(object: Object, given: Option<Revision>) -> Self {
        Self {
            object,
            given,
            first: None,
        }
    }

    /// Checks that the object is unchanged since it was seen. `has_work` says whether the command would
    /// change anything: if not, it does not matter who did it.
    pub(super) fn check(
        &mut self,
        found: Revision,
        shown: impl FnOnce() -> serde_json::Value,
        has_work: bool,
    ) -> Result<(), CommandError> {
        let changed = |seen, fields| CommandError::Changed {
            object: self.object.clone(),
            seen,
            found,
            fields,
        };
        match (&self.first, self.given) {
            (None, Some(given)) if given != found => Err(changed(given, Vec::new())),
            (None, _) => {
                self.first = Some((found, shown()));
                Ok(())
            }
            (Some((first, before)), _) if *first != found && has_work => {
                Err(changed(*first, differences(before, &shown())))
            }
            (Some(_), _) => Ok(()),
        }
    }
}

/// The fields in which two objects of JSON differ.
fn differences(before: &serde_json::Value, after: &serde_json::Value) -> Vec<String> {
    let fields = |value: &serde_json::Value| -> BTreeMap<String, serde_json::Value> {
        let object = value.as_object().cloned().unwrap_or_default();
        object.into_iter().collect()
    };
    let (before, after) = (fields(before), fields(after));
    let names = before
        .keys()
        .chain(after.keys().filter(|name| !before.contains_key(*name)));
    names
        .filter(|name| before.get(*name) != after.get(*name))
        .cloned()
        .collect()
}

/// The JSON of a record, which always has one.
pub(super) fn shown(record: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(record).unwrap_or_default()
}
