//! The status of a KMS key as it is shown in a list, and which keys can be adopted.

use serde::Serialize;

use crate::aws::{ImportState, KeyManager, KeyMetadata, KeyState, Origin, RotationsListEntry};

/// Whether a KMS key can be used, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// It encrypts and decrypts.
    Available,
    /// It does not.
    NotAvailable,
    /// It is deleted after its waiting time.
    PendingDelete,
}

/// The status of a KMS key, and why it is that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Availability {
    /// The status.
    pub status: Status,
    /// The reason; empty where it is available.
    pub reason: String,
}

impl Status {
    /// Returns the words for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Available => "AVAILABLE",
            Self::NotAvailable => "NOT AVAILABLE",
            Self::PendingDelete => "PENDING DELETE",
        }
    }
}

/// Returns the status of a KMS key as AWS describes it, with its materials if they are imported.
#[must_use]
pub fn availability(key: Option<&KeyMetadata>, materials: &[RotationsListEntry]) -> Availability {
    let not = |reason: String| Availability {
        status: Status::NotAvailable,
        reason,
    };
    let Some(key) = key else {
        return not("there is no KMS key in AWS".to_owned());
    };
    let missing = materials
        .iter()
        .filter(|entry| entry.import_state == Some(ImportState::PendingImport))
        .count();
    match &key.key_state {
        KeyState::Enabled => Availability {
            status: Status::Available,
            reason: String::new(),
        },
        KeyState::Disabled => not("it is disabled in AWS".to_owned()),
        KeyState::PendingImport if materials.is_empty() => not("it awaits its material".to_owned()),
        KeyState::PendingImport => not(format!(
            "{missing} of its {} materials are not in AWS: deleted there, or expired",
            materials.len()
        )),
        KeyState::PendingDeletion | KeyState::PendingReplicaDeletion => Availability {
            status: Status::PendingDelete,
            reason: match key.deletion_date {
                Some(date) => format!("AWS deletes it at {date}"),
                None => "AWS deletes it after its waiting time".to_owned(),
            },
        },
        other => not(format!("it is {other} in AWS")),
    }
}

/// Returns why a KMS key cannot be managed as one whose material is imported, or to be followed by such keys;
/// nothing if it can be adopted.
#[must_use]
pub fn refusal(key: &KeyMetadata) -> Option<&'static str> {
    if key.key_manager == KeyManager::Aws {
        return Some("it is a key of AWS's own");
    }
    if !matches!(key.origin, Origin::External | Origin::AwsKms) {
        return Some("its material is in a key store: manage the key store");
    }
    if key.multi_region {
        return Some(
            "it is a multi-Region key, whose replicas would need each material too: they are shown and not changed",
        );
    }
    if key.key_spec != "SYMMETRIC_DEFAULT" || key.key_usage != "ENCRYPT_DECRYPT" {
        return Some("it is not a symmetric key for encryption: asymmetric and HMAC keys are not imported");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_a_status_and_each_refusal_a_reason() {
        let key = |state: &KeyState| KeyMetadata::new("1", "arn:1", Origin::External, state.clone());
        for state in KeyState::KNOWN.iter().chain([&KeyState::Other("New".into())]) {
            let found = availability(Some(&key(state)), &[]);
            assert_eq!(
                found.status == Status::Available,
                *state == KeyState::Enabled,
                "{state}"
            );
            assert_eq!(found.reason.is_empty(), *state == KeyState::Enabled, "{state}");
        }
        assert_eq!(availability(None, &[]).status, Status::NotAvailable);
        let of = |change: &dyn Fn(&mut KeyMetadata)| {
            let mut key = key(&KeyState::Enabled);
            change(&mut key);
            refusal(&key)
        };
        assert_eq!(of(&|_| ()), None);
        assert_eq!(of(&|key| key.origin = Origin::AwsKms), None);
        type Change = fn(&mut KeyMetadata);
        let cases: [(Change, &str); 5] = [
            (|key| key.key_manager = KeyManager::Aws, "own"),
            (|key| key.origin = Origin::ExternalKeyStore, "key store"),
            (|key| key.multi_region = true, "multi-Region"),
            (|key| key.key_spec = "RSA_2048".into(), "symmetric"),
            (|key| key.key_usage = "GENERATE_VERIFY_MAC".into(), "symmetric"),
        ];
        for (change, word) in cases {
            assert!(of(&change).unwrap().contains(word), "{word}");
        }
    }
}
