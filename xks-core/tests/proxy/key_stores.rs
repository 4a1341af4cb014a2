//! Key stores that change while they are served.

use std::sync::Arc;

use xks_core::{
    Credential, KeyId, KeyStore, KeyStores, Proxy, backend::KeyStatus, key_store::AccessKeyId, timer::FixedSystemTime,
};
use xks_test_client::{ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY};

use crate::support::{
    Client, Remember, decrypt_body, encrypt_body, error_of, key_store, metadata_body, now, proxy, soft_backend,
};

/// ENC-11, DEC-4, GKM-3: each key of a blocked key store is disabled, its health stays as it is, and all of
/// it comes back.
#[tokio::test]
async fn a_blocked_key_store_serves_nothing_but_its_health() {
    let (backend, audit) = (soft_backend(), Remember::default());
    let client = Client::new(proxy(key_store(Arc::clone(&backend) as _)).audit(audit.clone()));
    let prefix = "/tenant".parse().unwrap();
    let encrypt = encrypt_body(b"text", None, true);
    let decrypt = decrypt_body(&client.encrypt("usable", &encrypt).await.1, None);
    assert_eq!(client.decrypt("usable", &decrypt).await.0, 200);

    client
        .proxy
        .key_stores()
        .update(&prefix, |store| store.blocked(true))
        .unwrap();
    audit.take();
    for answer in [
        client.encrypt("usable", &encrypt).await,
        client.decrypt("usable", &decrypt).await,
    ] {
        assert_eq!(error_of(&answer), "InvalidStateException");
    }
    assert!(
        audit
            .take()
            .iter()
            .all(|record| record.contains("the key store is blocked"))
    );
    let metadata = client.post("keys/usable/metadata", &metadata_body()).await;
    assert_eq!((metadata.0, &metadata.1["keyStatus"]), (200, &"DISABLED".into()));
    let unknown = client.encrypt("unheard-of", &encrypt).await;
    assert_eq!(error_of(&unknown), "KeyNotFoundException");
    assert_eq!(client.post("health", &metadata_body()).await.0, 200);

    client
        .proxy
        .key_stores()
        .update(&prefix, |store| store.blocked(false))
        .unwrap();
    assert_eq!(client.decrypt("usable", &decrypt).await.0, 200);
    let metadata = client.post("keys/usable/metadata", &metadata_body()).await;
    assert_eq!(metadata.1["keyStatus"], KeyStatus::Enabled.as_str());
}

/// SIG-7: a credential is rotated with an overlap, and its last use says when the former can go.
#[tokio::test]
async fn the_last_use_of_each_credential_is_known() {
    let client = Client::new(proxy(key_store(soft_backend())));
    let (prefix, key_stores) = ("/tenant".parse().unwrap(), client.proxy.key_stores());
    let last_used = || -> Vec<_> {
        let store = key_stores.get("/tenant").unwrap();
        store.credentials().iter().map(Credential::last_used).collect()
    };
    assert_eq!(last_used(), [None]);
    let forged = Client::new(proxy(key_store(soft_backend())));
    let mut signer = forged.signer.clone();
    signer.secret_access_key = "x".repeat(43);
    let forged = Client { signer, ..forged };
    assert_eq!(forged.post("health", &metadata_body()).await.0, 401);
    assert_eq!(
        forged.proxy.key_stores().get("/tenant").unwrap().credentials()[0].last_used(),
        None
    );

    assert_eq!(client.post("health", &metadata_body()).await.0, 200);
    let second = Credential::new("B".repeat(20), "b".repeat(43)).unwrap();
    key_stores
        .update(&prefix, |store| store.credential(second.clone()))
        .unwrap();
    assert_eq!(last_used(), [Some(now()), None]);
    let former: AccessKeyId = client.signer.access_key_id.parse().unwrap();
    key_stores
        .update(&prefix, |store| store.without_credential(&former))
        .unwrap();
    assert_eq!(client.post("health", &metadata_body()).await.0, 401);
    assert_eq!(last_used(), [second.last_used()]);
}

/// URI-4: two tenants share a key manager whose keys cannot be listed.
#[tokio::test]
async fn a_predicate_tells_the_keys_of_tenants_apart() {
    let backend = soft_backend();
    let tenant = |prefix: &str, first: &'static str| {
        let belongs = move |key: &KeyId| key.as_str().starts_with(first);
        KeyStore::builder(prefix.parse().unwrap(), Arc::clone(&backend) as _)
            .region(REGION.parse().unwrap())
            .credential(Credential::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY.to_owned()).unwrap())
            .keys_where(belongs)
            .build()
            .unwrap()
    };
    let key_stores = KeyStores::new([tenant("/a", "us"), tenant("/b", "o")]).unwrap();
    let client = Client::new(Proxy::builder(key_stores).timer(FixedSystemTime(now())));
    for (path, expected) in [
        ("/a/kms/xks/v1/keys/usable/metadata", "none"),
        ("/b/kms/xks/v1/keys/other/metadata", "none"),
        ("/a/kms/xks/v1/keys/other/metadata", "KeyNotFoundException"),
        ("/b/kms/xks/v1/keys/usable/metadata", "KeyNotFoundException"),
        ("/a/kms/xks/v1/keys/useless/metadata", "KeyNotFoundException"),
    ] {
        let answer = client.send("POST", path, metadata_body().to_string().as_bytes()).await;
        assert_eq!(error_of(&answer), expected, "{path}");
    }
}
