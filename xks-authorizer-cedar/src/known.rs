//! The entities that come with the policies.

use std::collections::{HashMap, HashSet};

use cedar_policy::{Entities, Entity, EntityUid, EvalResult};
use xks_core::text::ErrorChain;

use crate::{error::CedarError, listed, misfit::Misfit, model::Model};

/// All of them, of which a request needs few: what its policies can get at from its principal, key and key
/// store.
#[derive(Debug, Default)]
pub(crate) struct Known {
    all: Entities,
    /// To which others each leads: what it is in, and what its attributes and tags name.
    links: HashMap<EntityUid, Vec<EntityUid>>,
    /// What every request needs: the actions, and what can be got at from the entities that policies name.
    always: Entities,
}

impl Known {
    pub(crate) fn new(
        json: &str,
        model: &Model,
        named: impl IntoIterator<Item = EntityUid>,
    ) -> Result<Self, CedarError> {
        let all = listed::read(json, model)?;
        let links = all.iter().map(|entity| (entity.uid(), links(entity, &all))).collect();
        let mut known = Self {
            all,
            links,
            ..Self::default()
        };
        let always = known.reachable(named.into_iter().collect());
        let always = Entities::from_entities(always, Some(&model.schema)); // adds the actions
        known.always = always.map_err(|error| CedarError::Entities(ErrorChain(&error).to_string()))?;
        Ok(known)
    }

    pub(crate) fn get(&self, uid: &EntityUid) -> Option<&Entity> {
        self.all.get(uid)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// What a request needs, with `own` entities in place of those that are known. They need not be checked
    /// against the schema: all requests have such entities as were tried out.
    pub(crate) fn with(&self, own: Vec<Entity>, roots: Vec<EntityUid>) -> Result<Entities, Misfit> {
        let entities = self.reachable(roots).into_iter().chain(own); // the last of several counts
        let always = self.always.clone();
        always
            .upsert_entities(entities, None)
            .map_err(|error| Misfit::request(&error))
    }

    fn reachable(&self, mut roots: Vec<EntityUid>) -> Vec<Entity> {
        let (mut seen, mut found) = (HashSet::new(), Vec::new());
        while let Some(uid) = roots.pop() {
            if let Some(entity) = self.all.get(&uid) {
                let links = self.links.get(&uid);
                if seen.insert(uid) {
                    roots.extend(links.into_iter().flatten().cloned());
                    found.push(entity.clone());
                }
            }
        }
        found
    }
}

fn links(entity: &Entity, all: &Entities) -> Vec<EntityUid> {
    let uid = entity.uid();
    let mut links: Vec<_> = all.ancestors(&uid).into_iter().flatten().cloned().collect();
    for (_, value) in entity.attrs().chain(entity.tags()) {
        if let Ok(value) = value {
            named_in(&value, &mut links);
        }
    }
    links
}

fn named_in(value: &EvalResult, found: &mut Vec<EntityUid>) {
    match value {
        EvalResult::EntityUid(uid) => found.push(uid.clone()),
        EvalResult::Set(values) => values.iter().for_each(|value| named_in(value, found)),
        EvalResult::Record(values) => values.iter().for_each(|(_, value)| named_in(value, found)),
        EvalResult::Bool(_) | EvalResult::Long(_) | EvalResult::String(_) | EvalResult::ExtensionValue(_) => {}
    }
}
