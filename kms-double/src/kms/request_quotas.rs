//! Request quotas: how many requests a second AWS KMS answers, by operation, before it throttles.

use std::collections::HashMap;

/// AWS's default quotas, a second: "Request quotas" in the AWS KMS Developer Guide.
const QUOTAS: &[(f64, &[&str])] = &[
    (1.0, &["GetParametersForImport"]),
    (
        15.0,
        &[
            "ImportKeyMaterial",
            "DeleteImportedKeyMaterial",
            "PutKeyPolicy",
            "ScheduleKeyDeletion",
            "DeleteAlias",
            "EnableKeyRotation",
        ],
    ),
    (
        5.0,
        &[
            "CreateKey",
            "CreateAlias",
            "UpdateAlias",
            "EnableKey",
            "DisableKey",
            "CancelKeyDeletion",
            "RotateKeyOnDemand",
            "ReplicateKey",
            "UpdatePrimaryRegion",
            "UpdateKeyDescription",
            "UntagResource",
            "GetKeyLastUsage",
            "CreateCustomKeyStore",
            "ConnectCustomKeyStore",
            "DisconnectCustomKeyStore",
            "DescribeCustomKeyStores",
            "UpdateCustomKeyStore",
            "DeleteCustomKeyStore",
            "DisableKeyRotation", // not in the table
        ],
    ),
    (10.0, &["TagResource"]),
    (100.0, &["ListKeyPolicies", "ListKeyRotations"]),
    (500.0, &["ListKeys", "ListAliases"]),
    (1000.0, &["GetKeyPolicy", "GetKeyRotationStatus"]),
    (2000.0, &["DescribeKey", "ListResourceTags"]),
];

/// Cryptographic operations share one quota.
const CRYPTOGRAPHIC: &[&str] = &[
    "Encrypt",
    "Decrypt",
    "ReEncrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
];
const CRYPTOGRAPHY: (&str, f64) = ("cryptographic operations", 10_000.0);

/// For each external key store, besides.
const KEY_STORE: f64 = 1800.0;

/// Request quotas: a token bucket for each, a second deep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RequestQuotas {
    scale: f64,
}

impl RequestQuotas {
    /// Returns AWS's default quotas.
    #[must_use]
    pub const fn aws() -> Self {
        Self { scale: 1.0 }
    }

    /// Multiplies all of them, so that tests are quick.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Self {
            scale: self.scale * factor,
        }
    }

    /// Returns the quota of an operation, in requests a second; none where AWS KMS has none.
    #[must_use]
    pub fn of(self, operation: &str) -> Option<f64> {
        let listed = QUOTAS.iter().find(|(_, operations)| operations.contains(&operation));
        let quota = match listed {
            Some((quota, _)) => Some(*quota),
            None => CRYPTOGRAPHIC.contains(&operation).then_some(CRYPTOGRAPHY.1),
        };
        quota.map(|quota| quota * self.scale)
    }
}

/// How much of each quota is left.
#[derive(Debug, Default)]
pub(crate) struct Buckets(HashMap<String, Bucket>);

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    /// Seconds since 1970.
    at: f64,
}

impl Buckets {
    /// Whether there is room for a request in a Region now.
    pub(crate) fn take(&mut self, quotas: RequestQuotas, region: &str, operation: &str, now: f64) -> bool {
        let Some(quota) = quotas.of(operation) else {
            return true;
        };
        let is_cryptographic = CRYPTOGRAPHIC.contains(&operation);
        let name = if is_cryptographic { CRYPTOGRAPHY.0 } else { operation };
        self.take_from(&format!("{region} {name}"), quota, now)
    }

    /// Whether there is room for a cryptographic operation with a key of this key store now.
    pub(crate) fn take_of_key_store(&mut self, quotas: RequestQuotas, key_store_id: &str, now: f64) -> bool {
        self.take_from(key_store_id, KEY_STORE * quotas.scale, now)
    }

    fn take_from(&mut self, name: &str, quota: f64, now: f64) -> bool {
        let depth = quota.max(1.0);
        let bucket = self
            .0
            .entry(name.to_owned())
            .or_insert(Bucket { tokens: depth, at: now });
        bucket.tokens = (bucket.tokens + (now - bucket.at).max(0.0) * quota).min(depth);
        bucket.at = now;
        let has_room = bucket.tokens >= 1.0;
        if has_room {
            bucket.tokens -= 1.0;
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_a_second_deep_and_fills_at_its_quota() {
        let mut buckets = Buckets::default();
        let quotas = RequestQuotas::aws().scaled(2.0);
        let mut taken = |operation: &str, now| {
            (0..100)
                .filter(|_| buckets.take(quotas, "us-east-1", operation, now))
                .count()
        };
        assert_eq!(taken("GetParametersForImport", 0.0), 2);
        assert_eq!(taken("CreateKey", 0.0), 10, "each by itself");
        assert_eq!(taken("GetParametersForImport", 0.25), 0);
        assert_eq!(taken("GetParametersForImport", 0.5), 1);
        assert_eq!(taken("GetParametersForImport", 100.0), 2, "no more is saved");
        assert_eq!(taken("KmsHealthCheck", 0.0), 100, "no quota");
    }

    #[test]
    fn cryptographic_operations_share_one_bucket() {
        let mut buckets = Buckets::default();
        let quotas = RequestQuotas::aws().scaled(0.001);
        let taken = |buckets: &mut Buckets, operation| {
            (0..100)
                .filter(|_| buckets.take(quotas, "us-east-1", operation, 0.0))
                .count()
        };
        assert_eq!(taken(&mut buckets, "Encrypt"), 10);
        assert_eq!(taken(&mut buckets, "Decrypt"), 0);
        let of_store = (0..100).filter(|_| buckets.take_of_key_store(quotas, "cks-1", 0.0));
        assert_eq!(of_store.count(), 1);
    }
}
