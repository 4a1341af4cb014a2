//! Several backends as one.

use std::{sync::Arc, time::Duration};

use xks_core::fleet::{BreakerState, DisagreementKind, Fleet};

use crate::{
    backend::{BackendSettings, OpenBackend, OpenError, Opening, ReadContext},
    metrics::Samples,
    settings::{DAY_MS, Item, TIMEOUT_MS, Table},
    timer::ServerTimer,
};

/// A fleet: `members` that share the load, and `standby` members for when all of those fail.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetSettings {
    members: Vec<String>,
    standby: Vec<String>,
    attempt: Duration,
    timeout: Duration,
}

impl FleetSettings {
    /// Reads the settings of a `[backends.NAME]` table.
    ///
    /// Returns `None` if something is missing or wrong, which is reported to the table.
    pub fn read(table: &mut Table<'_, '_>, context: &ReadContext) -> Option<Self> {
        let names = |items: Vec<Item<String>>| items.into_iter().map(|item| item.value).collect::<Vec<_>>();
        let members = table.texts("members").map(names);
        let standby = table.texts("standby").map(names).unwrap_or_default();
        let attempt = table
            .milliseconds("attempt_ms", 1..=DAY_MS)
            .unwrap_or(Fleet::DEFAULT_ATTEMPT);
        let timeout = table.number_of_either(TIMEOUT_MS, 1..=DAY_MS);
        let timeout = timeout.map_or(Fleet::DEFAULT_BUDGET, |(_, timeout)| {
            Duration::from_millis(timeout.value)
        });
        if timeout > context.request_timeout() {
            table.warn("`timeout_ms` of the fleet must not exceed `server.timeout_ms`");
        }
        if attempt > timeout {
            table.warn("`attempt_ms` exceeds `timeout_ms`: there is no time for a second member");
        }
        let members = table.needed("members", members)?;
        if members.is_empty() {
            table.error("`members` must name at least one backend");
        }
        Some(Self {
            members,
            standby,
            attempt,
            timeout,
        })
    }
}

impl BackendSettings for FleetSettings {
    fn open(&self, opening: &Opening<'_>) -> Result<Arc<dyn OpenBackend>, OpenError> {
        let member = |name: &String| opening.member(name).map(|backend| (name.clone(), backend));
        let mut fleet = Fleet::builder()
            .timer(ServerTimer)
            .attempt(self.attempt)
            .budget(self.timeout);
        for (name, backend) in self.members.iter().filter_map(member) {
            fleet = fleet.member(name, backend);
        }
        for (name, backend) in self.standby.iter().filter_map(member) {
            fleet = fleet.standby_member(name, backend);
        }
        Ok(Arc::new(fleet.build().map_err(OpenError::permanent)?))
    }

    fn members(&self) -> Vec<&str> {
        self.members.iter().chain(&self.standby).map(String::as_str).collect()
    }

    fn may_block(&self) -> bool {
        false
    }

    fn makes_no_keys(&self) -> Option<&'static str> {
        Some("a fleet makes no keys: name one of its members")
    }
}

impl OpenBackend for Fleet {
    fn measure(&self, name: &str, samples: &mut Samples) {
        let odd = self.disagreements();
        for member in self.members() {
            let labels = [("backend", name), ("member", member.id)];
            for state in BreakerState::ALL {
                let [backend, member_id] = labels;
                samples.gauge(
                    "fleet_member_breaker",
                    "Whether a fleet member's circuit breaker is in this state: 1 or 0",
                    &[backend, member_id, ("state", state.as_str())],
                    f64::from(u8::from(member.breaker == state)),
                );
            }
            samples.gauge(
                "fleet_member_in_flight",
                "Requests in flight to a fleet member",
                &labels,
                member.in_flight as f64,
            );
            for kind in DisagreementKind::ALL {
                let odd = odd.iter().filter(|odd| (odd.member, odd.kind) == (member.id, kind));
                let [backend, member_id] = labels;
                samples.gauge(
                    "fleet_member_odd_keys",
                    "Keys that differ, are missing or are disabled on this fleet member, unlike on the others",
                    &[backend, member_id, ("disagreement", kind.as_str())],
                    odd.count() as f64,
                );
            }
        }
    }

    fn as_fleet(&self) -> Option<&Fleet> {
        Some(self)
    }
}
