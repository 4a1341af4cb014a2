//! What is wrong with a plan: the invariants that each plan keeps, for tests and before a plan is stored.

use xks_lifecycle::{WantedKey, WantedKeyStore};

use super::{Action, Context, Desired, Plan, Then, import};
use crate::observe::Observed;

/// Where a step stands among the others: enable, change, disable; what deletes is the last. Material is made
/// at any time before it is imported.
const fn phase(action: &Action) -> Option<u8> {
    Some(match action {
        Action::MakeMaterial { .. } => return None,
        Action::Adopt { .. } => 0,
        Action::CreateKeyStore { .. }
        | Action::CreateKey { .. }
        | Action::CreateImportKey { .. }
        | Action::CancelDeletion => 1,
        Action::EnableKey | Action::DisconnectKeyStore => 2,
        Action::UpdateKeyStore(_)
        | Action::UpdateDescription { .. }
        | Action::PutPolicy { .. }
        | Action::Tag { .. }
        | Action::CreateAlias { .. }
        | Action::NoteMaterial { .. }
        | Action::ImportMaterial { .. }
        | Action::RotateOnDemand { .. }
        | Action::MoveAlias { .. }
        | Action::RotateAccessKey { .. } => 3,
        Action::ConnectKeyStore | Action::DisableFormer { .. } | Action::NoteCurrent { .. } | Action::DisableKey => 4,
        Action::DeleteKeyStore
        | Action::DeleteMaterial { .. }
        | Action::ScheduleDeletion { .. }
        | Action::DeleteOrphan { .. }
        | Action::Forget => 5,
    })
}

/// Returns what is wrong with a plan; nothing is right.
#[must_use]
pub fn lint(plan: &Plan, desired: &Desired, observed: &Observed, context: &Context) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, fault: &str| {
        if !holds {
            faults.push(fault.to_owned());
        }
    };
    let actions: Vec<_> = plan.steps.iter().map(|step| &step.action).collect();
    let phases: Vec<_> = actions.iter().filter_map(|action| phase(action)).collect();
    must(
        phases.is_sorted(),
        "the order is not adopt, create, enable, change, disable, delete",
    );
    must(
        plan.steps.iter().all(|step| !step.reason.is_empty()),
        "a step has no reason",
    );
    let is_wanted_gone = match desired {
        Desired::KeyStore(desired) => desired.wanted == WantedKeyStore::Deleted,
        Desired::Key(desired) => matches!(desired.wanted, WantedKey::Deleted(_)),
        Desired::Import(desired) => match desired.subject().filter(|_| desired.former.is_some()) {
            Some(former) => matches!(former.former, WantedKey::Deleted(_)),
            None => matches!(desired.wanted, WantedKey::Deleted(_)),
        },
    };
    must(
        is_wanted_gone || !actions.iter().any(|action| action.deletes()),
        "something is deleted that is not wanted gone",
    );
    must(
        !is_wanted_gone || !actions.iter().any(|action| action.creates()),
        "something is made that is wanted gone",
    );
    let creates = actions.iter().filter(|action| action.creates()).count();
    must(creates <= 1, "more than one thing is made");
    let is_there = match observed {
        Observed::KeyStore(found) => found.is_some(),
        Observed::Key(found) => found.metadata.is_some(),
        // The next material has a key of its own beside those that are there.
        Observed::Import(_) => false,
    };
    must(creates == 0 || !is_there, "something is made that is there");
    must(
        creates == 0 || !context.is_settling,
        "something is made while AWS may not show yet what was made",
    );
    let has_tag = |action: &&Action| match action {
        Action::CreateKey { operation, .. } => !operation.is_empty() && *operation == context.operation,
        Action::CreateImportKey { operation, .. } => !operation.is_empty(),
        _ => true,
    };
    must(
        actions.iter().all(has_tag),
        "a KMS key is made without the tag of its operation",
    );
    must(
        !matches!(plan.then, Then::Ask(_)) || creates == 0,
        "something is made although a question is open",
    );
    let sorted = {
        let mut names: Vec<_> = actions.iter().map(|action| format!("{action:?}")).collect();
        names.sort();
        names
    };
    must(
        sorted
            .windows(2)
            .all(|pair| matches!(pair, [one, other] if one != other)),
        "a step is there twice",
    );
    let both = |one: &Action, other: &Action| actions.contains(&one) && actions.contains(&other);
    must(
        !both(&Action::EnableKey, &Action::DisableKey),
        "the key is both enabled and disabled",
    );
    if let (Desired::Import(desired), Observed::Import(observed)) = (desired, observed) {
        faults.extend(import::lint(plan, desired, observed));
    }
    faults
}
