//! Plans for imported material as pure functions: every combination keeps the rules, and what each story and
//! each trouble is answered with.

use xks_byok::{
    aws::{ImportState, KeyMaterialState, KeyMetadata, KeyState, Origin, RotationType, RotationsListEntry},
    observe::{ImportedKey, Observed, ObservedImport},
    plan::{Action, Context, Desired, DesiredImport, DesiredMaterial, Plan, Then, lint, plan},
};
use xks_lifecycle::{DeletionDays, RotationStyle, Timestamp, WantedKey, WantedMaterial};

const DAY: u64 = 24 * 3600;
const NOW: u64 = 1_800_000_000;

fn at(days: u64) -> Timestamp {
    Timestamp::from_seconds("time", NOW + days * DAY).unwrap()
}

fn arn(key: u32) -> String {
    format!("arn:{key}")
}

fn id(number: u32) -> String {
    format!("{number:064x}")
}

/// `n` materials, of which the first `imported` have come to AWS: into keys of their own, or into key 1.
fn desired(style: RotationStyle, n: u32, imported: u32) -> DesiredImport {
    let mut desired = DesiredImport::new("alias/a", at(0));
    desired.style = style;
    desired.policy = Some("{}".into());
    desired.materials = (1..=n)
        .map(|number| {
            let mut material = DesiredMaterial::new(format!("m{number}"), number);
            material.is_made = number <= imported;
            material.is_retired = number < imported;
            if number <= imported {
                let key = if style == RotationStyle::NewKey { number } else { 1 };
                material.kms_key = Some(arn(key));
                material.kms_material = Some(id(number));
            }
            material
        })
        .collect();
    if imported > 0 {
        let key = if style == RotationStyle::NewKey { imported } else { 1 };
        desired.arn = Some(arn(key));
    }
    desired
}

fn metadata(key: u32, state: KeyState) -> KeyMetadata {
    KeyMetadata::new(key.to_string(), arn(key), Origin::External, state)
}

fn entry(number: u32, state: KeyMaterialState) -> RotationsListEntry {
    let mut entry = RotationsListEntry::new(Some(id(number)), Some(state));
    entry.key_material_description = Some(format!("cloud-materials/m{number}"));
    entry.import_state = Some(ImportState::Imported);
    if number > 1 {
        entry.rotation_type = Some(RotationType::OnDemand);
    }
    entry
}

/// What is there when a job of this has ended.
fn observed(desired: &DesiredImport) -> ObservedImport {
    let mut observed = ObservedImport::default();
    let number = |arn: &str| arn.trim_start_matches("arn:").parse().unwrap();
    let Some(found) = desired.candidate() else {
        return observed;
    };
    let mut key = ImportedKey::new(metadata(number(found), KeyState::Enabled));
    let here = desired
        .materials
        .iter()
        .filter(|material| material.kms_key.as_deref() == Some(found));
    key.materials = here
        .map(|material| entry(material.number, KeyMaterialState::NonCurrent))
        .collect();
    if let Some(last) = key.materials.last_mut() {
        last.key_material_state = Some(KeyMaterialState::Current);
    }
    key.policy.clone_from(&desired.policy);
    observed.alias_target = desired
        .arn
        .as_deref()
        .map(|arn| metadata(number(arn), KeyState::Enabled));
    observed.formers = desired
        .formers()
        .map(|arn| metadata(number(arn), KeyState::Enabled))
        .collect();
    observed.key = Some(key);
    observed
}

fn context() -> Context {
    let mut context = Context::default();
    context.operation = "job".to_owned();
    context
}

fn linted(desired: &DesiredImport, observed: &ObservedImport, context: &Context) -> Plan {
    let (desired, observed) = (Desired::Import(desired.clone()), Observed::from(observed.clone()));
    let plan = plan(&desired, &observed, context);
    let faults = lint(&plan, &desired, &observed, context);
    assert!(
        faults.is_empty(),
        "{faults:?}\n{desired:#?}\n{observed:#?}\n{context:?}\n{plan:#?}"
    );
    match &plan.then {
        Then::Done => {}
        Then::Wait(text) | Then::Ask(text) => assert!(!text.is_empty()),
        other => panic!("{other:?}"),
    }
    plan
}

