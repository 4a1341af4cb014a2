//! What an encryption gives back.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::check::{
    body::{self, Operation, Sealed},
    case::{Case, Passed, Stop},
    errors::VALIDATION,
    subject::{Subject, random},
};

const AAD: &[u8] = b"project=nile,department=marketing";

pub(super) fn cases() -> Vec<Case> {
    vec![
        looks(
            "ciphertext-length",
            &["ENC-6"],
            "a ciphertext as long as the plaintext",
            |sealed| (sealed.ciphertext.len() != 64).then(|| format!("{} bytes for 64", sealed.ciphertext.len())),
        )
        .means("KMS rejects the response: the encryption fails"),
        looks("iv-length", &["ENC-6"], "an IV of 12 or 16 bytes", |sealed| {
            (![12, 16].contains(&sealed.iv.len())).then(|| format!("{} bytes", sealed.iv.len()))
        })
        .means("KMS rejects the response: the encryption fails"),
        looks("tag-length", &["ENC-6"], "a tag of 16 bytes", |sealed| {
            (sealed.tag.len() != 16).then(|| format!("{} bytes", sealed.tag.len()))
        })
        .means("KMS rejects the response; a short tag is easier to forge"),
        looks(
            "metadata-length",
            &["ENC-7"],
            "ciphertextMetadata of 1 to 20 bytes, or none",
            |sealed| {
                let length = sealed.metadata.as_ref()?.len();
                (!(1..=20).contains(&length)).then(|| format!("{length} bytes"))
            },
        )
        .means("KMS rejects the response: the encryption fails"),
        looks(
            "integrity-value",
            &["ENC-9"],
            "SHA-256 over AAD, metadata, IV, ciphertext and tag",
            |sealed| match &sealed.cdiv {
                Some(Value::String(cdiv)) if *cdiv == sealed.expected_cdiv() => None,
                Some(_) => Some("another value".into()),
                None => Some("no integrity value".into()),
            },
        )
        .means("KMS treats the ciphertext as damaged, and discards it"),
        looks(
            "integrity-value-without-aad",
            &["ENC-9"],
            "the integrity value without metadata",
            |_| None,
        )
        .means("KMS treats the ciphertext as damaged, and discards it")
        .steps(|subject| async move {
            let sealed = subject.encrypt(subject.key(), &random(64), None, true).await?;
            match sealed.cdiv == Some(json!(sealed.expected_cdiv())) {
                true => Ok(None),
                false => Err(Stop::failed("another value, or none")),
            }
        }),
        Case::must("encrypt/integrity-value-not-asked-for", &["ENC-9"])
            .sends("Encrypt without ciphertextDataIntegrityValueAlgorithm")
            .expects("no ciphertextDataIntegrityValue")
            .means("KMS receives a field that it did not ask for")
            .steps(|subject| async move {
                let sealed = subject.encrypt(subject.key(), &random(64), Some(AAD), false).await?;
                match sealed.cdiv {
                    None => Ok(None),
                    Some(_) => Err(Stop::failed("an integrity value")),
                }
            }),
        Case::must("encrypt/ciphertext-is-not-the-plaintext", &["ENC-6"])
            .sends("Encrypt of 64 random bytes")
            .expects("a ciphertext that shares bytes with the plaintext only by chance")
            .means("the ciphertext holds the plaintext")
            .steps(|subject| async move {
                let plaintext = random(64);
                let sealed = subject.encrypt(subject.key(), &plaintext, None, false).await?;
                let same = sealed
                    .ciphertext
                    .iter()
                    .zip(&plaintext)
                    .filter(|(one, other)| one == other)
                    .count();
                match same < 16 {
                    true => Ok(None),
                    false => Err(Stop::failed(format!("{same} of 64 bytes are the same"))),
                }
            }),
        Case::must("encrypt/ivs-differ", &["ENC-6"])
            .sends("Encrypt of the same bytes, many times")
            .expects("a different IV and ciphertext each time")
            .means("two ciphertexts under one IV reveal how their plaintexts differ, and allow forgeries")
            .steps(ivs),
        algorithm("other", json!("AES_CBC")),
        algorithm("in-lower-case", json!("aes_gcm")),
        algorithm("empty", json!("")),
        algorithm("not-a-string", json!(1)),
        Case::must("encrypt/without-algorithm", &["ENC-5"])
            .sends("Encrypt without encryptionAlgorithm")
            .means("the proxy guesses a missing field")
            .refused(VALIDATION, |subject| {
                let mut body = usual(subject);
                body::remove(&mut body, "encryptionAlgorithm");
                subject.request(&Operation::Encrypt.path(subject.key()), &body)
            }),
        Case::must("encrypt/without-plaintext", &["ENC-2"])
            .sends("Encrypt without plaintext")
            .means("the proxy encrypts without a plaintext")
            .refused(VALIDATION, |subject| {
                let mut body = usual(subject);
                body::remove(&mut body, "plaintext");
                subject.request(&Operation::Encrypt.path(subject.key()), &body)
            }),
        integrity_algorithm("other", json!("SHA_512")),
        integrity_algorithm("in-lower-case", json!("sha_256")),
        integrity_algorithm("not-a-string", json!(true)),
        large("4301-bytes", 4301, 0),
        large("65536-bytes", 65_536, 0),
        large("8193-bytes-of-aad", 16, 8193),
        large("65535-bytes-of-aad", 16, 65_535),
        large("65536-bytes-of-aad", 16, 65_536),
        Case::must("encrypt/300-kilobytes", &["ENC-4"])
            .sends("a signed Encrypt of 300 000 bytes")
            .expects("501 UnsupportedOperationException, another 4xx with an errorName, or 200")
            .means("KMS receives an error without a name")
            .steps(|subject| async move {
                let body = body::encrypt(subject.setup(), &vec![1; 300_000], None, false);
                let answer = subject.post(&Operation::Encrypt.path(subject.key()), &body).await?;
                match (answer.status, answer.error_name()) {
                    (200, _) => Ok(Some("served".into())),
                    (400..=499 | 501, Some(name)) => Ok(Some(name)),
                    _ => Err(Stop::failed(subject.describe(&answer))),
                }
            }),
    ]
}

