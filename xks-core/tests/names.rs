//! Types that are written as a text: the names of enums, ids, prefixes; with the feature `serde` in every
//! format.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may panic"
)]

use std::{error::Error, fmt, str::FromStr};

use serde::{Serialize, de::DeserializeOwned};
use xks_core::{
    KeyId,
    aad::AadFraming,
    api::{ErrorName, KeyOperation, Operation, UnknownName},
    backend::{BackendErrorKind, HealthStatus, KeySpec, KeyStatus, KeyUsage},
    context::{AttemptOutcome, Phase},
    fleet::{BreakerState, DisagreementKind},
    key_store::{AccessKeyId, Region, UriPathPrefix},
    manage::{CreationToken, ManageErrorKind, WrappingAlgorithm},
};

/// It is printed and read as `text`, with and without `serde`.
fn is_written<T>(value: &T, text: &str)
where
    T: fmt::Debug + fmt::Display + PartialEq + FromStr<Err: Error> + Serialize + DeserializeOwned,
{
    assert_eq!(value.to_string(), text);
    assert_eq!(&text.parse::<T>().unwrap(), value);
    let json = serde_json::to_string(value).unwrap();
    assert_eq!(json, format!("\"{text}\""));
    assert_eq!(&serde_json::from_str::<T>(&json).unwrap(), value);
    let escaped = format!("\"\\u{:04x}{}\"", u32::from(text.as_bytes()[0]), &text[1..]);
    assert_eq!(
        &serde_json::from_str::<T>(&escaped).unwrap(),
        value,
        "an escape owns the text"
    );
}

fn are_written<T>(all: &[T], names: &[&str])
where
    T: fmt::Debug + fmt::Display + PartialEq + FromStr<Err = UnknownName> + Serialize + DeserializeOwned,
{
    assert_eq!(all.len(), names.len());
    for (value, name) in all.iter().zip(names) {
        is_written(value, name);
        for other in [
            name.to_lowercase(),
            name.to_uppercase(),
            format!("{name} "),
            String::new(),
        ] {
            if other != *name {
                let error = other.parse::<T>().unwrap_err().to_string();
                assert!(names.iter().all(|name| error.contains(name)), "{error}");
                assert!(serde_json::from_str::<T>(&format!("\"{other}\"")).is_err());
            }
        }
    }
}

#[test]
fn enums_are_written_by_their_names() {
    are_written(
        &KeyUsage::ALL,
        &["ENCRYPT", "DECRYPT", "SIGN", "VERIFY", "WRAP", "UNWRAP", "DERIVE"],
    );
    are_written(&KeyStatus::ALL, &["ENABLED", "DISABLED"]);
    are_written(&HealthStatus::ALL, &["ACTIVE", "DEGRADED", "UNAVAILABLE"]);
    are_written(&KeyOperation::ALL, &["GetKeyMetadata", "Encrypt", "Decrypt"]);
    are_written(
        &Operation::ALL,
        &["GetHealthStatus", "GetKeyMetadata", "Encrypt", "Decrypt"],
    );
    are_written(&AadFraming::ALL, &["spec", "digest", "migrating"]);
    are_written(&ErrorName::ALL, &ErrorName::ALL.map(ErrorName::as_str));
    let algorithms = ["RSA_AES_KEY_WRAP_SHA_256", "RSAES_OAEP_SHA_256", "RSAES_OAEP_SHA_1"];
    are_written(&WrappingAlgorithm::ALL, &algorithms);
    are_written(&BreakerState::ALL, &["closed", "half_open", "open"]);
    are_written(&DisagreementKind::ALL, &["other_key", "missing", "disabled"]);
    are_written(&Phase::ALL, &["operation", "verification"]);
    // Its names are those of its variants.
    are_written(
        &BackendErrorKind::ALL,
        &BackendErrorKind::ALL
            .map(|kind| format!("{kind:?}"))
            .each_ref()
            .map(String::as_str),
    );
    are_written(
        &ManageErrorKind::ALL,
        &ManageErrorKind::ALL
            .map(|kind| format!("{kind:?}"))
            .each_ref()
            .map(String::as_str),
    );
}

#[test]
fn an_outcome_of_an_attempt_is_written_by_its_name() {
    let failed = BackendErrorKind::ALL.map(AttemptOutcome::Failed);
    let all = [&[AttemptOutcome::Answered, AttemptOutcome::Abandoned], &failed[..]].concat();
    let names = BackendErrorKind::ALL.map(BackendErrorKind::as_str);
    are_written(&all, &[&["answered", "abandoned"], &names[..]].concat());
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let error = "decrypt".parse::<Operation>().unwrap_err();
    let known = "not an operation: write GetHealthStatus, GetKeyMetadata, Encrypt or Decrypt";
    assert_eq!(error.to_string(), known);
    assert_eq!(
        serde_json::from_str::<Operation>("\"decrypt\"")
            .unwrap_err()
            .to_string(),
        known
    );
}

#[test]
fn every_name_is_one_of_a_key_spec() {
    is_written(&KeySpec::Aes256, "AES_256");
    is_written(&KeySpec::Other("RSA_2048".into()), "RSA_2048");
}

#[test]
fn ids_are_checked_however_they_are_read() {
    is_written(&KeyId::new("xks-key.1").unwrap(), "xks-key.1");
    is_written(&UriPathPrefix::new("/tenant-a").unwrap(), "/tenant-a");
    is_written(
        &AccessKeyId::new("BETWEEN2TENAND3TENCHARACTERS").unwrap(),
        "BETWEEN2TENAND3TENCHARACTERS",
    );
    is_written(&Region::new("eu-central-1").unwrap(), "eu-central-1");
    is_written(&CreationToken::from([0xa5; 16]), &"a5".repeat(16));
    assert!(serde_json::from_str::<KeyId>("\"a/b\"").is_err());
    assert!(serde_json::from_str::<CreationToken>("\"a5\"").is_err());
    assert!(serde_json::from_str::<UriPathPrefix>("\"/a/\"").is_err());
    assert!(serde_json::from_str::<AccessKeyId>("\"short\"").is_err());
    assert!(serde_json::from_str::<Region>("\"Frankfurt\"").is_err());
    assert!(serde_json::from_str::<KeyId>("1").is_err());
}
