//! Rows of jobs: written by one, taken over by another, and not by who edits the database.

use std::time::Duration;

use pollster::block_on;
use xks_lifecycle::{
    CommandError, JobId, Outcome, Tenant, TenantId,
    commands::Actor,
    jobs::{JobRow, Worker},
    store::{Claim, ClaimKind, Swap},
};

use super::world::{World, alice};

const LIMIT: Duration = Duration::from_secs(60);

fn insert(world: &World) -> JobRow {
    let id = JobId::generate().unwrap();
    block_on(world.commands.insert_job(id, r#"{"state":"planned"}"#)).unwrap()
}

fn rows(world: &World) -> Vec<JobRow> {
    block_on(world.commands.job_rows()).unwrap().rows
}

#[test]
fn a_row_is_written_by_who_has_seen_it_last() {
    let world = World::new();
    let other = world.another();
    let row = insert(&world);
    assert_eq!(rows(&world), std::slice::from_ref(&row));
    assert!(block_on(other.insert_job(row.id, "{}")).is_err());
    let taken = block_on(world.commands.replace_job(&row, "worker", r#"{"step":1}"#)).unwrap();
    let taken = taken.unwrap();
    assert_eq!((&*taken.owner, taken.counter), ("worker", row.counter + 1));
    assert_eq!(block_on(other.replace_job(&row, "late", "{}")).unwrap(), None);
    assert!(!block_on(other.remove_job(&row)).unwrap());
    assert_eq!(block_on(other.job_rows()).unwrap().rows, std::slice::from_ref(&taken));
    assert!(block_on(other.remove_job(&taken)).unwrap());
    assert!(rows(&world).is_empty());
}

#[test]
fn a_row_that_was_edited_is_refused() {
    let world = World::new();
    let (kept, edited) = (insert(&world), insert(&world));
    let claims = block_on(world.store.claims(ClaimKind::CloudJob)).unwrap().0;
    let seen = claims
        .into_iter()
        .find(|claim| *claim.id == *edited.id.to_string())
        .unwrap();
    let body = seen.body.replace("planned", "running");
    let next = Claim::new(ClaimKind::CloudJob, &seen.id, "", seen.counter + 1, &body);
    assert!(
        block_on(world.store.swap(Swap::Replace { seen, next }))
            .unwrap()
            .is_done
    );
    // One that somebody has made who has no root.
    let made = Claim::new(
        ClaimKind::CloudJob,
        &JobId::generate().unwrap().to_string(),
        "",
        1,
        "{}",
    );
    block_on(world.store.swap(Swap::Insert(made.clone()))).unwrap();
    let found = block_on(world.commands.job_rows()).unwrap();
    assert_eq!(found.rows, [kept]);
    let mut refused = [edited.id.to_string().into(), made.id];
    refused.sort_unstable();
    assert_eq!(*found.refused, refused);
}

/// By the clock of the one that would take it over.
#[test]
fn a_row_is_left_to_its_worker_while_it_changes() {
    let world = World::new();
    let mut first = Worker::new(&world.commands, LIMIT).unwrap();
    let mut second = Worker::new(&world.commands, LIMIT).unwrap();
    let row = insert(&world);
    assert!(block_on(second.may_take(&world.commands, &row)).unwrap());
    let mut row = block_on(world.commands.replace_job(&row, first.name(), "{}"))
        .unwrap()
        .unwrap();
    for _ in 0..3 {
        assert!(!block_on(second.may_take(&world.commands, &row)).unwrap());
        assert!(block_on(first.may_take(&world.commands, &row)).unwrap());
        world.wait_seconds(59);
        assert!(!block_on(second.may_take(&world.commands, &row)).unwrap());
        row = block_on(world.commands.replace_job(&row, first.name(), "{}"))
            .unwrap()
            .unwrap();
        world.wait_seconds(10);
    }
    assert!(!block_on(second.may_take(&world.commands, &row)).unwrap());
    world.wait_seconds(60);
    assert!(block_on(second.may_take(&world.commands, &row)).unwrap());
}

/// What a worker changes in the state it changes while it has the job.
#[test]
fn who_has_lost_a_row_changes_nothing() {
    let world = World::new();
    let row = insert(&world);
    let mine = block_on(world.commands.replace_job(&row, "worker", "{}"))
        .unwrap()
        .unwrap();
    let scheduler = Actor::new("jobs").unwrap();
    let create = |row: &JobRow| {
        let tenant = Tenant::new(TenantId::generate().unwrap(), "Made by a job").unwrap();
        block_on(
            world
                .commands
                .create(&world.commands.under_job(&scheduler, row), tenant),
        )
    };
    create(&mine).unwrap();
    let theirs = block_on(world.commands.replace_job(&mine, "another", "{}"))
        .unwrap()
        .unwrap();
    let error: CommandError = create(&mine).unwrap_err();
    assert!(error.to_string().contains("taken over"), "{error}");
    create(&theirs).unwrap();
}

#[test]
fn the_end_of_a_job_is_an_event() {
    let world = World::new();
    let id = insert(&world).id;
    block_on(
        world
            .commands
            .record_job(alice(), "cancel job", id, Outcome::Done, Some("asked")),
    )
    .unwrap();
    let event = world.events().pop().unwrap();
    assert_eq!(event.object.to_string(), format!("jobs/{id}"));
    assert_eq!((event.command.as_str(), event.outcome), ("cancel job", Outcome::Done));
}
