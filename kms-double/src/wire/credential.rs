//! The credential that requests are signed with.

use std::fmt;

use zeroize::Zeroizing;

/// An access key id, its secret, and the Region that requests are signed for.
#[derive(Clone)]
pub struct Credential {
    access_key_id: String,
    secret: Zeroizing<String>,
    region: String,
}

impl Credential {
    /// Creates a credential. Nothing is checked: whether a proxy takes it is for the proxy to say.
    pub fn new(access_key_id: impl Into<String>, secret: impl Into<String>, region: impl Into<String>) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret: Zeroizing::new(secret.into()),
            region: region.into(),
        }
    }

    /// Returns the access key id.
    #[must_use]
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// Returns the Region that requests are signed for.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Returns the secret access key.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credential")
            .field("access_key_id", &self.access_key_id)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}
