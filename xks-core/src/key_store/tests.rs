use super::*;
use crate::{
    authorize::Rules,
    testing::{credential, key_store, region},
};

fn store(prefix: &str, id: char) -> KeyStore {
    let credential = Credential::new(id.to_string().repeat(20), "s".repeat(43)).unwrap();
    key_store(prefix).credential(credential).build().unwrap()
}

#[test]
fn a_key_store_lacks_nothing() {
    let builder = || KeyStore::builder("/a".parse().unwrap(), Arc::new(crate::testing::NoBackend));
    let problem = |builder: KeyStoreBuilder| builder.build().unwrap_err().problem;
    assert_eq!(
        problem(builder().credential(credential()).all_keys_of_backend()),
        KeyStoreProblem::NoRegion
    );
    assert_eq!(
        problem(builder().region(region("r")).all_keys_of_backend()),
        KeyStoreProblem::NoCredential
    );
    assert_eq!(
        problem(builder().region(region("r")).credential(credential())),
        KeyStoreProblem::NoKeys
    );
    let error = builder().build().unwrap_err().to_string();
    assert_eq!(error, "key store `/a`: `regions` must name at least one AWS Region");
}

/// URI-4: a key store knows its own keys and no others.
#[test]
fn keys_belong_to_their_key_store() {
    let builder = || KeyStore::builder("/a".parse().unwrap(), Arc::new(crate::testing::NoBackend)).region(region("r"));
    let key = |id: &str| KeyId::new(id).unwrap();
    let some = builder()
        .credential(credential())
        .keys([key("a")])
        .keys([key("b")])
        .build()
        .unwrap();
    assert_eq!(some.key("a").as_deref(), Some(&key("a")));
    assert_eq!(some.key("b").as_deref(), Some(&key("b")));
    assert_eq!(some.key("c"), None);
    assert_eq!(some.key("A"), None);
    let none = builder().credential(credential()).keys([]).build().unwrap();
    assert_eq!(none.key("a"), None);
    let all = builder()
        .credential(credential())
        .all_keys_of_backend()
        .build()
        .unwrap();
    assert_eq!(all.key("c").as_deref(), Some(&key("c")));
    let chosen = all
        .to_builder()
        .keys_where(|key| key.as_str().starts_with("a-"))
        .build()
        .unwrap();
    assert_eq!(chosen.key("a-c").as_deref(), Some(&key("a-c")));
    assert_eq!(chosen.key("b-c"), None);
    assert!(chosen.keys().is_none() && all.keys().is_none());
    let listed = chosen.to_builder().keys([key("b-c")]).build().unwrap();
    assert!(
        listed.has_key(&key("b-c")) && !listed.has_key(&key("a-c")),
        "what is named last counts"
    );
}

/// SIG-6: an access key id names one secret: key stores may share a credential, and no prefix.
#[test]
fn key_stores_share_no_prefix_and_no_access_key_id_of_two_secrets() {
    assert!(KeyStores::new([store("/a", 'A'), store("/b", 'B'), store("", 'C')]).is_ok());
    let error = KeyStores::new([store("/a", 'A'), store("/a", 'B')]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "key store `/a`: another key store has the same prefix"
    );
    assert!(KeyStores::new([store("/a", 'A'), store("/b", 'A')]).is_ok());
    let other = Credential::new("A".repeat(20), "o".repeat(43)).unwrap();
    let other = key_store("/b").credential(other).build().unwrap();
    let error = KeyStores::new([store("/a", 'A'), other]).unwrap_err();
    assert_eq!(
        error.problem,
        KeyStoreProblem::AccessKeyIdTaken(AccessKeyId::new("A".repeat(20)).unwrap())
    );
    let twice = key_store("/a")
        .credentials([credential(), credential()])
        .build()
        .unwrap_err();
    let id = credential().access_key_id().clone();
    assert_eq!(twice.problem, KeyStoreProblem::AccessKeyIdTaken(id));
}

