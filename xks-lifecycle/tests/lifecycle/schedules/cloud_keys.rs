//! KMS keys with imported material: when they are due.

use pollster::block_on;
use xks_lifecycle::{
    CloudAccount, CloudAccountId, CloudKey, CloudKeyId, CloudKeyOrigin, DeletionDays, EndingWithinDays, Import,
    Rotation, RotationStyle, Timestamp, WantedKey, WantedMaterial,
    schedule::{CloudKeyRotation, Happening},
};

use super::site::{cron, every, give, rotates_monthly, schedule};
use crate::{
    commands::world::{START, World, alice},
    support::at,
};

const DAY: u64 = 24 * 3600;

/// A KMS key of the vault's set.
fn cloud_key(world: &World) -> CloudKeyId {
    let region = "eu-central-1".parse().unwrap();
    let account = CloudAccount::new(CloudAccountId::generate().unwrap(), world.tenant, "Main", region).unwrap();
    let (id, alias) = (CloudKeyId::generate().unwrap(), "alias/imported".parse().unwrap());
    let origin = CloudKeyOrigin::External(Import::new(RotationStyle::NewKey));
    let key = CloudKey::new(id, world.vault, &account, alias, origin).unwrap();
    block_on(world.commands.create(alice(), account)).unwrap();
    block_on(world.commands.create(alice(), key)).unwrap();
    id
}

/// Another material is in AWS, until then.
fn rotate(world: &World, key: CloudKeyId, valid_to: Option<Timestamp>) {
    let commands = &world.commands;
    let material = block_on(commands.add_material(alice(), key)).unwrap();
    assert_eq!(due(world, key), None, "a rotation that has not ended");
    block_on(commands.make_material(alice(), material.id)).unwrap();
    let arn = format!("arn:aws:kms:eu-central-1:111122223333:key/{}", material.number);
    let (arn, id) = (arn.parse().unwrap(), format!("{:064x}", material.number));
    block_on(commands.note_import(alice(), material.id, &arn, Some(id.parse().unwrap()), valid_to)).unwrap();
    block_on(commands.note_current(alice(), key, material.number, &arn)).unwrap();
}

/// On which day it is due.
fn due(world: &World, key: CloudKeyId) -> Option<u64> {
    let due = world.commands.read(|state| {
        let now = world.commands.now();
        CloudKeyRotation::find(state, state.cloud_key(key).unwrap(), now)?.due()
    });
    due.map(|due| (due.seconds() - START) / DAY)
}

fn change(world: &World, key: CloudKeyId, change: impl FnOnce(&mut CloudKey, &mut Import)) {
    let mut wanted = world.commands.read(|state| (**state.cloud_key(key).unwrap()).clone());
    let mut import = wanted.import().unwrap().clone();
    change(&mut wanted, &mut import);
    wanted.origin = CloudKeyOrigin::External(import);
    block_on(world.commands.update(alice(), wanted, None)).unwrap();
}

#[test]
fn a_kms_key_is_due_after_its_last_rotation_and_the_schedule() {
    let world = World::new();
    rotates_monthly(&world, world.vault);
    let key = cloud_key(&world);
    assert_eq!(due(&world, key), None, "it has no material");
    rotate(&world, key, None);
    assert_eq!(due(&world, key), Some(30));
    world.wait_seconds(10 * DAY);
    rotate(&world, key, None);
    assert_eq!(due(&world, key), Some(40), "a rotation by hand counts");
    // What will happen: also after that.
    let upcoming = world.commands.upcoming(at(START + 75 * DAY), 100);
    let days: Vec<_> = upcoming
        .iter()
        .filter(
            |upcoming| matches!(&upcoming.happening, Happening::CloudKeyRotates { cloud_key, .. } if *cloud_key == key),
        )
        .map(|upcoming| (upcoming.time.seconds() - START) / DAY)
        .collect();
    assert_eq!(days, [40, 70]);
    // One that gets another schedule waits for its next time; its own one goes before that of its set.
    world.wait_seconds(10 * DAY);
    let own = schedule(&world, every(7));
    change(&world, key, |_, import| import.rotation = Rotation::By(own.id));
    assert_eq!(due(&world, key), Some(27));
    change(&world, key, |_, import| import.rotation = Rotation::Never);
    assert_eq!(due(&world, key), None);
    change(&world, key, |_, import| import.rotation = Rotation::Inherited);
    give(&world, world.vault, Some(own.id));
    assert_eq!(due(&world, key), Some(27));
    // What is not to be there, or has ended, is left alone.
    for wanted in [WantedKey::Disabled, WantedKey::Deleted(DeletionDays::DEFAULT)] {
        change(&world, key, |key, _| key.wanted = wanted);
        assert_eq!(due(&world, key), None, "{wanted:?}");
    }
    change(&world, key, |key, _| key.wanted = WantedKey::Enabled);
    for (end, expected) in [(28, Some(27)), (27, None), (21, None)] {
        change(&world, key, |_, import| import.expires = Some(at(START + end * DAY)));
        assert_eq!(due(&world, key), expected, "ends on day {end}");
    }
    world.wait_seconds(2 * DAY);
    assert_eq!(due(&world, key), None, "it has ended");
    change(&world, key, |_, import| import.expires = None);
    let newest = |state: &xks_lifecycle::Snapshot| (**state.materials_of(key).next_back().unwrap()).clone();
    let mut removed = world.commands.read(newest);
    removed.wanted = WantedMaterial::Removed;
    block_on(world.commands.update_material(alice(), removed, None)).unwrap();
    assert_eq!(due(&world, key), None, "a person has removed it from AWS");
}

#[test]
fn a_kms_key_is_due_only_near_the_end_of_its_material() {
    let world = World::new();
    let key = cloud_key(&world);
    let weekly = schedule(&world, every(7));
    let nightly = schedule(&world, cron("0 3 * * *", "UTC"));
    let by = |schedule: &xks_lifecycle::Schedule| {
        let rotation = Rotation::By(schedule.id);
        change(&world, key, |_, import| {
            import.rotation = rotation;
            import.ending_within = Some(EndingWithinDays::new(20).unwrap());
        });
    };
    by(&weekly);
    rotate(&world, key, None);
    assert_eq!(due(&world, key), None, "it does not end");
    rotate(&world, key, Some(at(START + 100 * DAY)));
    // The first of every seventh day that is not before day 80; with a schedule of nights on day 80.
    assert_eq!(due(&world, key), Some(84));
    by(&nightly);
    assert_eq!(due(&world, key), Some(80));
    assert_eq!(world.commands.upcoming(at(START + 99 * DAY), 100).len(), 1);
    // What comes then ends no later: it is rotated once.
    world.wait_seconds(81 * DAY);
    rotate(&world, key, Some(at(START + 100 * DAY)));
    assert_eq!(due(&world, key), None);
    rotate(&world, key, Some(at(START + 300 * DAY)));
    assert_eq!(due(&world, key), Some(280));
}
