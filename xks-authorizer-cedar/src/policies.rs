//! Policies that were read, found to fit the schema, and have names.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use cedar_policy::{EntityUid, Policy, PolicyId, PolicySet, ValidationMode, Validator};
use miette::Diagnostic;
use xks_core::text::ErrorChain;

use crate::{
    error::{CedarError, finding},
    model::Model,
};

/// The policies, and for each its name and its place among the others.
#[derive(Debug)]
pub(crate) struct Policies {
    pub(crate) set: PolicySet,
    names: HashMap<PolicyId, (usize, Arc<str>)>,
}

impl Policies {
    pub(crate) fn read(text: &str, model: &Model) -> Result<Self, CedarError> {
        let set: PolicySet = text.parse().map_err(|errors: cedar_policy::ParseErrors| {
            let findings: Vec<_> = errors.iter().map(|error| finding(error, text)).collect();
            CedarError::Syntax(findings.join("; "))
        })?;
        if let Some(template) = set.templates().next() {
            let name = template.annotation("id").map(str::to_owned);
            return Err(CedarError::Template(name.unwrap_or_else(|| template.id().to_string())));
        }
        if set.is_empty() {
            return Err(CedarError::NoPolicies);
        }
        let policies = Self {
            names: names(&set)?,
            set,
        };
        policies.check_names(model)?;
        policies.validate(text, model)?;
        Ok(policies)
    }

    /// What Cedar takes for an ordinary condition that is false, and what can only be a mistake.
    fn check_names(&self, model: &Model) -> Result<(), CedarError> {
        let mut all = Vec::new();
        for policy in self.set.policies() {
            let json = policy
                .to_json()
                .map_err(|error| CedarError::Syntax(ErrorChain(&error).to_string()))?;
            let mut mistakes = Vec::new();
            model.declared.mistakes(&json, &mut mistakes);
            let literals = policy.entity_literals();
            mistakes.extend(literals.iter().filter_map(|uid| model.types.impossible(uid)));
            let name = self.name(policy.id());
            all.extend(
                mistakes
                    .into_iter()
                    .map(|mistake| format!("policy `{name}` says {mistake}")),
            );
        }
        if all.is_empty() {
            return Ok(());
        }
        Err(CedarError::Policies(all.join("; ")))
    }

    /// Strict. What Cedar only warns of is refused too: a policy that never applies, and characters that look
    /// like others. One finding for each place and policy: Cedar has one for each action, and warns of the
    /// consequences.
    fn validate(&self, text: &str, model: &Model) -> Result<(), CedarError> {
        let result = Validator::new(model.schema.clone()).validate(&self.set, ValidationMode::Strict);
        let errors = result
            .validation_errors()
            .map(|error| (error.policy_id(), error as &dyn Diagnostic));
        let mut findings = self.findings(errors, text);
        if findings.is_empty() {
            let warnings = result
                .validation_warnings()
                .map(|warning| (warning.policy_id(), warning as &dyn Diagnostic));
            findings = self.findings(warnings, text);
        }
        if findings.is_empty() {
            return Ok(());
        }
        Err(CedarError::Policies(
            findings.into_values().collect::<Vec<_>>().join("; "),
        ))
    }

    fn findings<'a>(
        &self,
        found: impl Iterator<Item = (&'a PolicyId, &'a dyn Diagnostic)>,
        text: &str,
    ) -> BTreeMap<(usize, Option<usize>), String> {
        let mut findings = BTreeMap::new();
        for (id, found) in found {
            let place = self.names.get(id).map_or(0, |(place, _)| *place);
            let offset = found
                .labels()
                .and_then(|mut labels| labels.next())
                .map(|label| label.offset());
            let said = finding(found, text).replace(&format!("for policy `{id}`, "), "");
            let said = format!("policy `{}`, {said}", self.name(id));
            let kept = findings.entry((place, offset)).or_insert_with(|| said.clone());
            if said < *kept {
                *kept = said; // Cedar's order changes
            }
        }
        findings
    }

    pub(crate) fn name(&self, id: &PolicyId) -> Arc<str> {
        match self.names.get(id) {
            Some((_, name)) => Arc::clone(name),
            None => id.to_string().into(),
        }
    }

    /// The names of several, in the order of the text, joined by commas. None of none.
    pub(crate) fn names<'a>(&self, ids: impl Iterator<Item = &'a PolicyId>) -> Option<Arc<str>> {
        let mut ids: Vec<_> = ids.collect();
        if let [id] = ids.as_slice() {
            return Some(self.name(id));
        }
        ids.sort_by_key(|id| self.names.get(id).map(|(place, _)| *place));
        let names: Vec<_> = ids.into_iter().map(|id| self.name(id)).collect();
        (!names.is_empty()).then(|| names.join(", ").into())
    }

    /// The entities that policies name.
    pub(crate) fn named(&self) -> impl Iterator<Item = EntityUid> {
        self.set.policies().flat_map(Policy::entity_literals)
    }

    /// All names, in the order of the text.
    pub(crate) fn all(&self) -> Vec<&str> {
        let mut all: Vec<_> = self.names.values().collect();
        all.sort_unstable();
        all.into_iter().map(|(_, name)| &**name).collect()
    }
}

// AUZ-1: what the log calls each policy: its `@id`, else Cedar's own id, `policy` and its number in the text,
// from 0.
fn names(set: &PolicySet) -> Result<HashMap<PolicyId, (usize, Arc<str>)>, CedarError> {
    let mut names = HashMap::new();
    let mut taken = HashSet::new();
    for (place, policy) in set.policies().enumerate() {
        let given = policy.annotation("id").filter(|id| !id.is_empty());
        let name: Arc<str> = given.map_or_else(|| policy.id().to_string().into(), Arc::from);
        if !taken.insert(Arc::clone(&name)) {
            return Err(CedarError::DuplicateId(name.to_string()));
        }
        names.insert(policy.id().clone(), (place, name));
    }
    Ok(names)
}
