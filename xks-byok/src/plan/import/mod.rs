//! Plans for KMS keys whose material is imported.
//!
//! ```text
//! new-key    make material ─▶ create KMS key ─▶ import ─▶ alias ─▶ disable the former key ─▶ note
//! in-place   make material ─▶ import NEW_KEY_MATERIAL ─▶ rotate on demand ─▶ note
//! both       import again: deleted by hand or expired, and before each end in AWS; delete what is not wanted
//! ```
//! What somebody else has imported is never deleted and never replaced: it is a question.

mod desired;
mod ends;
mod former;
mod lint;
mod materials;

use xks_lifecycle::{RotationStyle, Timestamp, WantedKey};

pub use self::desired::{DesiredImport, DesiredMaterial, material_label};
pub(crate) use self::ends::AHEAD;
pub(super) use self::lint::lint;
use self::materials::{Materials, is_entry_of};
use super::{Action, Context, Plan, Then, attributes::Attributes, refusal};
use crate::{
    aws::{KeyMetadata, KeyState, Origin},
    observe::{ImportedKey, ObservedImport},
};

/// The KMS key of the current material, as far as AWS shows.
enum Subject<'a> {
    /// It is there.
    Key(&'a ImportedKey),
    /// There is none yet.
    None,
    /// It was there.
    Gone(&'a str),
}

fn shown_end(seconds: u64) -> Timestamp {
    Timestamp::from_seconds("valid_to", seconds).unwrap_or(Timestamp::MAX)
}

impl Plan {
    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Makes material that is not there yet.
    fn make(&mut self, material: &DesiredMaterial) {
        if !material.is_made {
            let (id, number) = (material.id.clone(), material.number);
            self.push(Action::MakeMaterial { material: id, number }, "it is not made yet");
        }
    }

    fn then(mut self, then: Then) -> Self {
        self.then = then;
        self
    }
}

impl DesiredImport {
    fn attributes(&self) -> Attributes<'_> {
        Attributes {
            description: &self.description,
            policy: self.policy.as_deref(),
            tags: &self.tags,
        }
    }

    const fn deletion(&self) -> Option<u32> {
        match self.wanted {
            WantedKey::Deleted(days) => Some(days.get()),
            _ => None,
        }
    }
}

pub(super) fn plan(desired: &DesiredImport, observed: &ObservedImport, context: &Context) -> Plan {
    let plan = Plan::default();
    if desired.former.is_some() {
        return former::plan(plan, desired, observed, context);
    }
    match (subject(desired, observed), desired.deletion()) {
        (Subject::Key(key), Some(days)) => deleted(plan, desired, &key.metadata, days),
        (Subject::Gone(_) | Subject::None, _) if context.is_settling => {
            plan.wait("AWS may not show the KMS key everywhere yet")
        }
        (Subject::Gone(_) | Subject::None, Some(_)) => forgotten(plan, desired),
        (Subject::Key(key), None) => found(plan, desired, observed, key, context),
        (Subject::Gone(arn), None) => plan.ask(gone(arn)),
        (Subject::None, None) => missing(plan, desired, observed),
    }
}

fn gone(arn: &str) -> String {
    format!(
        "the KMS key {arn} was deleted in AWS, with all that was encrypted under it; the same material in another KMS key \
         does not decrypt that: with the rotation style new-key a rotation goes on with another KMS key; else remove it \
         here"
    )
}

/// What is lost by a deletion.
fn deletion_warning(arn: &str) -> String {
    format!(
        "what was encrypted under {arn} is lost for good when it is deleted; its material stays here, and decrypts nothing \
         of that in another KMS key"
    )
}

/// The KMS key of the current material: its own; or the one behind the alias, where that awaits its material,
/// or is rotated in place.
fn subject<'a>(desired: &'a DesiredImport, observed: &'a ObservedImport) -> Subject<'a> {
    let material = desired.subject();
    let own = material.and_then(|material| material.kms_key.as_deref());
    match (&observed.key, own, desired.candidate()) {
        (Some(key), _, _) if own == Some(key.metadata.arn.as_str()) => Subject::Key(key),
        (Some(key), None, _) => {
            let has_material = material.is_some_and(|material| {
                let is_ours = |entry| is_entry_of(material, entry);
                key.materials.is_empty() || key.materials.iter().any(is_ours)
            });
            let awaits = key.metadata.origin == Origin::External && has_material;
            let is_kept = material.is_none() || desired.style == RotationStyle::InPlace || desired.deletion().is_some();
            if awaits || is_kept {
                Subject::Key(key)
            } else {
                Subject::None
            }
        }
        (None, Some(own), _) => Subject::Gone(own),
        // The next material gets a KMS key of its own, whatever has become of the former one.
        (None, None, Some(_)) if material.is_some() && desired.style == RotationStyle::NewKey => Subject::None,
        (None, None, Some(arn)) => Subject::Gone(arn),
        (_, _, _) => Subject::None,
    }
}

