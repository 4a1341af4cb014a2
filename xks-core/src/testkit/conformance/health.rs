//! Contracts of health: its answer is true.

use std::{
    collections::HashSet,
    thread,
    time::{Duration, Instant},
};

use super::{
    Fixture, Problem,
    tools::{Checked, broken, must_refuse, require, said, usual_aad},
};
use crate::backend::{BackendErrorKind, HealthStatus};

pub(super) fn health_is_told(fixture: &Fixture) -> Checked {
    fixture.encrypt(b"it works", usual_aad()?)?;
    let health = fixture.health()?;
    let health = health.map_err(|error| broken(format!("operations succeed, and health is {}", said(&error))))?;
    let is_name = |name: &str| !name.is_empty() && !name.chars().any(char::is_control);
    require(is_name(health.vendor()), || {
        format!("the vendor's name is empty or cannot be printed: {:?}", health.vendor())
    })?;
    let mut ids = HashSet::new();
    for member in health.members() {
        require(is_name(member.id()) && is_name(member.model()), || {
            format!("the id or the model of a member is empty or cannot be printed: {member:?}")
        })?;
        require(ids.insert(member.id()), || {
            format!("two members are called {:?}", member.id())
        })?;
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
    while let Ok(health) = fixture.health()?
        && health.is_usable()
    {
        require(start.elapsed() < LONGEST, || {
            let members = health.members();
            format!("the key manager is broken, and after 60 seconds health says that it can be used: {members:?}")
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
