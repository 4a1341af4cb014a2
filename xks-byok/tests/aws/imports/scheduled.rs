//! What begins by itself at a time: rotations by schedule, and the end of former KMS keys.

use xks_byok::jobs::{Job, JobState, Jobs};
use xks_lifecycle::{
    EndingWithinDays, KeepDays, Rotation, RotationStyle, Schedule, ScheduleId, WantedKey,
    schedule::{PeriodDays, Timing},
};

use super::site::{Imports, alice};

const DAY: u64 = 24 * 3600;

impl Imports {
    /// A key of this style with material in AWS, which rotates every so many days.
    async fn scheduled(style: RotationStyle, days: u64) -> Self {
        let imports = Self::new(style).await;
        imports.done().await;
        let tenant = imports.site.commands.read(|state| {
            let key = state.cloud_key(imports.key).unwrap();
            state.key_set(key.key_set).unwrap().tenant
        });
        let timing = Timing::EveryDays(PeriodDays::new(days).unwrap());
        let schedule = Schedule::new(ScheduleId::generate().unwrap(), tenant, "Monthly", timing).unwrap();
        let rotation = Rotation::By(schedule.id);
        imports.site.commands.create(&alice(), schedule).await.unwrap();
        imports.want_import(|import| import.rotation = rotation).await;
        imports
    }

    /// Both nodes work until no job goes on by itself.
    async fn work(&self, nodes: &[Jobs; 2]) {
        for round in 0..200 {
            let ran = nodes[round % 2].run_due().await;
            assert!(ran.failed.is_empty(), "{ran:?}");
            if round > 1 && self.jobs(nodes).await.iter().all(|job| job.state.due().is_none()) {
                return;
            }
            self.site.wait(20);
        }
        panic!("{:#?}", self.jobs(nodes).await);
    }

    /// The jobs that have begun by themselves, the latest first.
    async fn jobs(&self, nodes: &[Jobs; 2]) -> Vec<Job> {
        let jobs = nodes[0].list().await.unwrap().into_iter();
        jobs.filter(|job| job.actor == "jobs").collect()
    }

    async fn nodes(&self) -> [Jobs; 2] {
        [self.site.jobs().await, self.site.jobs().await]
    }

    async fn count(&self) -> usize {
        self.materials().await.len()
    }
}

/// Once for each time, whichever node starts it, and once for times that were missed.
#[tokio::test]
async fn a_key_rotates_by_its_schedule() {
    for style in [RotationStyle::NewKey, RotationStyle::InPlace] {
        let imports = Imports::scheduled(style, 30).await;
        let nodes = imports.nodes().await;
        let mut begun = 0;
        for (days, rotations) in [(29, 0), (2, 1), (20, 0), (100, 1), (29, 0), (2, 1)] {
            imports.site.wait(days * DAY);
            imports.work(&nodes).await;
            begun += rotations;
            assert_eq!(imports.count().await, 1 + begun, "{style:?}, after {days} days");
        }
        let jobs = imports.jobs(&nodes).await;
        assert_eq!(jobs.len(), begun);
        assert!(jobs.iter().all(|job| job.state == JobState::Done), "{jobs:#?}");
        assert!(jobs[0].log[0].text.contains("schedule Monthly, due at 20"), "{jobs:#?}");
        imports.assert_whole("by schedule").await;
    }
}

/// Before and after each write up to the one that adds material, and some more.
#[tokio::test]
async fn a_scheduled_rotation_happens_once_where_a_process_ends() {
    let imports = Imports::scheduled(RotationStyle::NewKey, 30).await;
    let mut expected = 1;
    for is_made in [false, true] {
        for write in 1..=6 {
            imports.site.wait(31 * DAY);
            let [ends, goes_on] = imports.nodes().await;
            imports.site.store.end_at(write, is_made);
            tokio::select! {
                biased;
                () = imports.site.store.ended() => {}
                ran = ends.run_due() => panic!("{ran:?}"),
            }
            imports.site.store.end_at(0, false);
            imports.work(&[goes_on, imports.site.jobs().await]).await;
            expected += 1;
            assert_eq!(imports.count().await, expected, "write {write}, made: {is_made}");
        }
    }
    imports.assert_whole("after all").await;
}

