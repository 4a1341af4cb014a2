//! The health of a token: from its last test, from what becomes of requests, and from what is
//! in the module at this moment. Nothing is asked of the token for it.
//!
//! Health follows what requests can have **within their deadline**, for each kind of them: an encryption, an
//! encryption with integrity value, which is decrypted again before it is answered, and a decryption.
//!
//! * A kind is **served** if the last test says that it takes no longer than the deadline, or if a request of
//!   this kind was answered since that test; but not if three or more of its requests in a row, over two
//!   seconds and two deadlines at least, were late, `Throttled` or `Unavailable`. The first one that is
//!   answered ends such a row; so does a test, when no other request of the kind has failed for as long as
//!   there is between two tests; and so does the recovery of a token that was found not to work.
//! * Health is **UNAVAILABLE** when no kind is served; when requests of all kinds were `Throttled` in such a
//!   row; when the token gives no session to requests; when all threads hang, or nothing returns from the
//!   module; when the token is not connected, fails requests although its test succeeds, or repeats IVs; and
//!   when there was no test for 60 seconds.
//! * It is **DEGRADED** when a kind is not served; when calls have not returned; when an operation of
//!   the test took longer than [`latency_bound`](crate::Config::latency_bound); when an operation of
//!   the test fails, though requests are served; and when the test key that was asked for is not there.
//! * Otherwise it is **ACTIVE**, also where the token makes no session key for tests: what it answers is
//!   tested then, and requests tell the rest.

mod outcomes;
mod standstill;

use std::time::{Duration, Instant};

use xks_core::backend::{EkmStatus, Health, HealthStatus};

pub(crate) use self::{
    outcomes::{Outcomes, RequestKind},
    standstill::Supervision,
};
use crate::{threads::Load, token::Token};

// HLT-3: what is older is not told any more.
const OLDEST: Duration = Duration::from_secs(60);

/// What a busy machine may add.
const A_SECOND: Duration = Duration::from_secs(1);

/// For so long, and for two deadlines, requests fail or nothing returns before that is believed.
const LONG: Duration = Duration::from_secs(2);

/// The outcome of a test.
#[derive(Clone, Debug)]
pub(crate) struct Checkup {
    pub(crate) at: Instant,
    /// The time that an encryption took, or a decryption, whichever took longest.
    pub(crate) latency: Duration,
    /// The time that the faster encryption took, and the faster decryption: a busy machine is not the token's
    /// fault.
    pub(crate) encryption: Duration,
    pub(crate) decryption: Duration,
    pub(crate) depth: Depth,
}

/// What was tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Encryption and decryption: the known-answer test.
    Full,
    /// What a token answers that makes no session key to encrypt with.
    WithoutKey,
    /// The same, because the operator wants it so, or the key that was named is not there: why.
    NoKey(String),
    /// An operation has failed, and others are served: which.
    Failed(String),
}

impl Checkup {
    /// How long a request of this kind takes at least.
    fn takes(&self, kind: RequestKind) -> Duration {
        match kind {
            RequestKind::Encrypt => self.encryption,
            RequestKind::EncryptVerified => self.encryption + self.decryption,
            RequestKind::Decrypt => self.decryption,
        }
    }

    /// Whether something of it is not as it should be, and may soon be better.
    pub(crate) fn is_poor(&self, bound: Duration, deadline: Duration) -> bool {
        matches!(self.depth, Depth::Failed(_))
            || self.latency > bound
            || self.takes(RequestKind::EncryptVerified) > deadline
    }
}

/// The health of a token, and why it is not better.
pub(crate) fn status(token: &Token, load: &Load) -> (HealthStatus, Option<String>) {
    if !token.is_connected() {
        return (HealthStatus::Unavailable, Some(token.problem().to_string()));
    }
    if let Some(fault) = token.iv_fault() {
        return (HealthStatus::Unavailable, Some(fault.to_owned()));
    }
    if token.is_suspect() {
        return (HealthStatus::Unavailable, Some(token.suspicion()));
    }
    let config = &token.config;
    let bounds = Bounds {
        latency: config.latency_bound,
        deadline: config.deadline,
        interval: config.health_interval,
    };
    let now = Instant::now();
    let silent_since = standstill::silent_since(load, &token.supervision.look(), config.deadline, now);
    judge(
        token.checkup().as_ref(),
        now,
        load,
        silent_since,
        &token.outcomes,
        bounds,
    )
}

/// For how long nothing but the return of a call, or another process, can have had requests served; none
/// while something else can.
pub(crate) fn stuck(token: &Token, load: &Load) -> Option<Duration> {
    let now = Instant::now();
    let since = standstill::stuck_since(load, &token.supervision.look(), token.config.deadline, now)?;
    Some(now.saturating_duration_since(since))
}

