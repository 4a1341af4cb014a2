//! Fleets whose members do not hold the same keys: what KMS gets, what is known of it, and what it costs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use xks_backend_soft::{SoftBackend, SoftKey};
use xks_core::{
    KeyBackend as _,
    backend::{BackendErrorKind, HealthStatus, KeyStatus, KeyUsage},
    fleet::{Disagreement, DisagreementKind, Fleet, FleetBuilder},
    testkit::{FailingBackend, Fault, Faults, Method, When},
};

use crate::support::{
    Client, base64, decrypt_body, encrypt_body, error_of, from_base64, id, key_store, metadata_body, proxy,
};

/// Soon enough for a test.
const SOON: Duration = Duration::from_millis(1);

struct Hsm {
    keys: Arc<SoftBackend>,
    backend: Arc<FailingBackend>,
    faults: Faults,
}

impl Hsm {
    fn with(keys: &[(&str, &SoftKey)]) -> Self {
        let soft = SoftBackend::new();
        for (name, key) in keys {
            soft.insert(id(name), (*key).clone());
        }
        let keys = Arc::new(soft);
        let backend = Arc::new(FailingBackend::around(Arc::clone(&keys) as _));
        let faults = backend.faults();
        Self { keys, backend, faults }
    }

    fn calls(&self) -> u64 {
        Method::ALL.iter().map(|method| self.faults.calls(*method)).sum()
    }

    fn is_down(&self) {
        for method in Method::ALL {
            let fault = Fault::Error(BackendErrorKind::Unavailable);
            self.faults.set(method, fault, When::always());
        }
    }

    /// What it encrypts itself, as KMS would have it.
    async fn encrypts(&self, key: &str, plaintext: &[u8]) -> Value {
        let own = Client::new(proxy(key_store(Arc::clone(&self.keys) as _)));
        let (status, encrypted) = own.encrypt(key, &encrypt_body(plaintext, Some(b"aad"), false)).await;
        assert_eq!(status, 200);
        encrypted
    }
}

struct Site {
    hsms: Vec<Hsm>,
    fleet: Arc<Fleet>,
    client: Client,
}

impl Site {
    fn of(hsms: Vec<Hsm>) -> Self {
        Self::with(hsms, |fleet| fleet)
    }

    /// A fleet of `a`, `b`, `c`, ...
    fn with(hsms: Vec<Hsm>, with: impl FnOnce(FleetBuilder) -> FleetBuilder) -> Self {
        let names = ["a", "b", "c"];
        let members = hsms.iter().zip(names);
        let fleet = members.fold(Fleet::builder(), |fleet, (hsm, name)| {
            fleet.member(name, Arc::clone(&hsm.backend) as _)
        });
        Self::over(hsms, with(fleet))
    }

    fn over(hsms: Vec<Hsm>, fleet: FleetBuilder) -> Self {
        let fleet = fleet
            .timer(tokio::time::sleep)
            .attempt(Duration::from_secs(5))
            .budget(Duration::from_secs(20));
        let fleet = Arc::new(fleet.build().unwrap());
        let client = Client::new(proxy(key_store(Arc::clone(&fleet) as _)));
        Self { hsms, fleet, client }
    }

    async fn compare(&self) {
        assert_eq!(self.fleet.compare(&[id("usable"), id("other")]).await, 0);
    }

    async fn decrypts(&self, key: &str, encrypted: &Value) -> (u16, Value) {
        self.client.decrypt(key, &decrypt_body(encrypted, Some(b"aad"))).await
    }

    /// What KMS does all day: whatever is encrypted is decrypted, and the key is as it was.
    async fn serves(&self, key: &str) {
        for n in 0..12_u8 {
            let body = encrypt_body(&[n], Some(b"aad"), n % 2 == 0);
            let encrypted = self.client.encrypt(key, &body).await;
            assert_eq!(encrypted.0, 200, "{n}: {}", encrypted.1);
            let decrypted = self.decrypts(key, &encrypted.1).await;
            assert_eq!(decrypted, (200, json!({ "plaintext": base64(&[n]) })), "{n}");
            let metadata = self
                .client
                .post(&format!("keys/{key}/metadata"), &metadata_body())
                .await;
            assert_eq!((metadata.0, &metadata.1["keyStatus"]), (200, &json!("ENABLED")), "{n}");
            assert_eq!(metadata.1["keyUsage"], json!(["ENCRYPT", "DECRYPT"]), "{n}");
        }
    }

