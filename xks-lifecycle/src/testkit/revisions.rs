//! Contracts about revisions: one commit after the other, each whole.

use std::{
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, Waker},
    thread,
};

use xks_core::testkit::conformance::Problem;

use super::fixture::{Checked, Fixture, broken, code, event, must_be, put};
use crate::store::{Cell, Claim, ClaimKind, Head, Revision, Scope, StoreError, Swap, Table};

pub(super) fn commits_at_another_revision_are_refused(fixture: &Fixture) -> Checked {
    fixture.commit(put(Revision::ZERO, &[("a", "one")]))?;
    fixture.commit(put(Revision::new(1), &[("b", "one")]))?;
    let before = fixture.load(Scope::Everything)?;
    let store = fixture.store();
    for number in [0, 1, 3, u64::from(u32::MAX)] {
        let expected = Revision::new(number);
        let mut changes = put(expected, &[("c", "two")]);
        changes.removed = vec![(Table::Tenants, "a".into())];
        match fixture.wait(store.commit(changes))? {
            Err(StoreError::Conflict { expected: of, head }) => {
                must_be(
                    "the revisions of the conflict",
                    &(of, head),
                    &(expected, Revision::new(2)),
                )?;
            }
            Err(error) => {
                return Err(broken(format!(
                    "a commit for revision {number} failed otherwise: {error}"
                )));
            }
            Ok(()) => {
                return Err(broken(format!(
                    "a commit for revision {number} succeeded at revision 2"
                )));
            }
        }
    }
    must_be("the state after it", &fixture.load(Scope::Everything)?, &before)
}

pub(super) fn one_of_several_commits_wins(fixture: &Fixture) -> Checked {
    const THREADS: usize = 4;
    for round in 0..10 {
        let expected = Revision::new(round);
        let outcomes = thread::scope(|scope| {
            let commit = |name: usize| {
                let store = fixture.store();
                let name = name.to_string();
                let outcome = fixture.wait(store.commit(put(expected, &[("a", &name), ("b", &name)])))?;
                Ok::<_, Problem>(outcome.is_ok())
            };
            let threads: Vec<_> = (0..THREADS).map(|name| scope.spawn(move || commit(name))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or(Ok(false)))
                .collect::<Result<Vec<_>, _>>()
        })?;
        let winners = outcomes.iter().filter(|won| **won).count();
        must_be("commits for one revision that succeeded", &winners, &1)?;
        let (rows, head) = fixture.load(Scope::Everything)?;
        let winner = outcomes.iter().position(|won| *won).unwrap_or_default().to_string();
        let names: Vec<_> = rows.iter().filter_map(|row| row.cells.first()).collect();
        let name = Cell::Text(winner.into());
        must_be("what the rows hold", &names, &vec![&name, &name])?;
        must_be("the revision", &head.revision, &expected.next())?;
    }
    Ok(())
}

pub(super) fn a_load_shows_one_revision(fixture: &Fixture) -> Checked {
    const LOADS: usize = 30;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            (0..)
                .take_while(|_| !is_over.load(Ordering::Acquire))
                .try_for_each(|number| {
                    let (expected, name) = (Revision::new(number), (number + 1).to_string());
                    let mut changes = put(expected, &[("a", &name)]);
                    // The same in the last table.
                    let mut last = changes.rows.clone();
                    last.iter_mut().for_each(|row| {
                        row.table = Table::Versions;
                        row.cells = vec![Cell::Null; Table::Versions.columns().len()];
                    });
                    changes.rows.extend(last);
                    fixture.commit(changes)
                })
        });
        let outcome = (0..LOADS).try_for_each(|_| {
            let (rows, head) = fixture.load(Scope::Everything)?;
            if head.revision == Revision::ZERO {
                return must_be("rows of revision 0", &rows, &Vec::new());
            }
            must_be("the code of the head", &head.code, &code(head.revision))?;
            let revisions: Vec<_> = rows.iter().map(|row| row.revision).collect();
            must_be("the revisions of the rows", &revisions, &vec![head.revision; 2])
        });
        is_over.store(true, Ordering::Release);
        outcome.and(writer.join().unwrap_or_else(|_| Err(broken("a commit panicked"))))
    })
}

