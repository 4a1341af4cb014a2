//! Which member a request goes to next.

use std::sync::atomic::Ordering;

use super::{
    breaker::{Millis, State},
    member::Member,
};

/// The members that a request has been with: one bit for each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked(u64);

impl Asked {
    pub(super) const MOST_MEMBERS: usize = 64;

    fn bit(index: usize) -> u64 {
        u32::try_from(index)
            .ok()
            .and_then(|index| 1_u64.checked_shl(index))
            .unwrap_or(0)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn has(self, index: usize) -> bool {
        self.0 & Self::bit(index) != 0
    }

    pub(super) fn insert(&mut self, index: usize) {
        self.0 |= Self::bit(index);
    }
}

/// How much a member is to be preferred: the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Usable {
        is_standby: bool,
        is_degraded: bool,
        in_flight: usize,
    },
    /// Its breaker has been open for long enough: since when.
    Due(Millis),
    /// Since when.
    Open(Millis),
}

impl Rank {
    fn of(member: &Member, now: Millis) -> Self {
        match member.breaker.state() {
            State::Closed { .. } => Self::Usable {
                is_standby: member.is_standby,
                is_degraded: member.is_degraded.load(Ordering::Relaxed),
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

/// Chooses among the members that were not asked yet; none when all were. `turn` decides between equals.
pub(super) fn next(members: &[Member], turn: usize, asked: Asked, now: Millis) -> Option<Choice<'_>> {
    let start = turn.checked_rem(members.len())?;
    let in_turn = members.iter().enumerate().cycle().skip(start).take(members.len());
    let mut left = in_turn.filter(|(index, _)| !asked.has(*index));
    let is_last = left.clone().count() == 1;
    let choice = |(index, member), is_probe| Choice {
        index,
        member,
        is_probe,
        is_last,
    };
    let best = left.clone().min_by_key(|(_, member)| Rank::of(member, now))?;
    // A request that has all its time before it finds out whether a primary that is due works again.
    if asked.is_empty() {
        let due = left.find(|(_, member)| !member.is_standby && member.breaker.try_probe(now));
        if let Some(due) = due {
            return Some(choice(due, true));
        }
    }
    Some(choice(best, best.1.breaker.try_probe(now)))
}
