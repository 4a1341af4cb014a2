//! What is said of health is true.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    Fixture, Problem,
    tools::{Checked, broken, must_refuse, require, said, usual_aad},
};
use crate::{BackendErrorKind, HealthStatus};

pub(super) fn health_is_told(fixture: &Fixture) -> Checked {
    fixture.encrypt(b"it works", usual_aad()?)?;
    let health = fixture.health()?;
    let health = health.map_err(|error| broken(format!("operations succeed, and health is {}", said(&error))))?;
    require(!health.vendor().is_empty(), || "the vendor has no name".into())?;
    require(!health.members().is_empty(), || "it has no members".into())?;
    for member in health.members() {
        let has_names = !member.id().is_empty() && !member.model().is_empty();
        require(has_names, || format!("a member has no id or no model: {member:?}"))?;
    }
    let is_active = health
        .members()
        .iter()
        .any(|member| member.status() == HealthStatus::Active);
    require(is_active, || {
        format!("operations succeed, and no member is active: {:?}", health.members())
    })
}

/// HLT-3, in steps of a tenth of a second.
const LONGEST: Duration = Duration::from_secs(60);

pub(super) fn health_follows(fixture: &Fixture) -> Checked {
    let break_down = fixture
        .break_down
        .as_ref()
        .ok_or(Problem::NotTried("way to break the key manager"))?;
    let encrypted = fixture.encrypt(b"it works", usual_aad()?)?;
    health_is_told(fixture)?;
    break_down();
    let start = Instant::now();
    while fixture.health()?.is_ok_and(|health| {
        let mut members = health.members().iter();
        members.all(|member| member.status() == HealthStatus::Active)
    }) {
        require(start.elapsed() < LONGEST, || {
            "the key manager is broken, and health says that it is active after 60 seconds still".into()
        })?;
        thread::sleep(Duration::from_millis(100));
    }
    let outcome = fixture.encrypt_on(&*fixture.backend, &fixture.usable, b"it does not", usual_aad()?)?;
    fails(outcome, "to encrypt with a broken key manager")?;
    fails(
        fixture.decrypt(&fixture.usable, encrypted)?,
        "to decrypt with a broken key manager",
    )
}

/// KMS may try these again somewhere else.
fn fails<T>(outcome: Result<T, crate::BackendError>, what: &str) -> Checked {
    match outcome {
        Err(error) if error.kind() == BackendErrorKind::Timeout => Ok(()),
        outcome => must_refuse(outcome, BackendErrorKind::Unavailable, what),
    }
}
