//! What is said of a token's health, from the last test of it and from what is known at this moment (HLT-1, HLT-3).

use std::time::{Duration, Instant};

use xks_core::{FleetMember, Health, HealthStatus};

use crate::{pool::Load, token::Token};

/// HLT-3: what is older is not told any more.
const OLDEST: Duration = Duration::from_secs(60);

/// What a busy machine may add.
const A_SECOND: Duration = Duration::from_secs(1);

/// What came out of a test.
#[derive(Clone, Debug)]
pub(crate) struct Checkup {
    pub(crate) at: Instant,
    /// The time that an encryption took, or a decryption, whichever took longer.
    pub(crate) latency: Duration,
    /// Whether there is a key to test with. Without one the token was only asked for what it says of itself.
    pub(crate) is_deep: bool,
}

/// How a token is, and why it is not better.
pub(crate) fn status(token: &Token, load: &Load) -> (HealthStatus, Option<String>) {
    if !token.is_connected() {
        return (HealthStatus::Unavailable, Some(token.problem().to_string()));
    }
    if let Some(fault) = token.iv_fault() {
        return (HealthStatus::Unavailable, Some(fault.to_owned()));
    }
    if token.is_doubtful() {
        let why = "requests fail, although the test of the token succeeds";
        return (HealthStatus::Unavailable, Some(why.to_owned()));
    }
    let bounds = Bounds {
        latency: token.config.latency_bound,
        silence: (token.config.health_interval + A_SECOND).saturating_add(token.config.deadline),
    };
    judge(token.checkup().as_ref(), Instant::now(), load, bounds)
}

/// What a token that works keeps to.
#[derive(Clone, Copy)]
struct Bounds {
    latency: Duration,
    /// So long after a test there is another, or it hangs.
    silence: Duration,
}

/// What the last test of a token that is connected is worth.
fn judge(checkup: Option<&Checkup>, now: Instant, load: &Load, bounds: Bounds) -> (HealthStatus, Option<String>) {
    let unavailable = |why: &str| (HealthStatus::Unavailable, Some(why.to_owned()));
    let degraded = |why: String| (HealthStatus::Degraded, Some(why));
    let Some(checkup) = checkup.filter(|checkup| now.saturating_duration_since(checkup.at) <= OLDEST) else {
        return unavailable("the test of the token has not ended for more than 60 seconds");
    };
    if load.is_stuck {
        return unavailable("every call of the module hangs");
    }
    if load.written_off > 0 {
        let is_long_ago = |at| now.saturating_duration_since(at) > bounds.silence;
        if is_long_ago(checkup.at) && load.done.is_none_or(is_long_ago) {
            return unavailable("calls of the module hang, and so does the test of the token");
        }
        return degraded(format!("{} calls have not returned", load.written_off));
    }
    if checkup.latency > bounds.latency {
        return degraded(format!("a test operation took {:?}", checkup.latency));
    }
    if !checkup.is_deep {
        return degraded("there is no test key".to_owned());
    }
    (HealthStatus::Active, None)
}

/// The token as a member of a fleet: its serial number, its model and its firmware.
pub(crate) fn report(token: &Token, load: &Load) -> Health {
    let (status, why) = status(token, load);
    if let Some(why) = why {
        tracing::debug!(%status, why, "health");
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
        FleetMember::new(id.unwrap_or_else(|| token.name()), model, status),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use HealthStatus::{Active, Degraded, Unavailable};

    const BOUNDS: Bounds = Bounds {
        latency: Duration::from_millis(100),
        silence: Duration::from_secs(10),
    };

    /// HLT-3: what a test has come to is not told any more after 60 seconds.
    #[test]
    fn a_test_grows_old() {
        let checkup = Checkup {
            at: Instant::now(),
            latency: Duration::from_millis(1),
            is_deep: true,
        };
        let status = |checkup, seconds| {
            let now = Instant::now() + Duration::from_secs(seconds);
            judge(checkup, now, &Load::default(), BOUNDS).0
        };
        assert_eq!(status(Some(&checkup), 59), Active);
        assert_eq!(status(Some(&checkup), 61), Unavailable);
        assert_eq!(status(None, 0), Unavailable);
    }

    /// HLT-1: what works only in part, slowly, or untested, is not said to be well.
    #[test]
    fn what_is_not_well_is_said() {
        let well = Checkup {
            at: Instant::now(),
            latency: Duration::from_millis(1),
            is_deep: true,
        };
        let status = |checkup: &Checkup, load: &Load| judge(Some(checkup), Instant::now(), load, BOUNDS).0;
        let idle = Load::default();
        assert_eq!(status(&well, &idle), Active);
        let slow = Checkup {
            latency: Duration::from_millis(101),
            ..well
        };
        assert_eq!(status(&slow, &idle), Degraded);
        let untested = Checkup { is_deep: false, ..well };
        assert_eq!(status(&untested, &idle), Degraded);
        let mut load = Load { written_off: 1, ..idle };
        assert_eq!(status(&well, &load), Degraded);
        load.is_stuck = true;
        assert_eq!(status(&well, &load), Unavailable);
    }
    /// HLT-1: a call that hangs is one session less, unless nothing else returns either.
    #[test]
    fn nothing_returns() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let checkup = Checkup {
            at: start,
            latency: Duration::from_millis(1),
            is_deep: true,
        };
        let status = |now, written_off, done| {
            let load = Load {
                written_off,
                done,
                ..Load::default()
            };
            judge(Some(&checkup), now, &load, BOUNDS).0
        };
        assert_eq!(status(after(11), 1, None), Unavailable);
        assert_eq!(status(after(11), 1, Some(start)), Unavailable);
        assert_eq!(status(after(11), 1, Some(after(2))), Degraded, "a request has returned");
        assert_eq!(status(after(9), 1, None), Degraded, "the next test is not due");
        assert_eq!(status(after(11), 0, None), Active, "nothing but the test hangs");
    }
}
