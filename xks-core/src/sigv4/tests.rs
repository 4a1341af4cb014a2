//! What AWS's own signer signs verifies, and nothing else does.

use std::time::UNIX_EPOCH;

use proptest::prelude::*;
use xks_test_client::{HOST, Signer};

use super::*;
use crate::{
    KeyStores,
    dependency::Reply,
    key_store::{KeyStoreBuilder, KeyStoreSet, Region, UriPathPrefix},
    testing,
};

/// Within 28 May 2026.
const NOW_SECONDS: u64 = 1_780_000_000;
const PATH: &str = "/example/kms/xks/v1/keys/key-1/encrypt";
const BODY: &[u8] = br#"{"requestMetadata":{}}"#;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW_SECONDS)
}

/// A request that owns its parts, so that a test can spoil any of them.
#[derive(Clone)]
struct Sent {
    method: String,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Sent {
    fn signed_by(signer: &Signer, headers: &[(&str, &str)]) -> Self {
        let headers = signer.sign("POST", HOST, PATH, headers, BODY);
        Self {
            method: "POST".into(),
            path: PATH.into(),
            headers: headers
                .into_iter()
                .map(|(name, value)| (name, value.into_bytes()))
                .collect(),
            body: BODY.to_vec(),
        }
    }

    fn good() -> Self {
        Self::signed_by(&Signer::at(now()), &[("content-type", "application/json")])
    }

    fn header(&mut self, name: &str) -> &mut Vec<u8> {
        &mut self
            .headers
            .iter_mut()
            .find(|(candidate, _)| candidate == name)
            .unwrap()
            .1
    }

    fn replace(mut self, name: &str, from: &str, to: &str) -> Self {
        let value = String::from_utf8(self.header(name).clone()).unwrap();
        assert!(value.contains(from), "{value}");
        *self.header(name) = value.replace(from, to).into();
        self
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(candidate, _)| candidate != name);
        self
    }

    fn verify(&self) -> Result<(), Rejection> {
        self.verify_by(&key_store(), now())
    }

    fn verify_by(&self, store: &KeyStore, now: SystemTime) -> Result<(), Rejection> {
        let region = self.verify_in(store, now)?;
        assert_eq!(region, testing::region("us-east-1"));
        Ok(())
    }

    /// Returns the Region that it was signed for.
    fn verify_in(&self, store: &KeyStore, now: SystemTime) -> Result<Region, Rejection> {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()));
        let request = Request::new(&self.method, &self.path, &self.body).headers(headers);
        verify(&request, store, now).map(|verified| {
            assert_eq!(verified.body(), self.body);
            verified.region().clone()
        })
    }
}

/// As the pipeline does it.
fn verify<'a>(request: &Request<'a>, store: &KeyStore, now: SystemTime) -> Result<Verified<'a>, Rejection> {
    let claim = Claim::of(request)?;
    let Reply::Now(credential) = store.find_credential(claim.access_key_id()) else {
        panic!("a list knows at once");
    };
    claim.verify(credential.ok_or(Rejection::UnknownAccessKeyId)?, store, now)
}

fn key_store() -> KeyStore {
    testing::key_store("/example")
        .credential(testing::credential())
        .build()
        .unwrap()
}

/// SIG-1, SIG-3, SIG-4: what AWS's signer signs verifies, whatever else it signs along.
#[test]
fn what_aws_signs_verifies() {
    let with_hash = Signer {
        with_content_hash: true,
        ..Signer::at(now())
    };
    for signer in [Signer::at(now()), with_hash] {
        for headers in [
            &[][..],
            &[("content-type", "application/json")],
            &[
                ("accept", "*/*"),
                ("x-custom", "  several   words  "),
                ("user-agent", "kms/1"),
            ],
            &[("x-custom", "a"), ("x-custom", "b")],
            &[("x-empty", "")],
        ] {
            assert_eq!(Sent::signed_by(&signer, headers).verify(), Ok(()), "{headers:?}");
        }
    }
}

/// SIG-2: a header that is sent twice is one value with a comma; the ones that count may not be.
#[test]
fn repeated_headers() {
    for name in ["authorization", "host", "x-amz-date"] {
        let mut sent = Sent::good();
        let value = String::from_utf8(sent.header(name).clone()).unwrap();
        assert_eq!(sent.with(name, &value).verify(), Err(Rejection::Repeated(name)));
    }
}

