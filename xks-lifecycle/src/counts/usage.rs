//! How much a version was used.

use serde_json::json;

use crate::Timestamp;

/// How often a version was used, and when last: what tells whether somebody may need it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// How many encryptions were made, or begun.
    pub encryptions: u64,
    /// How many decryptions were made, or begun.
    pub decryptions: u64,
    /// When it was last used.
    pub last_used: Option<Timestamp>,
}

impl Usage {
    /// Returns the encryptions and decryptions.
    #[must_use]
    pub const fn uses(&self) -> u64 {
        self.encryptions.saturating_add(self.decryptions)
    }

    /// Returns both together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            encryptions: self.encryptions.saturating_add(other.encryptions),
            decryptions: self.decryptions.saturating_add(other.decryptions),
            last_used: self.last_used.max(other.last_used),
        }
    }

    /// The body of its claim.
    pub(crate) fn body(&self) -> String {
        let Self {
            encryptions,
            decryptions,
            last_used,
        } = self;
        let last_used = last_used.map(Timestamp::seconds);
        json!({ "encryptions": encryptions, "decryptions": decryptions, "last_used": last_used }).to_string()
    }

    /// Reads the body of a claim. What is not there is nothing: claims are not authenticated.
    pub(crate) fn read(body: &str) -> Self {
        let fields: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        let number = |name: &str| fields.get(name).and_then(serde_json::Value::as_u64);
        let time = number("last_used").map(|seconds| Timestamp::from_seconds("last_used", seconds));
        Self {
            encryptions: number("encryptions").unwrap_or_default(),
            decryptions: number("decryptions").unwrap_or_default(),
            last_used: time.and_then(Result::ok),
        }
    }
}
