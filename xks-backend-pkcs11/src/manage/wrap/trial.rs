//! The trial of a token's ways of wrapping: a known key is wrapped under a known RSA key, and what comes out
//! is opened outside of the token.

use std::fmt::{self, Write as _};

use cryptoki_sys as ck;
use xks_core::manage::WrappingAlgorithm;

use super::{
    known::KnownKey,
    opening::Opener,
    way::{WAYS, Way, destroy, with_public_key},
};
use crate::{error::CallError, keys::On, manage::refusal, raw::Wrapping};

/// What a trial has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The best first, one for each algorithm.
    ways: Vec<(WrappingAlgorithm, Way)>,
    rejected: Vec<(WrappingAlgorithm, Way, WhyNot)>,
}

/// Why a way is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WhyNot {
    Lacks(Wrapping),
    Refuses(CallError),
    /// What comes out is not the key, wrapped by this algorithm.
    Another,
    NoPublicKey(CallError),
    NoKnownKey(CallError),
    NoOpener,
}

impl Found {
    /// Tries all ways whose mechanisms the token has.
    ///
    /// # Errors
    /// A call failed that may succeed another time: nothing has been found out.
    pub(crate) fn by_trial(
        on: On<'_>,
        has_login: bool,
        has: impl Fn(ck::CK_MECHANISM_TYPE) -> Result<bool, CallError>,
    ) -> Result<Self, CallError> {
        let mut found = Self::default();
        let mut possible = Vec::new();
        for (algorithm, way) in WAYS {
            let mut lacking = None;
            for wrapping in way.mechanisms() {
                if lacking.is_none() && !has(wrapping.mechanism())? {
                    lacking = Some(wrapping);
                }
            }
            match lacking {
                Some(wrapping) => found.reject((algorithm, way), WhyNot::Lacks(wrapping)),
                None => possible.push((algorithm, way)),
            }
        }
        if possible.is_empty() {
            return Ok(found);
        }
        let Some(opener) = Opener::get() else {
            return Ok(found.reject_all(&possible, WhyNot::NoOpener));
        };
        let known = match KnownKey::new(on, has_login)? {
            Ok(known) => known,
            Err(error) => return Ok(found.reject_all(&possible, WhyNot::NoKnownKey(error))),
        };
        let tried = with_public_key(on, opener.modulus(), |public| {
            for (algorithm, way) in &possible {
                // The first is the best.
                if found.way_of(*algorithm).is_some() {
                    continue;
                }
                let why_not = match way.wrap(on, has_login, public, || Ok(known.handle)) {
                    Ok(wrapped) => {
                        let opened = opener.open(*algorithm, &wrapped);
                        let is_it = opened.is_some_and(|opened| known.is(&*opened, opener));
                        (!is_it).then_some(WhyNot::Another)
                    }
                    Err(error) if refusal::of(&error).is_some() => Some(WhyNot::Refuses(error)),
                    Err(error) => return Err(error),
                };
                match why_not {
                    None => found.ways.push((*algorithm, *way)),
                    Some(why_not) => found.reject((*algorithm, *way), why_not),
                }
            }
            Ok(())
        });
        destroy(on, known.handle);
        match tried {
            Ok(()) => Ok(found),
            Err(error) if refusal::of(&error).is_some() => Ok(found.reject_all(&possible, WhyNot::NoPublicKey(error))),
            Err(error) => Err(error),
        }
    }

    /// The way of an algorithm.
    pub(super) fn way_of(&self, algorithm: WrappingAlgorithm) -> Option<Way> {
        let way = self.ways.iter().find(|(other, _)| *other == algorithm);
        way.map(|(_, way)| *way)
    }

    /// The algorithms, the best first.
    pub(crate) fn algorithms(&self) -> Vec<WrappingAlgorithm> {
        self.ways.iter().map(|(algorithm, _)| *algorithm).collect()
    }

    /// Why there is no way of this algorithm, behind a colon; empty if nothing is known.
    pub(super) fn why_not(&self, algorithm: WrappingAlgorithm) -> String {
        let reasons = self.rejected.iter().filter(|(other, ..)| *other == algorithm);
        match listed(reasons.map(|(_, way, why)| format!("{way} ({why})"))) {
            reasons if reasons.is_empty() => reasons,
            reasons => format!(": not by {reasons}"),
        }
    }

    /// The ways that are used, for the log.
    pub(super) fn chosen(&self) -> String {
        listed(self.ways.iter().map(|(algorithm, way)| format!("{algorithm} by {way}")))
    }

    /// The other ways, for the log.
    pub(crate) fn rejected(&self) -> String {
        let rejected = self.rejected.iter();
        listed(rejected.map(|(algorithm, way, why)| format!("{algorithm} by {way} ({why})")))
    }

    fn reject(&mut self, (algorithm, way): (WrappingAlgorithm, Way), why: WhyNot) {
        self.rejected.push((algorithm, way, why));
        let order = |rejected: &Way| WAYS.iter().position(|(_, way)| way == rejected);
        self.rejected.sort_by_key(|(_, way, _)| order(way));
    }

    fn reject_all(mut self, ways: &[(WrappingAlgorithm, Way)], why: WhyNot) -> Self {
        for way in ways {
            self.reject(*way, why);
        }
        self
    }
}

fn listed(items: impl Iterator<Item = String>) -> String {
    items.fold(String::new(), |mut text, item| {
        let separator = if text.is_empty() { "" } else { "; " };
        // A text takes all that is written to it.
        let _ = write!(text, "{separator}{item}");
        text
    })
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lacks(wrapping) => write!(f, "no {}", wrapping.name()),
            Self::Refuses(error) => write!(f, "{error}"),
            Self::Another => f.write_str("what it makes opens as another key, or not at all"),
            Self::NoPublicKey(error) => write!(f, "no public key can be brought to the token: {error}"),
            Self::NoKnownKey(error) => write!(f, "no key to try it with: {error}"),
            Self::NoOpener => f.write_str("this build cannot try it: xks-backend-pkcs11 lacks its feature aws-lc-rs"),
        }
    }
}
