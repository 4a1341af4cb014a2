//! The credentials of external key stores rotate by schedules, and no former one ends before the new one was
//! used.

use std::sync::Arc;

use pollster::block_on;
use xks_core::key_store::AccessKeyId;
use xks_lifecycle::{
    CommandError, ExternalKeyStore, OverlapMinutes, ScheduleId,
    commands::{CredentialRefused, NewCredential},
    schedule::{Happening, Ran, Scheduler, Task},
};

use super::site::{every, schedule, scheduler};
use crate::commands::{
    credentials::Site,
    hooked::Hooked,
    world::{DAY, START, World, alice},
};

const HOUR: u64 = 60 * 60;

/// The credential of the key store rotates every 30 days from now on, with an overlap of an hour.
fn rotates_monthly(site: &Site) -> ScheduleId {
    let id = schedule(&site.world, every(30)).id;
    edit(site, |store| {
        store.schedule = Some(id);
        store.overlap = OverlapMinutes::new(60).unwrap();
    });
    id
}

fn edit(site: &Site, edit: impl FnOnce(&mut ExternalKeyStore)) {
    let find = |snapshot: &xks_lifecycle::Snapshot| (**snapshot.key_store(site.id).unwrap()).clone();
    let mut store = site.world.commands.read(find);
    edit(&mut store);
    block_on(site.world.commands.update(alice(), store, None)).unwrap();
}

fn run(scheduler: &mut Scheduler) -> Ran {
    let ran = block_on(scheduler.run_due());
    assert!(ran.stopped.is_none() && !ran.is_left_to_another, "{ran:?}");
    ran
}

fn done(scheduler: &mut Scheduler) -> Vec<Task> {
    let ran = run(scheduler);
    assert!(ran.failed.is_empty(), "{ran:?}");
    ran.done
}

/// The newest credential.
fn newest(site: &Site) -> AccessKeyId {
    block_on(site.world.commands.refresh()).unwrap();
    let entries = block_on(site.world.commands.credentials(site.id)).unwrap();
    entries.last().unwrap().credential.access_key_id.clone()
}

fn take(site: &Site, id: &AccessKeyId) -> Result<NewCredential, CommandError> {
    block_on(site.world.commands.take_secret(alice(), id))
}

fn id(new: &NewCredential) -> AccessKeyId {
    new.credential.access_key_id.clone()
}

#[test]
fn a_schedule_makes_a_credential_and_revokes_the_former_when_the_new_one_was_used() {
    let site = Site::new();
    let first = site.create(None).unwrap();
    rotates_monthly(&site);
    let mut scheduler = scheduler(&site.world);
    assert_eq!(scheduler.next_due().unwrap().seconds(), START + 30 * DAY);
    site.world.wait_seconds(30 * DAY - 1);
    assert!(done(&mut scheduler).is_empty());
    site.world.wait_seconds(1);
    assert_eq!(done(&mut scheduler), [Task::RotateCredential(site.id)]);
    assert!(done(&mut scheduler).is_empty());

    // Nobody has the new one yet: until the overlap is over and beyond, the former one is served.
    assert!(site.is_served(&first));
    site.world.wait_seconds(HOUR);
    let revoke = Task::RevokeCredential(id(&first));
    let ran = run(&mut scheduler);
    let [failure] = &ran.failed[..] else { panic!("{ran:?}") };
    let new = newest(&site);
    assert_eq!(failure.task, revoke);
    assert!(
        matches!(&failure.error, CommandError::Credential(CredentialRefused::Unused(unused)) if *unused == new),
        "{failure:?}"
    );
    assert_eq!(site.world.told().last().map(String::as_str), Some("revoke refused"));
    assert!(site.is_served(&first));

    // Its secret is taken once.
    let second = take(&site, &new).unwrap();
    let error = take(&site, &new).unwrap_err();
    assert!(
        matches!(error, CommandError::Credential(CredentialRefused::Taken(_))),
        "{error}"
    );
    site.world.wait_seconds(60);
    assert_eq!(run(&mut scheduler).failed.len(), 1, "taken is not used");
    assert!(site.is_served(&second));
    block_on(site.world.commands.flush_usage()).unwrap();
    site.world.wait_seconds(120);
    assert_eq!(done(&mut scheduler), [revoke]);
    block_on(site.world.commands.refresh()).unwrap();
    assert!(!site.is_served(&first) && site.is_served(&second));
    let error = take(&site, &id(&first)).unwrap_err();
    assert!(
        matches!(error, CommandError::Credential(CredentialRefused::Ended(_))),
        "{error}"
    );
    assert_eq!(scheduler.next_due().unwrap().seconds(), START + 60 * DAY);
    // The secret is in none of the events.
    let events = format!("{:?}", site.world.events());
    assert!(events.contains(new.as_str()) && !events.contains(second.secret().expose()));
}

