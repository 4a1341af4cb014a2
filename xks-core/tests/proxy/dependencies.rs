//! Policy engines and sources of credentials that are asked over a network: they reply later, fail, or never
//! reply.

use std::{
    future::{pending, ready},
    io,
    sync::{Arc, Mutex},
};

use xks_core::{
    Credential, Request,
    authorize::{Authorizer, Decision, Subject},
    dependency::{DependencyError, Reply},
    key_store::Credentials,
};
use xks_test_client::{ACCESS_KEY_ID, HOST, SECRET_ACCESS_KEY};

use crate::support::{Client, Remember, encrypt_body, error_of, key_store, metadata_body, proxy, soft_backend};

/// What a dependency does, after it has let others run.
#[derive(Clone, Copy, Debug)]
enum Does {
    Reply,
    Fail,
    Timeout,
    Panic,
    Hang,
}

impl Does {
    async fn with<T>(self, reply: T) -> Result<T, DependencyError> {
        tokio::task::yield_now().await;
        match self {
            Self::Reply => Ok(reply),
            Self::Fail => {
                Err(DependencyError::failed("no connection").with_source(io::Error::other("the cable is cut")))
            }
            Self::Timeout => Err(DependencyError::timeout("no reply within 50 ms")),
            Self::Panic => panic!("as the test wants it"),
            Self::Hang => pending().await,
        }
    }
}

/// How a request ends, and what the log says of it.
const ENDS: [(Does, &str, &str); 4] = [
    (Does::Fail, "InternalException", "no connection: the cable is cut"),
    (Does::Timeout, "DependencyTimeoutException", "no reply within 50 ms"),
    (
        Does::Hang,
        "DependencyTimeoutException",
        "did not answer within the request's time",
    ),
    (Does::Panic, "InternalException", "panicked"),
];

/// Sends a request whose time is up as soon as anybody has to wait, if nothing else is said.
async fn post_until(client: &Client, path: &str, expired: impl Future<Output = ()>) -> (u16, serde_json::Value) {
    let (path, body) = (format!("/tenant/kms/xks/v1/{path}"), metadata_body().to_string());
    let headers = client.signer.sign("POST", HOST, &path, &[], body.as_bytes());
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let request = Request::new("POST", &path, body.as_bytes()).headers(headers);
    let response = client.proxy.handle_until(request, expired).await;
    (response.status(), serde_json::from_slice(response.body()).unwrap())
}

/// Asks for the metadata of a key. A backend that hangs is out of time at once; the others have all of it.
async fn ask(client: &Client, does: Does) -> (u16, serde_json::Value) {
    let path = "keys/usable/metadata";
    match does {
        Does::Hang => post_until(client, path, ready(())).await,
        _ => post_until(client, path, pending()).await,
    }
}

struct Engine {
    does: Does,
    decision: Decision,
    asked: Mutex<Vec<String>>,
}

impl Engine {
    fn new(does: Does, decision: Decision) -> Arc<Self> {
        let asked = Mutex::default();
        Arc::new(Self { does, decision, asked })
    }
}

impl Authorizer for Engine {
    fn authorize<'a>(&'a self, subject: &'a Subject<'a>) -> Reply<'a, Decision> {
        let Subject {
            key,
            operation,
            context,
            ..
        } = subject;
        self.asked
            .lock()
            .unwrap()
            .push(format!("{} {operation} {key}", context.access_key_id()));
        Reply::later(self.does.with(self.decision.clone()))
    }
}

/// AUZ-1: an engine decides later, and its policy is logged as that of one that decides at once.
#[tokio::test]
async fn a_remote_engine_decides() {
    for (decision, expected) in [
        (Decision::allow_by("its policy"), 200),
        (Decision::deny("its policy"), 403),
    ] {
        let (engine, audit) = (Engine::new(Does::Reply, decision), Remember::default());
        let client = Client::new(proxy(key_store(soft_backend()).authorizer(Arc::clone(&engine))).audit(audit.clone()));
        assert_eq!(
            client.encrypt("usable", &encrypt_body(b"x", None, true)).await.0,
            expected
        );
        assert!(audit.take()[0].contains("its policy"));
        assert_eq!(
            *engine.asked.lock().unwrap(),
            [format!("{ACCESS_KEY_ID} Encrypt usable")]
        );
    }
}

