//! Section 2 of the specification, read from the front: for each tenant, what may stand behind its prefix.

use xks_core::api::{KeyOperation, Operation};

use crate::proxy::{TENANTS, Tenant};

/// Where a request goes to.
pub struct Destination<'a> {
    pub tenant: &'static Tenant,
    pub operation: Operation,
    /// Empty for health.
    pub key: &'a str,
}

/// None for what is no path of the API under one of the prefixes.
pub fn destination(target: &str) -> Option<Destination<'_>> {
    if target.len() > 256 {
        return None;
    }
    let mut destinations = TENANTS.iter().filter_map(|tenant| {
        let rest = target.strip_prefix(tenant.prefix)?.strip_prefix("/kms/xks/v1/")?;
        let (operation, key) = match rest.split('/').collect::<Vec<_>>()[..] {
            ["health"] => (Operation::GetHealthStatus, ""),
            ["keys", key, "metadata"] => (Operation::Key(KeyOperation::GetKeyMetadata), key),
            ["keys", key, "encrypt"] => (Operation::Key(KeyOperation::Encrypt), key),
            ["keys", key, "decrypt"] => (Operation::Key(KeyOperation::Decrypt), key),
            _ => return None,
        };
        (operation == Operation::GetHealthStatus || is_key_id(key)).then_some(Destination { tenant, operation, key })
    });
    let destination = destinations.next();
    assert!(destinations.next().is_none(), "{target} has two meanings");
    destination
}

fn is_key_id(text: &str) -> bool {
    let legal = |c: char| matches!(c, 'A'..='Z' | 'a'..='z' | '0'..='9' | '-' | '.' | '_');
    (1..=128).contains(&text.chars().count()) && text.chars().all(legal) && text != "." && text != ".."
}