fn deleted(mut plan: Plan, desired: &DesiredImport, metadata: &KeyMetadata, days: u32) -> Plan {
    plan.warn(deletion_warning(&metadata.arn));
    if let Some(other) = desired.arn.as_ref().filter(|arn| **arn != metadata.arn) {
        plan.warn(format!(
            "a rotation was not ended: {other}, which the alias leads to, stays; delete it as a former one"
        ));
    }
    if metadata.key_state != KeyState::PendingDeletion {
        plan.drift("state", "deleted", &metadata.key_state);
        plan.push(Action::ScheduleDeletion { days }, "it is wanted gone");
    }
    plan
}

fn forgotten(mut plan: Plan, desired: &DesiredImport) -> Plan {
    if desired.arn.is_some() {
        plan.push(Action::Forget, "it is gone in AWS");
    }
    plan
}

/// There is no KMS key for the current material.
fn missing(mut plan: Plan, desired: &DesiredImport, observed: &ObservedImport) -> Plan {
    let Some(material) = desired.subject() else {
        return plan.ask("it has no KMS key and no material: rotate it, which makes both");
    };
    if !material.is_wanted() {
        return plan; // removed before it was imported
    }
    if let Some(question) = foreign_alias(desired, observed, None) {
        return plan.ask(question);
    }
    if material.is_gone {
        return plan.ask(format!(
            "material {} is destroyed here: rotate to make another one",
            material.number
        ));
    }
    if desired.has_ended() {
        return plan.ask("the end of the material has passed: set a later end, or none");
    }
    let Some(policy) = desired.policy.clone() else {
        return plan.ask("the number of the AWS account is not known, which the key policy names: check the account");
    };
    plan.make(material);
    let create = Action::CreateImportKey {
        operation: material.operation(),
        number: material.number,
        description: desired.description.clone(),
        tags: desired.tags.clone(),
        policy,
    };
    let reason = match desired.arn {
        Some(_) => "each material has a KMS key of its own, by the rotation style new-key",
        None => "there is no KMS key",
    };
    plan.push(create, reason);
    let import = Action::ImportMaterial {
        material: material.id.clone(),
        number: material.number,
        kms_material: None,
        valid_to: desired.valid_to(),
    };
    plan.push(import, "the KMS key has no material");
    lead(&mut plan, desired, observed, None);
    if desired.wanted == WantedKey::Disabled {
        plan.push(Action::DisableKey, "it is wanted disabled, and the import enables it");
    }
    plan
}

fn found(
    mut plan: Plan,
    desired: &DesiredImport,
    observed: &ObservedImport,
    key: &ImportedKey,
    context: &Context,
) -> Plan {
    let metadata = &key.metadata;
    if let Some(reason) = refusal(metadata) {
        return plan.ask(format!("the key {} cannot be managed: {reason}", metadata.arn));
    }
    let has_material = !desired.materials.is_empty();
    if metadata.origin != Origin::External && has_material {
        return plan.ask(format!(
            "AWS makes the material of {} (origin {}), and takes no other: adopt it with the rotation style new-key",
            metadata.arn, metadata.origin
        ));
    }
    if let Some(question) = foreign_alias(desired, observed, Some(metadata)) {
        return plan.ask(question);
    }
    let state = match enable(&mut plan, desired.wanted, metadata) {
        Ok(state) => state,
        Err(then) => return plan.then(then),
    };
    let materials = Materials::of(desired, key);
    materials.note(&mut plan, &metadata.arn);
    let brought = materials
        .renew(&mut plan, desired, &state)
        .and_then(|()| materials.bring(&mut plan, desired, &state, context));
    plan.change(&desired.attributes(), metadata, key.policy.as_deref(), &key.tags);
    match brought {
        Ok(true) => lead(&mut plan, desired, observed, Some(metadata)),
        Ok(false) => {}
        Err(then) => return plan.then(then),
    }
    let is_enabled = match state {
        KeyState::PendingImport => has_material && materials.will_be_complete(desired),
        state => state == KeyState::Enabled,
    };
    if desired.wanted == WantedKey::Disabled && is_enabled {
        plan.drift("state", "Disabled", &metadata.key_state);
        plan.push(Action::DisableKey, "it is wanted disabled");
    }
    materials.remove(&mut plan);
    plan
}

