//! What the tests share: the running program, its clients, and its settings.

#[cfg(feature = "lifecycle")]
mod administrator;
mod clock;
mod curl;
mod demo;
mod folder;
mod load;
mod metrics;
mod old;
mod pki;
mod process;
mod raw;
mod server;
mod settings;
mod site;
mod token;

use std::time::{Duration, SystemTime};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
pub(crate) use xks_test_client::{
    ACCESS_KEY_ID, Answer, Connection, Failure, Http, REGION, SECRET_ACCESS_KEY, Signer, Target,
};

#[cfg(feature = "lifecycle")]
pub(crate) use self::administrator::{Administrator, STORE, create_store};
pub(crate) use self::{
    clock::Clock,
    curl::{Curl, fetch, run},
    demo::Demo,
    folder::Folder,
    load::{Load, Style},
    metrics::Metrics,
    old::{Old, SHAPES},
    pki::{Authority, Identity, Leaf, client_config},
    process::{Process, program, raise_limit_of_files, without_our_variables},
    raw::Raw,
    server::{Server, check, ended},
    settings::{PREFIX, Settings, credential, key_store, quoted, usual_credential},
    site::Site,
    token::Token,
};

/// How long anything may take that should happen soon: a busy machine is slow, and a broken server slower.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A second credential, for what has two.
pub(crate) const OTHER_ACCESS_KEY_ID: &str = "ANOTHER2ACCESS3KEY4ID5";
pub(crate) const OTHER_SECRET: &str = "AnotherSecretOf43To64CharactersThatNobodyShouldSee";

/// Signs with a credential, at this moment.
pub(crate) fn signer(access_key_id: &str, secret: &str) -> Signer {
    Signer::with(access_key_id, secret, SystemTime::now())
}

/// Signs with the credential that key stores have unless told otherwise.
pub(crate) fn usual_signer() -> Signer {
    signer(ACCESS_KEY_ID, SECRET_ACCESS_KEY)
}

/// Tries every few milliseconds until it holds, and fails when that takes too long.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn body(fields: &Value) -> Value {
    let mut body = json!({
        "requestMetadata": {
            "awsPrincipalArn": "arn:aws:iam::123456789012:user/Alice",
            "kmsKeyArn": "arn:aws:kms:us-east-2:123456789012:/key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "kmsOperation": "Encrypt",
            "kmsRequestId": "4112f4d6-db54-4af4-ae30-c55a22a8dfae",
        },
        "encryptionAlgorithm": "AES_GCM",
    });
    body.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    body
}

/// A body that encrypts this.
pub(crate) fn plaintext(bytes: &[u8]) -> Value {
    body(&json!({ "plaintext": encode(bytes) }))
}

/// A body that decrypts what an encryption answered.
pub(crate) fn ciphertext(encrypted: &Value) -> Value {
    let mut fields = encrypted.clone();
    fields.as_object_mut().unwrap().remove("ciphertextDataIntegrityValue");
    body(&fields)
}

/// The status of an answer and the name of its error.
pub(crate) fn error(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["errorName"].as_str().unwrap_or_default())
}

pub(crate) fn encode(bytes: &[u8]) -> Value {
    json!(BASE64_STANDARD.encode(bytes))
}

pub(crate) fn decode(value: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()
}
