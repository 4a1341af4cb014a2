//! The invariants of plans for imported material, besides those of every plan.

use super::{
    DesiredImport, DesiredMaterial,
    materials::{MOST_ROTATIONS, is_entry_of},
};
use crate::{
    aws::{ImportState, RotationType},
    observe::ObservedImport,
    plan::{Action, Plan},
};

/// Returns what is wrong with a plan; nothing is right.
pub(in crate::plan) fn lint(plan: &Plan, desired: &DesiredImport, observed: &ObservedImport) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, fault: &str| {
        if !holds {
            faults.push(fault.to_owned());
        }
    };
    let actions: Vec<_> = plan.steps.iter().map(|step| &step.action).collect();
    let place = |is_it: &dyn Fn(&Action) -> bool| actions.iter().position(|action| is_it(action));
    let entries = observed.key.as_ref().map_or(&[][..], |key| &key.materials);
    let material = |number: u32| desired.materials.iter().find(|material| material.number == number);
    let entry = |material: &DesiredMaterial| entries.iter().find(|entry| is_entry_of(material, entry));
    let create = place(&|action| matches!(action, Action::CreateImportKey { .. }));
    let alias = place(&|action| matches!(action, Action::MoveAlias { .. } | Action::CreateAlias { .. }));
    let import_of = |number: u32| {
        place(&|action| matches!(action, Action::ImportMaterial { number: found, .. } if *found == number))
    };
    let mut rotations = 0;
    for (index, action) in actions.iter().enumerate() {
        match action {
            Action::CreateImportKey { operation, number, .. } => {
                let is_tagged = material(*number).is_some_and(|material| material.operation() == *operation);
                must(is_tagged, "a KMS key is made without the tag of its material");
                let has_key = material(*number).is_some_and(|material| material.kms_key.is_some());
                must(!has_key, "a second KMS key is made for a material");
            }
            Action::ImportMaterial {
                number, kms_material, ..
            } => {
                let found = material(*number);
                must(
                    found.is_some_and(|found| found.is_wanted() && !found.is_gone),
                    "material is imported that is not wanted, or not there",
                );
                let make =
                    place(&|action| matches!(action, Action::MakeMaterial { number: made, .. } if made == number));
                must(
                    found.is_some_and(|found| found.is_made) || make.is_some_and(|make| make < index),
                    "material is imported before it is made",
                );
                must(
                    create.is_none_or(|create| create < index),
                    "material is imported before its KMS key is there",
                );
                let is_known = found.and_then(entry).is_some() && create.is_none();
                must(
                    kms_material.is_some() == is_known,
                    "material is imported as new that is not, or the other way",
                );
            }
            Action::RotateOnDemand { number } => {
                rotations += 1;
                must(
                    import_of(*number).is_none_or(|import| import < index),
                    "the KMS key is rotated before the material is imported",
                );
            }
            Action::DeleteMaterial { number, kms_material } => {
                let found = material(*number);
                let is_ours = found.and_then(entry).is_some_and(|entry| {
                    entry.key_material_id.as_ref() == Some(kms_material)
                        && entry.import_state == Some(ImportState::Imported)
                });
                must(
                    is_ours && found.is_some_and(|found| !found.is_wanted()),
                    "material is deleted in AWS that is wanted there, or not ours",
                );
            }
            Action::DisableFormer { key, .. } => {
                let of_subject = desired.subject().and_then(|subject| subject.kms_key.as_ref());
                must(
                    of_subject != Some(key),
                    "the KMS key of the current material is disabled as a former one",
                );
            }
            _ => {}
        }
    }
    let number = desired.subject().map_or(0, |subject| subject.number);
    must(
        alias.is_none_or(|alias| import_of(number).is_none_or(|import| import < alias)),
        "the alias is moved before the material is imported",
    );
    must(
        alias.is_none() || desired.former.is_none(),
        "the alias is moved to a former KMS key",
    );
    let on_demand = |entry: &&crate::aws::RotationsListEntry| entry.rotation_type == Some(RotationType::OnDemand);
    must(
        rotations == 0 || rotations + entries.iter().filter(on_demand).count() <= MOST_ROTATIONS,
        "the KMS key is rotated on demand more often than AWS allows",
    );
    faults
}