    /// Encrypts often enough to meet every member, and returns which of them did it.
    async fn encrypted_by(&self, key: &str) -> Vec<bool> {
        let count = |hsm: &Hsm| hsm.faults.calls(Method::Encrypt);
        let before: Vec<_> = self.hsms.iter().map(count).collect();
        for _ in 0..12 {
            let body = encrypt_body(b"x", Some(b"aad"), false);
            assert_eq!(self.client.encrypt(key, &body).await.0, 200);
        }
        let after = self.hsms.iter().map(count);
        after.zip(before).map(|(after, before)| after > before).collect()
    }

    fn odd(&self) -> Vec<(String, &str, DisagreementKind)> {
        let name = |one: Disagreement<'_>| one.key.to_string();
        let all = self.fleet.disagreements();
        let mut all: Vec<_> = all
            .into_iter()
            .map(|one| (name(one.clone()), one.member, one.kind))
            .collect();
        all.sort_by_key(|(key, member, _)| (key.clone(), *member));
        all
    }

    async fn health(&self) -> Vec<HealthStatus> {
        let health = self.fleet.health().await.unwrap();
        health.members().iter().map(|member| member.status()).collect()
    }
}

fn key() -> SoftKey {
    SoftKey::generate().unwrap()
}

fn usable(member: &str, kind: DisagreementKind) -> (String, &str, DisagreementKind) {
    ("usable".to_owned(), member, kind)
}

fn damaged(encrypted: &Value) -> Value {
    let mut damaged = encrypted.clone();
    let mut tag = from_base64(&encrypted["authenticationTag"]);
    tag[0] ^= 1;
    damaged["authenticationTag"] = base64(&tag);
    damaged
}

/// DEC-3, ENC-10: two members with different keys under one id serve every request, before they were compared
/// and after. Then the first one encrypts alone, the other one is named, and a key that both
/// have is not concerned.
#[tokio::test]
async fn two_with_different_keys_serve_all_requests() {
    let (one, two, both) = (key(), key(), key());
    let hsms = vec![
        Hsm::with(&[("usable", &one), ("other", &both)]),
        Hsm::with(&[("usable", &two), ("other", &both)]),
    ];
    let site = Site::of(hsms);
    let [by_a, by_b] = [
        site.hsms[0].encrypts("usable", b"a").await,
        site.hsms[1].encrypts("usable", b"b").await,
    ];
    site.serves("usable").await;
    site.serves("other").await;
    for _ in 0..2 {
        site.compare().await;
        assert_eq!(site.odd(), [usable("b", DisagreementKind::OtherKey)]);
        assert_eq!(site.health().await, [HealthStatus::Active, HealthStatus::Degraded]);
        assert_eq!(site.encrypted_by("usable").await, [true, false]);
        assert_eq!(site.encrypted_by("other").await, [true, true]);
        for (encrypted, plaintext) in [(&by_a, b"a"), (&by_b, b"b")] {
            assert_eq!(
                site.decrypts("usable", encrypted).await.1,
                json!({ "plaintext": base64(plaintext) })
            );
        }
        site.serves("usable").await;
    }
}