pub(super) fn followers_are_told(fixture: &Fixture) -> Checked {
    let store = fixture.store();
    fixture.commit(put(Revision::ZERO, &[("a", "one")]))?;
    let at_once = fixture.must("to follow a revision that is past", store.follow(Revision::ZERO))?;
    must_be("the revision after 0", &at_once, &Revision::new(1))?;
    // Two that wait for the next one, and one that has gone.
    let (first, second) = fixture.wait(async {
        drop(store.follow(Revision::new(1)));
        let (mut first, mut second) = (store.follow(Revision::new(1)), store.follow(Revision::new(1)));
        let mut committed = false;
        let mut commit = store.commit(put(Revision::new(1), &[("a", "two")]));
        let (mut of_first, mut of_second) = (None, None);
        poll_fn(|context| {
            for (follower, answer) in [(&mut first, &mut of_first), (&mut second, &mut of_second)] {
                if answer.is_none()
                    && let Poll::Ready(revision) = follower.as_mut().poll(context)
                {
                    *answer = Some(revision);
                }
            }
            if !committed {
                committed = commit.as_mut().poll(context).is_ready();
                // A commit that ended on this very poll may not have woken a follower that is polled after
                // it.
                if committed {
                    context.waker().wake_by_ref();
                }
            }
            if committed && of_first.is_some() && of_second.is_some() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        (of_first, of_second)
    })?;
    for told in [first, second] {
        match told {
            Some(Ok(revision)) => must_be("the revision after 1", &revision, &Revision::new(2))?,
            Some(Err(error)) => return Err(broken(format!("to follow failed: {error}"))),
            None => return Err(broken("a follower was told nothing")),
        }
    }
    // Nothing else is a revision.
    fixture.must("to record", store.record(vec![event("keys/a")?]))?;
    fixture.must(
        "to swap",
        store.swap(Swap::Insert(Claim::new(ClaimKind::Node, "n", "o", 1, ""))),
    )?;
    let mut follower = pin!(store.follow(Revision::new(2)));
    if let Poll::Ready(outcome) = follower.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return Err(broken(format!(
            "a follower of the latest revision was told {outcome:?}"
        )));
    }
    Ok(())
}

pub(super) fn dropped_calls_leave_it_whole(fixture: &Fixture) -> Checked {
    let store = fixture.store();
    for number in 0..50 {
        let before = fixture.revision()?;
        let name = number.to_string();
        let mut changes = put(before, &[("a", &name), ("b", &name)]);
        changes.events = vec![event("keys/a")?];
        fixture.wait(async {
            let mut commit = store.commit(changes);
            // Polled once, and dropped.
            poll_fn(|context| {
                let _ = commit.as_mut().poll(context);
                Poll::Ready(())
            })
            .await;
        })?;
        // It may be made later; the next commit waits for it, or is refused by it.
        let next = put(before, &[("c", &name)]);
        let is_made = match fixture.wait(store.commit(next))? {
            Ok(()) => false,
            Err(StoreError::Conflict { .. }) => true,
            Err(error) => return Err(broken(format!("the commit after a dropped one failed: {error}"))),
        };
        let (rows, head) = fixture.load(Scope::Everything)?;
        let changed = rows.iter().filter(|row| row.revision == before.next()).count();
        must_be("rows of the revision", &changed, &if is_made { 2 } else { 1 })?;
        must_be("the head", &head, &Head::new(before.next(), code(before.next())))?;
    }
    Ok(())
}

pub(super) fn a_backup_is_one_commit(fixture: &Fixture) -> Checked {
    let store = fixture.store();
    let claim = |counter| Claim::new(ClaimKind::Count, "version", "", counter, "");
    fixture.must("to swap", store.swap(Swap::Insert(claim(1))))?;
    let (former, next) = (Revision::new(3), Revision::new(1 << 32));
    let mut changes = put(Revision::ZERO, &[("a", "one")]);
    changes.next = next;
    changes.rows.iter_mut().for_each(|row| row.revision = former);
    changes.claims = vec![claim(2), Claim::new(ClaimKind::Usage, "version", "", 3, "{}")];
    changes.events = vec![event("tenants/a")?, event("tenants/b")?];
    changes
        .events
        .iter_mut()
        .take(1)
        .for_each(|event| event.revision = Some(former));
    let head = changes.head();
    fixture.commit(changes)?;
    let (changes, found) = fixture.changes(Revision::ZERO)?;
    must_be("the head", &found, &head)?;
    let revisions: Vec<_> = changes
        .iter()
        .map(|change| (change.revision, change.row.as_ref().map(|row| row.revision)))
        .collect();
    must_be(
        "the revisions of change and row",
        &revisions,
        &vec![(former, Some(former))],
    )?;
    let (counts, at) = fixture.must("to list claims", store.claims(ClaimKind::Count))?;
    must_be("the counts and their revision", &(counts, at), &(vec![claim(2)], next))?;
    let usages = fixture.must("to list claims", store.claims(ClaimKind::Usage))?.0;
    must_be("the claims of another kind", &usages.len(), &1)?;
    let events = fixture.must("to list events", store.events(0, 10))?;
    let revisions: Vec<_> = events.iter().map(|(_, event)| event.revision).collect();
    must_be(
        "the revisions of the events",
        &revisions,
        &vec![Some(former), Some(next)],
    )?;
    let told = fixture.must("to follow", store.follow(former))?;
    must_be("the revision that followers learn", &told, &next)?;
    let mut changes = put(next, &[("a", "two")]);
    changes.ended_claims = ["version", "unknown"].map(|id| (ClaimKind::Usage, id.into())).into();
    fixture.commit(changes)?;
    let usages = fixture.must("to list claims", store.claims(ClaimKind::Usage))?.0;
    must_be("claims that the commit has ended", &usages, &Vec::new())?;
    let counts = fixture.must("to list claims", store.claims(ClaimKind::Count))?.0;
    must_be("claims of another kind with that id", &counts, &vec![claim(2)])
}

pub(super) fn changes_outlive_a_restart(fixture: &Fixture) -> Checked {
    fixture.commit(put(Revision::ZERO, &[("a", "one"), ("b", "one")]))?;
    let mut second = put(Revision::new(1), &[("b", "two")]);
    second.removed = vec![(Table::Tenants, "a".into())];
    second.events = vec![event("tenants/b")?];
    fixture.commit(second)?;
    let claim = Claim::new(ClaimKind::Count, "version", "", 1 << 40, "");
    let store = fixture.store();
    fixture.must("to swap", store.swap(Swap::Insert(claim)))?;
    fixture.must("to record", store.record(vec![event("keys/refused")?]))?;
    let all = |fixture: &Fixture| {
        let store = fixture.store();
        let claims = fixture.must("to list claims", store.claims(ClaimKind::Count))?;
        let events = fixture.must("to list events", store.events(0, 10))?;
        let changes = fixture.changes(Revision::ZERO)?;
        Ok::<_, Problem>((fixture.load(Scope::Everything)?, changes, claims, events))
    };
    let before = all(fixture)?;
    drop(store);
    fixture.restart()?;
    must_be("the state after a restart", &all(fixture)?, &before)?;
    fixture.commit(put(Revision::new(2), &[("c", "three")]))
}
