//! Which materials of a KMS key are ours, and the steps that bring them to what is wanted.

use xks_lifecycle::{RotationStyle, Timestamp};

use super::super::{Action, Context, DesiredImport, DesiredMaterial, Plan, Then};
use crate::{
    aws::{ImportState, KeyMaterialState, KeyState, RotationType, RotationsListEntry},
    observe::ImportedKey,
};

/// How often AWS lets a KMS key be rotated on demand in its life: no account gets more.
pub(crate) const MOST_ROTATIONS: usize = 25;
/// From how few rotations left on it is warned.
const FEW_ROTATIONS: usize = 5;

/// The materials of a KMS key.
pub(super) struct Materials<'a> {
    /// Ours that belong to it or may, oldest first, with what AWS has of them.
    pub(super) ours: Vec<(&'a DesiredMaterial, Option<&'a RotationsListEntry>)>,
    /// Those that somebody else has imported.
    pub(super) foreign: Vec<&'a RotationsListEntry>,
    rotations: usize,
}

pub(super) fn is_entry_of(material: &DesiredMaterial, entry: &RotationsListEntry) -> bool {
    match (&material.kms_material, &entry.key_material_id) {
        (Some(known), Some(found)) => known == found,
        (Some(_), None) => false,
        (None, _) => entry.key_material_description.as_deref() == Some(&material.label()),
    }
}

fn is_imported(entry: &RotationsListEntry) -> bool {
    entry.import_state == Some(ImportState::Imported)
}

fn name(entry: &RotationsListEntry) -> &str {
    entry.key_material_id.as_deref().unwrap_or("without an id")
}

impl<'a> Materials<'a> {
    pub(super) fn of(desired: &'a DesiredImport, key: &'a ImportedKey) -> Self {
        let subject = desired.subject();
        let is_here = |material: &&DesiredMaterial| match &material.kms_key {
            Some(arn) => *arn == key.metadata.arn,
            None => subject.is_some_and(|subject| subject.number == material.number),
        };
        let entry = |material: &DesiredMaterial| key.materials.iter().find(|entry| is_entry_of(material, entry));
        let ours = desired.materials.iter().filter(is_here);
        let ours: Vec<_> = ours.map(|material| (material, entry(material))).collect();
        let is_ours = |entry: &&RotationsListEntry| ours.iter().any(|(material, _)| is_entry_of(material, entry));
        let on_demand = |entry: &&RotationsListEntry| entry.rotation_type == Some(RotationType::OnDemand);
        Self {
            foreign: key.materials.iter().filter(|entry| !is_ours(entry)).collect(),
            rotations: key.materials.iter().filter(on_demand).count(),
            ours,
        }
    }

    /// Writes down what was imported and not noted.
    pub(super) fn note(&self, plan: &mut Plan, arn: &str) {
        for (material, entry) in &self.ours {
            let Some(entry) = entry else { continue };
            let Some(kms_material) = entry.key_material_id.clone() else {
                continue;
            };
            if material.kms_material.is_none() || material.kms_key.is_none() {
                let note = Action::NoteMaterial {
                    material: material.id.clone(),
                    number: material.number,
                    kms_key: arn.to_owned(),
                    kms_material,
                    valid_to: entry.valid_to.map(Timestamp::seconds),
                };
                plan.push(note, "AWS has it, and the state does not say so");
            }
        }
    }

    /// Brings back or extends what belongs to the key already.
    pub(super) fn renew(&self, plan: &mut Plan, desired: &DesiredImport, state: &KeyState) -> Result<(), Then> {
        for (material, entry) in &self.ours {
            let Some(entry) = entry.filter(|_| material.is_wanted()) else {
                continue;
            };
            let reason = if is_imported(entry) {
                desired.renewal(entry)
            } else if desired.has_ended() {
                plan.warn(format!(
                    "the end of the material has passed, and material {} is not imported again: set a later end",
                    material.number
                ));
                None
            } else {
                Some("AWS does not have it, and it is wanted there")
            };
            let Some(reason) = reason else { continue };
            let ends = |end: Option<u64>| end.map_or("never".to_owned(), |end| super::shown_end(end).to_string());
            if is_imported(entry) {
                let found = entry.valid_to.map(Timestamp::seconds);
                plan.drift(
                    format!("end of material {}", material.number),
                    ends(desired.valid_to()),
                    ends(found),
                );
            } else {
                plan.drift(format!("material {}", material.number), "imported", "not imported");
            }
            if *state == KeyState::Disabled {
                plan.warn(format!(
                    "material {}: {reason}; AWS takes material only for a KMS key that is enabled or has none: it is \
                     imported when the KMS key is enabled",
                    material.number
                ));
                continue;
            }
            if material.is_gone {
                return Err(Then::Ask(format!(
                    "material {} is destroyed here, and AWS takes no other one in its place: what was encrypted with it \
                     is lost unless somebody else has it; rotate, or remove the KMS key",
                    material.number
                )));
            }
            plan.push(self.import(desired, material, entry.key_material_id.clone()), reason);
        }
        Ok(())
    }

