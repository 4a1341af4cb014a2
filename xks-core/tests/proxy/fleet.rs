//! A fleet behind the proxy: KMS's answers when members fail, the audit records and the log.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use xks_backend_soft::SoftBackend;
use xks_core::{
    BackendError, KeyBackend, KeyId, Request, Zeroizing, async_trait,
    audit::{Attempt, AttemptOutcome, Outcome, OwnedAuditRecord},
    backend::{
        BackendErrorKind, DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, KeyMetadata, Layered,
    },
    fleet::{Fleet, FleetBuilder},
    testkit::{FailingBackend, Fault, Faults, Method, When},
};
use xks_test_client::HOST;

use crate::support::{
    Client, Remember, base64, decrypt_body, encrypt_body, error_of, key_store, metadata_body, proxy, soft_backend,
};

const IS_DEAD: (&[Method], Fault) = (&Method::ALL, Fault::Error(BackendErrorKind::Unavailable));
const HANGS: (&[Method], Fault) = (&Method::ALL, Fault::Hang);
const CANNOT_TRY: (&[Method], Fault) = (&[Method::Verification], Fault::Error(BackendErrorKind::Throttled));

/// Longer than any test takes, however busy the machine is.
const LONG: Duration = Duration::from_secs(600);

/// An HSM with the keys of all others, which takes its time and can be killed.
struct Hsm {
    backend: Arc<FailingBackend>,
    faults: Faults,
    takes: Duration,
}

impl Hsm {
    fn two(takes: Duration) -> [Self; 2] {
        let soft = soft_backend();
        [(); 2].map(|()| {
            let backend = Arc::new(FailingBackend::around(Arc::clone(&soft) as _));
            let faults = backend.faults();
            let hsm = Self { backend, faults, takes };
            hsm.works();
            hsm
        })
    }

    fn works(&self) {
        self.faults.clear();
        if !self.takes.is_zero() {
            self.set(&Method::ALL, Fault::Delay(self.takes));
        }
    }

    fn becomes(&self, (methods, fault): (&[Method], Fault)) {
        self.works();
        self.set(methods, fault);
    }

    fn set(&self, methods: &[Method], fault: Fault) {
        methods
            .iter()
            .for_each(|method| self.faults.set(*method, fault, When::always()));
    }

    fn calls(&self) -> u64 {
        Method::ALL.iter().map(|method| self.faults.calls(*method)).sum()
    }
}

fn fleet(hsms: &[Hsm; 2]) -> FleetBuilder {
    Fleet::builder()
        .member("hsm-a", Arc::clone(&hsms[0].backend) as _)
        .member("hsm-b", Arc::clone(&hsms[1].backend) as _)
        .timer(tokio::time::sleep)
        .budget(LONG)
        .back_off(LONG, LONG)
}

fn over(fleet: FleetBuilder) -> (Arc<Client>, Remember) {
    let audit = Remember::default();
    let fleet = Arc::new(fleet.build().unwrap());
    let client = Client::new(proxy(key_store(fleet)).audit(audit.clone()));
    (Arc::new(client), audit)
}

/// LOG-1: the members that the one record since the last time lists.
fn asked(audit: &Remember) -> Vec<String> {
    let [record] = &audit.take_records()[..] else {
        panic!("not one record")
    };
    record.record().attempts.iter().map(Attempt::to_string).collect()
}

/// ENC-10, DEC-3: an HSM dies, or hangs, while requests are under way, and none of them fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_when_one_member_does() {
    for state in [IS_DEAD, HANGS] {
        let hsms = Hsm::two(Duration::from_millis(1));
        let (client, audit) = over(fleet(&hsms).attempt(Duration::from_secs(2))); // the machine may be busy
        let workers = (0..16_u8).map(|worker| {
            let client = Arc::clone(&client);
            tokio::spawn(async move {
                for n in 0..20_u8 {
                    let (plaintext, aad) = ([worker, n], [n]);
                    let encrypted = client
                        .encrypt("usable", &encrypt_body(&plaintext, Some(&aad), true))
                        .await;
                    assert_eq!(encrypted.0, 200, "{}", encrypted.1);
                    let decrypted = client.decrypt("usable", &decrypt_body(&encrypted.1, Some(&aad))).await;
                    assert_eq!(decrypted, (200, json!({ "plaintext": base64(&plaintext) })));
                    let metadata = client.post("keys/usable/metadata", &metadata_body()).await;
                    assert_eq!(metadata.0, 200);
                }
            })
        });
        let workers: Vec<_> = workers.collect();
        while hsms[0].calls() < 100 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        hsms[0].becomes(state);
        for worker in workers {
            worker.await.unwrap();
        }
        let records = audit.take_records();
        assert_eq!(records.len(), 16 * 20 * 3);
        let tried = |record: &OwnedAuditRecord| {
            let mut attempts = record.record().attempts.iter();
            attempts.any(|attempt| attempt.member.names() == ["hsm-a"] && attempt.outcome != AttemptOutcome::Answered)
        };
        assert!(records.iter().any(tried), "it died while requests were under way");
        let calls = hsms.map(|hsm| hsm.calls());
        assert!(calls[0] * 2 < calls[1], "most went to the one that works: {calls:?}");
    }
}

