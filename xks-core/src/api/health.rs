//! `GetHealthStatus` (section 7 of the specification).

use std::borrow::Cow;

use serde::Serialize;
use zeroize::Zeroizing;

use super::{RequestMetadata, parse};
use crate::{api::Operation, error::Error, names::named_enum, sigv4::Verified};

/// The most entries of `ekmFleetDetails`.
const MAX_FLEET_DETAILS: usize = 10;

/// Reads a request for the health of the key managers behind a key store: nothing but metadata.
pub(crate) fn decode_health_request<'a>(
    verified: &Verified<'a>,
    note: &mut Option<RequestMetadata<'a>>,
) -> Result<(), Error> {
    parse(verified, Operation::GetHealthStatus, [], note).map(|(_, [])| ())
}

/// The health of a backend's key managers: their vendor, and each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    vendor: Cow<'static, str>,
    members: Vec<EkmStatus>,
}

impl Health {
    /// Creates the health of the key managers of `vendor`: at least one, `member`.
    #[must_use]
    pub fn new(vendor: impl Into<Cow<'static, str>>, member: EkmStatus) -> Self {
        Self {
            vendor: vendor.into(),
            members: vec![member],
        }
    }

    /// Adds a key manager.
    #[must_use]
    pub fn and(mut self, member: EkmStatus) -> Self {
        self.members.push(member);
        self
    }

    /// Returns the vendor of the key managers.
    #[must_use]
    pub fn vendor(&self) -> &str {
        &self.vendor
    }

    /// Returns all key managers: one or more.
    #[must_use]
    pub fn members(&self) -> &[EkmStatus] {
        &self.members
    }

    /// Returns whether an operation right now would find a key manager. Specification: GetHealthStatus.
    // HLT-1
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.members
            .iter()
            .any(|member| member.status != HealthStatus::Unavailable)
    }

    // HLT-5
    pub(crate) fn encode(&self, proxy: &ProxyIdentity) -> Zeroizing<Vec<u8>> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            xks_proxy_fleet_size: u32,
            xks_proxy_vendor: &'a str,
            xks_proxy_model: &'a str,
            ekm_vendor: &'a str,
            ekm_fleet_details: Vec<Details<'a>>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Details<'a> {
            id: &'a str,
            model: &'a str,
            health_status: &'static str,
        }
        let folded = self.fold();
        let body = Body {
            xks_proxy_fleet_size: proxy.fleet_size.get(),
            xks_proxy_vendor: &proxy.vendor,
            xks_proxy_model: &proxy.model,
            ekm_vendor: &self.vendor,
            ekm_fleet_details: folded
                .iter()
                .map(|member| Details {
                    id: &member.id,
                    model: &member.model,
                    health_status: member.status.as_str(),
                })
                .collect(),
        };
        // Strings and a number always serialize.
        Zeroizing::new(serde_json::to_vec(&body).unwrap_or_default())
    }

    /// At most ten entries: nine members and one for all the others, which is as healthy as all of them agree
    /// on, else degraded.
    fn fold(&self) -> Cow<'_, [EkmStatus]> {
        let Some((shown, others)) = self.members.split_at_checked(MAX_FLEET_DETAILS - 1) else {
            return Cow::Borrowed(&self.members);
        };
        let [first, _, ..] = others else {
            return Cow::Borrowed(&self.members);
        };
        let agreed = others.iter().all(|member| member.status == first.status);
        let status = if agreed { first.status } else { HealthStatus::Degraded };
        let rest = EkmStatus::new(format!("{} others", others.len()), first.model.clone(), status);
        Cow::Owned(shown.iter().cloned().chain([rest]).collect())
    }
}

/// One key manager, such as an HSM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EkmStatus {
    id: Cow<'static, str>,
    model: Cow<'static, str>,
    status: HealthStatus,
}

impl EkmStatus {
    /// `id` tells it apart from the others; `model` names product and version.
    #[must_use]
    pub fn new(id: impl Into<Cow<'static, str>>, model: impl Into<Cow<'static, str>>, status: HealthStatus) -> Self {
        Self {
            id: id.into(),
            model: model.into(),
            status,
        }
    }

    /// Returns the id that tells it apart from the others.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns product and version.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Returns its status.
    #[must_use]
    pub const fn status(&self) -> HealthStatus {
        self.status
    }
}

/// The status of one key manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the specification has these three and no others")]
pub enum HealthStatus {
    /// `ACTIVE`: it does what it should.
    Active,
    /// `DEGRADED`: it works, but slowly or in part.
    Degraded,
    /// `UNAVAILABLE`: it cannot be used.
    Unavailable,
}

named_enum! {
    HealthStatus, "a health status",
    Active => "ACTIVE",
    Degraded => "DEGRADED",
    Unavailable => "UNAVAILABLE",
}

/// The proxy's own vendor, model and fleet size in the health response.
#[derive(Clone, Debug)]
pub(crate) struct ProxyIdentity {
    pub(crate) fleet_size: std::num::NonZeroU32,
    pub(crate) vendor: Cow<'static, str>,
    pub(crate) model: Cow<'static, str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use HealthStatus::{Active, Degraded, Unavailable};

    fn fleet(statuses: &[HealthStatus]) -> Health {
        let mut members = statuses
            .iter()
            .enumerate()
            .map(|(n, status)| EkmStatus::new(format!("hsm-{n}"), "M 1", *status));
        let first = Health::new("Vendor", members.next().unwrap());
        members.fold(first, Health::and)
    }

    fn details(health: &Health) -> Vec<(String, String)> {
        let identity = ProxyIdentity {
            fleet_size: std::num::NonZeroU32::new(3).unwrap(),
            vendor: "proxy vendor".into(),
            model: "proxy 1".into(),
        };
        let body: serde_json::Value = serde_json::from_slice(&health.encode(&identity)).unwrap();
        assert_eq!(body["xksProxyFleetSize"], 3);
        assert_eq!(body["xksProxyVendor"], "proxy vendor");
        assert_eq!(body["xksProxyModel"], "proxy 1");
        assert_eq!(body["ekmVendor"], "Vendor");
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let entries = body["ekmFleetDetails"].as_array().unwrap();
        entries
            .iter()
            .map(|entry| (text(&entry["id"]), text(&entry["healthStatus"])))
            .collect()
    }

    /// HLT-1, HLT-5: the answer has the specification's fields, and a fleet of more than ten is folded into
    /// ten.
    #[test]
    fn fleets_are_reported_in_one_to_ten_entries() {
        assert_eq!(details(&fleet(&[Active])), [("hsm-0".into(), "ACTIVE".into())]);
        assert_eq!(details(&fleet(&[Degraded; 9])).len(), 9);
        let ten = details(&fleet(&[Unavailable; 10]));
        assert_eq!(ten[9], ("hsm-9".into(), "UNAVAILABLE".into()));
        let mut statuses = [Active; 11];
        assert_eq!(details(&fleet(&statuses))[9], ("2 others".into(), "ACTIVE".into()));
        statuses[10] = Unavailable;
        assert_eq!(details(&fleet(&statuses))[9], ("2 others".into(), "DEGRADED".into()));
    }

    #[test]
    fn a_fleet_is_usable_while_one_member_is() {
        assert!(!fleet(&[Unavailable, Unavailable]).is_usable());
        assert!(fleet(&[Unavailable, Degraded]).is_usable());
    }
}
