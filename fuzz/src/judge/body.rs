//! Sections 3 to 7 of the specification: which bodies are served.

use std::collections::{BTreeMap, BTreeSet};

use xks_core::api::{ErrorName, KeyOperation, Operation};

use super::{Json, Verdict, base64, cipher, read_json};

/// What every key store serves, in bytes.
const MAX_PLAINTEXT: usize = 4300;
const MAX_AAD: usize = 8192;

type Judged<T> = Result<T, Verdict>;

/// Known fields with their texts.
type Fields = BTreeMap<&'static str, String>;

pub fn verdict(operation: Operation, key: &str, bytes: &[u8]) -> Judged<Verdict> {
    let (metadata, known): (&[&str], &[&'static str]) = match operation {
        Operation::GetHealthStatus => (&["kmsOperation", "kmsRequestId"], &[]),
        Operation::Key(KeyOperation::GetKeyMetadata) => (&["awsPrincipalArn", "kmsOperation", "kmsRequestId"], &[]),
        Operation::Key(KeyOperation::Encrypt) => (
            &["awsPrincipalArn", "kmsKeyArn", "kmsOperation", "kmsRequestId"],
            &[
                "plaintext",
                "encryptionAlgorithm",
                "additionalAuthenticatedData",
                "ciphertextDataIntegrityValueAlgorithm",
            ],
        ),
        Operation::Key(KeyOperation::Decrypt) => (
            &["awsPrincipalArn", "kmsKeyArn", "kmsOperation", "kmsRequestId"],
            &[
                "ciphertext",
                "initializationVector",
                "authenticationTag",
                "ciphertextMetadata",
                "encryptionAlgorithm",
                "additionalAuthenticatedData",
            ],
        ),
    };
    let fields = fields(bytes, metadata, known).ok_or(Verdict::BAD)?;
    match operation {
        Operation::GetHealthStatus => Ok(Verdict::OK),
        Operation::Key(KeyOperation::GetKeyMetadata) => find(key).map(|_| Verdict::OK),
        Operation::Key(KeyOperation::Encrypt) => encrypt(key, &fields),
        Operation::Key(KeyOperation::Decrypt) => decrypt(key, &fields),
    }
}

/// None unless the body is an object whose known fields are texts, or `null` as if they were absent, there at
/// most once, with all of the metadata.
fn fields(bytes: &[u8], metadata: &[&str], known: &[&'static str]) -> Option<Fields> {
    const METADATA: [&str; 7] = [
        "awsPrincipalArn",
        "awsSourceVpc",
        "awsSourceVpce",
        "kmsKeyArn",
        "kmsOperation",
        "kmsRequestId",
        "kmsViaService",
    ];
    let Json::Object(body) = read_json(bytes)? else {
        return None;
    };
    let mut own = Vec::new();
    let mut has_metadata = false;
    for (name, value) in body {
        let name = name?;
        if name == "requestMetadata" {
            let Json::Object(entries) = value else { return None };
            let texts = texts(entries, &METADATA)?;
            if has_metadata || !metadata.iter().all(|field| texts.contains_key(field)) {
                return None;
            }
            has_metadata = true;
        } else if known.contains(&&*name) {
            own.push((Some(name), value));
        }
    }
    let fields = texts(own, known)?;
    has_metadata.then_some(fields)
}

/// The known ones of these entries.
fn texts(entries: Vec<(Option<String>, Json)>, known: &[&'static str]) -> Option<Fields> {
    let (mut fields, mut seen) = (Fields::new(), BTreeSet::new());
    for (name, value) in entries {
        let name = name?;
        let Some(name) = known.iter().find(|known| **known == name) else {
            continue;
        };
        if !seen.insert(name) {
            return None;
        }
        match value {
            Json::Text(text) => drop(fields.insert(name, text?)),
            Json::Null => {}
            Json::Object(_) | Json::Other => return None,
        }
    }
    Some(fields)
}

fn bytes_of(fields: &Fields, name: &str) -> Judged<Vec<u8>> {
    let text = fields.get(name).ok_or(Verdict::BAD)?;
    base64::decode(text).ok_or(Verdict::BAD)
}

fn bytes_if_there(fields: &Fields, name: &str) -> Judged<Vec<u8>> {
    match fields.contains_key(name) {
        true => bytes_of(fields, name),
        false => Ok(Vec::new()),
    }
}

fn check(holds: bool, otherwise: Verdict) -> Judged<()> {
    if holds { Ok(()) } else { Err(otherwise) }
}

fn is(fields: &Fields, name: &str, value: &str) -> bool {
    fields.get(name).is_some_and(|text| text == value)
}

/// What the proxy's keys may do: encrypt, decrypt; none while disabled.
fn find(key: &str) -> Judged<Option<(bool, bool)>> {
    match key {
        "key-1" => Ok(Some((true, true))),
        "encrypts" => Ok(Some((true, false))),
        "decrypts" => Ok(Some((false, true))),
        "disabled" => Ok(None),
        _ => Err(Verdict::error(ErrorName::KeyNotFound)),
    }
}

fn encrypt(key: &str, fields: &Fields) -> Judged<Verdict> {
    const WITH_INTEGRITY_VALUE: &str = "ciphertextDataIntegrityValueAlgorithm";
    check(is(fields, "encryptionAlgorithm", "AES_GCM"), Verdict::BAD)?;
    let with_integrity_value = fields.contains_key(WITH_INTEGRITY_VALUE);
    check(
        !with_integrity_value || is(fields, WITH_INTEGRITY_VALUE, "SHA_256"),
        Verdict::BAD,
    )?;
    let plaintext = bytes_of(fields, "plaintext")?;
    let aad = bytes_if_there(fields, "additionalAuthenticatedData")?;
    let may = find(key)?;
    check_sizes(&plaintext, &aad)?;
    let (encrypts, decrypts) = may.ok_or(Verdict::error(ErrorName::InvalidState))?;
    let is_permitted = encrypts && (decrypts || !with_integrity_value);
    check(is_permitted, Verdict::error(ErrorName::InvalidKeyUsage))?;
    Ok(Verdict::OK)
}

fn decrypt(key: &str, fields: &Fields) -> Judged<Verdict> {
    check(is(fields, "encryptionAlgorithm", "AES_GCM"), Verdict::BAD)?;
    let ciphertext = bytes_of(fields, "ciphertext")?;
    let iv = bytes_of(fields, "initializationVector")?;
    let tag = bytes_of(fields, "authenticationTag")?;
    let metadata = bytes_if_there(fields, "ciphertextMetadata")?;
    let aad = bytes_if_there(fields, "additionalAuthenticatedData")?;
    let lengths_are_legal = [12, 16].contains(&iv.len()) && tag.len() == 16 && metadata.len() <= 20;
    check(lengths_are_legal, Verdict::BAD)?;
    let may = find(key)?;
    check_sizes(&ciphertext, &aad)?;
    let (_, decrypts) = may.ok_or(Verdict::error(ErrorName::InvalidState))?;
    check(decrypts, Verdict::error(ErrorName::InvalidKeyUsage))?;
    let is_authentic = cipher::opens(&metadata, &iv, &aad, &ciphertext, &tag);
    check(is_authentic, Verdict::error(ErrorName::InvalidCiphertext))?;
    Ok(Verdict::OK)
}

fn check_sizes(text: &[u8], aad: &[u8]) -> Judged<()> {
    let keeps_limits = text.len() <= MAX_PLAINTEXT && aad.len() <= MAX_AAD;
    check(keeps_limits, Verdict::error(ErrorName::UnsupportedOperation))
}
