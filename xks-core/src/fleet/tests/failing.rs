//! Members that fail, hang, panic or are full, and the request's outcome.

use std::num::NonZeroU16;

use super::*;
use crate::timer::Timer;
use BackendErrorKind as Kind;

/// A fleet of `a`, which a test steers, and `b`, which works.
fn beside_one_that_works(does: Does) -> ([Arc<Puppet>; 2], Fleet) {
    let members = puppets([does, Does::Work]);
    let fleet = fleet(&members)
        .attempt(Duration::from_millis(20))
        .budget(Duration::from_secs(60)) // the machine may be busy
        .back_off(Duration::from_secs(60), Duration::from_secs(60))
        .failures_to_open(NonZeroU16::MIN)
        .build()
        .unwrap();
    (members, fleet)
}

/// DEC-4, GKM-4: what a member decided is returned at once; what it lacks, or fails at, is another member's
/// chance.
#[tokio::test]
async fn failures_move_on_and_answers_do_not() {
    for (does, moves_on, opens) in [
        (Does::Fail(Kind::Unavailable), true, true),
        (Does::Fail(Kind::Timeout), true, true),
        (Does::Fail(Kind::Other), true, true),
        (Does::Hang, true, true),
        (Does::Panic, true, true),
        (Does::Fail(Kind::Throttled), true, false),
        (Does::Fail(Kind::KeyNotFound), true, false),
        (Does::Fail(Kind::KeyUsage), true, false),
        (Does::Fail(Kind::InvalidCiphertext), true, false),
        (Does::Fail(Kind::Unsupported), true, false),
        (Does::Fail(Kind::KeyDisabled), false, false),
        (Does::Fail(Kind::AccessDenied), false, false),
    ] {
        let ([a, b], fleet) = beside_one_that_works(does.clone());
        let result = ask(&fleet).await;
        assert_eq!((a.calls(), b.calls()), (1, moves_on.into()), "{does:?}");
        assert_eq!(result.is_ok(), moves_on);
        if let (Does::Fail(kind), Err(error)) = (does, result) {
            assert_eq!(error.kind(), kind);
        }
        let expected = if opens {
            BreakerState::Open
        } else {
            BreakerState::Closed
        };
        assert_eq!(breakers(&fleet), [expected, BreakerState::Closed]);
        if opens {
            for _ in 0..4 {
                assert!(ask(&fleet).await.is_ok());
            }
            assert_eq!((a.calls(), b.calls()), (0, 4), "the breaker is open");
        }
    }
}

/// ENC-7: the metadata is that of the member which answered, though another one had bound its own before.
#[tokio::test]
async fn the_aad_is_bound_anew_for_each_member() {
    let ([a, _], fleet) = beside_one_that_works(Does::Fail(Kind::Unavailable));
    let mut request = encryption(b"text");
    let encrypted = fleet.encrypt(&key(), &mut request.tag(b"part")).await.unwrap();
    assert_eq!(a.calls(), 1);
    assert_eq!(encrypted.bound_aad().metadata().unwrap().as_bytes(), b"b");
    assert_eq!(encrypted.bound_aad().as_bytes(), b"\0\x03aad\x05partb");
    assert_eq!(request.check(&encrypted), Ok(()));
}

#[tokio::test]
async fn the_most_telling_error_is_returned_with_the_words_of_all() {
    for (kinds, expected) in [
        ([Kind::Throttled, Kind::Throttled], Kind::Throttled),
        ([Kind::Unavailable, Kind::Throttled], Kind::Throttled),
        ([Kind::Throttled, Kind::Timeout], Kind::Throttled),
        ([Kind::Unavailable, Kind::Timeout], Kind::Timeout),
        ([Kind::Timeout, Kind::Unavailable], Kind::Timeout),
        ([Kind::Other, Kind::Unavailable], Kind::Unavailable),
        ([Kind::Unavailable, Kind::Other], Kind::Unavailable),
        ([Kind::Other, Kind::Other], Kind::Other),
    ] {
        let fleet = fleet(&puppets(kinds.map(Does::Fail))).build().unwrap();
        let error = ask(&fleet).await.unwrap_err();
        assert_eq!(error.kind(), expected);
        let [a, b] = kinds;
        let words = format!(
            "no member of the fleet could serve the request: a ({a:?}): a failed: its cause; b ({b:?}): b failed: its cause"
        );
        assert_eq!(error.to_string(), words);
    }
}

