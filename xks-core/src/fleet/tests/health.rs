//! The health of a fleet's members, and its effect on routing.

use super::*;
use BackendErrorKind as Kind;
use HealthStatus::{Active, Degraded, Unavailable};

fn says(member: &Puppet, vendor: &'static str, status: HealthStatus) {
    *member.health.lock().unwrap() = Health::new(vendor, EkmStatus::new("own", "model", status));
}

async fn entries(fleet: &Fleet) -> Vec<(String, String, HealthStatus)> {
    let health = fleet.health().await.unwrap();
    let entry = |member: &EkmStatus| (member.id().to_owned(), member.model().to_owned(), member.status());
    health.members().iter().map(entry).collect()
}

fn entry(id: &str, model: &str, status: HealthStatus) -> (String, String, HealthStatus) {
    (id.to_owned(), model.to_owned(), status)
}

/// HLT-1: every member is reported under its id, whether it answers or not.
#[tokio::test]
async fn each_member_has_an_entry() {
    let members = puppets([Does::Work, Does::Fail(Kind::Unavailable), Does::Hang, Does::Panic]);
    let fleet = fleet(&members).budget(Duration::from_millis(30)).build().unwrap();
    let unknown = |id| entry(id, "unknown", Unavailable);
    let a = entry("a", "model of a", Active);
    assert_eq!(entries(&fleet).await, [a, unknown("b"), unknown("c"), unknown("d")]);
    use BreakerState::{Closed, Open};
    assert_eq!(
        breakers(&fleet),
        [Closed, Open, Open, Open],
        "no request needs to find out"
    );

    // What failed has its model afterwards, and what is back is not trusted at once.
    members[0].shall(Does::Fail(Kind::Timeout));
    members[1].shall(Does::Work);
    let a = entry("a", "model of a", Unavailable);
    let b = entry("b", "model of b", Degraded);
    assert_eq!(entries(&fleet).await, [a, b, unknown("c"), unknown("d")]);
    assert_eq!(fleet.health().await.unwrap().vendor(), "Vendor");
}

/// HLT-1: the fleet is not usable when no member works.
#[tokio::test]
async fn a_fleet_without_a_working_member_is_not_usable() {
    let members = puppets([Does::Fail(Kind::Unavailable), Does::Work]);
    says(&members[1], "Vendor", Unavailable);
    let fleet = fleet(&members).build().unwrap();
    let health = fleet.health().await.unwrap();
    assert!(!health.is_usable());
    assert_eq!(breakers(&fleet), [BreakerState::Open; 2]);
}

/// HLT-1: health closes a breaker whose time has come, and no request was risked.
#[tokio::test]
async fn health_brings_members_back() {
    let members = puppets([Does::Fail(Kind::Unavailable), Does::Work]);
    let back_off = Duration::from_secs(1);
    let fleet = fleet(&members).back_off(back_off, back_off).build().unwrap();
    fleet.health().await.unwrap();
    members[0].shall(Does::Work);
    fleet.health().await.unwrap();
    assert_eq!(breakers(&fleet)[0], BreakerState::Open);
    tokio::time::sleep(back_off).await;
    assert!(entries(&fleet).await.iter().all(|(.., status)| *status == Active));
    assert_eq!(breakers(&fleet)[0], BreakerState::Closed);
    assert!(!matches!(fleet.members[0].breaker.state(), State::NEW), "on parole");
    for _ in 0..2 {
        ask(&fleet).await.unwrap();
    }
    assert_eq!(fleet.members[0].breaker.state(), State::NEW);
}

/// What is full is there: its breaker stays closed, though an operation would not work either.
#[tokio::test]
async fn full_members_are_unavailable_and_not_broken() {
    let fleet = fleet(&puppets([Does::Fail(Kind::Throttled)])).build().unwrap();
    assert!(!fleet.health().await.unwrap().is_usable());
    assert_eq!(breakers(&fleet), [BreakerState::Closed]);
}

#[tokio::test]
async fn degraded_members_get_what_others_cannot_take() {
    let members = puppets([Does::Work, Does::Work]);
    says(&members[0], "Vendor", Degraded);
    let fleet = fleet(&members).build().unwrap();
    fleet.health().await.unwrap();
    members[0].calls();
    for _ in 0..4 {
        ask(&fleet).await.unwrap();
    }
    assert_eq!(members[0].calls(), 0);
    says(&members[0], "Vendor", Active);
    fleet.health().await.unwrap();
    members[0].calls();
    for _ in 0..4 {
        ask(&fleet).await.unwrap();
    }
    assert_eq!(members[0].calls(), 2);
}

/// HLT-1: a fleet of fleets reports the members of each, also those of one that does not answer any more.
#[tokio::test]
async fn fleets_within_fleets_report_all_their_members() {
    let inner = puppets([Does::Work, Does::Fail(Kind::Unavailable)]);
    let [far] = puppets([Does::Work]);
    says(&far, "Other Vendor", Active);
    let fleet = Fleet::builder()
        .member("near", Arc::new(fleet(&inner).build().unwrap()))
        .standby_member("far", Arc::clone(&far) as _)
        .build()
        .unwrap();
    let near_a = entry("near/a", "model of a", Active);
    let near_b = entry("near/b", "unknown", Unavailable);
    assert_eq!(entries(&fleet).await, [near_a, near_b, entry("far", "model", Active)]);
    assert_eq!(fleet.health().await.unwrap().vendor(), "Vendor, Other Vendor");
    assert_eq!(
        breakers(&fleet),
        [BreakerState::Closed; 2],
        "one of the near ones works"
    );
    inner[0].shall(Does::Fail(Kind::Unavailable));
    assert!(
        entries(&fleet).await[..2]
            .iter()
            .all(|(.., status)| *status == Unavailable)
    );
    assert_eq!(breakers(&fleet), [BreakerState::Open, BreakerState::Closed]);
}