/// Every byte of everything that is signed, changed in several ways.
#[test]
fn every_changed_byte_is_rejected() {
    let good = Sent::good();
    assert_eq!(good.verify(), Ok(()));
    let spoil_all = |part: fn(&mut Sent) -> &mut Vec<u8>| {
        for at in 0..part(&mut good.clone()).len() {
            for change in [
                |byte: &mut u8| *byte ^= 1,
                |byte: &mut u8| *byte ^= 0x20,
                |byte: &mut u8| *byte ^= 0x80,
            ] {
                let mut sent = good.clone();
                change(&mut part(&mut sent)[at]);
                assert!(sent.verify().is_err(), "byte {at}");
            }
        }
    };
    spoil_all(|sent| sent.header("host"));
    spoil_all(|sent| sent.header("content-type"));
    spoil_all(|sent| sent.header("x-amz-date"));
    spoil_all(|sent| sent.header("authorization")); // algorithm, id, scope, list of headers, signature
    spoil_all(|sent| &mut sent.body);

    for method in ["GET", "PUT", "post", "POSTS", "POS", ""] {
        assert!(
            Sent {
                method: method.into(),
                ..good.clone()
            }
            .verify()
            .is_err()
        );
    }
    for at in 0..PATH.len() {
        let mut path = PATH.to_owned();
        path.replace_range(at..=at, "~");
        assert!(Sent { path, ..good.clone() }.verify().is_err());
    }
    for path in [
        format!("{PATH}/"),
        format!("{PATH}?"),
        format!("{PATH}?a=b"),
        format!("/{PATH}"),
        PATH.trim_start_matches('/').into(),
    ] {
        assert!(Sent { path, ..good.clone() }.verify().is_err());
    }
    for body in [&BODY[1..], &BODY[..BODY.len() - 1], b"", &[BODY, b" "].concat()] {
        assert!(
            Sent {
                body: body.into(),
                ..good.clone()
            }
            .verify()
            .is_err()
        );
    }
}

/// SIG-1, SIG-2: each rejection has its reason, for the log.
#[test]
fn rejections_are_told_apart_in_the_log() {
    let good = Sent::good;
    let authorization = |from, to| good().replace("authorization", from, to);
    for (sent, why) in [
        (good().without("authorization"), Rejection::NoAuthorization),
        (good().without("x-amz-date"), Rejection::MalformedDate),
        (good().replace("x-amz-date", "Z", ""), Rejection::MalformedDate),
        (good().without("host"), Rejection::SignedHeaderMissing),
        (good().without("content-type"), Rejection::SignedHeaderMissing),
        (authorization("BETWEEN", "BETWEEM"), Rejection::UnknownAccessKeyId),
        (authorization("us-east-1", "us-east-2"), Rejection::WrongRegion),
        (authorization("kms-xks-proxy", "kms"), Rejection::WrongService),
        (
            authorization("content-type;host;", "content-type;"),
            Rejection::NotSigned("host"),
        ),
        (authorization(";x-amz-date", ""), Rejection::NotSigned("x-amz-date")),
        (
            authorization("content-type;host", "host;content-type"),
            Rejection::MalformedSignedHeaders,
        ),
        (
            authorization("content-type;host", "Content-Type;host"),
            Rejection::MalformedSignedHeaders,
        ),
        (
            authorization("content-type;host", "content-type;content-type;host"),
            Rejection::MalformedSignedHeaders,
        ),
        (
            authorization("content-type;host", "content-type;;host"),
            Rejection::MalformedSignedHeaders,
        ),
        (
            authorization("content-type;host", "content:type;host"),
            Rejection::MalformedSignedHeaders,
        ),
        (good().replace("content-type", "json", "text"), Rejection::Signature),
        (
            good().with("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
            Rejection::UnsignedPayload,
        ),
        (
            good().with("x-amz-content-sha256", &"0".repeat(64)),
            Rejection::ContentHash,
        ),
    ] {
        assert_eq!(sent.verify(), Err(why));
    }
    let with_hash = Signer {
        with_content_hash: true,
        ..Signer::at(now())
    };
    let second = Sent::signed_by(&with_hash, &[]).with("x-amz-content-sha256", &"0".repeat(64));
    assert_eq!(second.verify(), Err(Rejection::ContentHash));
    let wrong_secret = Signer {
        secret_access_key: "x".repeat(43),
        ..Signer::at(now())
    };
    assert_eq!(Sent::signed_by(&wrong_secret, &[]).verify(), Err(Rejection::Signature));
}

/// SIG-5: five minutes either way and not a second more; the date is that of the scope.
#[test]
fn only_fresh_requests_verify() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let second = Duration::from_secs(1);
    let sent = Sent::good();
    for (at, expected) in [
        (now() + minutes(5), Ok(())),
        (now() - minutes(5), Ok(())),
        (now() + minutes(5) + second, Err(Rejection::ClockSkew)),
        (now() - minutes(5) - second, Err(Rejection::ClockSkew)),
        (now() + minutes(6), Err(Rejection::ClockSkew)),
        (UNIX_EPOCH, Err(Rejection::ClockSkew)),
    ] {
        assert_eq!(sent.verify_by(&key_store(), at), expected);
    }
    assert_eq!(NOW_SECONDS / 86_400, 20_601, "28 May 2026");
    let sent = Sent::good().replace("authorization", "/20260528/", "/20260527/");
    assert_eq!(sent.verify(), Err(Rejection::ScopeDate));
}

