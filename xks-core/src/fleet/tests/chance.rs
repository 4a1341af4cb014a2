//! Members that fail by chance: one that works is found, and what comes back is what went in.

use super::*;
use proptest::prelude::*;

fn does() -> impl Strategy<Value = Does> {
    use BackendErrorKind as Kind;
    prop_oneof![
        3 => Just(Does::Work),
        1 => Just(Does::Fail(Kind::Unavailable)),
        1 => Just(Does::Fail(Kind::Timeout)),
        1 => Just(Does::Fail(Kind::Throttled)),
        1 => Just(Does::Fail(Kind::Other)),
        1 => Just(Does::Hang),
        1 => Just(Does::Panic),
    ]
}

/// One step of a member's life: what it does from now on, and whether the fleet's health is asked for
/// then.
fn steps() -> impl Strategy<Value = Vec<([Does; 4], bool)>> {
    prop::collection::vec(([does(), does(), does(), does()], any::<bool>()), 1..20)
}

async fn walk(steps: Vec<([Does; 4], bool)>, standbys: usize) {
    let members = puppets([const { Does::Work }; 4]);
    let mut fleet = Fleet::builder()
        .timer(tokio::time::sleep)
        .attempt(Duration::from_millis(2))
        .back_off(Duration::from_millis(1), Duration::from_millis(5))
        .budget(Duration::from_secs(5));
    for (n, member) in members.iter().enumerate() {
        let backend = Arc::clone(member) as _;
        fleet = if n < standbys {
            fleet.standby_member(member.name, backend)
        } else {
            fleet.member(member.name, backend)
        };
    }
    let fleet = fleet.build().unwrap();
    for (n, (does, asks_for_health)) in steps.into_iter().enumerate() {
        // One at least works; which one depends on the step.
        for (m, (member, does)) in members.iter().zip(does).enumerate() {
            member.shall(if m == n % 4 { Does::Work } else { does });
        }
        let plaintext = n.to_be_bytes();
        let encrypted = fleet.encrypt(&key(), &mut encryption(&plaintext)).await.unwrap();
        assert_ne!(encrypted.ciphertext(), plaintext);
        let decrypted = fleet.decrypt(&key(), &DecryptRequest::new(metadata(), encrypted)).await;
        assert_eq!(**decrypted.unwrap(), plaintext);
        if asks_for_health {
            let health = tokio::time::timeout(Duration::from_millis(1), fleet.health()).await;
            assert!(health.is_err() || health.unwrap().unwrap().is_usable());
        }
        assert!(fleet.members().all(|member| member.in_flight == 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_member_that_works_is_found(steps in steps(), standbys in 0_usize..=4) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(walk(steps, standbys));
    }
}
