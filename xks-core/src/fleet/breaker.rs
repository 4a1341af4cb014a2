//! The breaker of one member: whether requests should go to it. A state machine over given times, kept in one
//! atomic word, so that no request waits for another here.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Milliseconds since the fleet was built.
pub(super) type Millis = u64;

pub(super) fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    /// So many failures in a row open it.
    pub(super) failures: u16,
    /// How long it stays open the first time, in milliseconds; twice as long each time after that, ...
    pub(super) first: Millis,
    /// ... but no longer than this.
    pub(super) longest: Millis,
}

impl Policy {
    fn back_off(&self, openings: u8) -> Millis {
        let doublings = u32::from(openings.saturating_sub(1));
        let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

/// What is known of a member from its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is asked.
    Closed {
        /// How many times in a row it failed.
        failures: u16,
        /// How many times in a row the breaker opened before an operation succeeded.
        openings: u8,
    },
    /// It is asked for a probe when its time has come, or when no other member is left.
    Open {
        /// When it failed last.
        since: Millis,
        openings: u8,
        /// A request is on its way to it as the probe.
        is_probed: bool,
    },
}

impl State {
    pub(super) const NEW: Self = Self::Closed {
        failures: 0,
        openings: 0,
    };

    /// Whether an open breaker has been open for long enough.
    pub(super) fn is_due(self, now: Millis, policy: &Policy) -> bool {
        match self {
            Self::Closed { .. } => false,
            Self::Open { since, openings, .. } => now.saturating_sub(since) >= policy.back_off(openings),
        }
    }

    /// One request goes to a due member as the probe, and no second one beside it.
    fn probed(self, now: Millis, policy: &Policy) -> Option<Self> {
        match self {
            Self::Open {
                since,
                openings,
                is_probed: false,
            } if self.is_due(now, policy) => Some(Self::Open {
                since,
                openings,
                is_probed: true,
            }),
            _ => None,
        }
    }

    /// An operation failed. Those that were under way when the breaker opened, and those that went to an open
    /// member because no other was left, do not make it stay open for longer than it would.
    fn failed(self, was_probe: bool, now: Millis, policy: &Policy) -> Self {
        match self {
            Self::Closed { failures, openings } => {
                let failures = failures.saturating_add(1);
                if failures >= policy.failures {
                    Self::opened(openings, now)
                } else {
                    Self::Closed { failures, openings }
                }
            }
            Self::Open { openings, .. } if was_probe => Self::opened(openings, now),
            Self::Open {
                openings, is_probed, ..
            } => Self::Open {
                since: now,
                openings,
                is_probed,
            },
        }
    }

    /// The probe ended without telling anything about the member.
    fn released(self) -> Self {
        match self {
            Self::Open { since, openings, .. } => Self::Open {
                since,
                openings,
                is_probed: false,
            },
            closed @ Self::Closed { .. } => closed,
        }
    }

    /// Its health says that it works. A due member is closed on parole: the next failure opens it again, for
    /// longer, and only an operation that succeeds resets it.
    fn said_to_work(self, now: Millis, policy: &Policy) -> Self {
        match self {
            Self::Open { openings, .. } if self.is_due(now, policy) => Self::Closed {
                failures: policy.failures.saturating_sub(1),
                openings,
            },
            other => other,
        }
    }

    /// Its health says that it does not work, or did not arrive: no request needs to find that out.
    fn said_to_fail(self, now: Millis, policy: &Policy) -> Self {
        match self {
            Self::Closed { openings, .. } => Self::opened(openings, now),
            Self::Open { openings, .. } if self.is_due(now, policy) => Self::opened(openings, now),
            other => other,
        }
    }

    fn opened(openings: u8, now: Millis) -> Self {
        Self::Open {
            since: now,
            openings: openings.saturating_add(1).min(MAX_OPENINGS),
            is_probed: false,
        }
    }
}

/// 63: six bits.
pub(super) const MAX_OPENINGS: u8 = 0x3f;
const IS_OPEN: u64 = 1;
const IS_PROBED: u64 = 2;

/// The word of a state: two flags, 6 bits of openings, 16 of failures, 40 of milliseconds (34 years).
impl From<State> for u64 {
    fn from(state: State) -> Self {
        match state {
            State::Closed { failures, openings } => Self::from(openings) << 2 | Self::from(failures) << 8,
            State::Open {
                since,
                openings,
                is_probed,
            } => {
                let probed = if is_probed { IS_PROBED } else { 0 };
                IS_OPEN | probed | Self::from(openings) << 2 | since.min((1 << 40) - 1) << 24
            }
        }
    }
}

impl From<u64> for State {
    fn from(word: u64) -> Self {
        let openings = (word >> 2) as u8 & MAX_OPENINGS;
        if word & IS_OPEN == 0 {
            Self::Closed {
                failures: (word >> 8) as u16, // the lowest 16 bits
                openings,
            }
        } else {
            Self::Open {
                since: word >> 24,
                openings,
                is_probed: word & IS_PROBED != 0,
            }
        }
    }
}

/// What an event did to a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// It was closed before.
    Opened {
        /// For how long.
        back_off: Duration,
    },
    /// It was open before.
    Closed,
}

#[derive(Debug)]
pub(super) struct Breaker {
    state: AtomicU64,
    policy: Policy,
}

impl Breaker {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            state: AtomicU64::new(State::NEW.into()),
            policy,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state.load(Ordering::Relaxed).into()
    }

    pub(super) fn is_due(&self, now: Millis) -> bool {
        self.state().is_due(now, &self.policy)
    }

    /// Whether the caller's request is the probe of this member: exactly one is.
    pub(super) fn try_probe(&self, now: Millis) -> bool {
        let probed = |word| State::from(word).probed(now, &self.policy).map(u64::from);
        self.state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, probed)
            .is_ok()
    }

    pub(super) fn succeed(&self) -> Change {
        self.update(|_| State::NEW)
    }

    pub(super) fn fail(&self, was_probe: bool, now: Millis) -> Change {
        self.update(|state| state.failed(was_probe, now, &self.policy))
    }

    pub(super) fn release_probe(&self) {
        self.update(State::released);
    }

    pub(super) fn hear_that_it_works(&self, now: Millis) -> Change {
        self.update(|state| state.said_to_work(now, &self.policy))
    }

    pub(super) fn hear_that_it_fails(&self, now: Millis) -> Change {
        self.update(|state| state.said_to_fail(now, &self.policy))
    }

    fn update(&self, next: impl Fn(State) -> State) -> Change {
        // As long as all is well, nothing is written: members share no cache line that way.
        let changed = |word| Some(u64::from(next(State::from(word)))).filter(|next| *next != word);
        let Ok(before) = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed) else {
            return Change::None;
        };
        let before = State::from(before);
        match (before, next(before)) {
            (State::Open { .. }, State::Closed { .. }) => Change::Closed,
            (State::Closed { .. }, State::Open { openings, .. }) => Change::Opened {
                back_off: Duration::from_millis(self.policy.back_off(openings)),
            },
            _ => Change::None,
        }
    }
}