    fn import(&self, desired: &DesiredImport, material: &DesiredMaterial, kms_material: Option<String>) -> Action {
        Action::ImportMaterial {
            material: material.id.clone(),
            number: material.number,
            kms_material,
            valid_to: desired.valid_to(),
        }
    }

    /// Returns whether AWS has all of the key's materials once the steps are done: else the key cannot be
    /// used.
    pub(super) fn will_be_complete(&self, desired: &DesiredImport) -> bool {
        let comes = |material: &DesiredMaterial| material.is_wanted() && !desired.has_ended();
        let is_there = |(material, entry): &(&DesiredMaterial, Option<&RotationsListEntry>)| {
            entry.is_none_or(|entry| is_imported(entry) || comes(material))
        };
        self.missing().is_none() && self.ours.iter().all(is_there)
    }

    /// What somebody else has imported and AWS has no more.
    fn missing(&self) -> Option<&&RotationsListEntry> {
        self.foreign.iter().find(|entry| !is_imported(entry))
    }

    /// Imports the current material if it is not there, and makes it the one that encrypts. Returns whether
    /// it is that when the steps are done.
    pub(super) fn bring(
        &self,
        plan: &mut Plan,
        desired: &DesiredImport,
        state: &KeyState,
        context: &Context,
    ) -> Result<bool, Then> {
        let Some((material, entry)) = self.ours.last() else {
            return Ok(true); // a key of others, of which only the attributes are kept
        };
        let number = material.number;
        let (part, is_there) = match entry {
            Some(entry) => (entry.key_material_state.clone(), is_imported(entry)),
            None => (None, false),
        };
        match (entry, part) {
            (Some(_), Some(KeyMaterialState::Current)) => {
                if let Some(entry) = self.foreign.iter().find(|entry| is_pending(entry)) {
                    plan.warn(format!(
                        "somebody has imported material {}, which waits for a rotation: it is left alone",
                        name(entry)
                    ));
                }
                match self.missing() {
                    Some(entry) if material.is_wanted() => Err(Then::Ask(format!(
                        "material {} of the KMS key, which somebody else has imported, is missing in AWS, and a KMS key \
                         works only with all of its materials: who has it must import it again",
                        name(entry)
                    ))),
                    _ => Ok(true),
                }
            }
            (Some(_), Some(KeyMaterialState::NonCurrent)) => Err(Then::Ask(format!(
                "AWS encrypts with another material than material {number}, which somebody has imported and rotated \
                 to{}: rotate to encrypt with material of this key set again",
                self.foreign_current()
            ))),
            (None, _) | (Some(_), Some(KeyMaterialState::PendingRotation)) => {
                if !material.is_wanted() {
                    return Ok(false);
                }
                if is_there {
                    self.rotate(plan, number, state)?;
                } else if material.kms_material.is_some() && context.is_settling {
                    return Err(Then::Wait("AWS may not show the import everywhere yet".to_owned()));
                } else {
                    self.import_new(plan, desired, material, state)?;
                }
                Ok(true)
            }
            (Some(_), part) => Err(Then::Ask(format!(
                "material {number} is {} in AWS, which this version does not know: look at it in AWS's console",
                part.map_or_else(|| "without a state".to_owned(), |part| part.to_string())
            ))),
        }
    }

    fn foreign_current(&self) -> String {
        let is_current = |entry: &&&RotationsListEntry| entry.key_material_state == Some(KeyMaterialState::Current);
        let found = self.foreign.iter().find(is_current);
        found.map_or_else(String::new, |entry| format!(" ({})", name(entry)))
    }