#[tokio::test]
async fn full_members_are_asked_again_and_again() {
    let members = puppets([Does::Fail(Kind::Throttled), Does::Fail(Kind::Throttled)]);
    let fleet = fleet(&members).build().unwrap();
    for _ in 0..10 {
        assert_eq!(ask(&fleet).await.unwrap_err().kind(), Kind::Throttled);
    }
    assert_eq!(members.each_ref().map(|member| member.calls()), [10, 10]);
    assert_eq!(breakers(&fleet), [BreakerState::Closed; 2]);
}

/// A breaker is no reason to fail: what has come back is found even while all are open.
#[tokio::test]
async fn open_members_are_asked_when_nobody_else_is_left() {
    let members = puppets([Does::Fail(Kind::Unavailable), Does::Fail(Kind::Unavailable)]);
    let fleet = fleet(&members).build().unwrap();
    for _ in 0..10 {
        assert!(ask(&fleet).await.is_err());
    }
    assert_eq!(breakers(&fleet), [BreakerState::Open; 2]);
    members[1].shall(Does::Work);
    assert!(ask(&fleet).await.is_ok());
    assert_eq!(breakers(&fleet), [BreakerState::Open, BreakerState::Closed]);
}

#[tokio::test]
async fn a_member_that_came_back_is_probed_by_one_request() {
    let members = puppets([Does::Fail(Kind::Unavailable), Does::Work]);
    let back_off = Duration::from_millis(30);
    let fleet = fleet(&members)
        .attempt(LONG)
        .failures_to_open(NonZeroU16::MIN)
        .back_off(back_off, back_off)
        .build()
        .unwrap();
    assert!(ask(&fleet).await.is_ok());
    members[0].shall(Does::Hang);
    tokio::time::sleep(back_off).await;
    assert_eq!(breakers(&fleet), [BreakerState::HalfOpen, BreakerState::Closed]);
    members[0].calls();
    {
        let mut probe = pin!(ask(&fleet));
        assert!(
            tokio::time::timeout(Duration::from_millis(5), &mut probe)
                .await
                .is_err()
        );
        for _ in 0..4 {
            assert!(ask(&fleet).await.is_ok());
        }
        assert_eq!(members[0].calls(), 1, "one probe at a time");
    } // and it is given up, so that another may follow
    members[0].shall(Does::Work);
    assert!(ask(&fleet).await.is_ok());
    assert_eq!(members[0].calls(), 1);
    assert_eq!(breakers(&fleet), [BreakerState::Closed; 2]);
}

/// TRN-8: however many members hang, the answer comes within the budget.
#[tokio::test]
async fn the_budget_holds() {
    const ATTEMPT: Duration = Duration::from_millis(200);
    const BUDGET: Duration = Duration::from_millis(500);

    let members = puppets([const { Does::Hang }; 5]);
    let times = Arc::new(Mutex::new(Vec::new()));
    let granted = Arc::clone(&times);
    let timer = move |time| {
        granted.lock().unwrap().push(time);
        tokio::time::sleep(time)
    };
    let fleet = fleet(&members)
        .attempt(ATTEMPT)
        .budget(BUDGET)
        .timer(timer)
        .build()
        .unwrap();
    let error = encrypt(&fleet).await.unwrap_err();
    let times = times.lock().unwrap().clone();
    assert_eq!(times.first(), Some(&ATTEMPT));
    assert!(
        times.iter().all(|time| *time <= ATTEMPT) && times.iter().sum::<Duration>() <= BUDGET,
        "{times:?}"
    );
    assert_eq!(error.kind(), Kind::Timeout);
    let words = error.to_string();
    assert!(words.contains("a (Timeout): no response within 200ms"), "{words}");
    assert!(
        words.ends_with("d: not asked, timed out; e: not asked, timed out"),
        "{words}"
    );
    let calls = members.each_ref().map(|member| member.calls());
    assert_eq!(calls.iter().sum::<usize>(), times.len(), "each had a time of its own");
    assert_eq!(calls[3..], [0, 0]);
    assert_eq!(
        fleet.members[2].breaker.state(),
        State::NEW,
        "it had no time to show what it can do"
    );

    // The last one has all that is left.
    let [only] = puppets([Does::Hang]);
    let fleet = super::fleet(&[only])
        .attempt(Duration::from_millis(1))
        .budget(Duration::from_millis(50))
        .build()
        .unwrap();
    let started = Instant::now();
    assert!(encrypt(&fleet).await.is_err());
    assert!(started.elapsed() >= Duration::from_millis(50));
}

