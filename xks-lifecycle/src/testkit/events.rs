//! Contracts about events.

use super::fixture::{Checked, Fixture, broken, event, must_be, put};
use crate::{
    Event, EventText, Outcome,
    store::{Revision, StoreError},
};

fn text(text: &str) -> Result<EventText, super::Problem> {
    EventText::new("text", text).map_err(|error| broken(error.to_string()))
}

pub(super) fn events_are_appended(fixture: &Fixture) -> Checked {
    let store = fixture.store();
    let mut expected = Vec::new();
    for number in 0..7 {
        let mut event = event(&format!("keys/{number}"))?;
        if number % 2 == 0 {
            event.reason = Some(text("it's refused: \"ü\" \n")?);
            event.before = Some(text(r#"{"state":"enabled"}"#)?);
            event.after = Some(text(&"x".repeat(60_000))?);
        }
        event.outcome = match number % 3 {
            0 => Outcome::Done,
            1 => Outcome::Refused,
            _ => Outcome::Failed,
        };
        expected.push(event);
    }
    for events in expected.chunks(3) {
        fixture.must("to record events", store.record(events.to_vec()))?;
    }
    let (mut found, mut after): (Vec<Event>, u64) = (Vec::new(), 0);
    loop {
        let page = fixture.must("to list events", store.events(after, 2))?;
        if page.len() > 2 {
            return Err(broken("a page is longer than its limit"));
        }
        let Some((last, _)) = page.last() else { break };
        if page.iter().any(|(number, _)| *number <= after) || !page.is_sorted_by_key(|(number, _)| *number) {
            return Err(broken("a page does not go on where the last one ended"));
        }
        after = *last;
        found.extend(page.into_iter().map(|(_, event)| event));
    }
    must_be("the events", &found, &expected)
}

pub(super) fn events_of_commits_have_its_revision(fixture: &Fixture) -> Checked {
    let mut changes = put(Revision::ZERO, &[("a", "one")]);
    changes.events = vec![event("tenants/a")?, event("tenants/b")?];
    fixture.commit(changes.clone())?;
    let store = fixture.store();
    match fixture.wait(store.commit(changes.clone()))? {
        Err(StoreError::Conflict { .. }) => {}
        other => return Err(broken(format!("a second commit for revision 0 gave {other:?}"))),
    }
    let events = fixture.must("to list events", store.events(0, 10))?;
    let found: Vec<_> = events.into_iter().map(|(_, event)| event).collect();
    let expected: Vec<_> = changes
        .events
        .into_iter()
        .map(|event| Event {
            revision: Some(Revision::new(1)),
            ..event
        })
        .collect();
    must_be("the events", &found, &expected)
}

pub(super) fn events_do_not_move_the_revision(fixture: &Fixture) -> Checked {
    fixture.commit(put(Revision::ZERO, &[("a", "one")]))?;
    let store = fixture.store();
    fixture.must("to record an event", store.record(vec![event("keys/a")?]))?;
    must_be("the revision", &fixture.revision()?, &Revision::new(1))?;
    fixture.commit(put(Revision::new(1), &[("a", "two")]))
}
