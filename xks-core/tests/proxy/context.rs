//! What the server knows of a request: it reaches the backend, the authorizer and the audit record.

use std::{
    any::Any,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use serde_json::json;
use xks_backend_soft::SoftBackend;
use xks_core::{
    BackendError, KeyBackend, KeyId, Request, Zeroizing,
    api::ErrorName,
    async_trait,
    audit::{
        Attempt, AttemptOutcome, AuditRecord, AuditSink, MemberPath, Outcome, OwnedAuditRecord, Phase, TracingAudit,
    },
    authorize::{Authorizer, Decision, Subject},
    backend::{
        BackendErrorKind, DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health, KeyMetadata,
    },
    context::RequestContext,
    dependency::Reply,
    fleet::Fleet,
    key_store::{AccessKeyId, UriPathPrefix},
    testkit::{FailingBackend, Fault, Method, When},
    timer::Timer,
};
use xks_test_client::{ACCESS_KEY_ID, HOST};

use crate::support::{Client, Remember, encrypt_body, key_store, metadata_body, now, proxy, soft_backend};

/// What a server may know beside all else.
#[derive(Debug, PartialEq)]
struct Rack(u32);

/// What was seen of a context, as a text.
type Seen = Arc<Mutex<Vec<String>>>;

fn look(seen: &Seen, who: &str, context: Option<&RequestContext<'_>>, deadline: Instant) {
    let context = context.expect("a request of the pipeline has a context");
    assert_eq!(context.deadline(), Some(deadline));
    let text = format!(
        "{who}: {} {} {} {:?} {:?} {:?} {:?}",
        context.key_store(),
        context.access_key_id(),
        context.signing_region(),
        context.client_address(),
        context.tls_client(),
        context.trace_id(),
        context.extensions::<Rack>(),
    );
    assert!(context.extensions::<String>().is_none());
    seen.lock().unwrap().push(text);
}

/// A backend and an authorizer that look at the context.
struct Looks(Arc<SoftBackend>, Seen, Instant);

#[async_trait]
impl KeyBackend for Looks {
    async fn key_metadata(
        &self,
        key: &KeyId,
        request: &GetKeyMetadataRequest<'_>,
    ) -> Result<KeyMetadata, BackendError> {
        look(&self.1, "metadata", request.context(), self.2);
        self.0.key_metadata(key, request).await
    }
    async fn encrypt(&self, key: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        look(&self.1, "encrypt", request.context(), self.2);
        self.0.encrypt(key, request).await
    }
    async fn decrypt(&self, key: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        look(&self.1, "decrypt", request.context(), self.2);
        self.0.decrypt(key, request).await
    }
    async fn health(&self) -> Result<Health, BackendError> {
        self.0.health().await
    }
}

struct LooksToo(Seen, Instant);

impl Authorizer for LooksToo {
    fn authorize<'a>(&'a self, subject: &'a Subject<'a>) -> Reply<'a, Decision> {
        look(&self.0, "authorize", Some(subject.context), self.1);
        Reply::Now(Decision::allow())
    }
}

