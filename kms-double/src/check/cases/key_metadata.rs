//! GetKeyMetadata, and keys that cannot do everything.

use serde_json::Value;

use crate::check::{
    body::{self, Operation, Sealed},
    case::{Case, Judged as _, Passed, Stop},
    errors::{
        KEY_NOT_FOUND, KEY_NOT_FOUND_OR_CIPHERTEXT, STATE, STATE_OR_CIPHERTEXT, USAGE, USAGE_OR_CIPHERTEXT, expectation,
    },
    setup::Setup,
    subject::{Subject, printable},
};
use crate::wire::Answer;

const MEANS_CREATE: &str = "CreateKey rejects the key: XksKeyInvalidConfigurationException";

pub(super) fn cases(setup: &Setup) -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, key) in setup.keys.iter().enumerate() {
        let suffix = if index == 0 { String::new() } else { format!("-{key}") };
        let ask = |name: &str, ids, expected: &'static str, is_right: fn(&Value) -> Result<(), String>| {
            let key = key.clone();
            Case::must(format!("key-metadata/{name}{suffix}"), ids)
                .sends(format!("GetKeyMetadata of {key}"))
                .expects(expected)
                .means(MEANS_CREATE)
                .steps(move |subject| {
                    let key = key.clone();
                    async move {
                        let metadata = metadata(&subject, &key).await?;
                        is_right(&metadata)
                            .map(|()| None)
                            .map_err(|came| Stop::failed(printable(&came, 200)))
                    }
                })
        };
        cases.push(ask("spec", &["GKM-1"], "keySpec AES_256", |metadata| {
            field_is(metadata, "keySpec", "AES_256")
        }));
        cases.push(ask(
            "usages",
            &["GKM-2"],
            "keyUsage with ENCRYPT and DECRYPT, at most ten",
            |metadata| {
                let usages = usages(metadata)?;
                match ["ENCRYPT", "DECRYPT"].iter().all(|usage| usages.contains(usage)) && usages.len() <= 10 {
                    true => Ok(()),
                    false => Err(format!("keyUsage {usages:?}")),
                }
            },
        ));
        cases.push(ask("status", &["GKM-3"], "keyStatus ENABLED", |metadata| {
            field_is(metadata, "keyStatus", "ENABLED")
        }));
    }
    cases.extend(missing(setup));
    cases.extend(encrypt_only());
    cases.extend(decrypt_only());
    cases.extend(disabled());
    cases
}

fn missing(setup: &Setup) -> Vec<Case> {
    // One is made up where none is given.
    let given: Vec<_> = setup.missing_keys.iter().cloned().map(Some).collect();
    let keys = if given.is_empty() { vec![None] } else { given };
    let mut cases = Vec::new();
    for (index, key) in keys.into_iter().enumerate() {
        let suffix = if index == 0 {
            String::new()
        } else {
            format!("-{}", key.as_deref().unwrap_or_default())
        };
        let named = move |subject: &Subject| Ok(key.clone().unwrap_or_else(|| subject.missing_key().to_owned()));
        let case = |operation: &str, ids| {
            Case::must(format!("missing-key/{operation}{suffix}"), ids)
                .sends("a request for a key that does not exist")
                .means("KMS reports another cause to its caller than a missing key")
        };
        for operation in [Operation::Metadata, Operation::Encrypt] {
            let named = named.clone();
            let asks = move |subject: &Subject| {
                subject.request(&operation.path(&named(subject)?), &body_of(subject, operation))
            };
            cases.push(case(operation.name(), &["GKM-4"]).refused(KEY_NOT_FOUND, asks));
        }
        let case = case("decrypt", &["DEC-4"]);
        cases.push(case.refuses_to_decrypt(false, KEY_NOT_FOUND, KEY_NOT_FOUND_OR_CIPHERTEXT, named));
    }
    cases
}

fn body_of(subject: &Subject, operation: Operation) -> Value {
    match operation {
        Operation::Encrypt => body::encrypt(subject.setup(), b"sixteen bytes...", None, false),
        Operation::Decrypt | Operation::Metadata | Operation::Health => body::plain(subject.setup(), operation),
    }
}

fn encrypt_only() -> Vec<Case> {
    let key = |subject: &Subject| given(subject.setup().encrypt_only.as_ref(), "--encrypt-only");
    vec![
        Case::must("encrypt-only/metadata", &["GKM-2"])
            .sends("GetKeyMetadata of a key that can only encrypt")
            .expects("keyUsage with ENCRYPT and without DECRYPT")
            .means("CreateKey accepts a key that cannot decrypt")
            .steps(move |subject| async move {
                let metadata = metadata(&subject, &key(&subject)?).await?;
                has_usage_alone(&metadata, "ENCRYPT", "DECRYPT")
            }),
        Case::must("encrypt-only/encrypt", &["ENC-11"])
            .sends("Encrypt without asking for the integrity value")
            .expects("200")
            .means("the key does not perform its permitted operation")
            .steps(move |subject| async move {
                let key = key(&subject)?;
                subject
                    .encrypt(&key, b"some plaintext", None, false)
                    .await
                    .map(|_| None)
            }),
        Case::must("encrypt-only/decrypt", &["DEC-4"])
            .sends("Decrypt with a key that can only encrypt")
            .means("KMS reports another cause to its caller (right: KMSInvalidStateException)")
            .refuses_to_decrypt(true, USAGE, USAGE_OR_CIPHERTEXT, key),
        Case::must("encrypt-only/integrity-value", &["ENC-11"])
            .sends("Encrypt with integrity value, which requires a decryption that the key cannot do")
            .means("the proxy vouches for a ciphertext without verifying it")
            .refused(USAGE, move |subject| {
                let body = body::encrypt(subject.setup(), b"some plaintext", None, true);
                subject.request(&Operation::Encrypt.path(&key(subject)?), &body)
            }),
    ]
}