/// Enables the key if that is wanted, before anything is changed. Returns the state that it has then.
fn enable(plan: &mut Plan, wanted: WantedKey, metadata: &KeyMetadata) -> Result<KeyState, Then> {
    let state = &metadata.key_state;
    match state {
        KeyState::Enabled | KeyState::Disabled | KeyState::PendingImport | KeyState::PendingDeletion => {}
        KeyState::Creating | KeyState::Updating => return Err(Then::Wait(format!("the KMS key is {state}"))),
        other => {
            let question = format!("the KMS key is {other}: look at it in AWS's console");
            return Err(Then::Ask(question));
        }
    }
    let is_pending = *state == KeyState::PendingDeletion;
    if is_pending {
        plan.drift("state", "there", state);
        let reason = "it is not wanted gone; afterwards it is disabled";
        plan.push(Action::CancelDeletion, reason);
    }
    if wanted == WantedKey::Enabled && (is_pending || *state == KeyState::Disabled) {
        if !is_pending {
            plan.drift("state", "Enabled", state);
        }
        plan.push(Action::EnableKey, "it is wanted enabled");
        return Ok(KeyState::Enabled);
    }
    Ok(if is_pending { KeyState::Disabled } else { state.clone() })
}

/// Why the alias cannot be had.
fn foreign_alias(desired: &DesiredImport, observed: &ObservedImport, key: Option<&KeyMetadata>) -> Option<String> {
    let target = observed.alias_target.as_ref()?;
    let is_ours = key.is_some_and(|key| key.arn == target.arn) || desired.knows(&target.arn);
    (!is_ours).then(|| {
        format!(
            "the alias {} belongs to the key {}, which is not one of this: choose another alias, move that one by hand, or \
             adopt the key",
            desired.alias, target.key_id
        )
    })
}

/// Leads the alias to the key of the current material, and lets the former ones go.
fn lead(plan: &mut Plan, desired: &DesiredImport, observed: &ObservedImport, key: Option<&KeyMetadata>) {
    let alias = desired.alias.clone();
    let is_there = |target: &KeyMetadata| key.is_some_and(|key| key.arn == target.arn);
    match &observed.alias_target {
        None => plan.push(Action::CreateAlias { alias }, "the alias leads to no key"),
        Some(target) if is_there(target) => {}
        Some(target) => {
            plan.drift(
                "alias",
                key.map_or("a KMS key of the current material", |key| &key.arn),
                &target.arn,
            );
            let from = target.key_id.clone();
            plan.push(Action::MoveAlias { alias, from }, "the alias leads to a former KMS key");
        }
    }
    // What was looked at as the key of the material, and is not, is one that had the alias before.
    let candidate = observed.key.as_ref().map(|found| &found.metadata);
    let candidate = candidate.filter(|found| !is_there(found));
    for former in observed.formers.iter().chain(candidate) {
        let owner = desired
            .materials
            .iter()
            .find(|material| material.kms_key.as_ref() == Some(&former.arn));
        let is_disabled = desired.disable_former || owner.is_some_and(|owner| owner.former == WantedKey::Disabled);
        if is_disabled && former.key_state == KeyState::Enabled {
            let (key, number) = (former.arn.clone(), owner.map(|owner| owner.number));
            plan.push(
                Action::DisableFormer { key, number },
                "it is to be disabled when the alias has left it; it decrypts nothing then",
            );
        }
    }
    let current = desired.subject().map_or(0, |material| material.number);
    let is_noted = |material: &DesiredMaterial| material.is_retired || material.number >= current;
    let is_known = key.is_some_and(|key| desired.arn.as_ref() == Some(&key.arn));
    if !is_known || !desired.materials.iter().all(is_noted) {
        plan.push(Action::NoteCurrent { number: current }, "it is the current one now");
    }
}