/// A new one that was used and is revoked since, or just now, leaves the former one as it is.
#[test]
fn a_former_credential_stays_when_the_new_one_is_gone() {
    let store = Arc::new(Hooked::default());
    let site = Site::over(World::over(Arc::clone(&store) as _));
    let first = site.create(None).unwrap();
    rotates_monthly(&site);
    let mut scheduler = scheduler(&site.world);
    site.world.wait(30);
    done(&mut scheduler);
    let second = take(&site, &newest(&site)).unwrap();
    assert!(site.is_served(&second));
    block_on(site.world.commands.flush_usage()).unwrap();
    site.world.wait_seconds(HOUR);
    let (other, gone) = (site.world.another(), id(&second));
    store.before_commit(move || {
        block_on(other.revoke_credential(alice(), &gone)).unwrap();
    });
    let ran = run(&mut scheduler);
    assert!(
        matches!(&ran.failed[..], [failure] if failure.error.to_string().contains("was revoked or has ended")),
        "{ran:?}"
    );
    assert!(site.is_served(&first));
    assert_eq!(done(&mut scheduler), [Task::RotateCredential(site.id)]);
    assert!(site.is_served(&first));
}

/// What a person does counts, and what has no credential or no schedule waits for one.
#[test]
fn a_schedule_counts_from_the_last_credential_and_from_itself() {
    let site = Site::new();
    let mut scheduler = scheduler(&site.world);
    let mut next = || {
        block_on(site.world.commands.refresh()).unwrap();
        done(&mut scheduler); // takes in what was changed
        scheduler.next_due().map(|due| due.seconds() - START)
    };
    assert_eq!(next(), None);
    let [decade, long] = [10, 50].map(|days| schedule(&site.world, every(days)).id);
    rotates_monthly(&site);
    assert_eq!(next(), None);
    site.create(None).unwrap();
    assert_eq!(next(), Some(30 * DAY));
    site.world.wait(10);
    site.rotate(60).unwrap();
    assert_eq!(next(), Some(40 * DAY));
    // A former one that goes on for longer is waited for.
    site.world.wait(20);
    edit(&site, |store| store.schedule = Some(decade));
    assert_eq!(next(), Some(40 * DAY));
    site.rotate(20 * 24 * 60).unwrap();
    assert_eq!(next(), Some(50 * DAY));
    edit(&site, |store| store.schedule = None);
    assert_eq!(next(), None);
    site.world.wait(40);
    edit(&site, |store| store.schedule = Some(long));
    assert_eq!(next(), Some(120 * DAY));
}

#[test]
fn what_will_happen_to_credentials_is_listed() {
    let site = Site::new();
    let first = site.create(None).unwrap();
    let by = rotates_monthly(&site);
    let listed = || {
        let upcoming = site.world.commands.upcoming(crate::support::at(START + 100 * DAY), 100);
        let what = |happening: &Happening| match happening {
            Happening::Scheduled { task, schedule } if *schedule == by => match task {
                Task::RotateCredential(id) if *id == site.id => "rotate".to_owned(),
                Task::RevokeCredential(id) => format!("revoke {id}"),
                other => panic!("{other:?}"),
            },
            Happening::CredentialEnds(id) => format!("end {id}"),
            other => panic!("{other:?}"),
        };
        let upcoming = upcoming.iter().map(|upcoming| {
            let since = upcoming.time.seconds() - START;
            (since / HOUR, what(&upcoming.happening))
        });
        upcoming.collect::<Vec<_>>()
    };
    let rotate = |hours: u64| (hours, "rotate".to_owned());
    assert_eq!(listed(), [rotate(720), rotate(1440), rotate(2160)]);
    site.world.wait(30);
    done(&mut scheduler(&site.world));
    newest(&site);
    let revoke = format!("revoke {}", id(&first));
    assert_eq!(listed(), [(721, revoke), rotate(1440), rotate(2160)]);
    site.revoke(&first);
    site.rotate(60).unwrap_or_else(|error| panic!("{error}"));
    let former = block_on(site.world.commands.credentials(site.id)).unwrap();
    let former = former.iter().find(|entry| entry.credential.expires.is_some()).unwrap();
    let end = format!("end {}", former.credential.access_key_id);
    assert_eq!(listed(), [(721, end), rotate(1440), rotate(2160)]);
    let json = serde_json::to_value(site.world.commands.upcoming(crate::support::at(START + 60 * DAY), 2)).unwrap();
    assert_eq!(
        json[0]["happening"]["credential_ends"],
        former.credential.access_key_id.as_str()
    );
    assert_eq!(
        json[1]["happening"]["scheduled"]["task"]["rotate_credential"],
        site.id.to_string()
    );
}
