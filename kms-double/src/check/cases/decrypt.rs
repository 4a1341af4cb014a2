//! What a decryption takes and refuses by its form.

use serde_json::{Value, json};

use crate::check::{
    body::{self, Operation, Sealed},
    case::{Case, Judged as _, Level, Stop},
    errors::{CIPHERTEXT_OR_VALIDATION, VALIDATION, expectation},
    subject::{Subject, random},
};

const MEANS: &str = "data that is not a ciphertext of this proxy reaches the key manager";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::must("decrypt/plaintext-length", &["DEC-5"])
            .sends("Decrypt of an encryption of 1000 bytes")
            .expects("a plaintext of 1000 bytes")
            .means("KMS rejects the response, or returns wrong data")
            .steps(|subject| async move {
                let sealed = subject.encrypt(subject.key(), &random(1000), None, false).await?;
                match subject.decrypt(subject.key(), &sealed).await?.len() {
                    1000 => Ok(None),
                    length => Err(Stop::failed(format!("{length} bytes"))),
                }
            }),
        Case::must("decrypt/twice", &["DEC-1"])
            .sends("Decrypt of the same ciphertext twice")
            .expects("the same plaintext twice")
            .means("a data key can be decrypted only once")
            .steps(|subject| async move {
                let plaintext = random(64);
                let sealed = subject.encrypt(subject.key(), &plaintext, Some(b"AAD"), false).await?;
                for _ in 0..2 {
                    if subject.decrypt(subject.key(), &sealed).await? != plaintext {
                        return Err(Stop::failed("another plaintext"));
                    }
                }
                Ok(None)
            }),
        changed(
            "algorithm-other",
            &["ENC-5"],
            VALIDATION,
            "encryptionAlgorithm AES_CBC",
            |body| {
                body::set(body, "encryptionAlgorithm", "AES_CBC");
            },
        ),
        changed(
            "without-algorithm",
            &["ENC-5"],
            VALIDATION,
            "no encryptionAlgorithm",
            |body| {
                body::remove(body, "encryptionAlgorithm");
            },
        ),
        // The specification's table has "corrupted or missing" under InvalidCiphertext.
        changed(
            "without-ciphertext",
            &["DEC-2"],
            CIPHERTEXT_OR_VALIDATION,
            "no ciphertext",
            |body| {
                body::remove(body, "ciphertext");
            },
        ),
        changed(
            "without-iv",
            &["DEC-2"],
            CIPHERTEXT_OR_VALIDATION,
            "no initializationVector",
            |body| {
                body::remove(body, "initializationVector");
            },
        ),
        changed(
            "without-tag",
            &["DEC-2"],
            CIPHERTEXT_OR_VALIDATION,
            "no authenticationTag",
            |body| {
                body::remove(body, "authenticationTag");
            },
        ),
    ];
    for field in [
        "ciphertext",
        "initializationVector",
        "authenticationTag",
        "ciphertextMetadata",
    ] {
        for (name, value) in [
            ("not-base64", json!("****")),
            ("not-a-string", json!(1)),
            ("null", json!(null)),
        ] {
            let (shown, field_name) = (value.to_string(), field.to_owned());
            let mut case = changed(
                &format!("{field}-{name}"),
                &["ENC-1"],
                CIPHERTEXT_OR_VALIDATION,
                &format!("{field} {shown}"),
                move |body| body::set(body, &field_name, value.clone()),
            );
            // The field is optional, and null counts as its absence: a ciphertext without metadata loses
            // nothing.
            if field == "ciphertextMetadata" && name == "null" {
                case.level = Level::Should;
            }
            cases.push(case);
        }
    }
    for (size, ids) in [(4301_usize, &["ENC-4"] as &'static [_]), (65_536, &["ENC-4"])] {
        cases.push(
            Case::must(format!("decrypt/{size}-bytes"), ids)
                .sends(format!("Decrypt of {size} bytes that are not a ciphertext"))
                .means("KMS receives an error without a name, or worse")
                .refused(
                    &["UnsupportedOperationException", "InvalidCiphertextException"],
                    move |subject| {
                        let sealed = Sealed {
                            ciphertext: vec![7; size],
                            ..Sealed::of_nothing()
                        };
                        subject.decryption(subject.key(), &sealed)
                    },
                ),
        );
    }
    cases
}

/// A good ciphertext, in a request with a change.
fn changed(
    name: &str,
    ids: &'static [&'static str],
    names: &'static [&'static str],
    with: &str,
    change: impl Fn(&mut Value) + Clone + Send + Sync + 'static,
) -> Case {
    Case::must(format!("decrypt/{name}"), ids)
        .sends(format!("Decrypt of a valid ciphertext, with {with}"))
        .expects(expectation(names))
        .means(MEANS)
        .steps(move |subject: Subject| {
            let change = change.clone();
            async move {
                let sealed = subject.encrypt(subject.key(), &random(64), None, false).await?;
                let mut body = sealed.body(subject.setup());
                change(&mut body);
                let answer = subject.post(&Operation::Decrypt.path(subject.key()), &body).await?;
                answer.is_error(&subject, names)
            }
        })
}
