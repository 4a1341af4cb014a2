//! The bodies of the four operations, each signed, so that they are looked at. The first byte of an input
//! says how the rest becomes a body: below 0x80 it is one, else it makes one that is nearly right
//! ([`nearly`]), or [a sealed one](sealed).

use arbitrary::{Result, Unstructured};
use serde_json::{Value, json};
use xks_core::api::{KeyOperation, Operation};

use crate::{
    judge::{self, Verdict, base64},
    nearly,
    proxy::{TENANTS, answer_signed},
};

const RAW: std::ops::Range<u8> = 0..0x80;
const SEALED: std::ops::Range<u8> = 0xc0..0xff;

pub const HEALTH: &str = "/fuzz/kms/xks/v1/health";
pub const METADATA: &str = "/fuzz/kms/xks/v1/keys/key-1/metadata";
pub const ENCRYPT: &str = "/fuzz/kms/xks/v1/keys/key-1/encrypt";
pub const DECRYPT: &str = "/fuzz/kms/xks/v1/keys/key-1/decrypt";

/// A body for health: served, or refused because of the body alone.
pub fn health_body(input: &[u8]) -> Verdict {
    let (verdict, body) = as_judged(
        Operation::GetHealthStatus,
        HEALTH,
        &made(Operation::GetHealthStatus, input),
    );
    if verdict == Verdict::OK {
        assert_eq!(body["xksProxyFleetSize"], 1);
        assert_eq!(body["ekmFleetDetails"][0]["healthStatus"], "ACTIVE");
    }
    verdict
}

/// A body for a key's metadata: the same.
pub fn metadata_body(input: &[u8]) -> Verdict {
    let operation = Operation::Key(KeyOperation::GetKeyMetadata);
    let (verdict, body) = as_judged(operation, METADATA, &made(operation, input));
    if verdict == Verdict::OK {
        let expected = json!({"keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED"});
        assert_eq!(body, expected);
    }
    verdict
}

/// A body for an encryption: what is served is as the specification says, and decrypts to what was encrypted.
pub fn encrypt_body(input: &[u8]) -> Verdict {
    let operation = Operation::Key(KeyOperation::Encrypt);
    let request = made(operation, input);
    let (verdict, answer) = as_judged(operation, ENCRYPT, &request);
    if verdict == Verdict::OK {
        let field = |name| text_field(&request, name);
        let has_integrity_value = field("ciphertextDataIntegrityValueAlgorithm").is_some();
        let (plaintext, aad) = (field("plaintext"), field("additionalAuthenticatedData"));
        check_encrypted(
            &answer,
            &plaintext.expect("it is there"),
            aad.as_deref(),
            has_integrity_value,
        );
    }
    verdict
}

/// A body for a decryption: only what was encrypted is decrypted, to what it was.
pub fn decrypt_body(input: &[u8]) -> Verdict {
    if let Some((kind, rest)) = input.split_first()
        && SEALED.contains(kind)
    {
        // It never runs out of bytes: there are zeros behind them.
        return sealed(&mut Unstructured::new(rest)).unwrap_or(Verdict::BAD);
    }
    let operation = Operation::Key(KeyOperation::Decrypt);
    as_judged(operation, DECRYPT, &made(operation, input)).0
}

fn made(operation: Operation, input: &[u8]) -> Vec<u8> {
    let (kind, rest) = input.split_first().unwrap_or((&0, &[]));
    if RAW.contains(kind) {
        return rest.to_vec();
    }
    nearly::body(operation, &mut Unstructured::new(rest)).unwrap_or_default()
}

fn as_judged(operation: Operation, target: &str, body: &[u8]) -> (Verdict, Value) {
    let (verdict, answer) = answer_signed(target, body);
    let expected = judge::body(&judge::at(&TENANTS[0], operation, "key-1"), body);
    assert_eq!(verdict, expected, "{:?}", String::from_utf8_lossy(body));
    (verdict, answer)
}

/// A text of a body that was served.
fn text_field(body: &[u8], name: &str) -> Option<String> {
    let Some(judge::Json::Object(fields)) = judge::read_json(body) else {
        return None;
    };
    fields.into_iter().find_map(|field| match field {
        (Some(found), judge::Json::Text(text)) if found == name => text,
        _ => None,
    })
}

