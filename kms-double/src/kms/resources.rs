//! Resource quotas: how much there may be of everything.

/// How much there may be in the account and Region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resources {
    /// KMS keys.
    pub keys: usize,
    /// Custom key stores.
    pub key_stores: usize,
    /// Aliases of one key.
    pub aliases_of_a_key: usize,
}

impl Default for Resources {
    /// AWS's default quotas.
    fn default() -> Self {
        Self {
            keys: 100_000,
            key_stores: 10,
            aliases_of_a_key: 50,
        }
    }
}
