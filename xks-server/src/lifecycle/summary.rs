//! The lines at the start that tell of keys under management.

use std::fmt::Write as _;

use xks_lifecycle::{Entry, KeyStoreCredential, Snapshot, commands::Commands};

use super::Running;

/// How many external key stores are told of.
const MOST: usize = 50;

impl Running {
    /// The external key stores of the store, for the lines at the start.
    pub(crate) fn summary(&self) -> String {
        summary(&self.commands)
    }
}

fn summary(commands: &Commands) -> String {
    let mut out = String::new();
    let now = commands.now();
    let keys = commands.view().len();
    commands.read(|snapshot: &Snapshot| {
        // Writing to a string cannot fail.
        let _ = writeln!(out);
        let mut fact = |name: &str, value: &str| {
            let _ = writeln!(out, "  {name:<18} {value}");
        };
        fact(
            "store",
            &format!("revision {}, {keys} keys under management", snapshot.revision()),
        );
        let all = snapshot.key_stores();
        let more = all.len().saturating_sub(MOST);
        for key_store in all.take(MOST) {
            let credentials = snapshot.credentials();
            let is_live = |known: &&Entry<KeyStoreCredential>| known.key_store == key_store.id && known.is_live(now);
            let live = credentials.filter(is_live).count();
            let blocked = if key_store.is_blocked { ", blocked" } else { "" };
            let (name, regions) = (&key_store.name, key_store.regions.iter().collect::<Vec<_>>().join(", "));
            fact(
                "key store",
                &format!(
                    "{} ({name}): {regions}, live credentials: {live}{blocked}",
                    key_store.prefix
                ),
            );
        }
        if more > 0 {
            fact("", &format!("and {more} more"));
        }
    });
    out
}