/// ENC-6, ENC-9: what an encryption is answered, with the Base64 of plaintext and AAD.
pub fn check_encrypted(answer: &Value, plaintext: &str, aad: Option<&str>, has_integrity_value: bool) {
    let bytes = |name: &str| {
        let text = answer[name].as_str().unwrap_or_else(|| panic!("{name} is missing"));
        base64::decode(text).unwrap_or_else(|| panic!("{name} is no Base64"))
    };
    let decoded = |text| base64::decode(text).expect("it was served");
    let (ciphertext, iv, tag) = (
        bytes("ciphertext"),
        bytes("initializationVector"),
        bytes("authenticationTag"),
    );
    let metadata = bytes("ciphertextMetadata");
    assert_eq!(
        (ciphertext.len(), iv.len(), tag.len()),
        (decoded(plaintext).len(), 12, 16)
    );
    assert_eq!(metadata, b"key_version=2");
    let integrity_value =
        judge::integrity_value(&aad.map(decoded).unwrap_or_default(), &metadata, &iv, &ciphertext, &tag);
    let sent = answer.get("ciphertextDataIntegrityValue").and_then(Value::as_str);
    let expected = has_integrity_value.then(|| base64::encode(&integrity_value));
    assert_eq!(sent, expected.as_deref());

    let mut request = with_metadata(answer.clone());
    if let Some(aad) = aad {
        request["additionalAuthenticatedData"] = aad.into();
    }
    let (verdict, answer) = answer_signed(DECRYPT, request.to_string().as_bytes());
    assert_eq!(verdict, Verdict::OK);
    assert_eq!(answer, json!({"plaintext": plaintext}));
}

/// A request with these fields, and those that never matter.
pub fn with_metadata(mut fields: Value) -> Value {
    fields["requestMetadata"] = json!({
        "awsPrincipalArn": "arn:aws:iam::123456789012:user/Alice",
        "kmsKeyArn": "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        "kmsOperation": "Decrypt",
        "kmsRequestId": "1",
    });
    fields["encryptionAlgorithm"] = "AES_GCM".into();
    fields
}

/// DEC-3: something is encrypted; one part of it is changed, or some of it goes to another part; then it is
/// no ciphertext.
fn sealed(u: &mut Unstructured<'_>) -> Result<Verdict> {
    const PARTS: [&str; 5] = [
        "ciphertext",
        "initializationVector",
        "authenticationTag",
        "ciphertextMetadata",
        "additionalAuthenticatedData",
    ];
    let (from, to) = (u.int_in_range(0..=4)?, u.int_in_range(0..=4)?);
    let (change, at, bits) = (u.int_in_range(0..=5)?, u.arbitrary::<u16>()?, u.arbitrary::<u8>()?);
    let lengths = (u.int_in_range(0..=4300)?, u.int_in_range(0..=8192)?);
    let (plaintext, aad) = (filled(u, lengths.0)?, filled(u, lengths.1)?);

    let aad_text = base64::encode(&aad);
    let request = json!({"plaintext": base64::encode(&plaintext), "additionalAuthenticatedData": aad_text});
    let (verdict, mut answer) = answer_signed(ENCRYPT, with_metadata(request).to_string().as_bytes());
    assert_eq!(verdict, Verdict::OK);
    answer["additionalAuthenticatedData"] = aad_text.into();
    let original = PARTS.map(|part| base64::decode(answer[part].as_str().expect("it is there")).expect("it is Base64"));

    let mut parts = original.clone();
    let at = usize::from(at) % parts[from].len().max(1);
    match change {
        0 => {}
        1 => parts[from].iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bits),
        2 => parts[from].truncate(at),
        3 => parts[from].push(bits),
        4 => {
            let end = parts[from].split_off(at);
            parts[to].splice(0..0, end);
        }
        _ => parts.swap(from, to),
    }
    for (name, part) in PARTS.iter().zip(&parts) {
        answer[*name] = base64::encode(part).into();
    }
    let body = with_metadata(answer).to_string();
    let (verdict, answer) = as_judged(Operation::Key(KeyOperation::Decrypt), DECRYPT, body.as_bytes());
    if parts == original {
        assert_eq!(answer, json!({"plaintext": base64::encode(&plaintext)}));
    } else {
        assert_ne!(verdict, Verdict::OK, "{parts:?} {original:?}");
    }
    Ok(verdict)
}

/// As many bytes, from a few.
fn filled(u: &mut Unstructured<'_>, length: usize) -> Result<Vec<u8>> {
    let seed = u.arbitrary::<[u8; 4]>()?;
    Ok(seed.into_iter().cycle().take(length).collect())
}