fn usual(subject: &Subject) -> Value {
    body::encrypt(subject.setup(), b"sixteen bytes...", Some(AAD), false)
}

/// A look at one part of what comes back.
fn looks(
    name: &str,
    ids: &'static [&'static str],
    expected: &'static str,
    wrong: fn(&Sealed) -> Option<String>,
) -> Case {
    Case::must(format!("encrypt/{name}"), ids)
        .sends("Encrypt of 64 random bytes with AAD and integrity value")
        .expects(expected)
        .steps(move |subject| async move {
            let sealed = subject.encrypt(subject.key(), &random(64), Some(AAD), true).await?;
            wrong(&sealed).map_or(Ok(None), |came| Err(Stop::Failed(came)))
        })
}

fn algorithm(name: &str, value: Value) -> Case {
    Case::must(format!("encrypt/algorithm-{name}"), &["ENC-5"])
        .sends(format!("Encrypt with the encryptionAlgorithm {value}"))
        .means("the proxy uses another algorithm than requested")
        .refused(VALIDATION, move |subject| {
            let mut body = usual(subject);
            body::set(&mut body, "encryptionAlgorithm", value.clone());
            subject.request(&Operation::Encrypt.path(subject.key()), &body)
        })
}

fn integrity_algorithm(name: &str, value: Value) -> Case {
    Case::must(format!("encrypt/integrity-algorithm-{name}"), &["ENC-9"])
        .sends(format!(
            "Encrypt with the ciphertextDataIntegrityValueAlgorithm {value}"
        ))
        .means("the integrity value is missing or not the one that KMS computes")
        .refused(VALIDATION, move |subject| {
            let mut body = usual(subject);
            body::set(&mut body, "ciphertextDataIntegrityValueAlgorithm", value.clone());
            subject.request(&Operation::Encrypt.path(subject.key()), &body)
        })
}

/// More than every proxy has to serve: it is served, and comes back, or is refused by its name.
fn large(name: &str, size: usize, aad: usize) -> Case {
    Case::must(format!("encrypt/{name}"), &["ENC-4"])
        .sends(format!("Encrypt of {size} bytes with {aad} bytes of AAD"))
        .expects("501 UnsupportedOperationException, or 200")
        .means("KMS receives an error without a name, or worse")
        .steps(move |subject| async move {
            let aad = (aad > 0).then(|| random(aad));
            let body = body::encrypt(subject.setup(), &random(size), aad.as_deref(), false);
            let answer = subject.post(&Operation::Encrypt.path(subject.key()), &body).await?;
            match (answer.status, answer.error_name().as_deref()) {
                (200, _) => Ok(Some("served".into())),
                (501, Some("UnsupportedOperationException")) => Ok(Some("UnsupportedOperationException".into())),
                _ => Err(Stop::failed(subject.describe(&answer))),
            }
        })
}

async fn ivs(subject: Subject) -> Passed {
    let (mut ivs, mut ciphertexts) = (HashSet::new(), HashSet::new());
    let wanted = subject.setup().ivs.max(2);
    for number in 1..=wanted {
        let sealed = subject.encrypt(subject.key(), &[0; 64], None, false).await?;
        if !ivs.insert(sealed.iv) {
            return Err(Stop::failed(format!(
                "an IV for the second time, in encryption {number}"
            )));
        }
        if !ciphertexts.insert(sealed.ciphertext) {
            return Err(Stop::failed(format!(
                "a ciphertext for the second time, in encryption {number}"
            )));
        }
    }
    Ok(Some(format!("{wanted} encryptions")))
}
