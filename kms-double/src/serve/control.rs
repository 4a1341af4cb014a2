//! What a test changes while the double serves: the clock, faults, users and roles. `POST
//! /kms-double/control`, with JSON; the answer is how often each operation was called.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    call::json::parsed,
    kms::{Calls, Exception, Kms, PrincipalKind, Trouble},
};

pub(super) const PATH: &str = "/kms-double/control";

/// What is to change.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
#[derive(Default)]
struct Change {
    /// Moves the clock forward.
    advance_secs: u64,
    /// Lets nothing go wrong any more, before what follows.
    clear: bool,
    deny: Vec<String>,
    allow: Vec<String>,
    /// Regions that answer nothing.
    away: Vec<String>,
    /// Regions that answer again.
    back: Vec<String>,
    inject: Vec<Injection>,
    users: Vec<String>,
    roles: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Injection {
    operation: String,
    /// 1 is the next.
    occurrence: u64,
    trouble: Trouble,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Status {
    now: f64,
    calls: BTreeMap<String, Calls>,
}

pub(super) fn change(kms: &Kms, body: &[u8]) -> Result<Status, Exception> {
    let change: Change = parsed(body)?;
    kms.clock().advance(Duration::from_secs(change.advance_secs));
    let faults = kms.faults();
    if change.clear {
        faults.clear();
    }
    for operation in &change.deny {
        faults.deny(operation);
    }
    for operation in &change.allow {
        faults.allow(operation);
    }
    for region in &change.away {
        faults.away(region);
    }
    for region in &change.back {
        faults.back(region);
    }
    for injection in &change.inject {
        faults.inject(&injection.operation, injection.occurrence, injection.trouble);
    }
    for name in &change.users {
        kms.add_principal(PrincipalKind::User, name)?;
    }
    for name in &change.roles {
        kms.add_principal(PrincipalKind::Role, name)?;
    }
    Ok(Status {
        now: kms.clock().now(),
        calls: faults.calls(),
    })
}
