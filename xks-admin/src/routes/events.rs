//! Events: who did what, to what, and what came of it.

use serde::{Deserialize, Serialize};
use xks_lifecycle::{Event, FieldError, FieldProblem, commands::Commands};

use super::{Routes, resource::Limit};
use crate::{
    answer::{Answer, Page},
    call::Call,
    problem::Problem,
};

pub(super) fn routes() -> Routes {
    Routes::new().get("/events", list)
}

/// Which events: those after a number, or the last ones.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    after: Option<String>,
    #[serde(default)]
    limit: Limit,
    last: Option<Limit>,
}

/// An event with its number.
#[derive(Serialize)]
struct Numbered {
    number: u64,
    #[serde(flatten)]
    event: Event,
}

async fn list(call: Call) -> Result<Answer, Problem> {
    let query: EventsQuery = call.query()?;
    let limit = query.last.unwrap_or(query.limit).get();
    let after = match (&query.after, query.last) {
        (Some(_), Some(_)) => return Err(FieldError::new("last", FieldProblem::Unexpected).into()),
        (Some(after), None) => {
            let wrong = || Problem::parameter("after", "`after` must be the `next` of a page".to_owned());
            after.parse().map_err(|_| wrong())?
        }
        (None, None) => 0,
        (None, Some(_)) => last_number(&call.commands)
            .await?
            .saturating_sub(u64::try_from(limit).unwrap_or(u64::MAX)),
    };
    let events = call.commands.events(after, limit.saturating_add(1)).await?;
    let numbered = events.into_iter().map(|(number, event)| Numbered { number, event });
    Answer::json(&Page::of(numbered, limit, |last| last.number.to_string()))
}

/// The number of the latest event, 0 if there is none: numbers rise, so it is found by halves.
async fn last_number(commands: &Commands) -> Result<u64, Problem> {
    let next = async |after: u64| -> Result<Option<u64>, Problem> {
        Ok(commands.events(after, 1).await?.first().map(|(number, _)| *number))
    };
    let (mut last, mut step) = (0_u64, 1_u64);
    while let Some(found) = next(last.saturating_add(step)).await? {
        (last, step) = (found, step.saturating_mul(2));
    }
    let mut beyond = last.saturating_add(step); // there is none after this number
    while last < beyond {
        let middle = last + (beyond - last) / 2;
        match next(middle).await? {
            Some(found) => last = found,
            None => beyond = middle,
        }
    }
    Ok(last)
}
