//! Which member a request goes to, as a function of what is known of them.

use super::{
    super::{
        breaker::Millis,
        route::{Aim, next},
        standing::{Need, Standing},
    },
    *,
};

/// A request for a key about which all agree.
const ANY: Aim = Aim {
    need: Need::Encrypt,
    standing: Standing {
        agrees: Set::NONE,
        differs: Set::NONE,
        missing: Set::NONE,
        disabled: Set::NONE,
        cannot_encrypt: Set::NONE,
        is_suspect: false,
    },
};

/// Five members, of which the last two are standbys.
fn five() -> Fleet {
    let all = puppets([const { Does::Work }; 5]);
    let add = |fleet: FleetBuilder, member: &Arc<Puppet>| fleet.standby_member(member.name, Arc::clone(member) as _);
    let back_off = Duration::from_secs(1);
    let primaries = fleet(&all[..3]).back_off(back_off, back_off);
    all[3..].iter().fold(primaries, add).build().unwrap()
}

/// All members, in the order in which one request would ask them.
fn order(fleet: &Fleet, turn: usize, now: Millis) -> String {
    let (mut asked, mut order) = (Set::default(), String::new());
    while let Some(choice) = next(&fleet.members, turn, asked, now, &ANY) {
        asked.insert(choice.index);
        order.push_str(&choice.member.id);
        if choice.is_probe {
            choice.member.breaker.release_probe();
            order.push('?');
        }
        assert_eq!(choice.is_last, order.replace('?', "").len() == 5);
    }
    order
}

fn open(fleet: &Fleet, member: usize, now: Millis) {
    fleet.members[member].breaker.hear_that_it_fails(now);
}

#[test]
fn equals_take_turns_and_the_least_loaded_comes_first() {
    let fleet = five();
    let turns: Vec<_> = (0..3).map(|turn| order(&fleet, turn, 0)).collect();
    assert_eq!(turns, ["abcde", "bcade", "cabde"]);
    assert_eq!(order(&fleet, usize::MAX, 0).len(), 5);
    fleet.members[0].in_flight.store(7, Ordering::Relaxed);
    fleet.members[2].in_flight.store(6, Ordering::Relaxed);
    assert_eq!(order(&fleet, 0, 0), "bcade");
}

#[test]
fn degraded_members_come_last_in_their_tier_and_standbys_after_it() {
    let fleet = five();
    for degraded in [0, 3] {
        fleet.members[degraded].is_degraded.store(true, Ordering::Relaxed);
    }
    fleet.members[1].in_flight.store(100, Ordering::Relaxed);
    assert_eq!(order(&fleet, 0, 0), "cbaed");
}

/// A primary whose time has come gets a request that is new; a standby waits until it is needed.
#[test]
fn what_is_open_comes_last_unless_it_is_probed() {
    let fleet = five();
    open(&fleet, 1, 200);
    open(&fleet, 0, 100);
    open(&fleet, 3, 0);
    assert_eq!(order(&fleet, 0, 999), "cedab", "those that failed longest ago first");
    assert_eq!(order(&fleet, 0, 1000), "ced?ab");
    assert_eq!(order(&fleet, 0, 1100), "a?ced?b");
    assert_eq!(order(&fleet, 0, 1200), "a?ced?b?");
    assert_eq!(order(&fleet, 1, 1200), "b?ced?a?");
    assert!(
        fleet.members[0].breaker.try_probe(1200),
        "while another request is the probe"
    );
    assert_eq!(order(&fleet, 0, 1200), "b?ced?a");
}

#[test]
fn a_fleet_is_built_of_members_that_can_be_told_apart() {
    let member = || Puppet::new("a", Does::Work) as Arc<dyn KeyBackend>;
    let error = |fleet: FleetBuilder| fleet.build().unwrap_err();
    assert_eq!(error(Fleet::builder()), FleetError::NoMember);
    for id in ["", "a\nb"] {
        assert_eq!(
            error(Fleet::builder().member(id, member())),
            FleetError::MemberId(id.into())
        );
    }
    let twice = Fleet::builder().member("a", member()).standby_member("a", member());
    assert_eq!(error(twice), FleetError::SameMemberId("a".into()));
    let many = |n| (0..n).fold(Fleet::builder(), |fleet, n: u32| fleet.member(n.to_string(), member()));
    assert_eq!(error(many(65)), FleetError::TooManyMembers(65));
    let most = many(64).build().unwrap();
    assert_eq!(next(&most.members, 63, Set::default(), 0, &ANY).unwrap().index, 63);
    for none in [
        Fleet::builder().attempt(Duration::ZERO),
        Fleet::builder().budget(Duration::ZERO),
    ] {
        assert_eq!(error(none.member("a", member())), FleetError::NoTime);
    }
}

/// ENC-4: what one member does not take, the fleet does not.
#[test]
fn the_smallest_limits_hold() {
    let fleet = fleet(&puppets([Does::Work, Does::Work])).build().unwrap();
    assert_eq!(fleet.limits(), Limits::default());
}

/// ENC-7: any member may make the next ciphertext.
#[test]
fn the_longest_metadata_counts() {
    let fleet = fleet(&puppets([Does::Work, Does::Work, Does::Work])).build().unwrap();
    assert_eq!(fleet.metadata_length(), 7);
}
