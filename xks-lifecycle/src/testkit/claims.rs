//! Contracts about claims: compare and swap, outside of the revision.

use std::thread;

use super::fixture::{Checked, Fixture, broken, event, must_be, put};
use crate::store::{Claim, ClaimKind, Revision, Scope, StoreError, Swap, Swapped};

fn swap(fixture: &Fixture, swap: Swap) -> Result<Swapped, super::Problem> {
    let store = fixture.store();
    fixture.must("to swap a claim", store.swap(swap))
}

pub(super) fn claims_change_as_seen(fixture: &Fixture) -> Checked {
    let first = Claim::new(ClaimKind::Node, "node-1", "incarnation-1", 1, "revision 7");
    let other_kind = Claim::new(ClaimKind::Job, "node-1", "x", 1, "");
    let is = |what: &str, outcome: Swapped, is_done: bool, claim: Option<&Claim>| {
        must_be(what, &(outcome.is_done, outcome.claim), &(is_done, claim.cloned()))
    };
    is(
        "to insert",
        swap(fixture, Swap::Insert(first.clone()))?,
        true,
        Some(&first),
    )?;
    is(
        "to insert of another kind",
        swap(fixture, Swap::Insert(other_kind.clone()))?,
        true,
        Some(&other_kind),
    )?;
    let second = Claim::new(ClaimKind::Node, "node-1", "incarnation-2", u64::MAX, "");
    is(
        "to insert again",
        swap(fixture, Swap::Insert(second.clone()))?,
        false,
        Some(&first),
    )?;
    let replace = |seen: &Claim, next: &Claim| {
        let (seen, next) = (seen.clone(), next.clone());
        swap(fixture, Swap::Replace { seen, next })
    };
    let of_other = Claim::new(ClaimKind::Node, "node-1", "incarnation-2", 1, "revision 7");
    let of_before = first.with_counter(0);
    for seen in [&of_other, &of_before] {
        is(
            "to replace what has changed",
            replace(seen, &second)?,
            false,
            Some(&first),
        )?;
        is(
            "to delete what has changed",
            swap(fixture, Swap::Delete(seen.clone()))?,
            false,
            Some(&first),
        )?;
    }
    let same_but_body = Claim::new(ClaimKind::Node, "node-1", "incarnation-1", 1, "another body");
    is("to replace", replace(&same_but_body, &second)?, true, Some(&second))?;
    is(
        "to replace what is past",
        replace(&first, &first)?,
        false,
        Some(&second),
    )?;
    is("to delete", swap(fixture, Swap::Delete(second.clone()))?, true, None)?;
    is(
        "to delete again",
        swap(fixture, Swap::Delete(second.clone()))?,
        false,
        None,
    )?;
    is("to replace what is not there", replace(&second, &first)?, false, None)
}

pub(super) fn claims_change_one_by_one(fixture: &Fixture) -> Checked {
    const THREADS: u64 = 4;
    const TIMES: u64 = 25;
    let zero = Claim::new(ClaimKind::Count, "version", "", 0, "");
    swap(fixture, Swap::Insert(zero.clone()))?;
    let add = || {
        let mut seen = zero.clone();
        for _ in 0..TIMES {
            loop {
                let next = seen.with_counter(seen.counter + 1);
                let swapped = swap(fixture, Swap::Replace { seen, next })?;
                seen = swapped.claim.ok_or_else(|| broken("the claim is gone"))?;
                if swapped.is_done {
                    break;
                }
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(add)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(broken("a swap panicked"))))
    })?;
    let store = fixture.store();
    let (claims, _) = fixture.must("to list claims", store.claims(ClaimKind::Count))?;
    must_be("the count", &claims, &vec![zero.with_counter(THREADS * TIMES)])
}

pub(super) fn claims_are_listed(fixture: &Fixture) -> Checked {
    let claim = |kind, id: &str| Claim::new(kind, id, "owner", 3, "");
    for id in ["b", "a", "c"] {
        swap(fixture, Swap::Insert(claim(ClaimKind::Job, id)))?;
    }
    swap(fixture, Swap::Insert(claim(ClaimKind::Node, "d")))?;
    let store = fixture.store();
    let (claims, _) = fixture.must("to list claims", store.claims(ClaimKind::Job))?;
    let expected: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|id| claim(ClaimKind::Job, id))
        .collect();
    must_be("the claims", &claims, &expected)
}