    /// Imports material that the key never had.
    fn import_new(
        &self,
        plan: &mut Plan,
        desired: &DesiredImport,
        material: &DesiredMaterial,
        state: &KeyState,
    ) -> Result<(), Then> {
        let number = material.number;
        if desired.has_ended() {
            return Err(Then::Ask(
                "the end of the material has passed: set a later end, or none".to_owned(),
            ));
        }
        if material.is_gone {
            return Err(Then::Ask(format!(
                "material {number} is destroyed here: rotate to make another one"
            )));
        }
        let earlier: Vec<_> = self.ours.iter().rev().skip(1).filter_map(|(_, entry)| *entry).collect();
        if earlier.is_empty() && self.foreign.is_empty() {
            plan.make(material);
            plan.push(self.import(desired, material, None), "the KMS key has no material");
            return Ok(());
        }
        let is_by_hand = desired.style == RotationStyle::NewKey || (earlier.is_empty() && !desired.is_adopted);
        if is_by_hand {
            let foreign = self.foreign.first().map_or("another one", |entry| name(entry));
            return Err(Then::Ask(format!(
                "the KMS key was made for material {number}, and somebody has imported other material into it \
                 ({foreign}): remove material {number} from the cloud and rotate, to use another KMS key",
            )));
        }
        if let Some(entry) = self.foreign.iter().find(|entry| is_pending(entry)) {
            return Err(Then::Ask(format!(
                "somebody has imported material {} that waits for a rotation, and AWS takes one at a time: rotate to it \
                 or delete it in AWS",
                name(entry)
            )));
        }
        if *state == KeyState::Disabled {
            return Err(Then::Ask(
                "the KMS key is disabled, and AWS imports into and rotates only one that is enabled: enable it first"
                    .to_owned(),
            ));
        }
        // One that was imported before and not rotated to: AWS takes no other one meanwhile.
        let before = self.ours.iter().rev().skip(1);
        let before = before.filter(|(_, entry)| entry.is_some_and(|entry| is_pending(entry) && is_imported(entry)));
        let before: Vec<_> = before.map(|(material, _)| material.number).collect();
        self.check_limit(plan, before.len() + 1)?;
        for number in before {
            plan.push(
                Action::RotateOnDemand { number },
                "AWS holds one material at a time for a rotation",
            );
        }
        plan.make(material);
        plan.push(
            self.import(desired, material, None),
            "it is to become the material that encrypts",
        );
        plan.push(
            Action::RotateOnDemand { number },
            "it is wanted as the material that encrypts",
        );
        Ok(())
    }

    fn rotate(&self, plan: &mut Plan, number: u32, state: &KeyState) -> Result<(), Then> {
        self.check_limit(plan, 1)?;
        if *state == KeyState::Disabled {
            return Err(Then::Ask(
                "the KMS key is disabled, and AWS rotates only one that is enabled: enable it first".to_owned(),
            ));
        }
        plan.push(
            Action::RotateOnDemand { number },
            "it is wanted as the material that encrypts",
        );
        Ok(())
    }

    fn check_limit(&self, plan: &mut Plan, wanted: usize) -> Result<(), Then> {
        let left = MOST_ROTATIONS.saturating_sub(self.rotations);
        if left < wanted {
            return Err(Then::Ask(format!(
                "the KMS key was rotated on demand {} times, and AWS allows {MOST_ROTATIONS} in its life: make \
                 another cloud key, of the rotation style new-key, which makes a KMS key for each material",
                self.rotations
            )));
        }
        if left - wanted < FEW_ROTATIONS {
            plan.warn(format!(
                "after this rotation {} of the {MOST_ROTATIONS} that AWS allows on demand are left for the KMS key",
                left - wanted
            ));
        }
        Ok(())
    }

    /// Deletes in AWS what is not wanted there. Ours stays.
    pub(super) fn remove(&self, plan: &mut Plan) {
        for (material, entry) in &self.ours {
            let found = entry.filter(|entry| !material.is_wanted() && is_imported(entry));
            let Some(kms_material) = found.and_then(|entry| entry.key_material_id.clone()) else {
                continue;
            };
            plan.drift(format!("material {}", material.number), "not imported", "imported");
            let number = material.number;
            plan.push(
                Action::DeleteMaterial { number, kms_material },
                "it is not wanted in AWS; it stays here, and can be imported again",
            );
        }
    }
}

fn is_pending(entry: &RotationsListEntry) -> bool {
    entry.key_material_state == Some(KeyMaterialState::PendingRotation)
}