/// ENC-10: what the odd member would encrypt, no other one could decrypt. So it does not stand in for the
/// reference; and what it made before is decrypted all the same.
#[tokio::test]
async fn the_odd_member_does_not_encrypt_when_the_reference_is_down() {
    let (one, two) = (key(), key());
    let site = Site::of(vec![Hsm::with(&[("usable", &one)]), Hsm::with(&[("usable", &two)])]);
    let [by_a, by_b] = [
        site.hsms[0].encrypts("usable", b"a").await,
        site.hsms[1].encrypts("usable", b"b").await,
    ];
    site.compare().await;
    site.hsms[0].is_down();
    let compared = site.hsms[1].faults.calls(Method::Encrypt);
    let body = encrypt_body(b"x", Some(b"aad"), true);
    for _ in 0..6 {
        assert_eq!(
            error_of(&site.client.encrypt("usable", &body).await),
            "InternalException"
        );
        assert_eq!(site.decrypts("usable", &by_b).await.0, 200);
        // It is not reported as invalid: the member that could read it is down.
        assert_eq!(error_of(&site.decrypts("usable", &by_a).await), "InternalException");
    }
    assert_eq!(site.hsms[1].faults.calls(Method::Encrypt), compared);
}

/// Of three, the two that agree are right, whichever they are; and they stay so when one of them does not
/// answer.
#[tokio::test]
async fn most_members_are_right() {
    for odd in 0..3 {
        let (right, wrong) = (key(), key());
        let hsm = |n| Hsm::with(&[("usable", if n == odd { &wrong } else { &right })]);
        let site = Site::with((0..3).map(hsm).collect(), |fleet| fleet.compare_again(SOON, SOON));
        site.compare().await;
        let name = ["a", "b", "c"][odd];
        assert_eq!(site.odd(), [usable(name, DisagreementKind::OtherKey)]);
        let expected: Vec<_> = (0..3).map(|n| n != odd).collect();
        assert_eq!(site.encrypted_by("usable").await, expected);
        site.serves("usable").await;
        site.hsms[(odd + 1) % 3].is_down();
        tokio::time::sleep(10 * SOON).await;
        site.fleet.compare(&[]).await;
        assert_eq!(
            site.odd(),
            [usable(name, DisagreementKind::OtherKey)],
            "one did not answer"
        );
    }
}

/// GKM-4, DEC-4: a key that one member lacks is served by the other, which the operator learns; and it is
/// served by both when it has been copied.
#[tokio::test]
async fn a_key_that_one_member_lacks_is_served_by_the_other() {
    for lacks in 0..2 {
        let one = key();
        let hsm = |n| {
            if n == lacks {
                Hsm::with(&[])
            } else {
                Hsm::with(&[("usable", &one)])
            }
        };
        let site = Site::with((0..2).map(hsm).collect(), |fleet| fleet.compare_again(SOON, SOON));
        let name = ["a", "b"][lacks];
        site.serves("usable").await;
        assert_eq!(
            site.odd(),
            [usable(name, DisagreementKind::Missing)],
            "from requests alone"
        );
        site.compare().await;
        assert_eq!(site.odd(), [usable(name, DisagreementKind::Missing)]);
        assert_eq!(site.health().await[lacks], HealthStatus::Degraded);
        let calls = site.hsms[lacks].calls();
        site.serves("usable").await;
        assert_eq!(site.hsms[lacks].calls(), calls, "it is not asked any more");

        site.hsms[lacks].keys.insert(id("usable"), one);
        tokio::time::sleep(10 * SOON).await;
        site.compare().await;
        assert_eq!(site.odd(), []);
        assert_eq!(site.encrypted_by("usable").await, [true, true]);
    }
}

/// GKM-4: KMS learns that a key does not exist when no member has it, and not while the one that may have it
/// is down.
#[tokio::test]
async fn a_key_is_absent_when_no_member_has_it() {
    let site = Site::of(vec![Hsm::with(&[]), Hsm::with(&[])]);
    let ask = async || site.client.post("keys/ghost/metadata", &metadata_body()).await;
    assert_eq!(error_of(&ask().await), "KeyNotFoundException");
    site.compare().await;
    assert_eq!((site.odd(), error_of(&ask().await)), (vec![], "KeyNotFoundException"));
    site.hsms[1].is_down();
    for _ in 0..4 {
        assert_eq!(error_of(&ask().await), "InternalException");
    }
}

