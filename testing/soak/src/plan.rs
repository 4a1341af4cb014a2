//! The plan of a run: its phases and their order, decided by the seed alone.

use std::{collections::HashSet, time::Duration};

/// A kind of phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    // the operator
    ReloadKeys,
    RotateCredential,
    SwapCertificate,
    ReopenBackend,
    BreakSettings,
    // the token
    ErrorCodes,
    Hang,
    Latency,
    Storm,
    StickyStorm,
    CloseSessions,
    LogOut,
    RemoveToken,
    LimitSessions,
    FlipBits,
    HideSlots,
    ZeroIv,
    RepeatIv,
    // the keys
    CreateKey,
    RecreateKey,
    ChangeUsage,
}

impl Kind {
    const ALL: [Self; 21] = [
        Self::ReloadKeys,
        Self::RotateCredential,
        Self::SwapCertificate,
        Self::ReopenBackend,
        Self::BreakSettings,
        Self::ErrorCodes,
        Self::Hang,
        Self::Latency,
        Self::Storm,
        Self::StickyStorm,
        Self::CloseSessions,
        Self::LogOut,
        Self::RemoveToken,
        Self::LimitSessions,
        Self::FlipBits,
        Self::HideSlots,
        Self::ZeroIv,
        Self::RepeatIv,
        Self::CreateKey,
        Self::RecreateKey,
        Self::ChangeUsage,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ReloadKeys => "reload-keys",
            Self::RotateCredential => "rotate-credential",
            Self::SwapCertificate => "swap-certificate",
            Self::ReopenBackend => "reopen-backend",
            Self::BreakSettings => "break-settings",
            Self::ErrorCodes => "error-codes",
            Self::Hang => "hang",
            Self::Latency => "latency",
            Self::Storm => "storm",
            Self::StickyStorm => "sticky-storm",
            Self::CloseSessions => "close-sessions",
            Self::LogOut => "log-out",
            Self::RemoveToken => "remove-token",
            Self::LimitSessions => "limit-sessions",
            Self::FlipBits => "flip-bits",
            Self::HideSlots => "hide-slots",
            Self::ZeroIv => "zero-iv",
            Self::RepeatIv => "repeat-iv",
            Self::CreateKey => "create-key",
            Self::RecreateKey => "recreate-key",
            Self::ChangeUsage => "change-usage",
        }
    }

    /// Only where the token makes the IVs.
    const fn is_of_written_back_ivs(self) -> bool {
        matches!(self, Self::ZeroIv | Self::RepeatIv)
    }
}

/// One of the two runs of the proxy: it is started again in between, on the same tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) name: &'static str,
    pub(crate) has_tls: bool,
    /// Whether the token makes the IVs, as nShield does.
    pub(crate) writes_ivs_back: bool,
    /// Its part of the time.
    pub(crate) part: f64,
}

impl Life {
    /// Both, with TLS in the first, in the second or in both.
    pub(crate) const fn both(tls: [bool; 2]) -> [Self; 2] {
        let [first, second] = tls;
        [
            Self {
                name: "first life",
                has_tls: first,
                writes_ivs_back: false,
                part: 0.7,
            },
            Self {
                name: "second life",
                has_tls: second,
                writes_ivs_back: true,
                part: 0.3,
            },
        ]
    }

    /// What can happen in it.
    fn kinds(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| {
            (!kind.is_of_written_back_ivs() || self.writes_ivs_back) && (*kind != Kind::SwapCertificate || self.has_tls)
        })
    }
}

/// A phase to come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) kind: Kind,
    /// How long the disturbance lasts.
    pub(crate) hold: Duration,
    /// How long it is calm afterwards.
    pub(crate) calm: Duration,
    /// It belongs to what must happen at the least.
    pub(crate) is_needed: bool,
}

/// The phases of a life: first each that no other life has, in an order by the seed, then any, without end.
pub(crate) struct Plan {
    rng: fastrand::Rng,
    needed: Vec<Kind>,
    any: Vec<Kind>,
    scale: f64,
}

impl Plan {
    /// One for each life, of a run of `total`.
    pub(crate) fn of(lives: &[Life], seed: u64, total: Duration) -> Vec<Self> {
        let mut seen = HashSet::new();
        let plans = lives.iter().zip(0..).map(|(life, number)| {
            let mut rng = fastrand::Rng::with_seed(seed ^ (number << 32));
            let mut needed: Vec<_> = life.kinds().filter(|kind| seen.insert(*kind)).collect();
            rng.shuffle(&mut needed);
            Self {
                rng,
                needed,
                any: life.kinds().collect(),
                // In a minute all that is needed has to find its place, in ten there is time to look longer.
                scale: (total.as_secs_f64() / 240.0).clamp(0.2, 1.0),
            }
        });
        plans.collect()
    }
}

impl Iterator for Plan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let needed = self.needed.pop();
        let kind = needed.or_else(|| self.rng.choice(self.any.iter().copied()))?;
        let mut time = |least: f64, most: f64| {
            let seconds = least + self.rng.f64() * (most - least);
            Duration::from_secs_f64(seconds * self.scale)
        };
        Some(Step {
            kind,
            hold: time(2.0, 6.0),
            calm: time(1.5, 5.0),
            is_needed: needed.is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn steps(tls: [bool; 2], seed: u64, number: usize) -> Vec<Vec<Step>> {
        let plans = Plan::of(&Life::both(tls), seed, MINUTE);
        plans.into_iter().map(|plan| plan.take(number).collect()).collect()
    }

    #[test]
    fn each_kind_is_needed_once_and_comes_before_all_that_is_not() {
        for seed in 0..50 {
            let lives = steps([true, false], seed, 30);
            let needed = |life: &Vec<Step>| life.iter().take_while(|step| step.is_needed).count();
            let kinds: Vec<_> = lives
                .iter()
                .flat_map(|life| &life[..needed(life)])
                .map(|step| step.kind)
                .collect();
            assert_eq!(kinds.len(), Kind::ALL.len());
            assert_eq!(kinds.into_iter().collect::<BTreeSet<_>>(), Kind::ALL.into());
            assert!(
                lives
                    .iter()
                    .all(|life| !life[needed(life)..].iter().any(|step| step.is_needed))
            );
        }
    }

    #[test]
    fn the_seed_decides() {
        assert_eq!(steps([true, false], 7, 100), steps([true, false], 7, 100));
        assert_ne!(steps([true, false], 7, 100), steps([true, false], 8, 100));
    }

    #[test]
    fn certificates_and_ivs_are_disturbed_only_where_there_are_some() {
        for step in steps([false, false], 1, 500).concat() {
            assert_ne!(step.kind, Kind::SwapCertificate);
        }
        let lives = steps([true, true], 1, 500);
        assert!(!lives[0].iter().any(|step| step.kind.is_of_written_back_ivs()));
        assert!(
            lives[1]
                .iter()
                .any(|step| step.kind == Kind::SwapCertificate && !step.is_needed)
        );
    }

    #[test]
    fn names_differ() {
        assert_eq!(
            Kind::ALL.map(Kind::name).into_iter().collect::<BTreeSet<_>>().len(),
            Kind::ALL.len()
        );
    }
}
