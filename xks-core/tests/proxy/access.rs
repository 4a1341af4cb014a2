//! Access: authorization, credentials that are replaced, tenants that are apart.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::json;
use xks_core::{
    Credential, KeyStores,
    authorize::{Authorizer, Decision, Rule, Rules, Subject},
    dependency::Reply,
    timer::FixedSystemTime,
};
use xks_test_client::Signer;

use crate::support::{
    self, Client, Remember, encrypt_body, error_of, key_store, metadata_body, now, proxy, soft_backend,
};

struct AskedTimes(AtomicUsize, Decision);

impl Authorizer for AskedTimes {
    fn authorize<'a>(&'a self, _: &'a Subject<'a>) -> Reply<'a, Decision> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Reply::Now(self.1.clone())
    }
}

/// HLT-2: health is authenticated and never asked about; everything else is.
#[tokio::test]
async fn health_is_never_put_under_authorization() {
    let asked = Arc::new(AskedTimes(AtomicUsize::new(0), Decision::deny("nobody")));
    let client = Client::new(proxy(key_store(soft_backend()).authorizer(Arc::clone(&asked))));
    assert_eq!(client.post("health", &metadata_body()).await.0, 200);
    assert_eq!(asked.0.load(Ordering::Relaxed), 0);
    assert_eq!(
        client
            .send_unsigned("POST", "/tenant/kms/xks/v1/health", &[], b"{}")
            .await
            .0,
        401
    );
    for path in ["keys/usable/metadata", "keys/disabled/metadata"] {
        assert_eq!(
            error_of(&client.post(path, &metadata_body()).await),
            "AccessDeniedException"
        );
    }
    assert_eq!(
        error_of(&client.encrypt("usable", &encrypt_body(b"x", None, false)).await),
        "AccessDeniedException"
    );
    assert_eq!(asked.0.load(Ordering::Relaxed), 3);
    assert_eq!(
        error_of(&client.encrypt("unheard-of", &encrypt_body(b"x", None, false)).await),
        "KeyNotFoundException"
    );
    assert_eq!(
        asked.0.load(Ordering::Relaxed),
        3,
        "a key that is not there is nobody's"
    );
}

/// AUZ-1, MD-5: rules decide, a denial names its rule in the log and nowhere else, unknown fields reach who
/// decides.
#[tokio::test]
async fn rules_decide_and_denials_name_their_rule() {
    let rules = Rules::new([
        Rule::allow("alice may").principal("*:user/Alice"),
        Rule::deny("other is locked").key("other"),
    ]);
    let audit = Remember::default();
    let client = Client::new(proxy(key_store(soft_backend()).authorizer(rules)).audit(audit.clone()));
    assert_eq!(client.encrypt("usable", &encrypt_body(b"x", None, false)).await.0, 200);
    assert!(audit.take()[0].contains("alice may"));
    let denied = client.encrypt("other", &encrypt_body(b"x", None, false)).await;
    assert_eq!(error_of(&denied), "AccessDeniedException");
    assert!(!denied.1.to_string().contains("locked"));
    assert!(audit.take()[0].contains("other is locked"));

    struct WantsPcr;
    impl Authorizer for WantsPcr {
        fn authorize<'a>(&'a self, subject: &'a Subject<'a>) -> Reply<'a, Decision> {
            let attested = subject
                .request_metadata
                .extra()
                .any(|(name, value)| name == "pcr0" && value == "\"00ff\"");
            Reply::Now(match attested {
                true => Decision::allow_by("attested"),
                false => Decision::deny("not attested"),
            })
        }
    }
    let client = Client::new(proxy(key_store(soft_backend()).authorizer(WantsPcr)).audit(audit.clone()));
    let mut body = metadata_body();
    assert_eq!(client.post("keys/usable/metadata", &body).await.0, 403);
    body["requestMetadata"]["pcr0"] = json!("00ff");
    assert_eq!(client.post("keys/usable/metadata", &body).await.0, 200);
    assert!(audit.take()[1].contains("pcr0"));
}