/// SIG-6: an access key id is free again when the last key store that has it is gone.
#[test]
fn an_access_key_id_may_name_another_secret_once_nobody_has_the_former() {
    let named = |prefix: &str, secret: &str| {
        let credential = Credential::new("A".repeat(20), secret.repeat(43)).unwrap();
        key_store(prefix).credential(credential).build().unwrap()
    };
    let key_stores = KeyStores::new([named("/a", "s"), named("/b", "s")]).unwrap();
    assert!(key_stores.insert(named("/a", "o")).is_err(), "/b has it");
    assert!(key_stores.insert(named("/c", "o")).is_err());
    key_stores.remove("/b");
    assert!(key_stores.insert(named("/c", "o")).is_err(), "/a has it");
    let former = key_stores.insert(named("/a", "o")).unwrap().unwrap();
    assert_ne!(former.credentials(), key_stores.get("/a").unwrap().credentials());
    assert!(key_stores.insert(named("/b", "s")).is_err());
    key_stores.remove("/a");
    assert!(key_stores.insert(named("/b", "s")).unwrap().is_none());
}

/// Whatever a builder takes can be read from the key store, and is kept by what is built of it again.
#[test]
fn a_key_store_can_be_taken_apart() {
    let limits = Limits::default().with_plaintext(5000).with_aad(9000);
    let built = key_store("/a")
        .regions(["eu-west-1", "us-east-1"].map(region))
        .credentials([credential(), Credential::new("B".repeat(20), "s".repeat(43)).unwrap()])
        .keys(["one", "two"].map(|id| KeyId::new(id).unwrap()))
        .authorizer(Rules::new([]))
        .limits(limits)
        .aad_framing(AadFraming::Digest)
        .blocked(true)
        .build()
        .unwrap();
    let again = built.to_builder().build().unwrap();
    for store in [&built, &again] {
        assert_eq!(store.prefix().as_str(), "/a");
        assert_eq!(store.regions(), ["us-east-1", "eu-west-1"].map(region));
        assert_eq!(store.credentials()[1].access_key_id().as_str(), "B".repeat(20));
        let mut keys: Vec<_> = store.keys().unwrap().map(KeyId::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["one", "two"]);
        assert!(store.has_key(&"one".parse().unwrap()) && !store.has_key(&"three".parse().unwrap()));
        assert_eq!(
            (store.limits(), store.aad_framing(), store.is_blocked()),
            (limits, AadFraming::Digest, true)
        );
        assert!(Arc::ptr_eq(store.backend(), built.backend()));
        assert!(Arc::ptr_eq(store.authorizer(), built.authorizer()));
    }
    let other = again
        .to_builder()
        .backend(Arc::new(crate::testing::NoBackend))
        .without_region(&region("us-east-1"))
        .without_credential(credential().access_key_id())
        .without_keys([&"one".parse().unwrap()])
        .blocked(false)
        .build()
        .unwrap();
    assert!(!Arc::ptr_eq(other.backend(), built.backend()));
    assert_eq!(other.regions(), [region("eu-west-1")]);
    assert_eq!(other.credentials().len(), 1);
    assert!(!other.has_key(&"one".parse().unwrap()) && other.has_key(&"two".parse().unwrap()));
    assert!(!other.is_blocked() && again.is_blocked());
    let none = other
        .to_builder()
        .without_region(&region("eu-west-1"))
        .build()
        .unwrap_err();
    assert_eq!(none.problem, KeyStoreProblem::NoRegion);
}