/// SIG-5: around midnight, the client's day counts.
#[test]
fn midnight_is_no_obstacle() {
    let midnight = UNIX_EPOCH + Duration::from_secs(20_602 * 86_400);
    for offset in [1, 60, 299] {
        let offset = Duration::from_secs(offset);
        let before = Sent::signed_by(&Signer::at(midnight - offset), &[]);
        assert_eq!(before.verify_by(&key_store(), midnight), Ok(()));
        let after = Sent::signed_by(&Signer::at(midnight + offset), &[]);
        assert_eq!(after.verify_by(&key_store(), midnight), Ok(()));
    }
}

/// SIG-6, SIG-7: two credentials are valid at once, and each only with its own secret.
#[test]
fn two_credentials_are_valid_at_once() {
    let second = Credential::new("A".repeat(20), "b".repeat(43)).unwrap();
    let store = testing::key_store("/example")
        .credential(testing::credential())
        .credential(second)
        .build()
        .unwrap();
    let first = Signer::at(now());
    let other = Signer {
        access_key_id: "A".repeat(20),
        secret_access_key: "b".repeat(43),
        ..first.clone()
    };
    let mixed = Signer {
        secret_access_key: "b".repeat(43),
        ..first.clone()
    };
    for _ in 0..3 {
        assert_eq!(Sent::signed_by(&first, &[]).verify_by(&store, now()), Ok(()));
        assert_eq!(Sent::signed_by(&other, &[]).verify_by(&store, now()), Ok(()));
        assert_eq!(
            Sent::signed_by(&mixed, &[]).verify_by(&store, now()),
            Err(Rejection::Signature)
        );
    }
}

/// SIG-8: a failed check leaves nothing in the cache, and no text of a rejection carries what was expected.
#[test]
fn only_verified_requests_fill_the_cache() {
    let store = key_store();
    let forged = Signer {
        secret_access_key: "x".repeat(43),
        ..Signer::at(now())
    };
    assert!(Sent::signed_by(&forged, &[]).verify_by(&store, now()).is_err());
    let cached = || {
        let credential = &store.credentials()[0];
        credential
            .signing_keys()
            .get("20260528", &testing::region("us-east-1"))
            .is_some()
    };
    assert!(!cached());
    assert!(Sent::good().verify_by(&store, now()).is_ok());
    assert!(cached());
}