/// A clock that a test moves on; it waits for nothing.
#[derive(Clone)]
struct Moved(Instant, Arc<Mutex<Duration>>);

impl Timer for Moved {
    fn now(&self) -> Instant {
        self.0 + *self.1.lock().unwrap()
    }
}

#[tokio::test]
async fn breakers_go_by_the_fleets_timer() {
    const HOUR: Duration = Duration::from_secs(3600);
    let clock = Moved(Instant::now(), Arc::default());
    let members = puppets([Does::Fail(Kind::Unavailable), Does::Work]);
    let fleet = fleet(&members)
        .timer(clock.clone())
        .failures_to_open(1.try_into().unwrap())
        .back_off(HOUR, HOUR)
        .build()
        .unwrap();
    for _ in 0..members.len() {
        encrypt(&fleet).await.unwrap();
    }
    for (passed, expected) in [
        (Duration::ZERO, BreakerState::Open),
        (HOUR - Duration::from_millis(1), BreakerState::Open),
        (HOUR, BreakerState::HalfOpen),
    ] {
        *clock.1.lock().unwrap() = passed;
        assert_eq!(breakers(&fleet), [expected, BreakerState::Closed], "{passed:?}");
    }
}

/// Without a timer, too, no member is asked once the budget is spent, and one that hangs is found out.
#[tokio::test]
async fn time_counts_without_a_timer() {
    let attempt = Duration::from_secs(1);
    let members = puppets([Does::Hang, Does::Work]);
    let fleet = Fleet::builder()
        .member("a", Arc::clone(&members[0]) as _)
        .member("b", Arc::clone(&members[1]) as _)
        .attempt(attempt)
        .budget(LONG)
        .back_off(LONG, LONG)
        .failures_to_open(NonZeroU16::MIN)
        .build()
        .unwrap();
    assert!(
        tokio::time::timeout(Duration::from_millis(5), ask(&fleet))
            .await
            .is_err()
    );
    assert_eq!(
        breakers(&fleet),
        [BreakerState::Closed; 2],
        "that was somebody else's haste"
    );
    ask(&fleet).await.unwrap();
    assert!(tokio::time::timeout(2 * attempt, ask(&fleet)).await.is_err());
    assert_eq!(breakers(&fleet), [BreakerState::Open, BreakerState::Closed]);

    let [a, b] = puppets([Does::TimeOut(Duration::from_millis(30)), Does::Work]);
    let slow = Fleet::builder()
        .member("a", a)
        .member("b", Arc::clone(&b) as _)
        .budget(Duration::from_millis(20))
        .build()
        .unwrap();
    let error = ask(&slow).await.unwrap_err();
    assert_eq!((error.kind(), b.calls()), (Kind::Timeout, 0));
}

/// Whatever ends a request, its member's load counts down.
#[tokio::test]
async fn nothing_is_in_flight_afterwards() {
    let in_flight = |fleet: &Fleet| fleet.members().map(|member| member.in_flight).collect::<Vec<_>>();
    for does in [Does::Work, Does::Fail(Kind::Other), Does::Panic, Does::Hang] {
        let (_, fleet) = beside_one_that_works(does);
        let _ = ask(&fleet).await;
        assert_eq!(in_flight(&fleet), [0, 0]);
    }
    let members = puppets([Does::Hang, Does::Hang]);
    let fleet = fleet(&members).build().unwrap();
    let mut waiting: Vec<_> = (0..10).map(|_| Box::pin(ask(&fleet))).collect();
    let poll_each = std::future::poll_fn(|context| {
        let pending = waiting.iter_mut().all(|ask| ask.as_mut().poll(context).is_pending());
        Poll::Ready(pending)
    });
    assert!(poll_each.await);
    assert_eq!(in_flight(&fleet), [5, 5]);
    waiting.truncate(3);
    assert_eq!(in_flight(&fleet).iter().sum::<usize>(), 3);
    drop(waiting);
    assert_eq!(in_flight(&fleet), [0, 0]);
}
