//! Plans for a KMS key of an external key store.

use xks_lifecycle::{WantedKey, key_state::KeyState as External};

use super::{Action, Context, DesiredKey, Plan, attributes::Attributes, difference};
use crate::{
    aws::{ConnectionState, KeyMetadata, KeyState, Origin},
    observe::ObservedKey,
};

pub(super) fn plan(desired: &DesiredKey, observed: &ObservedKey, context: &Context) -> Plan {
    let plan = Plan::default();
    match &observed.metadata {
        Some(metadata) => found(plan, desired, observed, metadata),
        None => missing(plan, desired, observed, context),
    }
}

/// There is none, as far as AWS shows.
fn missing(mut plan: Plan, desired: &DesiredKey, observed: &ObservedKey, context: &Context) -> Plan {
    if context.is_settling {
        return plan.wait("AWS may not show the KMS key everywhere yet");
    }
    if desired.deletion().is_some() {
        if desired.arn.is_some() {
            plan.push(Action::Forget, "it is gone in AWS");
        }
        return plan;
    }
    if let Some(arn) = &desired.arn {
        return plan.ask(format!(
            "the KMS key {arn} was deleted in AWS, with all that was encrypted under it; AWS makes no KMS key again for \
             the same external key in the same key store: remove it here, and make a KMS key for another external key"
        ));
    }
    if let Some(target) = &observed.alias_target {
        return plan.ask(format!(
            "the alias {} belongs to the key {target}, which is not a KMS key for this external key: choose another \
             alias",
            desired.alias
        ));
    }
    let Some(custom_key_store_id) = desired.custom_key_store_id.clone() else {
        return plan.ask("its key store is not there in AWS yet: start the job of the key store first");
    };
    match observed.key_store.as_ref().map(|store| &store.connection_state) {
        Some(ConnectionState::Connected) => {}
        Some(ConnectionState::Connecting) => return plan.wait("AWS is connecting the key store"),
        Some(state) => {
            return plan.ask(format!(
                "its key store is {state} in AWS, and KMS keys are made in a connected one: connect it first"
            ));
        }
        None => return plan.ask("its key store is not there in AWS any more: start the job of the key store"),
    }
    if desired.external != External::Enabled {
        return plan.ask(format!(
            "the external key is {}, and AWS makes a KMS key only for one that is enabled: enable it first",
            desired.external
        ));
    }
    let Some(policy) = desired.policy.clone() else {
        return plan.ask("the number of the AWS account is not known, which the key policy names: check the account");
    };
    plan.warnings.push(
        "AWS makes one KMS key for an external key in a key store, once: after its deletion there is no second one"
            .to_owned(),
    );
    let create = Action::CreateKey {
        operation: context.operation.clone(),
        custom_key_store_id,
        xks_key_id: desired.xks_key_id.clone(),
        description: desired.description.clone(),
        tags: desired.tags.clone(),
        policy,
    };
    plan.push(create, "there is no KMS key for this external key");
    let alias = desired.alias.clone();
    plan.push(Action::CreateAlias { alias }, "the alias leads to no key");
    if desired.wanted == WantedKey::Disabled {
        plan.push(Action::DisableKey, "it is wanted disabled, and AWS makes it enabled");
    }
    plan
}

fn found(mut plan: Plan, desired: &DesiredKey, observed: &ObservedKey, metadata: &KeyMetadata) -> Plan {
    let is_pair = metadata.origin == Origin::ExternalKeyStore
        && metadata.xks_key_id.as_ref() == Some(&desired.xks_key_id)
        && (desired.custom_key_store_id.is_none() || metadata.custom_key_store_id == desired.custom_key_store_id);
    if !is_pair {
        return plan.ask(format!(
            "the key {} in AWS is not a KMS key for this external key: choose another alias",
            metadata.arn
        ));
    }
    if desired.arn.as_ref() != Some(&metadata.arn) {
        let id = metadata.arn.clone();
        plan.push(Action::Adopt { id }, "a KMS key for this external key is there");
    }
    let is_pending = metadata.key_state == KeyState::PendingDeletion;
    if let Some(days) = desired.deletion() {
        plan.warnings.push(format!(
            "what was encrypted under {} is lost for good when it is deleted; the external key stays; AWS makes no KMS \
             key again for the same external key in the same key store",
            metadata.arn
        ));
        if !is_pending {
            let days = days.get();
            plan.push(Action::ScheduleDeletion { days }, "it is wanted gone");
        }
        return plan;
    }
    match &metadata.key_state {
        KeyState::Enabled | KeyState::Disabled | KeyState::PendingDeletion => {}
        KeyState::Creating | KeyState::Updating => return plan.wait(format!("the KMS key is {}", metadata.key_state)),
        KeyState::Unavailable => {
            // Enabling and disabling succeed then, and show only when the key store is connected.
            change(&mut plan, desired, observed, metadata);
            return plan.ask(
                "the key store of the KMS key is disconnected: AWS serves no request for it, and does not show whether \
                 it is enabled; connect the key store",
            );
        }
        other => return plan.ask(format!("the KMS key is {other}: look at it in AWS's console")),
    }
    if is_pending {
        plan.push(
            Action::CancelDeletion,
            "it is not wanted gone; afterwards it is disabled",
        );
    }
    let is_disabled = is_pending || metadata.key_state == KeyState::Disabled;
    if desired.wanted == WantedKey::Enabled && is_disabled {
        if !is_pending {
            plan.drift("state", "Enabled", &metadata.key_state);
        }
        plan.push(Action::EnableKey, "it is wanted enabled");
    }
    change(&mut plan, desired, observed, metadata);
    if desired.wanted == WantedKey::Disabled && metadata.key_state == KeyState::Enabled {
        plan.drift("state", "Disabled", &metadata.key_state);
        plan.push(Action::DisableKey, "it is wanted disabled");
    }
    if let Some(difference) = difference(&metadata.key_state, desired.external) {
        plan.warnings.push(difference.explanation.to_owned());
    }
    if let Some(target) = observed
        .alias_target
        .as_ref()
        .filter(|target| **target != metadata.key_id)
    {
        let question = format!(
            "the alias {} belongs to the key {target}: choose another alias, or move that one by hand",
            desired.alias
        );
        return plan.ask(question);
    }
    plan
}

/// What is changed of a key, between enabling and disabling.
fn change(plan: &mut Plan, desired: &DesiredKey, observed: &ObservedKey, metadata: &KeyMetadata) {
    let wanted = Attributes {
        description: &desired.description,
        policy: desired.policy.as_deref(),
        tags: &desired.tags,
    };
    plan.change(&wanted, metadata, observed.policy.as_deref(), &observed.tags);
    if observed.alias_target.is_none() {
        let alias = desired.alias.clone();
        plan.push(Action::CreateAlias { alias }, "the alias leads to no key");
    }
}
