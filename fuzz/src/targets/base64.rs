//! The core's Base64 against RFC 4648, through the bodies that it stands in.

use serde_json::{Value, json};

use super::bodies::{DECRYPT, ENCRYPT, check_encrypted, with_metadata};
use crate::{
    judge::{Verdict, base64},
    proxy::answer_signed,
};

/// The first byte chooses a field; the rest is its text, or, below 0x80, the bytes that are encoded. What is
/// no Base64 is `ValidationException`; what is comes back as it was.
pub fn base64(input: &[u8]) -> Verdict {
    let (choice, rest) = input.split_first().unwrap_or((&0, &[]));
    let text = match (choice, str::from_utf8(rest)) {
        (0x80.., Ok(text)) => text.to_owned(),
        (0x80.., Err(_)) => return Verdict::BAD,
        _ => base64::encode(rest),
    };
    let length = base64::decode(&text).map(|bytes| bytes.len());
    let verdict_up_to = |limit| match length {
        None => Verdict::BAD,
        Some(length) if length > limit => Verdict(501, "UnsupportedOperationException"),
        Some(_) => Verdict::OK,
    };
    let request = |fields: Value| with_metadata(fields).to_string().into_bytes();
    let mut sealed = json!({
        "ciphertext": "",
        "initializationVector": "AAAAAAAAAAAAAAAA",
        "authenticationTag": "AAAAAAAAAAAAAAAAAAAAAA==",
    });
    let (short_field, lengths): (_, &[usize]) = match choice % 6 {
        0 => {
            let (verdict, answer) = answer_signed(ENCRYPT, &request(json!({"plaintext": text})));
            assert_eq!(verdict, verdict_up_to(4300), "{text:?}");
            if verdict == Verdict::OK {
                check_encrypted(&answer, &text, None, false);
            }
            return verdict;
        }
        1 => {
            let body = json!({"plaintext": "", "additionalAuthenticatedData": text, "ciphertextDataIntegrityValueAlgorithm": "SHA_256"});
            let (verdict, answer) = answer_signed(ENCRYPT, &request(body));
            assert_eq!(verdict, verdict_up_to(8192), "{text:?}");
            if verdict == Verdict::OK {
                check_encrypted(&answer, "", Some(&text), true);
            }
            return verdict;
        }
        2 => {
            sealed["ciphertext"] = text.clone().into();
            let (verdict, _) = answer_signed(DECRYPT, &request(sealed));
            let expected = match verdict_up_to(4300) {
                Verdict::OK => Verdict(400, "InvalidCiphertextException"),
                wrong => wrong,
            };
            assert_eq!(verdict, expected, "{text:?}");
            return verdict;
        }
        3 => ("initializationVector", &[12, 16]),
        4 => ("authenticationTag", &[16]),
        _ => ("ciphertextMetadata", &std::array::from_fn::<_, 21, _>(|length| length)),
    };
    sealed[short_field] = text.clone().into();
    let (verdict, _) = answer_signed(DECRYPT, &request(sealed));
    let expected = match length {
        Some(length) if lengths.contains(&length) => Verdict(400, "InvalidCiphertextException"),
        _ => Verdict::BAD,
    };
    assert_eq!(verdict, expected, "{short_field} {text:?}");
    verdict
}
