//! A good ciphertext with one thing changed: it must not decrypt.

use std::future::Future;

use crate::check::{
    body::Sealed,
    case::{Case, Judged as _, Passed, Stop},
    errors::{CIPHERTEXT, CIPHERTEXT_OR_VALIDATION, expectation},
    subject::{Subject, random},
};

const MEANS: &str = "a changed ciphertext decrypts: the plaintext is not the encrypted one, and no error tells so";
const AAD: &[u8] = b"project=nile,department=marketing";
const SIZE: usize = 48;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        each_bit("ciphertext", |sealed| Some(&mut sealed.ciphertext)),
        each_bit("tag", |sealed| Some(&mut sealed.tag)),
        each_bit("iv", |sealed| Some(&mut sealed.iv)),
        each_bit("aad", |sealed| sealed.aad.as_mut()),
        each_bit("metadata", |sealed| sealed.metadata.as_mut()),
        wrong("ciphertext-one-byte-shorter", &["DEC-3"], CIPHERTEXT, |sealed| {
            pop(&mut sealed.ciphertext)
        }),
        wrong("ciphertext-one-byte-longer", &["DEC-3"], CIPHERTEXT, |sealed| {
            push(&mut sealed.ciphertext)
        }),
        wrong("ciphertext-empty", &["DEC-3"], CIPHERTEXT_OR_VALIDATION, |sealed| {
            clear(&mut sealed.ciphertext)
        }),
        wrong("tag-one-byte-shorter", &["DEC-2"], CIPHERTEXT_OR_VALIDATION, |sealed| {
            pop(&mut sealed.tag)
        }),
        wrong("tag-of-12-bytes", &["DEC-2"], CIPHERTEXT_OR_VALIDATION, |sealed| {
            sealed.tag.truncate(12);
            Ok(())
        }),
        wrong("tag-one-byte-longer", &["DEC-2"], CIPHERTEXT_OR_VALIDATION, |sealed| {
            push(&mut sealed.tag)
        }),
        wrong("tag-empty", &["DEC-2"], CIPHERTEXT_OR_VALIDATION, |sealed| {
            clear(&mut sealed.tag)
        }),
        wrong(
            "byte-moved-from-tag-to-ciphertext",
            &["DEC-2"],
            CIPHERTEXT_OR_VALIDATION,
            |sealed| {
                let (first, rest) = sealed.tag.split_first().ok_or_else(|| empty("tag"))?;
                sealed.ciphertext.push(*first);
                sealed.tag = rest.to_vec();
                Ok(())
            },
        ),
        wrong(
            "byte-moved-from-ciphertext-to-tag",
            &["DEC-2"],
            CIPHERTEXT_OR_VALIDATION,
            |sealed| {
                let last = sealed.ciphertext.pop().ok_or_else(|| empty("ciphertext"))?;
                sealed.tag.insert(0, last);
                Ok(())
            },
        ),
        wrong("iv-one-byte-shorter", &["DEC-2"], CIPHERTEXT_OR_VALIDATION, |sealed| {
            pop(&mut sealed.iv)
        }),
        wrong("iv-one-byte-longer", &["DEC-2"], CIPHERTEXT_OR_VALIDATION, |sealed| {
            push(&mut sealed.iv)
        }),
        wrong("iv-of-another-legal-length", &["DEC-3"], CIPHERTEXT, |sealed| {
            let length = if sealed.iv.len() == 12 { 16 } else { 12 };
            sealed.iv.resize(length, 0);
            Ok(())
        }),
        wrong("iv-empty", &["DEC-2"], CIPHERTEXT_OR_VALIDATION, |sealed| {
            clear(&mut sealed.iv)
        }),
        wrong("aad-dropped", &["DEC-3"], CIPHERTEXT, |sealed| {
            sealed.aad = None;
            Ok(())
        }),
        wrong("aad-emptied", &["DEC-3"], CIPHERTEXT, |sealed| {
            sealed.aad = Some(Vec::new());
            Ok(())
        }),
        wrong("aad-one-byte-longer", &["DEC-3"], CIPHERTEXT, |sealed| {
            sealed.aad.as_mut().map_or(Ok(()), push)
        }),
        wrong("metadata-dropped", &["ENC-7", "DEC-3"], CIPHERTEXT, |sealed| {
            metadata(sealed)?;
            sealed.metadata = None;
            Ok(())
        }),
        wrong(
            "metadata-one-byte-shorter",
            &["ENC-7", "DEC-3"],
            CIPHERTEXT_OR_VALIDATION,
            |sealed| pop(metadata(sealed)?),
        ),
        wrong(
            "metadata-one-byte-longer",
            &["ENC-7", "DEC-3"],
            CIPHERTEXT_OR_VALIDATION,
            |sealed| push(metadata(sealed)?),
        ),
        wrong("metadata-of-21-bytes", &["DEC-2"], CIPHERTEXT_OR_VALIDATION, |sealed| {
            sealed.metadata = Some(vec![b'm'; 21]);
            Ok(())
        }),
        wrong(
            "metadata-added",
            &["ENC-7", "DEC-3"],
            CIPHERTEXT,
            |sealed| match sealed.metadata {
                Some(_) => Err(Stop::not_tried("the proxy's ciphertexts have metadata")),
                None => {
                    sealed.metadata = Some(b"key_version=1".to_vec());
                    Ok(())
                }
            },
        ),
        wrong(
            "metadata-moved-behind-the-aad",
            &["ENC-7", "DEC-3"],
            CIPHERTEXT,
            |sealed| {
                let metadata = metadata(sealed)?.clone();
                sealed.metadata = None;
                sealed.aad.get_or_insert_default().extend(metadata);
                Ok(())
            },
        ),
        wrong(
            "metadata-moved-into-the-aad-framed",
            &["ENC-7", "DEC-3"],
            CIPHERTEXT,
            |sealed| {
                let metadata = metadata(sealed)?.clone();
                let aad = sealed.aad.take().unwrap_or_default();
                let length = u16::try_from(aad.len()).unwrap_or_default().to_be_bytes();
                let of_metadata = u8::try_from(metadata.len()).unwrap_or_default();
                sealed.aad = Some([&length, &*aad, &[of_metadata], &*metadata].concat());
                sealed.metadata = None;
                Ok(())
            },
        ),
        wrong(
            "aad-moved-into-the-metadata",
            &["ENC-7", "DEC-3"],
            CIPHERTEXT_OR_VALIDATION,
            |sealed| {
                let last = sealed.aad.as_mut().and_then(Vec::pop);
                metadata(sealed)?.insert(0, last.unwrap_or_default());
                Ok(())
            },
        ),
    ];
    cases.push(with_steps(
        "aad-added",
        &["DEC-3"],
        "AAD where the encryption had none",
        CIPHERTEXT,
        |subject| async move {
            let mut sealed = good(&subject, None).await?;
            sealed.aad = Some(AAD.to_vec());
            refused(&subject, subject.key(), &sealed, CIPHERTEXT).await
        },
    ));
    cases.push(with_steps(
        "tag-of-another",
        &["DEC-3"],
        "the tag of another encryption",
        CIPHERTEXT,
        |subject| mixed(subject, |one, other| one.tag = other.tag),
    ));
    cases.push(with_steps(
        "iv-of-another",
        &["DEC-3"],
        "the IV of another encryption",
        CIPHERTEXT,
        |subject| mixed(subject, |one, other| one.iv = other.iv),
    ));
    cases.push(with_steps(
        "other-key",
        &["DEC-3"],
        "the second --key to decrypt",
        CIPHERTEXT,
        |subject| async move {
            let other = subject.setup().keys.get(1).cloned();
            let other = other.ok_or_else(|| Stop::not_tried("a second --key is not given"))?;
            let sealed = good(&subject, Some(AAD)).await?;
            refused(&subject, &other, &sealed, CIPHERTEXT).await
        },
    ));
    cases.push(
        Case::note("tampering/aad-absent-or-empty", &["ENC-7"])
            .sends("Encrypt without AAD, then Decrypt with empty AAD")
            .expects("the plaintext: the specification's framing does not distinguish them")
            .means("none with KMS, which sends the same AAD each time; a migrated ciphertext keeps the difference")
            .steps(|subject| async move {
                let plaintext = random(SIZE);
                let mut sealed = subject.encrypt(subject.key(), &plaintext, None, false).await?;
                sealed.aad = Some(Vec::new());
                match subject.decrypt(subject.key(), &sealed).await? == plaintext {
                    true => Ok(None),
                    false => Err(Stop::failed("another plaintext")),
                }
            }),
    );
    cases
}

