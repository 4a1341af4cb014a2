//! Which member a request goes to next.

use std::sync::atomic::Ordering;

use super::{
    breaker::{Millis, State},
    member::Member,
    set::Set,
    standing::{Need, Place, Standing},
};

/// What a request is for, and where its key stands.
#[derive(Clone, Copy)]
pub(super) struct Aim {
    pub(super) need: Need,
    pub(super) standing: Standing,
}

/// How much a member is to be preferred: the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Usable {
        place: Place,
        is_standby: bool,
        is_degraded: bool,
        /// The reference is the first that works, while it is not known who holds the right key.
        suspected: usize,
        in_flight: usize,
    },
    /// Its breaker has been open for long enough: since when.
    Due(Millis),
    /// Since when.
    Open(Millis),
}

impl Rank {
    fn of((index, place, member): (usize, Place, &Member), aim: &Aim, now: Millis) -> Self {
        match member.breaker.state() {
            State::Closed { .. } => Self::Usable {
                place,
                is_standby: member.is_standby,
                is_degraded: member.is_degraded.load(Ordering::Relaxed),
                suspected: if aim.standing.is_suspect { index } else { 0 },
                in_flight: member.in_flight.load(Ordering::Relaxed),
            },
            State::Open { since, is_probed, .. } if !is_probed && member.breaker.is_due(now) => Self::Due(since),
            State::Open { since, .. } => Self::Open(since),
        }
    }
}

/// The member that a request goes to next.
pub(super) struct Choice<'f> {
    pub(super) index: usize,
    pub(super) member: &'f Member,
    pub(super) is_probe: bool,
    /// There is none left after it.
    pub(super) is_last: bool,
}

/// Chooses among the members that were not asked yet; none when all were that may be. `turn` decides between
/// equals.
pub(super) fn next<'f>(members: &'f [Member], turn: usize, asked: Set, now: Millis, aim: &Aim) -> Option<Choice<'f>> {
    let start = turn.checked_rem(members.len())?;
    let in_turn = members.iter().enumerate().cycle().skip(start).take(members.len());
    let left = in_turn.filter(|(index, _)| !asked.has(*index));
    let mut left = left.filter_map(|(index, member)| Some((index, aim.standing.place(index, aim.need)?, member)));
    let is_last = left.clone().count() == 1;
    let choice = |(index, _, member), is_probe| Choice {
        index,
        member,
        is_probe,
        is_last,
    };
    let best = left.clone().min_by_key(|best| Rank::of(*best, aim, now))?;
    // A request that has all its time before it finds out whether a primary that is due works again.
    if asked.is_empty() {
        let due = left
            .find(|(_, place, member)| *place <= Place::Holds && !member.is_standby && member.breaker.try_probe(now));
        if let Some(due) = due {
            return Some(choice(due, true));
        }
    }
    Some(choice(best, best.2.breaker.try_probe(now)))
}
