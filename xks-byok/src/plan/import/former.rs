//! Plans for a former KMS key, which the alias has left: synchronised, disabled, deleted.

use xks_lifecycle::WantedKey;

use super::{DesiredImport, Materials, Plan, deletion_warning, enable, gone};
use crate::{
    aws::{KeyState, Origin},
    observe::ObservedImport,
    plan::{Action, Context, Then, refusal},
};

pub(super) fn plan(mut plan: Plan, desired: &DesiredImport, observed: &ObservedImport, context: &Context) -> Plan {
    let Some(material) = desired.subject() else {
        return plan.ask("there is no such material any more");
    };
    let Some(arn) = &material.kms_key else {
        return plan; // it never came to AWS
    };
    let is_wanted_gone = matches!(material.former, WantedKey::Deleted(_));
    let Some(key) = &observed.key else {
        if is_wanted_gone {
            return plan;
        }
        return match context.is_settling {
            true => plan.wait("AWS may not show the KMS key everywhere yet"),
            false => plan.ask(gone(arn)),
        };
    };
    let metadata = &key.metadata;
    if let WantedKey::Deleted(days) = material.former {
        plan.warn(deletion_warning(arn));
        if metadata.key_state != KeyState::PendingDeletion {
            plan.drift("state", "deleted", &metadata.key_state);
            plan.push(Action::ScheduleDeletion { days: days.get() }, "it is wanted gone");
        }
        return plan;
    }
    if let Some(reason) = refusal(metadata).or((metadata.origin != Origin::External).then_some("of another origin")) {
        return plan.ask(format!("the key {arn} cannot be managed: {reason}"));
    }
    let state = match enable(&mut plan, material.former, metadata) {
        Ok(state) => state,
        Err(then) => return plan.then(then),
    };
    let materials = Materials::of(desired, key);
    materials.note(&mut plan, arn);
    let renewed = materials.renew(&mut plan, desired, &state);
    plan.change(&desired.attributes(), metadata, key.policy.as_deref(), &key.tags);
    if let Err(then) = renewed {
        return plan.then(then);
    }
    let is_enabled = match state {
        KeyState::PendingImport => materials.will_be_complete(desired),
        state => state == KeyState::Enabled,
    };
    if material.former == WantedKey::Disabled && is_enabled {
        plan.drift("state", "Disabled", &metadata.key_state);
        plan.push(Action::DisableKey, "it is wanted disabled");
    }
    materials.remove(&mut plan);
    if plan.then == Then::Done && !materials.foreign.is_empty() {
        plan.warn("the KMS key has material that somebody else has imported: it is left alone".to_owned());
    }
    plan
}
