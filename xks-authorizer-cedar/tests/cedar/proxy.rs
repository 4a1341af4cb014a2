//! Behind a proxy: signed requests in, answers and audit records out.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use xks_authorizer_cedar::{CedarAuthorizer, SCHEMA};
use xks_backend_soft::{SoftBackend, SoftKey};
use xks_core::{
    Credential, KeyStore, KeyStores, Proxy, Request,
    api::KeyOperation,
    audit::{AuditRecord, AuditSink},
    authorize::{Authorizer, Decision, Subject},
    dependency::Reply,
    timer::FixedSystemTime,
};
use xks_test_client::{ACCESS_KEY_ID, HOST, REGION, SECRET_ACCESS_KEY, Signer};

use crate::support::{metadata, with};

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_780_000_000)
}

/// What was asked of the authorizer, and what the audit records named.
#[derive(Clone, Default)]
struct Memory {
    asked: Arc<Mutex<Vec<KeyOperation>>>,
    named: Arc<Mutex<Vec<Option<String>>>>,
}

impl AuditSink for Memory {
    fn record(&self, record: &AuditRecord<'_>) {
        self.named.lock().unwrap().push(record.policy.map(str::to_owned));
    }
}

struct Counted {
    authorizer: CedarAuthorizer,
    memory: Memory,
}

impl Authorizer for Counted {
    fn authorize<'a>(&'a self, subject: &'a Subject<'a>) -> Reply<'a, Decision> {
        self.memory.asked.lock().unwrap().push(subject.operation);
        self.authorizer.authorize(subject)
    }
}

struct Client {
    proxy: Proxy,
    memory: Memory,
}

impl Client {
    fn new(authorizer: CedarAuthorizer) -> Self {
        let memory = Memory::default();
        let backend = SoftBackend::new()
            .with_key("payroll".parse().unwrap(), SoftKey::generate().unwrap())
            .with_key("backup".parse().unwrap(), SoftKey::generate().unwrap());
        let key_store = KeyStore::builder("/tenant".parse().unwrap(), Arc::new(backend))
            .region(REGION.parse().unwrap())
            .credential(Credential::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY.to_owned()).unwrap())
            .all_keys_of_backend()
            .authorizer(Counted {
                authorizer,
                memory: memory.clone(),
            })
            .build()
            .unwrap();
        let proxy = Proxy::builder(KeyStores::new([key_store]).unwrap())
            .timer(FixedSystemTime(now()))
            .audit(memory.clone())
            .build();
        Self { proxy, memory }
    }

    /// Status, answer, and what the audit record named.
    async fn post(&self, path: &str, body: &Value) -> (u16, Value, Option<String>) {
        let (path, body) = (format!("/tenant/kms/xks/v1/{path}"), body.to_string());
        let headers = [("content-type", "application/json")];
        let headers = Signer::at(now()).sign("POST", HOST, &path, &headers, body.as_bytes());
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let request = Request::new("POST", &path, body.as_bytes()).headers(headers);
        let response = self.proxy.handle(request).await;
        let mut named = std::mem::take(&mut *self.memory.named.lock().unwrap());
        assert_eq!(named.len(), 1, "one record for each request");
        let answer = serde_json::from_slice(response.body()).unwrap();
        (response.status(), answer, named.remove(0))
    }
}

fn encrypt(metadata: &Value) -> Value {
    json!({ "requestMetadata": metadata, "plaintext": "c2VjcmV0", "encryptionAlgorithm": "AES_GCM" })
}

const POLICIES: &str = r#"
    @id("may-encrypt")
    permit (principal, action == Xks::Action::"Encrypt", resource in Xks::KeyStore::"/tenant");

    @id("backup-role")
    permit (principal, action, resource == Xks::Key::"backup") when { principal.id like "*:user/Alice" };

    @id("payroll-vpc")
    forbid (principal, action, resource == Xks::Key::"payroll")
    unless { context has awsSourceVpc && context.awsSourceVpc == "vpc-1" };
"#;

/// AUZ-1: a denial is AccessDeniedException, tells the client no policy, and the audit record names it; so it
/// does the policy that allows.
#[tokio::test]
async fn denials_are_answered_and_recorded_with_their_policy() {
    let client = Client::new(CedarAuthorizer::new(POLICIES).unwrap());

    let (status, encrypted, named) = client.post("keys/payroll/encrypt", &encrypt(&metadata())).await;
    assert_eq!((status, named.as_deref()), (200, Some("may-encrypt")));

    let elsewhere = with(metadata(), "awsSourceVpc", json!("vpc-2"));
    let (status, answer, named) = client.post("keys/payroll/encrypt", &encrypt(&elsewhere)).await;
    assert_eq!((status, named.as_deref()), (403, Some("payroll-vpc")));
    assert_eq!(answer["errorName"], "AccessDeniedException");
    assert!(!answer.to_string().contains("payroll-vpc"), "{answer}");

    let mut decrypt = encrypted;
    decrypt["requestMetadata"] = metadata();
    decrypt["encryptionAlgorithm"] = json!("AES_GCM");
    let (status, answer, named) = client.post("keys/payroll/decrypt", &decrypt).await;
    assert_eq!((status, named.as_deref()), (403, Some("no policy allows it")));
    assert_eq!(answer["errorName"], "AccessDeniedException");

    let about = json!({ "requestMetadata": metadata() });
    let (status, _, named) = client.post("keys/backup/metadata", &about).await;
    assert_eq!((status, named.as_deref()), (200, Some("backup-role")));
    let about_bob = json!({ "requestMetadata": with(metadata(), "awsPrincipalArn", json!("AWS Internal")) });
    let (status, ..) = client.post("keys/backup/metadata", &about_bob).await;
    assert_eq!(status, 403);
}

/// HLT-2: health is answered although everything is forbidden, and no policy is asked.
#[tokio::test]
async fn health_is_not_put_under_authorization() {
    let client = Client::new(CedarAuthorizer::new("forbid (principal, action, resource);").unwrap());
    let body = json!({ "requestMetadata": { "kmsOperation": "KmsHealthCheck", "kmsRequestId": "1" } });
    let (status, _, named) = client.post("health", &body).await;
    assert_eq!((status, named), (200, None));
    assert!(client.memory.asked.lock().unwrap().is_empty());

    let (status, _, named) = client.post("keys/backup/encrypt", &encrypt(&metadata())).await;
    assert_eq!((status, named.as_deref()), (403, Some("policy0")));
    assert_eq!(*client.memory.asked.lock().unwrap(), [KeyOperation::Encrypt]);
}

/// MD-5: a field that is not known yet comes all the way from the request's body to a policy.
#[tokio::test]
async fn extra_fields_come_through_the_proxy() {
    let schema = SCHEMA.replace("type Call = {", "type Call = { sourceIdentity?: String,");
    let policies = r#"
        @id("all") permit (principal, action, resource);
        @id("not-mallory") forbid (principal, action, resource)
        when { context has sourceIdentity && context.sourceIdentity == "mallory" };
    "#;
    let client = Client::new(CedarAuthorizer::builder(policies).schema(&schema).build().unwrap());
    for (identity, expected) in [
        (json!("alice"), (200, "all")),
        (json!("mallory"), (403, "not-mallory")),
        (
            json!(1),
            (403, "requestMetadata.sourceIdentity is not what the schema declares"),
        ),
    ] {
        let metadata = with(with(metadata(), "sourceIdentity", identity), "undeclared", json!([]));
        let (status, _, named) = client.post("keys/backup/encrypt", &encrypt(&metadata)).await;
        assert_eq!((status, named.as_deref()), (expected.0, Some(expected.1)));
    }
}