/// LOG-1: who sent a request, and by which way, is known wherever something is decided, and in the record.
#[tokio::test]
async fn the_context_goes_with_the_request() {
    let (seen, deadline) = (Seen::default(), Instant::now() + Duration::from_secs(60));
    let backend = Fleet::builder().member("looks", Arc::new(Looks(soft_backend(), Arc::clone(&seen), deadline)));
    let store = key_store(Arc::new(backend.build().unwrap())).authorizer(LooksToo(Arc::clone(&seen), deadline));
    let audit = Remember::default();
    let client = Client::new(proxy(store).audit(audit.clone()));
    let body = encrypt_body(b"x", None, true).to_string();
    let path = "/tenant/kms/xks/v1/keys/usable/encrypt";
    let headers = client.signer.sign("POST", HOST, path, &[], body.as_bytes());
    let request = Request::new("POST", path, body.as_bytes())
        .headers(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())))
        .deadline(deadline)
        .client_address("192.0.2.1:4711".parse().unwrap())
        .tls_client("kms.example")
        .trace_id("trace-1")
        .extensions(&Rack(7));
    assert_eq!(client.proxy.handle(request).await.status(), 200);
    let known = format!(
        "/tenant {ACCESS_KEY_ID} us-east-1 Some(192.0.2.1:4711) Some(\"kms.example\") Some(\"trace-1\") Some(Rack(7))"
    );
    let expected = ["authorize", "encrypt", "decrypt"].map(|who| format!("{who}: {known}"));
    assert_eq!(
        *seen.lock().unwrap(),
        expected,
        "the verification is within the same request"
    );

    let records = audit.take_records();
    let record = records[0].record();
    assert_eq!(record.client_address, Some("192.0.2.1:4711".parse().unwrap()));
    assert_eq!(
        (record.tls_client, record.trace_id),
        (Some("kms.example"), Some("trace-1"))
    );
    assert_eq!(record.access_key_id.map(AccessKeyId::as_str), Some(ACCESS_KEY_ID));
    assert_eq!(
        (record.claimed_access_key_id, record.claimed_signing_region),
        (None, None)
    );
    assert_eq!(record.served_by().unwrap().names(), ["looks"]);
}

/// A test of a backend makes a context without a proxy.
#[tokio::test]
async fn a_test_makes_a_context_of_its_own() {
    let seen = Seen::default();
    let deadline = Instant::now();
    let backend = Looks(soft_backend(), Arc::clone(&seen), deadline);
    let (key_store, id): (UriPathPrefix, AccessKeyId) = ("/a".parse().unwrap(), ACCESS_KEY_ID.parse().unwrap());
    let region = "eu-central-1".parse().unwrap();
    let http = Request::new("POST", "/", b"").deadline(deadline).trace_id("t");
    let context = RequestContext::new(&http, &key_store, &id, &region);
    let request = GetKeyMetadataRequest::new(xks_core::api::RequestMetadata::default());
    assert!(request.context().is_none());
    let request = request.with_context(&context);
    backend
        .key_metadata(&"usable".parse().unwrap(), &request)
        .await
        .unwrap();
    let attempt = request.attempt("unrecorded");
    attempt.end(&Ok(()));
    let seen = seen.lock().unwrap();
    assert_eq!(
        *seen,
        [format!(
            "metadata: /a {ACCESS_KEY_ID} eu-central-1 None None Some(\"t\") None"
        )]
    );
}

/// LOG-1, LOG-2: after a rotation the record says which credential is still in use; and it says no more than
/// that the request named it.
#[tokio::test]
async fn who_a_refused_request_claims_to_be_is_recorded() {
    let audit = Remember::default();
    let mut client = Client::new(proxy(key_store(soft_backend())).audit(audit.clone()));
    let claimed = async |client: &Client| {
        assert_eq!(client.post("keys/usable/metadata", &metadata_body()).await.0, 401);
        let records = audit.take_records();
        let record = records[0].record();
        assert!(record.access_key_id.is_none() && record.signing_region.is_none());
        let text = |text: Option<&str>| text.unwrap_or("none").to_owned();
        format!(
            "{} {}",
            text(record.claimed_access_key_id),
            text(record.claimed_signing_region)
        )
    };
    client.signer.secret_access_key = "w".repeat(43);
    assert_eq!(claimed(&client).await, format!("{ACCESS_KEY_ID} us-east-1"));
    client.signer.access_key_id = "RETIRED2RETIRED3RETIRED4".to_owned();
    client.signer.region = "eu-central-1".to_owned();
    assert_eq!(claimed(&client).await, "RETIRED2RETIRED3RETIRED4 eu-central-1");
    client.signer.access_key_id = "not-one".to_owned();
    assert_eq!(claimed(&client).await, "none eu-central-1");
    client.signer.access_key_id = "A".repeat(31);
    assert_eq!(claimed(&client).await, "none eu-central-1");
}

