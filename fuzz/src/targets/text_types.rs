//! Short texts.

use serde_json::Value;
use xks_core::{
    KeyId,
    api::RequestMetadata,
    key_store::{AccessKeyId, SecretAccessKey, UriPathPrefix},
};

/// The parsers of short texts against their rules, written once more.
pub fn text_types(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let all = |legal: fn(u8) -> bool| text.bytes().all(legal);

    let is_key_id = (1..=128).contains(&text.len())
        && all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        && !matches!(text, "." | "..");
    assert_eq!(KeyId::new(text).is_ok(), is_key_id);

    let is_prefix = text.len() <= 117
        && all(|byte| byte.is_ascii_alphanumeric() || b"/-_".contains(&byte))
        && (text.is_empty() || text.starts_with('/') && text.split('/').skip(1).all(|part| !part.is_empty()));
    assert_eq!(UriPathPrefix::new(text).is_ok(), is_prefix);

    let is_access_key_id = (20..=30).contains(&text.len()) && all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'));
    assert_eq!(AccessKeyId::new(text).is_ok(), is_access_key_id);

    let is_secret =
        (43..=64).contains(&text.len()) && all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
    assert_eq!(SecretAccessKey::new(text.to_owned()).is_ok(), is_secret);

    // Not every metadata is a `Value`: the values of unknown fields are not looked into.
    if let (Ok(metadata), Ok(value)) = (RequestMetadata::from_json(text), serde_json::from_str::<Value>(text)) {
        for (field, found) in [
            ("awsPrincipalArn", metadata.aws_principal_arn()),
            ("awsSourceVpc", metadata.aws_source_vpc()),
            ("awsSourceVpce", metadata.aws_source_vpce()),
            ("kmsKeyArn", metadata.kms_key_arn()),
            ("kmsOperation", metadata.kms_operation()),
            ("kmsRequestId", metadata.kms_request_id()),
            ("kmsViaService", metadata.kms_via_service()),
        ] {
            assert_eq!(found, value[field].as_str(), "{field}");
        }
        for (name, json) in metadata.extra() {
            assert!(value.get(name).is_some(), "{name}");
            serde_json::from_str::<Value>(json).expect("an extra field has a JSON value");
        }
    }
}
