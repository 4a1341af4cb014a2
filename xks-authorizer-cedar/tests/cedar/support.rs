//! A request to ask about, and a memory for what is logged.

use std::{
    io,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;
use xks_authorizer_cedar::CedarAuthorizer;
use xks_core::{
    Request,
    api::{KeyOperation, RequestMetadata},
    authorize::{Decision, Subject},
    context::RequestContext,
};
use xks_test_client::{ACCESS_KEY_ID, REGION};

pub(crate) const ALICE: &str = "arn:aws:iam::111122223333:user/Alice";
pub(crate) const UNMATCHED: &str = "no policy allows it";

/// With every field that is known.
pub(crate) fn metadata() -> Value {
    json!({
        "awsPrincipalArn": ALICE,
        "awsSourceVpc": "vpc-1",
        "awsSourceVpce": "vpce-2",
        "kmsKeyArn": "arn:aws:kms:eu-west-1:444455556666:key/1234",
        "kmsOperation": "GenerateDataKey",
        "kmsRequestId": "request-1",
        "kmsViaService": "s3",
    })
}

/// With no more than is always there.
pub(crate) fn bare(principal: &str) -> Value {
    json!({ "awsPrincipalArn": principal, "kmsOperation": "CreateKey", "kmsRequestId": "request-2" })
}

/// The same with something else.
pub(crate) fn with(mut metadata: Value, field: &str, value: Value) -> Value {
    metadata[field] = value;
    metadata
}

pub(crate) fn ask_of(
    authorizer: &CedarAuthorizer,
    key_store: &str,
    operation: KeyOperation,
    metadata: &Value,
) -> Decision {
    asked(key_store, operation, &metadata.to_string(), |subject| {
        authorizer.decide(subject)
    })
}

/// Does something with a request for `key-1`.
pub(crate) fn asked<T>(
    key_store: &str,
    operation: KeyOperation,
    metadata: &str,
    with: impl FnOnce(&Subject<'_>) -> T,
) -> T {
    let (request, key_store) = (Request::new("POST", "/", b""), key_store.parse().unwrap());
    let (id, region) = (ACCESS_KEY_ID.parse().unwrap(), REGION.parse().unwrap());
    let context = RequestContext::new(&request, &key_store, &id, &region);
    let metadata = RequestMetadata::from_json(metadata).unwrap();
    with(&Subject::new(&context, &"key-1".parse().unwrap(), operation, &metadata))
}

/// To encrypt with `key-1` of `/store`.
pub(crate) fn ask(authorizer: &CedarAuthorizer, metadata: &Value) -> Decision {
    ask_of(authorizer, "/store", KeyOperation::Encrypt, metadata)
}

/// By policies alone.
pub(crate) fn decide(policies: &str, metadata: &Value) -> Decision {
    ask(&CedarAuthorizer::new(policies).unwrap(), metadata)
}

/// Whether a condition makes a permission apply.
pub(crate) fn holds(condition: &str, metadata: &Value) -> bool {
    let policy = format!("permit (principal, action, resource) when {{ {condition} }};");
    match decide(&policy, metadata) {
        Decision::Allow { policy } => policy.as_deref() == Some("policy0"),
        Decision::Deny { policy } => {
            assert_eq!(&*policy, UNMATCHED);
            false
        }
        other => panic!("{other:?}"),
    }
}

/// What is logged on this thread while something is done.
pub(crate) fn logged<T>(run: impl FnOnce() -> T) -> (T, String) {
    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Memory {
        type Writer = Self;
        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    let memory = Memory::default();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_writer(memory.clone())
        .finish();
    let result = tracing::subscriber::with_default(subscriber, run);
    let log = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
    (result, log)
}