/// A member that does not answer is neither odd nor right, and is compared when it is back.
#[tokio::test]
async fn a_member_that_is_down_is_compared_later() {
    let (one, two) = (key(), key());
    for method in [Method::Encrypt, Method::Verification] {
        let hsms = vec![Hsm::with(&[("usable", &one)]), Hsm::with(&[("usable", &two)])];
        let site = Site::with(hsms, |fleet| fleet.compare_again(Duration::from_secs(600), SOON));
        for kind in [
            BackendErrorKind::Unavailable,
            BackendErrorKind::Throttled,
            BackendErrorKind::Other,
        ] {
            site.hsms[1].faults.set(method, Fault::Error(kind), When::next(1));
            site.fleet.compare(&[id("usable")]).await;
            assert_eq!(site.odd(), [], "{method:?} {kind:?}");
            tokio::time::sleep(10 * SOON).await;
        }
        site.compare().await;
        assert_eq!(site.odd(), [usable("b", DisagreementKind::OtherKey)]);
    }
}

/// A decryption that fails once is no other key.
#[tokio::test]
async fn one_bad_tag_is_not_believed() {
    let one = key();
    let site = Site::of(vec![Hsm::with(&[("usable", &one)]), Hsm::with(&[("usable", &one)])]);
    for hsm in &site.hsms {
        hsm.faults.set(
            Method::Verification,
            Fault::Error(BackendErrorKind::InvalidCiphertext),
            When::next(1),
        );
    }
    site.compare().await;
    assert_eq!(site.odd(), []);
}

/// ENC-11: a member that may only decrypt a key takes no encryptions, and is not odd for that; with another
/// key it is.
#[tokio::test]
async fn a_member_may_be_for_decryption_alone() {
    for is_odd in [false, true] {
        let one = key();
        let two = if is_odd { key() } else { one.clone() }.with_usages([KeyUsage::Decrypt]);
        for readers in [0, 1] {
            let hsm = |n| Hsm::with(&[("usable", if n == readers { &two } else { &one })]);
            let site = Site::of((0..2).map(hsm).collect());
            let body = encrypt_body(b"x", Some(b"aad"), true);
            for _ in 0..4 {
                assert_eq!(site.client.encrypt("usable", &body).await.0, 200);
            }
            site.compare().await;
            let name = ["a", "b"][readers];
            let expected = if is_odd {
                vec![usable(name, DisagreementKind::OtherKey)]
            } else {
                vec![]
            };
            assert_eq!(site.odd(), expected);
            site.serves("usable").await;
        }
    }
}

/// ENC-11: a key may have been disabled on purpose, on the one member in reach. So it is refused, always,
/// until it is enabled again; and no member is odd where all say the same.
#[tokio::test]
async fn a_key_that_one_member_disables_is_refused() {
    for disables in 0..2 {
        let one = key();
        let hsms = (0..2).map(|_| Hsm::with(&[("usable", &one)])).collect();
        let site = Site::with(hsms, |fleet| fleet.compare_again(SOON, SOON));
        let set = |n: usize, status| site.hsms[n].keys.set_status(&id("usable"), status).unwrap();
        let compare = async || {
            tokio::time::sleep(10 * SOON).await;
            site.compare().await;
        };
        site.serves("usable").await;
        set(disables, KeyStatus::Disabled);
        compare().await;
        let name = ["a", "b"][disables];
        assert_eq!(site.odd(), [usable(name, DisagreementKind::Disabled)]);
        let body = encrypt_body(b"x", None, true);
        for _ in 0..6 {
            assert_eq!(
                error_of(&site.client.encrypt("usable", &body).await),
                "InvalidStateException"
            );
            let metadata = site.client.post("keys/usable/metadata", &metadata_body()).await;
            assert_eq!(metadata.1["keyStatus"], "DISABLED");
        }
        set(1 - disables, KeyStatus::Disabled);
        compare().await;
        assert_eq!(site.odd(), []);
        for n in 0..2 {
            set(n, KeyStatus::Enabled);
        }
        compare().await;
        assert_eq!(site.odd(), []);
        site.serves("usable").await;
    }
}