pub(super) fn swaps_list_their_kind(fixture: &Fixture) -> Checked {
    fixture.commit(put(Revision::ZERO, &[("a", "one")]))?;
    let claim = |kind, id: &str| Claim::new(kind, id, "owner", 1, "");
    let (first, second) = (claim(ClaimKind::Node, "a"), claim(ClaimKind::Node, "b"));
    swap(fixture, Swap::Insert(claim(ClaimKind::Job, "a")))?;
    let renewed = first.with_counter(2);
    let next = renewed.clone();
    let replace = Swap::Replace {
        seen: first.clone(),
        next,
    };
    for (change, is_done, claim, listed) in [
        (Swap::Insert(first.clone()), true, Some(&first), vec![&first]),
        (Swap::Insert(second.clone()), true, Some(&second), vec![&first, &second]),
        (replace.clone(), true, Some(&renewed), vec![&renewed, &second]),
        (replace, false, Some(&renewed), vec![&renewed, &second]),
        (
            Swap::Delete(first.clone()),
            false,
            Some(&renewed),
            vec![&renewed, &second],
        ),
        (Swap::Delete(renewed.clone()), true, None, vec![&second]),
    ] {
        let what = format!("the outcome of {change:?}");
        let store = fixture.store();
        let (swapped, claims) = fixture.must("to swap and list", store.swap_and_list(change))?;
        let expected = Swapped::new(is_done, claim.cloned(), Revision::new(1));
        must_be(&what, &(swapped, claims.iter().collect()), &(expected, listed))?;
    }
    Ok(())
}

pub(super) fn claims_do_not_move_the_revision(fixture: &Fixture) -> Checked {
    fixture.commit(put(Revision::ZERO, &[("a", "one")]))?;
    let claim = Claim::new(ClaimKind::Node, "node", "owner", 1, "");
    let revision = Revision::new(1);
    let next = claim.with_counter(2);
    for change in [
        Swap::Insert(claim.clone()),
        Swap::Replace {
            seen: claim,
            next: next.clone(),
        },
        Swap::Delete(next),
    ] {
        must_be("the revision of the swap", &swap(fixture, change)?.revision, &revision)?;
        must_be("the revision", &fixture.revision()?, &revision)?;
    }
    let store = fixture.store();
    must_be(
        "the revision of the list",
        &fixture.must("to list claims", store.claims(ClaimKind::Node))?.1,
        &revision,
    )
}

pub(super) fn commits_are_made_under_a_claim(fixture: &Fixture) -> Checked {
    let store = fixture.store();
    let claim = |owner, counter| Claim::new(ClaimKind::Job, "scheduler", owner, counter, "");
    let refused = |expected, condition| {
        let mut changes = put(expected, &[("a", "refused")]);
        changes.claims = vec![Claim::new(ClaimKind::Count, "version", "", 1, "")];
        changes.events = vec![event("tenants/a")?];
        changes.condition = Some(condition);
        match fixture.wait(store.commit(changes))? {
            Err(StoreError::ClaimLost { id }) => must_be("the claim", &&*id, &"scheduler"),
            other => Err(broken(format!(
                "a commit under a claim that is not there gives {other:?}"
            ))),
        }
    };
    refused(Revision::ZERO, claim("one", 1))?;
    let swapped = fixture.must("to swap", store.swap(Swap::Insert(claim("one", 2))))?;
    must_be("whether it was inserted", &swapped.is_done, &true)?;
    refused(Revision::ZERO, claim("one", 1))?;
    refused(Revision::ZERO, claim("one", 3))?;
    refused(Revision::ZERO, claim("other", 2))?;
    let of_other_kind = Claim::new(ClaimKind::Node, "scheduler", "one", 2, "");
    refused(Revision::ZERO, of_other_kind)?;
    let (rows, head) = fixture.load(Scope::Everything)?;
    must_be("rows after what was refused", &rows.len(), &0)?;
    must_be("the revision", &head.revision, &Revision::ZERO)?;
    let counts = fixture.must("to list claims", store.claims(ClaimKind::Count))?.0;
    must_be("claims of what was refused", &counts, &Vec::new())?;
    let events = fixture.must("to list events", store.events(0, 10))?;
    must_be("events of what was refused", &events.len(), &0)?;
    let mut changes = put(Revision::ZERO, &[("a", "one")]);
    changes.condition = Some(claim("one", 2));
    fixture.commit(changes)?;
    let (claims, revision) = fixture.must("to list claims", store.claims(ClaimKind::Job))?;
    must_be("the claim after the commit", &claims, &vec![claim("one", 2)])?;
    must_be("the revision", &revision, &Revision::new(1))
}
