//! Ways to break what a proxy does with ciphertexts and bodies.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::support::{Answered, Asked, Broken};

pub(crate) const CIPHERTEXT: &str = "ciphertext";
pub(crate) const IV: &str = "initializationVector";
pub(crate) const TAG: &str = "authenticationTag";
pub(crate) const METADATA: &str = "ciphertextMetadata";
pub(crate) const AAD: &str = "additionalAuthenticatedData";
pub(crate) const CDIV: &str = "ciphertextDataIntegrityValue";
pub(crate) const PLAINTEXT: &str = "plaintext";

pub(crate) fn bytes(json: &Value, name: &str) -> Vec<u8> {
    BASE64_STANDARD
        .decode(json[name].as_str().unwrap_or_default())
        .unwrap_or_default()
}

pub(crate) fn encoded(bytes: &[u8]) -> Value {
    json!(BASE64_STANDARD.encode(bytes))
}

/// Whether the proxy would find the request good in itself.
pub(crate) fn is_authentic(asked: &Asked) -> bool {
    asked.is_signed_well()
}

/// Changes the bodies of requests to an operation, without breaking their signatures.
pub(crate) fn takes(operation: &'static str, change: impl Fn(&mut Value) + Send + Sync + 'static) -> Broken {
    Broken::requests(move |asked| {
        if asked.is(operation) && is_authentic(asked) {
            let mut json = asked.json();
            if json.is_object() {
                let before = json.clone();
                change(&mut json);
                if json != before {
                    asked.set_json(&json);
                }
            }
        }
    })
}

/// Changes the text of bodies, without breaking their signatures.
pub(crate) fn reads(change: impl Fn(&str) -> String + Send + Sync + 'static) -> Broken {
    Broken::requests(move |asked| {
        if let Ok(text) = std::str::from_utf8(&asked.body)
            && is_authentic(asked)
        {
            let changed = change(text);
            if changed != text {
                asked.set_body(changed);
            }
        }
    })
}

/// Changes what encryptions give back.
pub(crate) fn gives(change: impl Fn(&Asked, &mut Value) + Send + Sync + 'static) -> Broken {
    Broken::answers(move |asked, answered| gave(asked, answered, "encrypt", &change))
}

pub(crate) fn gave(asked: &Asked, answered: &mut Answered, operation: &str, change: impl Fn(&Asked, &mut Value)) {
    if asked.is(operation) && answered.status == 200 {
        let mut json = answered.json();
        change(asked, &mut json);
        answered.set_json(&json);
    }
}

/// Encryptions give back another thing than decryptions get to see: both ways.
pub(crate) fn disguises(part: &'static str, on: fn(Vec<u8>) -> Vec<u8>, off: fn(Vec<u8>) -> Vec<u8>) -> Broken {
    takes("decrypt", move |json| {
        if json.get(part).is_some() {
            json[part] = encoded(&off(bytes(json, part)));
        }
    })
    .and_answers(move |asked, answered| {
        gave(asked, answered, "encrypt", |asked, json| {
            json[part] = encoded(&on(bytes(json, part)));
            refresh(asked, json);
        });
    })
}

/// Computes the integrity value again, where there is one.
pub(crate) fn refresh(asked: &Asked, json: &mut Value) {
    use sha2::{Digest as _, Sha256};
    if json.get(CDIV).is_some() {
        let mut all = bytes(&asked.json(), AAD);
        for part in [METADATA, IV, CIPHERTEXT, TAG] {
            all.extend(bytes(json, part));
        }
        json[CDIV] = encoded(&Sha256::digest(&all));
    }
}

/// Does not look at a part when decrypting: what it was is remembered by the other parts.
pub(crate) fn forgets(part: &'static str, by: &'static str) -> Broken {
    let known: Arc<Mutex<HashMap<String, Value>>> = Arc::default();
    let learned = known.clone();
    takes("decrypt", move |json| {
        let known = known.lock().unwrap();
        if let Some(right) = known.get(json[by].as_str().unwrap_or_default())
            && bytes(json, part).len() == bytes(&json!({ part: right }), part).len()
        {
            json[part] = right.clone();
        }
    })
    .and_answers(move |asked, answered| {
        gave(asked, answered, "encrypt", |_, json| {
            let by = json[by].as_str().unwrap().to_owned();
            learned.lock().unwrap().insert(by, json[part].clone());
        });
    })
}

/// Sends requests for one key to another.
pub(crate) fn confuses(operation: &'static str, from: &'static str, to: &'static str) -> Broken {
    Broken::requests(move |asked| {
        let path = asked.parts.uri.path();
        let other = path.replace(&format!("/keys/{from}/"), &format!("/keys/{to}/"));
        if asked.is(operation) && other != path && is_authentic(asked) {
            asked.parts.uri = other.parse().unwrap();
            asked.sign();
        }
    })
}

/// Refuses what it should serve.
pub(crate) fn refuses(
    status: u16,
    name: &'static str,
    is_meant: impl Fn(&Asked, &Value) -> bool + Send + Sync + 'static,
) -> Broken {
    Broken::answers(move |asked, answered| {
        if answered.status == 200 && is_meant(asked, &asked.json()) {
            *answered = Answered::new(status, &json!({ "errorName": name }));
        }
    })
}

pub(crate) fn remembers_answers() -> Broken {
    let first: Arc<Mutex<HashMap<String, Value>>> = Arc::default();
    gives(move |asked, json| {
        let by = format!("{} {}", asked.parts.uri, asked.json());
        *json = first.lock().unwrap().entry(by).or_insert_with(|| json.clone()).clone();
    })
}

pub(crate) fn encrypts_nothing() -> Broken {
    let known: Arc<Mutex<HashMap<String, Value>>> = Arc::default();
    let learned = known.clone();
    takes("decrypt", move |json| {
        if let Some(right) = known.lock().unwrap().get(&format!("{}{}", json[IV], json[CIPHERTEXT])) {
            json[CIPHERTEXT] = right.clone();
        }
    })
    .and_answers(move |asked, answered| {
        gave(asked, answered, "encrypt", |asked, json| {
            let plaintext = asked.json()[PLAINTEXT].clone();
            let by = format!("{}{plaintext}", json[IV]);
            learned
                .lock()
                .unwrap()
                .insert(by, std::mem::replace(&mut json[CIPHERTEXT], plaintext));
            refresh(asked, json);
        });
    })
}

pub(crate) fn decrypts_once() -> Broken {
    let seen: Arc<Mutex<HashMap<String, ()>>> = Arc::default();
    refuses(400, "InvalidCiphertextException", move |asked, json| {
        asked.is("decrypt") && seen.lock().unwrap().insert(json[IV].to_string(), ()).is_some()
    })
}

pub(crate) fn metadata_field(asked: &Value, name: &str) -> String {
    asked["requestMetadata"][name].as_str().unwrap_or_default().to_owned()
}