/// What stands in front refuses in the form of the specification, and leaves a record like any other.
#[tokio::test]
async fn a_refusal_in_front_is_recorded() {
    let audit = Remember::default();
    let client = Client::new(proxy(key_store(soft_backend())).audit(audit.clone()));
    let path = "/tenant/kms/xks/v1/keys/usable/decrypt";
    let headers = client.signer.sign("POST", HOST, path, &[], b"{}");
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let request = Request::new("POST", path, b"{}").headers(headers);
    let response = client
        .proxy
        .refuse(&request, ErrorName::Throttling, "more than 10 a second");
    let answer: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    crate::support::check_answer(response.status(), response.headers(), &answer);
    assert_eq!(
        answer,
        json!({"errorName": "ThrottlingException", "errorMessage": "too many requests"})
    );
    let bare = xks_core::Response::refused(ErrorName::Throttling);
    assert_eq!((bare.status(), bare.body()), (429, response.body()));

    let records = audit.take_records();
    assert_eq!(records.len(), 1, "a bare response has no record");
    let record = records[0].record();
    assert_eq!(record.outcome.error_name(), Some(ErrorName::Throttling));
    assert_eq!(
        (record.outcome.reason(), record.outcome.status()),
        (Some("more than 10 a second"), Some(429))
    );
    assert_eq!(record.key_store.map(UriPathPrefix::as_str), Some("/tenant"));
    assert_eq!(
        (record.key, record.operation.unwrap().as_str()),
        (Some("usable"), "Decrypt")
    );
    assert_eq!(record.access_key_id, None, "nothing was verified");
    assert_eq!(record.claimed_access_key_id, Some(ACCESS_KEY_ID));

    let nowhere = Request::new("GET", "/index.html", b"");
    assert_eq!(
        client
            .proxy
            .refuse(&nowhere, ErrorName::InvalidUriPath, "not here")
            .status(),
        404
    );
    assert_eq!(audit.take_records()[0].record().key_store, None);
}