fn decrypt_only() -> Vec<Case> {
    let key = |subject: &Subject| given(subject.setup().decrypt_only.as_ref(), "--decrypt-only");
    vec![
        Case::must("decrypt-only/metadata", &["GKM-2"])
            .sends("GetKeyMetadata of a key that can only decrypt")
            .expects("keyUsage with DECRYPT and without ENCRYPT")
            .means("CreateKey accepts a key that cannot encrypt")
            .steps(move |subject| async move {
                let metadata = metadata(&subject, &key(&subject)?).await?;
                has_usage_alone(&metadata, "DECRYPT", "ENCRYPT")
            }),
        Case::must("decrypt-only/encrypt", &["ENC-11"])
            .sends("Encrypt with a key that can only decrypt")
            .means("a key performs an operation that it does not permit")
            .refused(USAGE, move |subject| {
                let body = body::encrypt(subject.setup(), b"some plaintext", None, false);
                subject.request(&Operation::Encrypt.path(&key(subject)?), &body)
            }),
    ]
}

fn disabled() -> Vec<Case> {
    let key = |subject: &Subject| given(subject.setup().disabled.as_ref(), "--disabled");
    let case = |name: &'static str, ids| {
        Case::must(name, ids)
            .sends("a request with a disabled key")
            .means("disabling a key has no effect: its owner cannot revoke AWS's access")
    };
    vec![
        Case::must("disabled/metadata", &["GKM-3"])
            .sends("GetKeyMetadata of a disabled key")
            .expects("keyStatus DISABLED")
            .means("CreateKey accepts a disabled key")
            .steps(move |subject| async move {
                let metadata = metadata(&subject, &key(&subject)?).await?;
                field_is(&metadata, "keyStatus", "DISABLED")
                    .map(|()| None)
                    .map_err(Stop::Failed)
            }),
        case("disabled/encrypt", &["ENC-11"]).refused(STATE, move |subject| {
            let path = Operation::Encrypt.path(&key(subject)?);
            subject.request(&path, &body_of(subject, Operation::Encrypt))
        }),
        case("disabled/decrypt", &["DEC-4"]).refuses_to_decrypt(false, STATE, STATE_OR_CIPHERTEXT, key),
    ]
}

impl Case {
    /// Decrypt with a key that cannot, which is answered with the key's error: KMS sends what the proxy
    /// encrypted, so that the key alone is wrong. Where the ciphertext is none either, the specification does
    /// not say which of the two is looked at first, and `or_ciphertext` are as right. The good ciphertext is
    /// of the key's own if it can encrypt, and else of the first one.
    fn refuses_to_decrypt(
        self,
        encrypts: bool,
        names: &'static [&'static str],
        or_ciphertext: &'static [&'static str],
        key: impl Fn(&Subject) -> Result<String, Stop> + Clone + Send + Sync + 'static,
    ) -> Self {
        let sent = format!(
            "{}: Decrypt of random data, and of a ciphertext made by {}",
            self.sent,
            if encrypts { "it" } else { "the first --key" }
        );
        let expected = format!(
            "{}; for random data also {}",
            expectation(names),
            expectation(or_ciphertext)
        );
        self.sends(sent).expects(expected).steps(move |subject| {
            let key = key.clone();
            async move {
                let key = key(&subject)?;
                let nonsense = subject.decryption(&key, &Sealed::of_nothing())?;
                subject.send(&nonsense).await?.is_error(&subject, or_ciphertext)?;
                let maker = if encrypts { &key } else { subject.key() };
                let good = subject.encrypt(maker, b"some plaintext", None, false).await;
                let good = good.map_err(|stop| match stop {
                    Stop::Failed(came) | Stop::Otherwise(came, _) => Stop::not_tried(format!("no ciphertext: {came}")),
                    not_tried @ Stop::NotTried(_) => not_tried,
                })?;
                subject
                    .send(&subject.decryption(&key, &good)?)
                    .await?
                    .is_error(&subject, names)
            }
        })
    }
}

fn given(key: Option<&String>, option: &str) -> Result<String, Stop> {
    key.cloned()
        .ok_or_else(|| Stop::not_tried(format!("{option} is not given")))
}

async fn metadata(subject: &Subject, key: &str) -> Result<Value, Stop> {
    let body = body::plain(subject.setup(), Operation::Metadata);
    let answer: Answer = subject.post(&Operation::Metadata.path(key), &body).await?;
    answer.is_served(subject)?;
    answer
        .json()
        .ok_or_else(|| Stop::failed("200 with a body that is not JSON"))
}

fn field_is(metadata: &Value, name: &str, expected: &str) -> Result<(), String> {
    match metadata.get(name) {
        Some(Value::String(value)) if value == expected => Ok(()),
        Some(value) => Err(format!("{name} {value}")),
        None => Err(format!("no {name}")),
    }
}

fn usages(metadata: &Value) -> Result<Vec<&str>, String> {
    let usages = metadata
        .get("keyUsage")
        .and_then(Value::as_array)
        .ok_or("keyUsage is not an array")?;
    usages
        .iter()
        .map(|usage| usage.as_str().ok_or_else(|| "a keyUsage that is not a string".into()))
        .collect()
}

fn has_usage_alone(metadata: &Value, has: &str, has_not: &str) -> Passed {
    let usages = usages(metadata).map_err(Stop::Failed)?;
    match usages.contains(&has) && !usages.contains(&has_not) {
        true => Ok(None),
        false => Err(Stop::failed(printable(&format!("keyUsage {usages:?}"), 200))),
    }
}