/// Flips one bit of every byte, one after the other.
fn each_bit(part: &'static str, of: fn(&mut Sealed) -> Option<&mut Vec<u8>>) -> Case {
    Case::must(format!("tampering/{part}-bits"), &["DEC-3"])
        .sends(format!(
            "Decrypt of a valid ciphertext with one bit of its {part} changed, for every byte"
        ))
        .expects(expectation(CIPHERTEXT))
        .means(MEANS)
        .steps(move |subject| async move {
            let mut sealed = good(&subject, Some(AAD)).await?;
            let length = of(&mut sealed).map_or(0, |part| part.len());
            if length == 0 {
                return Err(Stop::not_tried(format!("the proxy's ciphertexts have no {part}")));
            }
            for index in 0..length {
                let mut changed = sealed.clone();
                if let Some(byte) = of(&mut changed).and_then(|part| part.get_mut(index)) {
                    *byte ^= 1 << (index % 8);
                }
                let came = refused(&subject, subject.key(), &changed, CIPHERTEXT).await;
                came.map_err(|stop| match stop {
                    Stop::Failed(came) => Stop::Failed(format!("{came} (byte {index} of the {part})")),
                    Stop::Otherwise(came, means) => {
                        Stop::Otherwise(format!("{came} (byte {index} of the {part})"), means)
                    }
                    Stop::NotTried(reason) => Stop::NotTried(reason),
                })?;
            }
            Ok(Some(format!("{length} changes")))
        })
}