/// As long as its rotation has not ended, whatever times pass.
#[tokio::test]
async fn a_key_that_waits_for_its_material_is_not_rotated_again() {
    let imports = Imports::scheduled(RotationStyle::NewKey, 30).await;
    let nodes = imports.nodes().await;
    imports.site.kms.faults().deny("ImportKeyMaterial");
    for _ in 0..3 {
        imports.site.wait(31 * DAY);
        imports.work(&nodes).await;
        let jobs = imports.jobs(&nodes).await;
        assert_eq!((imports.count().await, jobs.len()), (2, 1));
        assert!(matches!(jobs[0].state, JobState::Blocked { .. }), "{jobs:#?}");
    }
    // Without a job it still waits, for a person.
    let id = imports.jobs(&nodes).await[0].id.unwrap();
    nodes[0].cancel(&alice(), id).await.unwrap();
    imports.site.kms.faults().allow("ImportKeyMaterial");
    imports.site.wait(31 * DAY);
    imports.work(&nodes).await;
    assert_eq!((imports.count().await, imports.jobs(&nodes).await.len()), (2, 1));
    imports.done().await;
    imports.assert_whole("by a person").await;
    imports.site.wait(31 * DAY);
    imports.work(&nodes).await;
    assert_eq!(imports.count().await, 3);
}

/// A person has cancelled it before it has added material: the next time of the schedule counts.
#[tokio::test]
async fn a_rotation_that_is_cancelled_begins_at_the_next_time() {
    let imports = Imports::scheduled(RotationStyle::InPlace, 30).await;
    let [ends, one] = imports.nodes().await;
    imports.site.wait(31 * DAY);
    imports.site.store.end_at(2, true); // it is there, and has not begun
    tokio::select! {
        biased;
        () = imports.site.store.ended() => {}
        ran = ends.run_due() => panic!("{ran:?}"),
    }
    imports.site.store.end_at(0, false);
    let nodes = [one, imports.site.jobs().await];
    let id = imports.jobs(&nodes).await[0].id.unwrap();
    nodes[0].cancel(&alice(), id).await.unwrap();
    for (days, expected) in [(29, 1), (2, 2), (29, 2), (2, 3)] {
        imports.site.wait(days * DAY);
        imports.work(&nodes).await;
        assert_eq!(imports.count().await, expected, "after {days} days");
    }
    imports.assert_whole("cancelled once").await;
}

#[tokio::test]
async fn a_key_rotates_only_near_the_end_of_its_material() {
    for style in [RotationStyle::NewKey, RotationStyle::InPlace] {
        let imports = Imports::scheduled(style, 7).await;
        let end = imports.site.commands.now().plus_days(100);
        imports
            .want_import(|import| {
                import.expires = Some(end);
                import.ending_within = Some(EndingWithinDays::new(20).unwrap());
            })
            .await;
        imports.done().await;
        let nodes = imports.nodes().await;
        for (days, expected) in [(79, 1), (6, 2), (7, 2), (7, 2)] {
            imports.site.wait(days * DAY);
            imports.work(&nodes).await;
            assert_eq!(imports.count().await, expected, "{style:?}, after {days} days more");
        }
        imports.assert_whole("near the end").await;
    }
}

