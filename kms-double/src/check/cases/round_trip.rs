//! Encrypt, decrypt, and compare every byte.

use crate::check::{
    case::{Case, Passed, Stop},
    setup::Setup,
    subject::{Subject, random},
};

const MEANS: &str = "data is lost: a ciphertext does not decrypt, or decrypts to something else";

pub(super) fn cases(setup: &Setup) -> Vec<Case> {
    let mut cases = Vec::new();
    for size in [0, 1, 16, 4300] {
        for (aad, of_aad) in [
            ("no", None),
            ("empty", Some(0)),
            ("1-byte", Some(1)),
            ("8192-byte", Some(8192)),
        ] {
            for has_cdiv in [false, true] {
                let with = if has_cdiv { "-and-integrity-value" } else { "" };
                let name = format!("round-trip/{size}-bytes-{aad}-aad{with}");
                cases.push(case(name, &["ENC-2", "ENC-3", "DEC-1"], None, size, of_aad, has_cdiv));
            }
        }
    }
    for key in setup.keys.iter().skip(1) {
        let name = format!("round-trip/with-{key}");
        cases.push(case(name, &["ENC-2", "DEC-1"], Some(key.clone()), 64, Some(32), true));
    }
    cases
}

fn case(
    name: String,
    ids: &'static [&'static str],
    key: Option<String>,
    size: usize,
    aad: Option<usize>,
    has_cdiv: bool,
) -> Case {
    let with = match aad {
        None => "no AAD".to_owned(),
        Some(length) => format!("{length} bytes of AAD"),
    };
    Case::must(name, ids)
        .sends(format!("Encrypt of {size} random bytes with {with}, then Decrypt"))
        .expects("200 twice, and the same plaintext")
        .means(MEANS)
        .steps(move |subject| {
            let key = key.clone().unwrap_or_else(|| subject.key().to_owned());
            async move { round_trip(&subject, &key, size, aad, has_cdiv).await }
        })
}

/// # Errors
/// What is not as it was.
pub(super) async fn round_trip(
    subject: &Subject,
    key: &str,
    size: usize,
    aad: Option<usize>,
    has_cdiv: bool,
) -> Passed {
    let (plaintext, aad) = (random(size), aad.map(random));
    let sealed = subject.encrypt(key, &plaintext, aad.as_deref(), has_cdiv).await?;
    let opened = subject.decrypt(key, &sealed).await?;
    match opened == plaintext {
        true => Ok(None),
        false => Err(Stop::failed(different(&plaintext, &opened))),
    }
}

/// How two texts differ, without the texts.
fn different(sent: &[u8], came: &[u8]) -> String {
    if sent.len() != came.len() {
        return format!("{} bytes instead of {}", came.len(), sent.len());
    }
    let first = sent.iter().zip(came).position(|(sent, came)| sent != came);
    format!("the plaintext differs from byte {} on", first.unwrap_or_default())
}