/// A sink is tested without a proxy, and an owned record is the same record on another thread.
#[tokio::test]
async fn an_owned_record_is_the_same_record() {
    let audit = Remember::default();
    let client = Client::new(proxy(key_store(soft_backend())).audit(audit.clone()));
    let mut body = metadata_body();
    body["requestMetadata"]["sourceIdentity"] = json!({"name": "bob\n"});
    body["requestMetadata"]["awsSourceVpc"] = json!("vpc-1\n");
    client.post("keys/usable/metadata", &body).await;
    client.post("keys/ghost/metadata", &body).await;
    let records: Vec<OwnedAuditRecord> = audit.take_records();
    let again = |record: &OwnedAuditRecord| record.record().to_owned();
    for record in &records {
        assert_eq!(
            format!("{:?}", record.record()),
            format!("{:?}", again(record).record())
        );
    }
    let elsewhere = std::thread::spawn(move || records).join().unwrap();
    let record = elsewhere[0].record();
    let metadata = record.request_metadata.unwrap();
    assert_eq!(metadata.aws_source_vpc(), Some("vpc-1\n"));
    assert_eq!(metadata.kms_operation(), Some("Encrypt"));
    assert_eq!(
        metadata.extra().collect::<Vec<_>>(),
        [("sourceIdentity", r#"{"name":"bob\n"}"#)]
    );
    assert_eq!(elsewhere[1].record().outcome.error_name(), Some(ErrorName::KeyNotFound));
    assert!(elsewhere[1].record().outcome.message().is_some());

    let attempt = Attempt::new(
        MemberPath::new("near").and("hsm/1"),
        Phase::Verification,
        AttemptOutcome::Failed(BackendErrorKind::Timeout),
    );
    let attempts = [attempt];
    let mut record = AuditRecord::new("POST", "/x", Outcome::failure(ErrorName::Internal, Some("why")));
    record.attempts = &attempts;
    record.extensions = Some(&Rack(7) as &(dyn Any + Send + Sync));
    assert_eq!(record.extension::<Rack>(), Some(&Rack(7)));
    assert_eq!(
        (record.outcome.status(), record.outcome.reason()),
        (Some(500), Some("why"))
    );
    let owned = record.to_owned();
    assert_eq!(owned.record().attempts, attempts);
    assert_eq!(owned.record().served_by(), None, "nobody did what KMS asked for");
    assert!(owned.record().extensions.is_none());
    TracingAudit.record(&owned.record());
}

/// LOG-1: a record is data under the names that the log has, and its attempts are a list.
#[tokio::test]
async fn a_record_is_serialized() {
    let audit = Remember::default();
    let full = FailingBackend::around(soft_backend());
    let always = Fault::Error(BackendErrorKind::Throttled);
    full.faults().set(Method::KeyMetadata, always, When::always());
    let fleet = Fleet::builder()
        .member("a, b/c", Arc::new(full))
        .member("two", soft_backend());
    let client = Client::new(proxy(key_store(Arc::new(fleet.build().unwrap()))).audit(audit.clone()));
    let mut body = metadata_body();
    body["requestMetadata"]["sourceIdentity"] = json!("bob");
    client.post("keys/usable/metadata", &body).await;
    let mut record = serde_json::to_value(&audit.take_records()[0]).unwrap();
    assert!(record["duration_us"].take().is_u64());
    let attempt = |member: &str, outcome: &str| json!({"member": [member], "phase": "operation", "outcome": outcome});
    let expected = json!({
        "kms_request_id": "4112f4d6-db54-4af4-ae30-c55a22a8dfae",
        "operation": "GetKeyMetadata",
        "key": "usable",
        "key_store": "/tenant",
        "status": 200,
        "attempts": [attempt("a, b/c", "Throttled"), attempt("two", "answered")],
        "principal": "arn:aws:iam::123456789012:user/Alice",
        "kms_operation": "Encrypt",
        "kms_key_arn": "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        "kms_via_service": "ebs",
        "extra": {"sourceIdentity": "\"bob\""},
        "access_key_id": ACCESS_KEY_ID,
        "signing_region": "us-east-1",
        "method": "POST",
        "path": "/tenant/kms/xks/v1/keys/usable/metadata",
        "duration_us": null,
    });
    assert_eq!(record, expected);

    let outcome = Outcome::failure(ErrorName::AuthenticationFailed, Some("why"));
    let mut record = AuditRecord::new("GET", "/x?X-Amz-Signature=00ff", outcome);
    record.client_address = Some("192.0.2.1:4711".parse().unwrap());
    let record = serde_json::to_value(record).unwrap();
    let message = "the request could not be authenticated";
    let expected = json!({
        "status": 401, "error": "AuthenticationFailedException", "message_sent": message, "reason": "why",
        "client": "192.0.2.1:4711", "method": "GET", "path": "/x", "duration_us": 0,
    });
    assert_eq!(record, expected);
}

/// Every look at this clock takes a second.
struct Ticking(Mutex<Instant>);

impl Timer for Ticking {
    fn now(&self) -> Instant {
        let mut now = self.0.lock().unwrap();
        *now += Duration::from_secs(1);
        *now
    }

    fn system_time(&self) -> SystemTime {
        now()
    }
}

/// LOG-1: how long a request took is what the proxy's timer says.
#[tokio::test]
async fn records_go_by_the_proxys_timer() {
    let seen = Remember::default();
    let timer = Ticking(Mutex::new(Instant::now()));
    let client = Client::new(proxy(key_store(soft_backend())).audit(seen.clone()).timer(timer));
    assert_eq!(client.post("keys/usable/metadata", &metadata_body()).await.0, 200);
    let [record] = &seen.take_records()[..] else {
        panic!("one request, one record")
    };
    assert_eq!(
        record.record().duration,
        Duration::from_secs(1),
        "between its first and its last look"
    );
}