/// SIG-7: a second credential is added, the client switches over, the first is removed; nothing restarts.
#[tokio::test]
async fn credentials_rotate_without_a_restart() {
    let backend = soft_backend();
    let second = || Credential::new("B".repeat(20), "b".repeat(43)).unwrap();
    let mut client = Client::new(proxy(key_store(Arc::clone(&backend) as _)));
    let old = client.signer.clone();
    let new = Signer {
        access_key_id: "B".repeat(20),
        secret_access_key: "b".repeat(43),
        ..old.clone()
    };
    let works = async |client: &mut Client, signer: &Signer| {
        client.signer = signer.clone();
        client.post("health", &metadata_body()).await.0 == 200
    };
    assert!(works(&mut client, &old).await && !works(&mut client, &new).await);
    let both = key_store(Arc::clone(&backend) as _)
        .credential(second())
        .build()
        .unwrap();
    client.proxy.key_stores().replace([both]).unwrap();
    assert!(works(&mut client, &old).await && works(&mut client, &new).await);
    let only_new = xks_core::KeyStore::builder("/tenant".parse().unwrap(), backend)
        .region("us-east-1".parse().unwrap())
        .credential(second())
        .all_keys_of_backend()
        .build()
        .unwrap();
    client.proxy.key_stores().replace([only_new]).unwrap();
    assert!(!works(&mut client, &old).await && works(&mut client, &new).await);
}

/// URI-4, SIG-6: a credential is valid under its own prefix only, and a key belongs to its own key store.
#[tokio::test]
async fn tenants_are_apart() {
    let tenant = |prefix: &str, letter: char, key: &str| {
        xks_core::KeyStore::builder(prefix.parse().unwrap(), soft_backend())
            .region("us-east-1".parse().unwrap())
            .credential(Credential::new(letter.to_string().repeat(20), letter.to_string().repeat(43)).unwrap())
            .keys([support::id(key)])
            .build()
            .unwrap()
    };
    let stores = KeyStores::new([
        tenant("/a", 'A', "usable"),
        tenant("/b", 'B', "other"),
        tenant("", 'C', "usable"),
    ]);
    let mut client = Client::new(xks_core::Proxy::builder(stores.unwrap()).timer(FixedSystemTime(now())));
    let body = metadata_body().to_string();
    for (letter, path, expected) in [
        ('A', "/a/kms/xks/v1/keys/usable/metadata", "none"),
        ('B', "/b/kms/xks/v1/keys/other/metadata", "none"),
        ('C', "/kms/xks/v1/keys/usable/metadata", "none"),
        ('A', "/a/kms/xks/v1/keys/other/metadata", "KeyNotFoundException"),
        (
            'A',
            "/b/kms/xks/v1/keys/other/metadata",
            "AuthenticationFailedException",
        ),
        (
            'B',
            "/a/kms/xks/v1/keys/usable/metadata",
            "AuthenticationFailedException",
        ),
        ('A', "/kms/xks/v1/keys/usable/metadata", "AuthenticationFailedException"),
        ('A', "/c/kms/xks/v1/keys/usable/metadata", "InvalidUriPathException"),
        ('A', "/a/a/kms/xks/v1/keys/usable/metadata", "InvalidUriPathException"),
    ] {
        client.signer.access_key_id = letter.to_string().repeat(20);
        client.signer.secret_access_key = letter.to_string().repeat(43);
        assert_eq!(
            error_of(&client.send("POST", path, body.as_bytes()).await),
            expected,
            "{letter} {path}"
        );
    }
    // One credential for two of them: each has its own keys all the same.
    let stores = [tenant("/a", 'A', "usable"), tenant("/b", 'A', "other")];
    client.proxy.key_stores().replace(stores).unwrap();
    client.signer.access_key_id = "A".repeat(20);
    client.signer.secret_access_key = "A".repeat(43);
    for (path, expected) in [
        ("/a/kms/xks/v1/keys/usable/metadata", "none"),
        ("/b/kms/xks/v1/keys/other/metadata", "none"),
        ("/a/kms/xks/v1/keys/other/metadata", "KeyNotFoundException"),
        ("/b/kms/xks/v1/keys/usable/metadata", "KeyNotFoundException"),
    ] {
        let answer = client.send("POST", path, body.as_bytes()).await;
        assert_eq!(error_of(&answer), expected, "{path}");
    }
}