/// LOG-1: the record says which member served, and which ones did not, whatever became of the request.
#[tokio::test]
async fn records_say_who_served() {
    let hsms = Hsm::two(Duration::ZERO);
    let (client, audit) = over(fleet(&hsms));
    let metadata = metadata_body();
    let ask = || client.post("keys/usable/metadata", &metadata);
    for expected in ["hsm-a", "hsm-b", "hsm-a"] {
        ask().await;
        assert_eq!(asked(&audit), [format!("{expected}: answered")]);
    }
    let (_, encrypted) = client.encrypt("usable", &encrypt_body(b"x", None, false)).await;
    assert_eq!(asked(&audit), ["hsm-b: answered"]);
    client.decrypt("usable", &decrypt_body(&encrypted, None)).await;
    assert_eq!(asked(&audit), ["hsm-a: answered"]);
    // An answer that is an error was given by a member, too, after another one had no such key either.
    client.post("keys/ghost/metadata", &metadata).await;
    assert_eq!(asked(&audit), ["hsm-b: KeyNotFound", "hsm-a: KeyNotFound"]);

    // The verification is a request of its own, and checks that the members have the same key.
    let verified = encrypt_body(b"x", None, true);
    client.encrypt("usable", &verified).await;
    assert_eq!(asked(&audit), ["hsm-a: answered", "hsm-b: verification answered"]);
    hsms[1].becomes(CANNOT_TRY);
    client.encrypt("usable", &verified).await;
    assert_eq!(
        asked(&audit),
        [
            "hsm-a: answered",
            "hsm-b: verification Throttled",
            "hsm-a: verification answered"
        ]
    );

    // Nobody asks a member about what never gets there, or about health.
    for path in ["health", "keys/unheard-of/metadata"] {
        client.post(path, &metadata).await;
        assert_eq!(asked(&audit), [""; 0]);
    }

    hsms[1].becomes(IS_DEAD);
    ask().await;
    ask().await;
    let records = audit.take_records();
    let mut attempts: Vec<_> = records.iter().map(|record| record.record().attempts.len()).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 2], "it is tried in turn");
    for record in &records {
        assert_eq!(record.record().served_by().unwrap().names(), ["hsm-a"]);
    }
    hsms[0].becomes(IS_DEAD);
    assert_eq!(error_of(&ask().await), "InternalException");
    let record = audit.take_records().remove(0);
    let record = record.record();
    let reason = record.outcome.reason().unwrap();
    assert!(
        reason.starts_with("no member of the fleet could serve the request: hsm-"),
        "{reason}"
    );
    assert!(reason.contains("(Unavailable): as the test wants it"), "{reason}");
    let outcomes: Vec<_> = record.attempts.iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::Failed(BackendErrorKind::Unavailable); 2]);
}

/// LOG-1, TRN-8: when the time is up, or the client goes away, the record names the member that had the
/// request.
#[tokio::test]
async fn records_say_who_hangs() {
    let hsms = Hsm::two(Duration::ZERO);
    hsms[0].becomes(HANGS);
    let inner = fleet(&hsms).attempt(Duration::from_millis(10)).build().unwrap();
    hsms[1].becomes(HANGS);
    let [outer, _] = Hsm::two(Duration::ZERO);
    outer.becomes(IS_DEAD);
    let outer = Fleet::builder()
        .member("far", outer.backend)
        .member("near", Arc::new(inner))
        .budget(LONG);
    let (client, audit) = over(outer);
    let body = metadata_body();

    let path = "/tenant/kms/xks/v1/keys/usable/metadata";
    let text = body.to_string();
    let headers = client.signer.sign("POST", HOST, path, &[], text.as_bytes());
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let request = Request::new("POST", path, text.as_bytes()).headers(headers);
    let timer = tokio::time::sleep(Duration::from_millis(60));
    let response = client.proxy.handle_until(request, timer).await;
    let answer: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(answer["errorName"], "DependencyTimeoutException");
    assert_eq!(
        asked(&audit),
        ["far: Unavailable", "near/hsm-a: Timeout", "near/hsm-b: abandoned"]
    );

    let call = client.post("keys/usable/metadata", &body);
    assert!(tokio::time::timeout(Duration::from_millis(5), call).await.is_err());
    let record = audit.take_records().remove(0);
    let record = record.record();
    assert_eq!(record.outcome, Outcome::Cancelled);
    assert_eq!(record.attempts.last().unwrap().outcome, AttemptOutcome::Abandoned);
    assert_eq!(record.served_by().unwrap().names()[0], "near");
}