/// SIG-7: a signing key is derived once for each credential, day and Region, whatever else of its key store
/// changes, or how: taken apart and built again, or made again of the same settings.
#[test]
fn changes_that_keep_a_credential_keep_its_signing_keys() {
    let credential = |letter: char| Credential::new(letter.to_string().repeat(20), "s".repeat(43)).unwrap();
    let builder = |prefix: &str| {
        testing::key_store(prefix)
            .region(testing::region("eu-west-1"))
            .credential(credential('A'))
    };
    let prefix: UriPathPrefix = "/a".parse().unwrap();
    let key_stores = KeyStores::new([builder("/a").build().unwrap()]).unwrap();
    let signed = ["us-east-1", "eu-west-1"].map(|region| {
        let signer = Signer {
            access_key_id: "A".repeat(20),
            secret_access_key: "s".repeat(43),
            region: region.into(),
            ..Signer::at(now())
        };
        Sent::signed_by(&signer, &[])
    });
    let derivations = |prefix: &str| {
        let before = DERIVATIONS.get();
        let store = key_stores.get(prefix).unwrap();
        for sent in &signed {
            let _ = sent.verify_in(&store, now()).unwrap();
        }
        DERIVATIONS.get() - before
    };
    assert_eq!((derivations("/a"), derivations("/a")), (2, 0));
    let used = |prefix: &str| key_stores.get(prefix).unwrap().credentials()[0].last_used();
    assert_eq!(used("/a"), Some(now()));

    let key = || "new".parse().unwrap();
    let frankfurt = || testing::region("eu-central-1");
    let changes: [&dyn Fn(KeyStoreBuilder) -> KeyStoreBuilder; 5] = [
        &|store| store.credential(credential('B')),
        &|store| store.without_credential(credential('B').access_key_id()),
        &|store| store.keys([key()]),
        &|store| store.without_keys([&key()]).blocked(true),
        &|store| store.region(frankfurt()).without_region(&frankfurt()),
    ];
    for change in changes {
        key_stores.update(&prefix, change).unwrap();
        assert_eq!(derivations("/a"), 0);
    }
    key_stores.insert(builder("/a").build().unwrap()).unwrap();
    assert_eq!(derivations("/a"), 0, "another one in its place");
    let again = |set: &mut KeyStoreSet| {
        set.remove("/a");
        set.insert(builder("/a").build().unwrap())
    };
    key_stores.change(again).unwrap();
    assert_eq!(derivations("/a"), 0, "removed and added again as one change");
    key_stores.insert(builder("/b").build().unwrap()).unwrap();
    assert_eq!(
        (used("/b"), derivations("/b")),
        (Some(now()), 0),
        "another one beside it"
    );
    key_stores
        .replace(["/b", "/a"].map(|prefix| builder(prefix).build().unwrap()))
        .unwrap();
    assert_eq!(
        (used("/a"), derivations("/a"), derivations("/b")),
        (Some(now()), 0, 0),
        "all others"
    );

    key_stores.remove("/b");
    let other = Credential::new("A".repeat(20), "o".repeat(43)).unwrap();
    let other = |store: KeyStoreBuilder| {
        store
            .without_credential(other.access_key_id())
            .credential(other.clone())
    };
    let store = key_stores.update(&prefix, other).unwrap();
    assert!(
        signed[0].verify_in(&store, now()).is_err(),
        "another secret under the same id has none of it"
    );
    assert_eq!(used("/a"), None);
}

#[test]
fn a_verified_request_prints_no_body() {
    let (store, request) = (key_store(), Sent::good());
    let headers = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_slice()));
    let verified = verify(&Request::new("POST", PATH, BODY).headers(headers), &store, now()).unwrap();
    assert!(!format!("{verified:?}").contains("requestMetadata"));
}

proptest! {
    /// SIG-3: whatever headers and body a client signs, they verify; and no longer when one is changed.
    #[test]
    fn signing_and_verifying_agree(
        value in "[ -~]{0,40}", body in prop::collection::vec(any::<u8>(), 0..200),
        key in "[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}", hash: bool,
    ) {
        let signer = Signer { with_content_hash: hash, ..Signer::at(now()) };
        let path = format!("/example/kms/xks/v1/keys/{key}/decrypt");
        let headers = signer.sign("POST", HOST, &path, &[("x-custom", &value)], &body);
        let mut sent = Sent {
            method: "POST".into(),
            path,
            headers: headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect(),
            body,
        };
        prop_assert_eq!(sent.verify(), Ok(()));
        sent.header("x-custom").push(b'x');
        prop_assert!(sent.verify().is_err());
    }
}
