use super::*;
use crate::testing::{credential, key_store};

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
        problem(builder().region("r").all_keys_of_backend()),
        KeyStoreProblem::NoCredential
    );
    assert_eq!(
        problem(builder().region("r").credential(credential())),
        KeyStoreProblem::NoKeys
    );
    for region in ["", "EU", "eu central", &"r".repeat(65)] {
        let builder = builder().region(region).credential(credential()).all_keys_of_backend();
        assert_eq!(problem(builder), KeyStoreProblem::NotARegion(region.into()));
    }
    let error = builder().build().unwrap_err().to_string();
    assert_eq!(error, "key store `/a`: name at least one AWS Region whose KMS may call");
}

/// URI-4: a key store knows its own keys and no others.
#[test]
fn keys_belong_to_their_key_store() {
    let builder = || KeyStore::builder("/a".parse().unwrap(), Arc::new(crate::testing::NoBackend)).region("r");
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
        .credential(credential())
        .credential(credential())
        .build()
        .unwrap();
    assert!(KeyStores::new([twice]).is_err());
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
    assert_eq!(key_stores.all().len(), 1);
}

/// SIG-7: one key store is put in place of the one with its prefix; the others stay as they are, caches and all.
#[test]
fn one_key_store_can_be_put_in_place() {
    let key_stores = KeyStores::new([store("/a", 'A'), store("/b", 'B')]).unwrap();
    let before = key_stores.get("/b").unwrap();
    key_stores.put(store("/a", 'C')).unwrap();
    key_stores.put(store("/c", 'A')).unwrap();
    assert!(key_stores.get("/a").unwrap().signer(&"C".repeat(20)).is_some());
    assert!(Arc::ptr_eq(&before, &key_stores.get("/b").unwrap()));
    let other = Credential::new("B".repeat(20), "o".repeat(43)).unwrap();
    let other = key_store("/d").credential(other).build().unwrap();
    assert!(key_stores.put(other).is_err() && key_stores.get("/d").is_none());
    assert_eq!(key_stores.all().len(), 3);
    key_stores.replace([before]).unwrap();
    assert_eq!(key_stores.all().len(), 1);
}

#[test]
fn no_secret_is_printed() {
    let key_stores = KeyStores::new([store("/a", 'A')]).unwrap();
    assert!(!format!("{key_stores:?}").contains(&"s".repeat(43)));
}
