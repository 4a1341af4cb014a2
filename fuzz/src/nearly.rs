//! Bodies that are right but for a few things: each known field is there, or not, or twice, or of another
//! type; and there are others.

use arbitrary::{Result, Unstructured};
use xks_core::api::{KeyOperation, Operation};

use crate::judge::base64;

#[derive(Clone, Copy)]
enum Kind {
    Any,
    /// Of a word that it must be.
    Word(&'static str),
    /// Base64 of mostly so many bytes.
    Bytes(&'static [usize]),
}

const METADATA: [(&str, Kind); 7] = [
    ("awsPrincipalArn", Kind::Any),
    ("kmsKeyArn", Kind::Any),
    ("kmsOperation", Kind::Any),
    ("kmsRequestId", Kind::Any),
    ("awsSourceVpc", Kind::Any),
    ("awsSourceVpce", Kind::Any),
    ("kmsViaService", Kind::Any),
];
const ENCRYPT: &[(&str, Kind)] = &[
    ("plaintext", Kind::Bytes(&[0, 1, 2, 3, 32, 4299, 4300, 4301])),
    ("encryptionAlgorithm", Kind::Word("AES_GCM")),
    (
        "additionalAuthenticatedData",
        Kind::Bytes(&[0, 1, 2, 3, 32, 8191, 8192, 8193, 65_535, 65_536]),
    ),
    ("ciphertextDataIntegrityValueAlgorithm", Kind::Word("SHA_256")),
];
const DECRYPT: &[(&str, Kind)] = &[
    ("ciphertext", Kind::Bytes(&[0, 1, 2, 3, 32, 4299, 4300, 4301])),
    (
        "initializationVector",
        Kind::Bytes(&[12, 16, 11, 13, 15, 17, 0, 36, 37, 49]),
    ),
    ("authenticationTag", Kind::Bytes(&[16, 15, 17, 12, 0, 36, 48, 49])),
    ("ciphertextMetadata", Kind::Bytes(&[13, 1, 20, 21, 0, 36])),
    ("encryptionAlgorithm", Kind::Word("AES_GCM")),
    (
        "additionalAuthenticatedData",
        Kind::Bytes(&[0, 1, 2, 3, 32, 8191, 8192, 8193, 65_535, 65_536]),
    ),
];

/// Without any bytes to make it from it is right.
pub fn body(operation: Operation, u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let known = match operation {
        Operation::GetHealthStatus | Operation::Key(KeyOperation::GetKeyMetadata) => &[],
        Operation::Key(KeyOperation::Encrypt) => ENCRYPT,
        Operation::Key(KeyOperation::Decrypt) => DECRYPT,
    };
    let metadata = object(&METADATA, None, u)?;
    let mut body = object(known, Some(metadata), u)?.into_bytes();
    // And one random thing more.
    if u.int_in_range(0..=15)? == 1 {
        let at = u.choose_index(body.len())?;
        body[at] = u.arbitrary()?;
    }
    Ok(body)
}

fn object(fields: &[(&str, Kind)], metadata: Option<String>, u: &mut Unstructured<'_>) -> Result<String> {
    let mut entries = Vec::new();
    if let Some(metadata) = metadata {
        for _ in 0..times(u)? {
            entries.push(format!("\"requestMetadata\":{metadata}"));
        }
    }
    for (name, kind) in fields {
        for _ in 0..times(u)? {
            entries.push(format!("\"{name}\"{}:{}", blank(u)?, value(*kind, u)?));
        }
    }
    while u.int_in_range(0..=3)? == 1 {
        let name = [
            "unknown",
            "plaintext",
            "kmsRequestId",
            "\\u0070laintext",
            "\\ud800",
            "",
            "\\uD83D\\uDE00",
        ];
        let name = u.choose(&name)?;
        let at = u.int_in_range(0..=entries.len())?;
        entries.insert(at, format!("\"{name}\":{}", anything(u)?));
    }
    Ok(format!("{}{{{}}}", blank(u)?, entries.join(&format!(",{}", blank(u)?))))
}

/// Once, mostly. (What the bytes have run out for is 0, so 0 stands for that.)
fn times(u: &mut Unstructured<'_>) -> Result<usize> {
    Ok(match u.int_in_range(0..=31)? {
        1 | 2 => 0,
        3 => 2,
        _ => 1,
    })
}

fn blank(u: &mut Unstructured<'_>) -> Result<&'static str> {
    u.choose(&["", "", " ", "\n", "\t\r\n", "\u{c}", "\u{a0}"]).copied()
}

fn value(kind: Kind, u: &mut Unstructured<'_>) -> Result<String> {
    if u.int_in_range(0..=23)? == 1 {
        return anything(u);
    }
    let text = match kind {
        Kind::Any => (*u.choose(&[
            "",
            "AWS Internal",
            "ec2.amazonaws.com",
            "\\\"\\\\\\n\\u0000",
            "ä\\ud83d\\ude00",
        ])?)
        .to_owned(),
        Kind::Word(word) if u.int_in_range(0..=15)? == 1 => format!("{word} "),
        Kind::Word(word) => word.to_owned(),
        Kind::Bytes(lengths) => {
            let length = *u.choose(lengths)?;
            let byte = u.arbitrary::<u8>()?;
            base64::encode(&vec![byte; length])
        }
    };
    let text = match u.int_in_range(0..=15)? {
        // As texts go wrong.
        1 => text.replacen('A', "\\u0041", 1),
        2 => text.replacen('/', "\\/", 1),
        3 => text.replace(['+', '/'], "-"),
        4 => text.trim_end_matches('=').to_owned(),
        5 => format!("{text}="),
        6 => format!("{text}\\n"),
        7 => text.replacen("A=", "B=", 1),
        8 => format!("{}{text}", char::from(u.int_in_range(0x20..=0x7e)?)),
        _ => text,
    };
    Ok(format!("\"{text}\""))
}

fn anything(u: &mut Unstructured<'_>) -> Result<String> {
    let depth = u.int_in_range(0..=70)?;
    let values = [
        "null",
        "true",
        "0",
        "-1.5e+3",
        "1e999",
        "01",
        "[]",
        "{}",
        "\"\\ud800\"",
        "{\"\\udc00\":[1,\"\\ud800\"]}",
        "\"text\"",
        "nul",
        "[1,]",
    ];
    Ok(match u.choose_index(values.len() + 1)? {
        0 => format!("{}{}", "[".repeat(depth), "]".repeat(depth)),
        choice => values[choice - 1].to_owned(),
    })
}