/// A change sees one key store and is atomic: others, and earlier snapshots, stay as they are.
#[test]
fn one_key_store_is_changed_or_none() {
    let key_stores = KeyStores::new([store("/a", 'A'), store("/b", 'B')]).unwrap();
    let prefix = |text: &str| text.parse::<UriPathPrefix>().unwrap();
    let (before, b) = (key_stores.snapshot(), key_stores.get("/b").unwrap());
    let changed = key_stores.update(&prefix("/a"), |store| store.blocked(true)).unwrap();
    assert!(changed.is_blocked() && Arc::ptr_eq(&changed, &key_stores.get("/a").unwrap()));
    assert!(!before.get("/a").unwrap().is_blocked());
    assert!(Arc::ptr_eq(&b, &key_stores.get("/b").unwrap()));

    let error = key_stores.update(&prefix("/c"), |store| store).unwrap_err();
    assert_eq!(
        error.to_string(),
        "key store `/c`: there is no key store of this prefix"
    );
    let error = key_stores
        .update(&prefix("/a"), |store| store.without_region(&region("us-east-1")))
        .unwrap_err();
    assert_eq!(error.problem, KeyStoreProblem::NoRegion);
    let refused: Result<(), _> = key_stores.change(|set| {
        set.remove("/a");
        set.insert(store("/c", 'C')).unwrap();
        Err("no")
    });
    assert_eq!(refused, Err("no"));
    assert!(Arc::ptr_eq(&changed, &key_stores.get("/a").unwrap()) && key_stores.get("/c").is_none());

    assert!(Arc::ptr_eq(&key_stores.remove("/a").unwrap(), &changed));
    assert!(key_stores.remove("/a").is_none());
    let left: Vec<_> = key_stores
        .snapshot()
        .iter()
        .map(|store| store.prefix().to_string())
        .collect();
    assert_eq!((left, before.len()), (vec!["/b".to_owned()], 2));
}

/// Two threads change the same key store at once, and no change is lost.
#[test]
fn no_change_is_lost() {
    let one = key_store("/a").credential(credential()).keys([]).build().unwrap();
    let (key_stores, prefix) = (KeyStores::new([one]).unwrap(), "/a".parse().unwrap());
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (key_stores, prefix) = (&key_stores, &prefix);
            scope.spawn(move || {
                for number in 0..500 {
                    let key = KeyId::new(format!("key-{thread}-{number}")).unwrap();
                    key_stores.update(prefix, |store| store.keys([key])).unwrap();
                }
            });
        }
    });
    assert_eq!(key_stores.get("/a").unwrap().keys().unwrap().count(), 1000);
}

/// SIG-7: the set is replaced as a whole, or not at all.
#[test]
fn a_set_is_replaced_as_a_whole_or_not_at_all() {
    let key_stores = KeyStores::new([store("/a", 'A')]).unwrap();
    let begun = key_stores.get("/a").unwrap();
    assert!(key_stores.replace([store("/b", 'B'), store("/b", 'C')]).is_err());
    assert!(key_stores.get("/a").is_some() && key_stores.get("/b").is_none());
    key_stores.replace([store("/b", 'B')]).unwrap();
    assert!(key_stores.get("/a").is_none() && key_stores.get("/b").is_some());
    assert_eq!(
        begun.prefix().as_str(),
        "/a",
        "who began with the old set goes on with it"
    );
    assert_eq!(key_stores.snapshot().len(), 1);
}

/// SIG-7: one key store is put in place of the one with its prefix; the others stay as they are, caches and
/// all.
#[test]
fn one_key_store_can_be_put_in_place() {
    let key_stores = KeyStores::new([store("/a", 'A'), store("/b", 'B')]).unwrap();
    let before = key_stores.get("/b").unwrap();
    key_stores.insert(store("/a", 'C')).unwrap();
    key_stores.insert(store("/c", 'A')).unwrap();
    assert_eq!(
        key_stores.get("/a").unwrap().credentials(),
        store("/a", 'C').credentials()
    );
    assert!(Arc::ptr_eq(&before, &key_stores.get("/b").unwrap()));
    let other = Credential::new("B".repeat(20), "o".repeat(43)).unwrap();
    let other = key_store("/d").credential(other).build().unwrap();
    assert!(key_stores.insert(other).is_err() && key_stores.get("/d").is_none());
    assert_eq!(key_stores.snapshot().len(), 3);
    key_stores.replace([before]).unwrap();
    assert_eq!(key_stores.snapshot().len(), 1);
}

#[test]
fn no_secret_is_printed() {
    let key_stores = KeyStores::new([store("/a", 'A')]).unwrap();
    assert!(!format!("{key_stores:?}").contains(&"s".repeat(43)));
}