/// Once, with nothing else than that, and not if a person has said otherwise.
#[tokio::test]
async fn a_former_key_is_disabled_when_its_days_are_over() {
    let imports = Imports::new(RotationStyle::NewKey).await;
    imports.done().await;
    let keep = |days| move |import: &mut xks_lifecycle::Import| import.keep_days = Some(KeepDays::new(days).unwrap());
    imports.want_import(keep(30)).await;
    for _ in 0..4 {
        imports.rotate().await;
        imports.done().await;
    }
    // Fewer days count for later rotations alone.
    imports.want_import(keep(10)).await;
    let nodes = imports.nodes().await;
    // By hand: somebody deletes the second in AWS, the third is kept by a command.
    let key = async |number| imports.material(number).await.kms_key.unwrap().to_string();
    let client = imports.site.client().await;
    imports.keep_former(3, WantedKey::Enabled).await;
    client.update_key_description(&key(1).await, "theirs").await.unwrap();
    imports.site.wait(29 * DAY);
    imports.work(&nodes).await;
    assert_eq!(imports.jobs(&nodes).await.len(), 0);
    assert_eq!(imports.state(1).await, "Enabled");
    client.schedule_key_deletion(&key(2).await, 30).await.unwrap();
    imports.site.wait(2 * DAY);
    // A process ends at each of its first writes.
    for write in 1..=5 {
        imports.site.wait(200);
        let ends = imports.site.jobs().await;
        imports.site.store.end_at(write, write % 2 == 0);
        tokio::select! {
            biased;
            () = imports.site.store.ended() => {}
            _ = ends.run_due() => {}
        }
        imports.site.store.end_at(0, false);
    }
    imports.site.wait(200);
    imports.work(&nodes).await;
    let former = async |number| imports.material(number).await.former;
    for (number, state, wanted) in [
        (1, "Disabled", WantedKey::Disabled),
        (2, "PendingDeletion", WantedKey::Disabled),
        (3, "Enabled", WantedKey::Enabled),
        (4, "Disabled", WantedKey::Disabled),
        (5, "Enabled", WantedKey::Enabled),
    ] {
        assert_eq!(
            (imports.state(number).await.as_str(), former(number).await),
            (state, wanted),
            "{number}"
        );
    }
    assert_eq!(imports.describe(&key(1).await).await.description, "theirs");
    let jobs = imports.jobs(&nodes).await;
    assert!(
        jobs.len() == 3 && jobs.iter().all(|job| job.state == JobState::Done),
        "{jobs:#?}"
    );
    // Enabled by a person afterwards, it stays so.
    let id = imports.keep_former(1, WantedKey::Enabled).await;
    let job = imports.site.run(xks_byok::jobs::Intent::CloudMaterial(id)).await;
    assert_eq!(job.state, JobState::Done, "{job:#?}");
    imports.site.wait(100 * DAY);
    imports.work(&nodes).await;
    assert_eq!(imports.state(1).await, "Enabled");
    assert_eq!(imports.jobs(&nodes).await.len(), 3);
}

/// A person has cancelled it before it was wanted: it never comes, not even when jobs that have ended are
/// forgotten. Cancelled afterwards it stays wanted, for the next job.
#[tokio::test]
async fn a_former_key_whose_disabling_is_cancelled_stays_enabled() {
    let imports = Imports::new(RotationStyle::NewKey).await;
    imports.done().await;
    let keep = |import: &mut xks_lifecycle::Import| import.keep_days = Some(KeepDays::new(10).unwrap());
    imports.want_import(keep).await;
    let nodes = imports.nodes().await;
    for (number, wanted) in [(1, WantedKey::Enabled), (2, WantedKey::Disabled)] {
        imports.rotate().await;
        imports.done().await;
        imports.site.wait(11 * DAY);
        if wanted == WantedKey::Enabled {
            // A process ends when it has started the job.
            let ends = imports.site.jobs().await;
            imports.site.store.end_at(1, true);
            tokio::select! {
                biased;
                () = imports.site.store.ended() => {}
                ran = ends.run_due() => panic!("{ran:?}"),
            }
            imports.site.store.end_at(0, false);
        } else {
            imports.site.kms.faults().deny("DisableKey");
            imports.work(&nodes).await;
        }
        let job = imports.jobs(&nodes).await.remove(0);
        nodes[0].cancel(&alice(), job.id.unwrap()).await.unwrap();
        imports.site.kms.faults().allow("DisableKey");
        let material = imports.material(number).await;
        assert_eq!((material.former, material.kept_until), (wanted, None), "{job:#?}");
        imports.site.wait(DAY);
        let begun = imports.jobs(&nodes).await.len();
        imports.work(&nodes).await;
        assert_eq!(imports.jobs(&nodes).await.len(), begun);
        assert_eq!(imports.state(number).await, "Enabled");
    }
}