/// What a token that works keeps to.
#[derive(Clone, Copy)]
struct Bounds {
    latency: Duration,
    deadline: Duration,
    /// Between two tests.
    interval: Duration,
}

impl Bounds {
    /// So long after a test there is another, or it hangs.
    fn silence(&self) -> Duration {
        (self.interval + A_SECOND).saturating_add(self.deadline)
    }

    fn long(&self) -> Duration {
        LONG.max(self.deadline.saturating_mul(2))
    }
}

/// The health of a token that is connected.
fn judge(
    checkup: Option<&Checkup>,
    now: Instant,
    load: &Load,
    silent_since: Option<Instant>,
    outcomes: &Outcomes,
    bounds: Bounds,
) -> (HealthStatus, Option<String>) {
    let unavailable = |why: String| (HealthStatus::Unavailable, Some(why));
    let degraded = |why: String| (HealthStatus::Degraded, Some(why));
    let is_over = |at, time| now.saturating_duration_since(at) > time;
    let Some(checkup) = checkup.filter(|checkup| !is_over(checkup.at, OLDEST)) else {
        return unavailable("no known-answer test has ended for more than 60 seconds".to_owned());
    };
    if load.is_stuck {
        return unavailable("every call of the module hangs".to_owned());
    }
    let is_old = |at| is_over(at, bounds.silence());
    // The supervisor's searches alone may take seconds.
    let patience = if load.abandoned > 0 {
        bounds.long()
    } else {
        bounds.silence()
    };
    if silent_since.is_some_and(|since| is_over(since, patience))
        || load.abandoned > 0 && is_old(checkup.at) && load.done.is_none_or(is_old)
    {
        return unavailable("calls of the module hang, and so does the known-answer test".to_owned());
    }
    if load.sessions == 0 {
        return unavailable("no session for requests: other applications use all that the token allows".to_owned());
    }
    let (long, recent) = (bounds.long(), bounds.interval);
    if let Some(count) = outcomes.refusing(long, recent) {
        return unavailable(format!("the last {count} requests were throttled, and none was served"));
    }
    let problem = |kind: RequestKind| {
        let (name, deadline, takes) = (kind.name(), bounds.deadline, checkup.takes(kind));
        if let Some(count) = outcomes.failing(kind, long, recent) {
            return Some(format!(
                "no {name} succeeds within the deadline ({deadline:?}): the last {count} failed"
            ));
        }
        let is_late = takes > deadline && !outcomes.was_served(kind);
        is_late.then(|| format!("{name} takes {takes:?}, longer than the deadline ({deadline:?})"))
    };
    let problems: Vec<_> = RequestKind::ALL.into_iter().filter_map(problem).collect();
    if problems.len() == RequestKind::ALL.len() {
        return unavailable(problems.join("; "));
    }
    if !problems.is_empty() {
        return degraded(problems.join("; "));
    }
    if load.abandoned > 0 {
        return degraded(format!("{} calls have not returned", load.abandoned));
    }
    if checkup.latency > bounds.latency {
        return degraded(format!(
            "an operation of the known-answer test took {:?}",
            checkup.latency
        ));
    }
    if let Depth::NoKey(why) | Depth::Failed(why) = &checkup.depth {
        return degraded(why.clone());
    }
    (HealthStatus::Active, None)
}

/// The token as a member of a fleet: its serial number, its model and its firmware.
// HLT-6
pub(crate) fn report(token: &Token, load: &Load) -> Health {
    let (status, why) = status(token, load);
    if let Some(why) = why {
        tracing::debug!(health = %status, why, "health");
    }
    let info = token.info();
    let info = info.as_deref();
    let model = info.map_or_else(
        || "unknown".to_owned(),
        |info| {
            let (major, minor) = info.firmware;
            let (model, serial) = (&info.model, &info.serial);
            format!("{model}, firmware {major}.{minor}, serial number {serial}")
        },
    );
    let manufacturer = || {
        info.map(|info| info.manufacturer.clone())
            .filter(|name| !name.is_empty())
    };
    let vendor = match token.config.quirks.vendor() {
        Some(vendor) => vendor.to_owned(),
        None => manufacturer().unwrap_or_else(|| "unknown".to_owned()),
    };
    // NSS has zeros for a serial number.
    let serial = || {
        info.map(|info| info.serial.clone())
            .filter(|serial| serial.contains(|digit| digit != '0'))
    };
    let id = token.config.id.clone().or_else(serial);
    Health::new(
        vendor,
        EkmStatus::new(id.unwrap_or_else(|| token.name()), model, status),
    )
}

#[cfg(test)]
mod tests;