/// AUZ-1, TRN-8: without a decision nothing is allowed, and the answer comes in time. Health asks for none.
#[tokio::test]
async fn an_engine_that_fails_or_is_late_allows_nothing() {
    for (does, expected, reason) in ENDS {
        let (engine, audit) = (Engine::new(does, Decision::allow()), Remember::default());
        let client = Client::new(proxy(key_store(soft_backend()).authorizer(engine)).audit(audit.clone()));
        assert_eq!(error_of(&ask(&client, does).await), expected, "{does:?}");
        let records = audit.take();
        assert!(
            records.len() == 1 && records[0].contains(reason),
            "{does:?}: {records:?}"
        );
        let names_it = records[0].contains("the authorizer");
        assert!(names_it || matches!(does, Does::Panic), "{records:?}");
        assert_eq!(post_until(&client, "health", pending()).await.0, 200);
    }
}

/// A source that has one credential; whether it knows at once or looks it up.
struct Vault(Credential, Option<Does>);

impl Vault {
    fn new(does: Option<Does>) -> Self {
        Self(
            Credential::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY.to_owned()).unwrap(),
            does,
        )
    }
}

impl Credentials for Vault {
    fn find<'a>(&'a self, access_key_id: &'a str) -> Reply<'a, Option<Credential>> {
        let found = (self.0.access_key_id().as_str() == access_key_id).then(|| self.0.clone());
        match self.1 {
            Some(does) => Reply::later(does.with(found)),
            None => Reply::Now(found),
        }
    }
}

/// SIG-6, SIG-7: credentials come from a source, at once or later, and what it does not know is refused.
#[tokio::test]
async fn credentials_come_from_a_source() {
    for does in [None, Some(Does::Reply)] {
        let vault = Vault::new(does);
        let known = vault.0.clone();
        let mut client = Client::new(proxy(key_store(soft_backend()).credentials_from(vault)));
        assert_eq!(client.post("health", &metadata_body()).await.0, 200);
        assert!(known.last_used().is_some(), "clones share it");
        let key_store = client.proxy.key_stores().get("/tenant").unwrap();
        assert!(key_store.credentials().is_empty() && key_store.credential_source().is_some());
        for (id, secret) in [
            ("B".repeat(20), SECRET_ACCESS_KEY.to_owned()),
            (ACCESS_KEY_ID.into(), "s".repeat(43)),
        ] {
            client.signer.access_key_id = id;
            client.signer.secret_access_key = secret;
            let answer = client.post("health", &metadata_body()).await;
            assert_eq!(error_of(&answer), "AuthenticationFailedException");
        }
    }
    let listed = key_store(soft_backend())
        .credentials_from(Vault::new(None))
        .credential(Vault::new(None).0);
    assert_eq!(
        listed.build().unwrap().credentials().len(),
        1,
        "what is named last counts"
    );
}

/// SIG-9, TRN-8: without its credential no request is served, whatever for, and the answer comes in time.
#[tokio::test]
async fn a_source_that_fails_or_is_late_lets_nobody_in() {
    for (does, expected, reason) in ENDS {
        let audit = Remember::default();
        let builder = key_store(soft_backend()).credentials_from(Vault::new(Some(does)));
        let client = Client::new(proxy(builder).audit(audit.clone()));
        assert_eq!(error_of(&ask(&client, does).await), expected, "{does:?}");
        let records = audit.take();
        assert!(
            records.len() == 1 && records[0].contains(reason),
            "{does:?}: {records:?}"
        );
    }
}

/// A source that gives the credential of another access key id does not let that one in by it.
#[tokio::test]
async fn a_credential_verifies_its_own_access_key_id_only() {
    struct Careless(Credential);
    impl Credentials for Careless {
        fn find<'a>(&'a self, _: &'a str) -> Reply<'a, Option<Credential>> {
            Reply::Now(Some(self.0.clone()))
        }
    }
    let careless = Careless(Vault::new(None).0);
    let mut client = Client::new(proxy(key_store(soft_backend()).credentials_from(careless)));
    assert_eq!(client.post("health", &metadata_body()).await.0, 200);
    client.signer.access_key_id = "B".repeat(20);
    assert_eq!(client.post("health", &metadata_body()).await.0, 401);
}