/// A standby member is compared as well, and is not the reference, though it was added first.
#[tokio::test]
async fn standby_members_are_compared() {
    let (one, two) = (key(), key());
    let hsms = vec![Hsm::with(&[("usable", &one)]), Hsm::with(&[("usable", &two)])];
    let fleet = Fleet::builder()
        .standby_member("a", Arc::clone(&hsms[0].backend) as _)
        .member("b", Arc::clone(&hsms[1].backend) as _);
    let site = Site::over(hsms, fleet);
    site.compare().await;
    assert_eq!(site.odd(), [usable("a", DisagreementKind::OtherKey)]);
    assert_eq!(site.encrypted_by("usable").await, [false, true]);
}

/// A member that is behind with a rotation reads what the others made before it, and not what they make now.
#[tokio::test]
async fn a_member_without_the_newest_version_is_odd() {
    for behind in 0..2 {
        let one = key();
        let site = Site::of((0..2).map(|_| Hsm::with(&[("usable", &one)])).collect());
        let material = xks_backend_soft::KeyMaterial::generate().unwrap();
        site.hsms[1 - behind].keys.add_version(&id("usable"), material).unwrap();
        site.compare().await;
        assert_eq!(site.odd(), [usable("b", DisagreementKind::OtherKey)]);
        site.serves("usable").await;
    }
}

/// A fleet within a fleet: the inner one's members disagree, and the outer one is served all the same.
#[tokio::test]
async fn fleets_within_fleets_disagree() {
    let (one, two) = (key(), key());
    let hsms = vec![
        Hsm::with(&[("usable", &one)]),
        Hsm::with(&[("usable", &two)]),
        Hsm::with(&[("usable", &one)]),
    ];
    let member = |n: usize| Arc::clone(&hsms[n].backend) as _;
    let inner = Fleet::builder().member("a", member(0)).member("b", member(1));
    let inner = Arc::new(inner.build().unwrap());
    let outer = Fleet::builder()
        .member("near", Arc::clone(&inner) as _)
        .member("far", member(2));
    let site = Site::over(hsms, outer);
    site.serves("usable").await;
    site.compare().await;
    inner.compare(&[]).await;
    let odd = inner.disagreements();
    assert_eq!((odd.len(), odd[0].member), (1, "b"));
    site.serves("usable").await;
}

/// DEC-3: whatever is sent, members are not asked for more than a bound because another one could not read
/// it. A ciphertext is invalid as before where members are known to agree; where they are not, and the bound
/// is reached, KMS may repeat the request.
#[tokio::test]
async fn garbage_does_not_multiply_the_load() {
    const REQUESTS: u64 = 150;

    let one = key();
    let site = Site::of(vec![Hsm::with(&[("usable", &one)]), Hsm::with(&[("usable", &one)])]);
    for is_compared in [false, true] {
        if is_compared {
            site.compare().await;
        }
        let garbage = damaged(&site.hsms[0].encrypts("usable", b"x").await);
        let calls = || site.hsms.iter().map(Hsm::calls).sum::<u64>();
        let (before, started) = (calls(), Instant::now());
        for _ in 0..REQUESTS {
            let answer = site.decrypts("usable", &garbage).await;
            let error = error_of(&answer);
            let is_open = !is_compared && error == "ThrottlingException";
            assert!(is_open || error == "InvalidCiphertextException", "{answer:?}");
        }
        let ghost = metadata_body();
        for _ in 0..REQUESTS {
            let answer = site.client.post("keys/ghost/metadata", &ghost).await;
            assert!(
                ["KeyNotFoundException", "ThrottlingException"].contains(&error_of(&answer)),
                "{answer:?}"
            );
        }
        let allowed = u64::from(Fleet::SECOND_OPINIONS_PER_SECOND) * (started.elapsed().as_secs() + 2);
        let extra = calls() - before - 2 * REQUESTS;
        assert!((1..=allowed).contains(&extra), "{extra} of {allowed}");
    }
}