fn steps(desired: &DesiredImport, observed: &ObservedImport) -> Vec<String> {
    let plan = linted(desired, observed, &context());
    assert_eq!(plan.then, Then::Done, "{plan:#?}");
    plan.steps.iter().map(|step| step.action.to_string()).collect()
}

fn asks(desired: &DesiredImport, observed: &ObservedImport, words: &str) {
    let plan = linted(desired, observed, &context());
    assert!(
        matches!(&plan.then, Then::Ask(question) if question.contains(words)),
        "{words}: {plan:#?}"
    );
}

/// Every state of the key, of each material and of the wishes, with both styles.
#[test]
fn plans_for_imports_keep_the_rules() {
    let states = [
        KeyState::Enabled,
        KeyState::Disabled,
        KeyState::PendingImport,
        KeyState::PendingDeletion,
        KeyState::Updating,
        KeyState::Other("New".into()),
    ];
    let parts = [
        None,
        Some((KeyMaterialState::Current, true)),
        Some((KeyMaterialState::Current, false)),
        Some((KeyMaterialState::NonCurrent, true)),
        Some((KeyMaterialState::NonCurrent, false)),
        Some((KeyMaterialState::PendingRotation, true)),
        Some((KeyMaterialState::PendingMultiRegionImportAndRotation, true)),
        Some((KeyMaterialState::Other("New".into()), true)),
    ];
    let days = DeletionDays::new(7).unwrap();
    let mut count = 0;
    for style in [RotationStyle::NewKey, RotationStyle::InPlace] {
        for (n, imported) in [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2)] {
            for wanted in [WantedKey::Enabled, WantedKey::Disabled, WantedKey::Deleted(days)] {
                for removed in [0, n] {
                    for expires in [None, Some(at(0)), Some(at(1000))] {
                        for (is_gone, is_adopted) in [(false, false), (true, false), (false, true)] {
                            let mut desired = desired(style, n, imported);
                            (desired.wanted, desired.expires, desired.is_adopted) = (wanted, expires, is_adopted);
                            desired.disable_former = n == 2;
                            if is_adopted && imported == 0 {
                                desired.arn = Some(arn(9));
                            }
                            for material in &mut desired.materials {
                                material.is_gone = is_gone;
                                if material.number <= removed {
                                    material.wanted = WantedMaterial::Removed;
                                }
                            }
                            for state in states.iter().map(Some).chain([None]) {
                                for part in &parts {
                                    for foreign in [None, Some(&parts[1]), Some(&parts[5])] {
                                        let foreign = foreign.and_then(|part| Some(part.as_ref()?.0.clone()));
                                        let found = found(&desired, state, part.as_ref(), foreign);
                                        for is_settling in [false, part.is_none()] {
                                            let mut context = context();
                                            context.is_settling = is_settling;
                                            linted(&desired, &found, &context);
                                            count += 1;
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    println!("{count} plans for imports");
}

fn found(
    desired: &DesiredImport,
    state: Option<&KeyState>,
    part: Option<&(KeyMaterialState, bool)>,
    foreign: Option<KeyMaterialState>,
) -> ObservedImport {
    let mut observed = observed(desired);
    let Some(state) = state else {
        observed.key = None;
        return observed;
    };
    if let Some(key) = &mut observed.key {
        key.metadata.key_state = state.clone();
        let last = key.materials.pop();
        if let (Some(mut last), Some((part, is_imported))) = (last, part) {
            last.key_material_state = Some(part.clone());
            last.import_state = Some(if *is_imported {
                ImportState::Imported
            } else {
                ImportState::PendingImport
            });
            last.valid_to = desired.expires.map(|_| at(10));
            key.materials.push(last);
        }
        if let Some(state) = foreign {
            let mut foreign = entry(77, state);
            foreign.key_material_description = None;
            key.materials.push(foreign);
        }
    }
    observed
}

#[test]
fn a_key_is_made_by_a_plan_whose_rest_is_the_plan_after_each_step() {
    let mut wanted = desired(RotationStyle::NewKey, 1, 0);
    let nothing = ObservedImport::default();
    let whole = [
        "make material 1 in its key manager",
        "create the KMS key for material 1",
        "wrap material 1 and import it",
        "create alias/a",
        "note that material 1 is the current one",
    ];
    assert_eq!(steps(&wanted, &nothing), whole);
    let stored = linted(&wanted, &nothing, &context()).steps;
    wanted.materials[0].is_made = true;
    assert_eq!(steps(&wanted, &nothing), whole[1..]);
    // The key is there.
    wanted.materials[0].kms_key = Some(arn(1));
    let mut found = observed(&wanted);
    let key = found.key.as_mut().unwrap();
    key.metadata.key_state = KeyState::PendingImport;
    key.materials.clear();
    assert_eq!(steps(&wanted, &found), whole[2..]);
    // The material is there, and its answer was lost: one step more, which is no other plan for the rest.
    let found = observed(&wanted);
    let noted = steps(&wanted, &found);
    assert_eq!(noted[0], "note that AWS has material 1");
    assert_eq!(noted[1..], whole[3..]);
    wanted.materials[0].kms_material = Some(id(1));
    assert_eq!(linted(&wanted, &found, &context()).suffix_of(&stored), Some(3));
    let mut aliased = found;
    aliased.alias_target = Some(metadata(1, KeyState::Enabled));
    assert_eq!(steps(&wanted, &aliased), whole[4..]);
    wanted.arn = Some(arn(1));
    assert_eq!(steps(&wanted, &aliased), [""; 0]);
}

#[test]
fn a_rotation_makes_another_key_and_moves_the_alias() {
    let mut wanted = desired(RotationStyle::NewKey, 2, 1);
    wanted.disable_former = true;
    wanted.materials[0].former = WantedKey::Disabled;
    let found = observed(&wanted);
    let whole = [
        "make material 2 in its key manager",
        "create the KMS key for material 2",
        "wrap material 2 and import it",
        "move alias/a from the KMS key 1",
        "disable the former KMS key arn:1",
        "note that material 2 is the current one",
    ];
    assert_eq!(steps(&wanted, &found), whole);
    let stored = linted(&wanted, &found, &context()).steps;
    // When the new key is there, the former one is looked at beside it.
    wanted.materials[1].is_made = true;
    wanted.materials[1].kms_key = Some(arn(2));
    let mut found = observed(&wanted);
    assert_eq!(found.formers.len(), 1, "{found:#?}");
    found.key.as_mut().unwrap().materials.clear();
    found.key.as_mut().unwrap().metadata.key_state = KeyState::PendingImport;
    assert_eq!(linted(&wanted, &found, &context()).suffix_of(&stored), Some(2));
    // A former key that was deleted by somebody takes its alias with it.
    (found.formers, found.alias_target) = (Vec::new(), None);
    assert_eq!(steps(&wanted, &found)[1..], ["create alias/a", whole[5]]);
    // Two rotations were asked for before the job began: the one between is never made.
    let wanted = desired(RotationStyle::NewKey, 3, 1);
    let found = observed(&wanted);
    assert_eq!(steps(&wanted, &found)[0], "make material 3 in its key manager");
    assert!(!steps(&wanted, &found).iter().any(|step| step.contains("material 2")));
}

#[test]
fn in_place_a_rotation_imports_and_rotates_on_demand() {
    let mut wanted = desired(RotationStyle::InPlace, 2, 1);
    let found = observed(&wanted);
    let whole = [
        "make material 2 in its key manager",
        "wrap material 2 and import it",
        "rotate the KMS key on demand to material 2",
        "note that material 2 is the current one",
    ];
    assert_eq!(steps(&wanted, &found), whole);
    // Imported and not rotated to.
    wanted.materials[1].is_made = true;
    wanted.materials[1].kms_key = Some(arn(1));
    wanted.materials[1].kms_material = Some(id(2));
    let mut found = observed(&wanted);
    let key = found.key.as_mut().unwrap();
    key.materials[0].key_material_state = Some(KeyMaterialState::Current);
    key.materials[1].key_material_state = Some(KeyMaterialState::PendingRotation);
    key.materials[1].rotation_type = None;
    assert_eq!(steps(&wanted, &found), whole[2..]);
    // And another rotation is asked for meanwhile: AWS takes one at a time.
    let mut third = DesiredMaterial::new("m3", 3);
    third.is_made = false;
    wanted.materials.push(third);
    assert_eq!(
        steps(&wanted, &found)[..3],
        [
            "rotate the KMS key on demand to material 2",
            "make material 3 in its key manager",
            "wrap material 3 and import it"
        ]
    );
    // Not yet shown everywhere.
    wanted.materials.pop();
    found.key.as_mut().unwrap().materials.pop();
    let mut settling = context();
    settling.is_settling = true;
    assert!(matches!(linted(&wanted, &found, &settling).then, Then::Wait(_)));
}

#[test]
fn the_limit_of_rotations_on_demand_is_foreseen() {
    for used in [19, 20, 24, 25] {
        let wanted = desired(RotationStyle::InPlace, used + 2, used + 1);
        let found = observed(&wanted);
        let plan = linted(&wanted, &found, &context());
        match used {
            25 => asks(&wanted, &found, "25 times"),
            24 => assert!(plan.warnings[0].contains("0 of the 25"), "{plan:#?}"),
            20 => assert!(plan.warnings[0].contains("4 of the 25"), "{plan:#?}"),
            _ => assert!(plan.warnings.is_empty(), "{plan:#?}"),
        }
    }
}

#[test]
fn material_is_imported_again_before_each_end() {
    let mut wanted = desired(RotationStyle::NewKey, 1, 1);
    let with_end = |wanted: &DesiredImport, end: Option<Timestamp>| {
        let mut found = observed(wanted);
        found.key.as_mut().unwrap().materials[0].valid_to = end;
        found
    };
    let again = |wanted: &DesiredImport, end| steps(wanted, &with_end(wanted, end));
    // For longer than AWS keeps it.
    wanted.expires = Some(at(1000));
    let farthest = "wrap material 1 and import it again, until 2028-01-15T00:00:00Z";
    assert_eq!(again(&wanted, Some(at(29))), [farthest]);
    assert_eq!(again(&wanted, None), [farthest]);
    assert_eq!(again(&wanted, Some(at(31))), [""; 0]);
    assert_eq!(
        again(&wanted, Some(at(365))),
        [""; 0],
        "made a little later than this plan"
    );
    // To an end that AWS takes.
    wanted.expires = Some(at(100));
    assert_eq!(again(&wanted, Some(at(100))), [""; 0]);
    for other in [Some(at(40)), Some(at(200)), None] {
        assert_eq!(again(&wanted, other).len(), 1, "{other:?}");
    }
    wanted.expires = None;
    assert_eq!(again(&wanted, Some(at(200))), ["wrap material 1 and import it again"]);
    // Past: AWS has deleted it, and it stays so.
    wanted.expires = Some(at(0));
    let mut ended = with_end(&wanted, None);
    let key = ended.key.as_mut().unwrap();
    key.materials[0].import_state = Some(ImportState::PendingImport);
    key.metadata.key_state = KeyState::PendingImport;
    let plan = linted(&wanted, &ended, &context());
    assert!(
        plan.is_done() && plan.warnings[0].contains("set a later end"),
        "{plan:#?}"
    );
    // AWS takes nothing into a disabled key.
    wanted.expires = Some(at(1000));
    wanted.wanted = WantedKey::Disabled;
    let mut disabled = with_end(&wanted, Some(at(3)));
    disabled.key.as_mut().unwrap().metadata.key_state = KeyState::Disabled;
    let plan = linted(&wanted, &disabled, &context());
    assert!(
        plan.is_done() && plan.warnings[0].contains("when the KMS key is enabled"),
        "{plan:#?}"
    );
}

#[test]
fn material_is_removed_from_the_cloud_and_uploaded_again() {
    let mut wanted = desired(RotationStyle::NewKey, 1, 1);
    let mut found = observed(&wanted);
    wanted.materials[0].wanted = WantedMaterial::Removed;
    assert_eq!(steps(&wanted, &found), ["delete material 1 in AWS"]);
    let key = found.key.as_mut().unwrap();
    key.materials[0].import_state = Some(ImportState::PendingImport);
    key.metadata.key_state = KeyState::PendingImport;
    assert_eq!(steps(&wanted, &found), [""; 0]);
    wanted.materials[0].wanted = WantedMaterial::Imported;
    assert_eq!(steps(&wanted, &found), ["wrap material 1 and import it again"]);
    let plan = linted(&wanted, &found, &context());
    let Action::ImportMaterial { kms_material, .. } = &plan.steps[0].action else {
        panic!("{plan:#?}")
    };
    assert_eq!(kms_material.as_ref(), Some(&id(1)), "the same material, by AWS's id");
    assert_eq!(
        plan.drift[0].to_string(),
        "material 1: wanted imported, found not imported"
    );
    wanted.materials[0].is_gone = true;
    asks(&wanted, &found, "destroyed here");
}

#[test]
fn a_deletion_can_be_cancelled_and_comes_back_disabled() {
    let mut wanted = desired(RotationStyle::NewKey, 1, 1);
    let mut found = observed(&wanted);
    wanted.wanted = WantedKey::Deleted(DeletionDays::new(9).unwrap());
    assert_eq!(
        steps(&wanted, &found),
        ["schedule the deletion of the KMS key in 9 days"]
    );
    found.key.as_mut().unwrap().metadata.key_state = KeyState::PendingDeletion;
    assert_eq!(steps(&wanted, &found), [""; 0]);
    wanted.wanted = WantedKey::Disabled;
    assert_eq!(steps(&wanted, &found), ["cancel the deletion of the KMS key"]);
    wanted.wanted = WantedKey::Enabled;
    assert_eq!(steps(&wanted, &found).len(), 2);
    // Gone for good: said, and the next rotation goes on with another key.
    let gone = ObservedImport::default();
    asks(&wanted, &gone, "was deleted in AWS");
    wanted.materials.push(DesiredMaterial::new("m2", 2));
    assert_eq!(steps(&wanted, &gone)[0], "create the KMS key for material 2");
}

#[test]
fn keys_of_others_are_adopted_filled_or_followed() {
    // Awaiting its material: the first rotation fills it.
    let mut wanted = desired(RotationStyle::NewKey, 1, 0);
    (wanted.arn, wanted.is_adopted) = (Some(arn(9)), true);
    let mut found = observed(&wanted);
    found.key.as_mut().unwrap().metadata.key_state = KeyState::PendingImport;
    assert_eq!(
        steps(&wanted, &found),
        ["make material 1 in its key manager", "wrap material 1 and import it"]
    );
    // With material of AWS, or of others: it is followed by another key, and in place only by rotation.
    for (origin, state) in [
        (Origin::AwsKms, KeyState::Enabled),
        (Origin::External, KeyState::Enabled),
    ] {
        let mut theirs = found.clone();
        let key = theirs.key.as_mut().unwrap();
        (key.metadata.origin, key.metadata.key_state) = (origin.clone(), state);
        if origin == Origin::External {
            let mut foreign = entry(77, KeyMaterialState::Current);
            foreign.key_material_description = None;
            key.materials.push(foreign);
        }
        let mut wanted = wanted.clone();
        wanted.disable_former = true;
        assert_eq!(
            steps(&wanted, &theirs)[1..],
            [
                "create the KMS key for material 1",
                "wrap material 1 and import it",
                "move alias/a from the KMS key 9",
                "disable the former KMS key arn:9",
                "note that material 1 is the current one"
            ]
        );
        wanted.style = RotationStyle::InPlace;
        match origin {
            Origin::AwsKms => asks(&wanted, &theirs, "new-key"),
            _ => assert!(steps(&wanted, &theirs).contains(&"rotate the KMS key on demand to material 1".to_owned())),
        }
        // Before any rotation only its attributes are kept.
        wanted.materials.clear();
        wanted.description = "ours".into();
        assert_eq!(steps(&wanted, &theirs), ["change the description"]);
    }
    // What cannot be managed says why.
    for (change, words) in [
        (
            &(|key: &mut KeyMetadata| key.multi_region = true) as &dyn Fn(&mut KeyMetadata),
            "multi-Region",
        ),
        (&|key| key.key_spec = "RSA_2048".into(), "symmetric"),
    ] {
        let mut theirs = found.clone();
        change(&mut theirs.key.as_mut().unwrap().metadata);
        asks(&wanted, &theirs, words);
    }
    // An alias of somebody else's key is left alone.
    let mut wanted = desired(RotationStyle::NewKey, 1, 0);
    let mut taken = ObservedImport::default();
    taken.alias_target = Some(metadata(5, KeyState::Enabled));
    asks(&wanted, &taken, "belongs to the key 5");
    wanted.arn = Some(arn(5));
}

/// What others have done in AWS is asked about, and never repaired.
#[test]
fn what_others_have_done_is_asked_about() {
    let wanted = desired(RotationStyle::InPlace, 1, 1);
    let foreign = |state, import| {
        let mut foreign = entry(77, state);
        foreign.key_material_description = Some("by hand".into());
        foreign.import_state = Some(import);
        foreign
    };
    let with = |own: KeyMaterialState, foreign: RotationsListEntry| {
        let mut found = observed(&wanted);
        let key = found.key.as_mut().unwrap();
        key.materials[0].key_material_state = Some(own);
        key.materials.push(foreign);
        found
    };
    use ImportState::{Imported, PendingImport};
    use KeyMaterialState::{Current, NonCurrent, PendingRotation};
    let rotated = with(NonCurrent, foreign(Current, Imported));
    asks(&wanted, &rotated, "AWS encrypts with another material");
    // Asked for by a rotation, it is ours again.
    let mut next = desired(RotationStyle::InPlace, 2, 1);
    assert!(steps(&next, &rotated).contains(&"rotate the KMS key on demand to material 2".to_owned()));
    let waits = with(Current, foreign(PendingRotation, Imported));
    assert!(linted(&wanted, &waits, &context()).warnings[0].contains("left alone"));
    asks(&next, &waits, "waits for a rotation");
    let missing = with(Current, foreign(NonCurrent, PendingImport));
    asks(&wanted, &missing, "must import it again");
    // Into a key that was made for ours.
    next = desired(RotationStyle::NewKey, 1, 1);
    next.materials[0].kms_material = None;
    let mut by_hand = observed(&next);
    by_hand.key.as_mut().unwrap().materials = vec![foreign(Current, Imported)];
    asks(&next, &by_hand, "other material into it");
    // A state that is not known is kept as text.
    asks(
        &wanted,
        &with(KeyMaterialState::Other("NEW_STATE".into()), foreign(Current, Imported)),
        "NEW_STATE",
    );
    let mut unknown = observed(&wanted);
    unknown.key.as_mut().unwrap().metadata.key_state = KeyState::Other("Frozen".into());
    asks(&wanted, &unknown, "Frozen");
}

#[test]
fn a_former_key_is_synchronised_disabled_and_deleted() {
    let mut wanted = desired(RotationStyle::NewKey, 2, 2).about(1);
    assert_eq!(wanted.former, Some(1));
    let mut found = observed(&wanted);
    found.alias_target = None;
    assert_eq!(steps(&wanted, &found), [""; 0]);
    wanted.policy = Some(r#"{"Statement":[]}"#.into());
    wanted.materials[0].wanted = WantedMaterial::Removed;
    wanted.materials[0].former = WantedKey::Disabled;
    assert_eq!(
        steps(&wanted, &found),
        [
            "change the key policy",
            "disable the KMS key",
            "delete material 1 in AWS"
        ]
    );
    wanted.materials[0].former = WantedKey::Deleted(DeletionDays::new(7).unwrap());
    assert_eq!(
        steps(&wanted, &found),
        ["schedule the deletion of the KMS key in 7 days"]
    );
    // The current one, and all of a key in place, have the plan of the cloud key.
    assert_eq!(desired(RotationStyle::NewKey, 2, 2).about(2).former, None);
    assert_eq!(desired(RotationStyle::InPlace, 2, 2).about(1).former, None);
}