/// TRN-8: a member that hangs costs an attempt's time, and the next one answers within the budget.
#[tokio::test]
async fn a_member_that_hangs_is_left_in_time() {
    let hsms = Hsm::two(Duration::ZERO);
    hsms[0].becomes(HANGS);
    let (client, audit) = over(fleet(&hsms));
    let started = std::time::Instant::now();
    let answer = client.encrypt("usable", &encrypt_body(b"x", None, true)).await;
    let taken = started.elapsed();
    assert_eq!(answer.0, 200);
    assert!(taken >= Fleet::DEFAULT_ATTEMPT && taken < LONG / 10, "{taken:?}");
    let asked = asked(&audit);
    assert!(
        asked.contains(&"hsm-a: Timeout".to_owned()) && asked[1..].contains(&"hsm-b: answered".to_owned()),
        "{asked:?}"
    );
}

/// HLT-1: every member stands in the answer, which is 200 while one works.
#[tokio::test]
async fn health_lists_all_members() {
    let hsms = Hsm::two(Duration::ZERO);
    let (client, _) = over(fleet(&hsms).budget(Duration::from_millis(100)));
    let details = async || {
        let (status, answer) = client.post("health", &metadata_body()).await;
        let members = answer["ekmFleetDetails"].as_array().cloned().unwrap_or_default();
        let member = |member: Value| format!("{} {}", member["id"], member["healthStatus"]).replace('"', "");
        (status, members.into_iter().map(member).collect::<Vec<_>>().join(", "))
    };
    assert_eq!(details().await, (200, "hsm-a ACTIVE, hsm-b ACTIVE".into()));
    hsms[0].becomes(HANGS);
    assert_eq!(details().await, (200, "hsm-a UNAVAILABLE, hsm-b ACTIVE".into()));
    hsms[0].works();
    assert_eq!(
        details().await,
        (200, "hsm-a DEGRADED, hsm-b ACTIVE".into()),
        "not asked yet"
    );
    hsms.iter().for_each(|hsm| hsm.becomes(IS_DEAD));
    assert_eq!(details().await, (500, String::new()));
}

/// LOG-1: a backend with several key managers of its own says itself which one has the request.
#[tokio::test]
async fn any_backend_can_say_who_serves() {
    struct Several(Arc<SoftBackend>);
    #[async_trait]
    impl Layered for Several {
        type Inner = SoftBackend;

        fn inner(&self) -> &SoftBackend {
            &self.0
        }

        async fn key_metadata(
            &self,
            key: &KeyId,
            request: &GetKeyMetadataRequest<'_>,
        ) -> Result<KeyMetadata, BackendError> {
            let attempt = request.attempt("slot 0");
            let answer = self.0.key_metadata(key, request).await;
            attempt.end(&answer);
            answer
        }
        async fn encrypt(&self, key: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
            let full: Result<(), _> = Err(BackendErrorKind::Throttled.into());
            request.attempt("slot 1").end(&full);
            let attempt = request.attempt("slot/2");
            let answer = self.0.encrypt(key, request).await;
            attempt.end(&answer);
            answer
        }
        async fn decrypt(&self, _: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
            let _attempt = request.clone().attempt("slot 3");
            panic!("as the test wants it")
        }
    }
    let audit = Remember::default();
    let client = Client::new(proxy(key_store(Arc::new(Several(soft_backend())))).audit(audit.clone()));
    client.post("keys/usable/metadata", &metadata_body()).await;
    assert_eq!(asked(&audit), ["slot 0: answered"]);
    let (_, encrypted) = client.encrypt("usable", &encrypt_body(b"x", None, false)).await;
    assert_eq!(asked(&audit), ["slot 1: Throttled", "\"slot/2\": answered"]);
    client.decrypt("usable", &decrypt_body(&encrypted, None)).await;
    assert_eq!(asked(&audit), ["slot 3: abandoned"]);
}