/// DEC-3: a good ciphertext is not reported as invalid, however much garbage comes with it, and those of an
/// odd member are decrypted as fast as they come.
#[tokio::test]
async fn what_an_odd_member_made_is_never_said_to_be_invalid() {
    let (one, two) = (key(), key());
    let site = Site::of(vec![Hsm::with(&[("usable", &one)]), Hsm::with(&[("usable", &two)])]);
    site.compare().await;
    let by_b = site.hsms[1].encrypts("usable", b"b").await;
    for n in 0..60 {
        assert_eq!(site.decrypts("usable", &by_b).await.0, 200, "{n}");
    }
    let garbage = damaged(&by_b);
    let (mut served, mut refused) = (0, 0);
    for _ in 0..60 {
        let answer = site.decrypts("usable", &garbage).await;
        assert!(["InvalidCiphertextException", "ThrottlingException"].contains(&error_of(&answer)));
        match site.decrypts("usable", &by_b).await {
            (200, _) => served += 1,
            answer => {
                assert_eq!(error_of(&answer), "ThrottlingException");
                refused += 1;
            }
        }
    }
    assert!(served >= 5, "{served} served, {refused} refused");
}

/// DEC-3: while a member is down, a ciphertext is invalid if that member was seen to hold the same key. If it
/// was never compared, it may have made this ciphertext, and KMS may repeat the request.
#[tokio::test]
async fn a_member_that_is_down_may_have_made_it() {
    let (one, two) = (key(), key());
    for (second, is_compared, expected) in [
        (&one, true, "InvalidCiphertextException"),
        (&one, false, "InternalException"),
        (&two, true, "InternalException"),
        (&two, false, "InternalException"),
    ] {
        let site = Site::of(vec![Hsm::with(&[("usable", &one)]), Hsm::with(&[("usable", second)])]);
        let garbage = damaged(&site.hsms[1].encrypts("usable", b"b").await);
        if is_compared {
            site.compare().await;
        }
        site.hsms[1].is_down();
        for _ in 0..4 {
            assert_eq!(error_of(&site.decrypts("usable", &garbage).await), expected);
        }
    }
}

/// However many keys there are, so many are compared a second and no more; those that are used come first,
/// and all come.
#[tokio::test]
async fn comparisons_are_bounded() {
    let one = key();
    let names: Vec<_> = (0..60).map(|n| format!("key-{n}")).collect();
    let keys: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), &one))
        .chain([("usable", &one)])
        .collect();
    let site = Site::of(vec![Hsm::with(&keys), Hsm::with(&keys)]);
    let body = encrypt_body(b"x", None, false);
    assert_eq!(site.client.encrypt("usable", &body).await.0, 200);
    site.hsms[1].keys.insert(id("usable"), key());
    let calls = || site.hsms.iter().map(Hsm::calls).sum::<u64>();
    let (before, started) = (calls(), Instant::now());
    let ids: Vec<_> = names.iter().map(|name| id(name)).collect();
    let mut left = 61;
    while left > 0 {
        let now = site.fleet.compare(&ids).await;
        assert!(
            now <= left && now > 0 || started.elapsed() > Duration::from_secs(2),
            "all at once"
        );
        left = now;
        assert_eq!(site.odd(), [usable("b", DisagreementKind::OtherKey)], "it comes first");
        let compared = 61 - left as u64;
        let allowed = u64::from(Fleet::COMPARISONS_PER_SECOND) * (started.elapsed().as_secs() + 1 + 4);
        assert!(compared <= allowed, "{compared} of {allowed}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The odd one takes some more to be believed.
    assert!(calls() - before <= 61 * 4 + 8, "{}", calls() - before);
}

/// Health compares the keys that requests have used, also where `compare` is not called.
#[tokio::test]
async fn health_compares_too() {
    let (one, two) = (key(), key());
    let site = Site::of(vec![Hsm::with(&[("usable", &one)]), Hsm::with(&[("usable", &two)])]);
    assert_eq!(site.health().await, [HealthStatus::Active; 2], "no key is known");
    let body = encrypt_body(b"x", None, false);
    assert_eq!(site.client.encrypt("usable", &body).await.0, 200);
    assert_eq!(site.health().await, [HealthStatus::Active, HealthStatus::Degraded]);
}