/// Changes a good ciphertext in a way.
fn wrong(
    name: &'static str,
    ids: &'static [&'static str],
    names: &'static [&'static str],
    change: fn(&mut Sealed) -> Result<(), Stop>,
) -> Case {
    with_steps(name, ids, &name.replace('-', " "), names, move |subject| async move {
        let mut sealed = good(&subject, Some(AAD)).await?;
        change(&mut sealed)?;
        refused(&subject, subject.key(), &sealed, names).await
    })
}

fn with_steps<F>(
    name: &'static str,
    ids: &'static [&'static str],
    what: &str,
    names: &'static [&'static str],
    steps: impl Fn(Subject) -> F + Send + Sync + 'static,
) -> Case
where
    F: Future<Output = Passed> + Send + 'static,
{
    Case::must(format!("tampering/{name}"), ids)
        .sends(format!("Decrypt of a valid ciphertext, changed: {what}"))
        .expects(expectation(names))
        .means(MEANS)
        .steps(steps)
}

async fn mixed(subject: Subject, mix: fn(&mut Sealed, Sealed)) -> Passed {
    let mut one = good(&subject, Some(AAD)).await?;
    let other = good(&subject, Some(AAD)).await?;
    mix(&mut one, other);
    refused(&subject, subject.key(), &one, CIPHERTEXT).await
}

/// A ciphertext to be changed.
async fn good(subject: &Subject, aad: Option<&[u8]>) -> Result<Sealed, Stop> {
    let sealed = subject.encrypt(subject.key(), &random(SIZE), aad, false).await;
    sealed.map_err(|stop| match stop {
        Stop::Failed(came) => Stop::Otherwise(came, "no valid ciphertext to change"),
        other => other,
    })
}

async fn refused(subject: &Subject, key: &str, sealed: &Sealed, names: &[&str]) -> Passed {
    let request = subject.decryption(key, sealed)?;
    subject.send(&request).await?.is_error(subject, names)
}

fn metadata(sealed: &mut Sealed) -> Result<&mut Vec<u8>, Stop> {
    sealed
        .metadata
        .as_mut()
        .ok_or_else(|| Stop::not_tried("the proxy's ciphertexts have no metadata"))
}

fn empty(part: &str) -> Stop {
    Stop::not_tried(format!("the {part} is empty"))
}

fn pop(bytes: &mut Vec<u8>) -> Result<(), Stop> {
    bytes.pop().map(|_| ()).ok_or_else(|| empty("part of its ciphertexts"))
}

#[expect(clippy::unnecessary_wraps, reason = "a change as all others are")]
fn push(bytes: &mut Vec<u8>) -> Result<(), Stop> {
    bytes.push(0);
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "a change as all others are")]
fn clear(bytes: &mut Vec<u8>) -> Result<(), Stop> {
    bytes.clear();
    Ok(())
}
