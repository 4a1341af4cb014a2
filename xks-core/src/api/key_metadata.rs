//! `GetKeyMetadata` (section 4 of the specification).

use std::{borrow::Cow, convert::Infallible, fmt, str::FromStr};

use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use super::{RequestMetadata, parse};
use crate::{
    api::{KeyOperation, Operation},
    context::{RequestContext, in_context},
    error::Error,
    names::{named_enum, serde_as_text},
    sigv4::Verified,
};

/// A request for a key's metadata.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GetKeyMetadataRequest<'a> {
    /// Returns the request's metadata: who asks KMS, and what for.
    pub request_metadata: RequestMetadata<'a>,
    context: Option<&'a RequestContext<'a>>,
}

impl<'a> GetKeyMetadataRequest<'a> {
    /// Creates a request, as the pipeline makes it out of a body: for tests of backends.
    #[must_use]
    pub const fn new(request_metadata: RequestMetadata<'a>) -> Self {
        Self {
            request_metadata,
            context: None,
        }
    }

    pub(crate) fn decode(verified: &Verified<'a>, note: &mut Option<RequestMetadata<'a>>) -> Result<Self, Error> {
        let operation = Operation::Key(KeyOperation::GetKeyMetadata);
        let (request_metadata, []) = parse(verified, operation, [], note)?;
        Ok(Self::new(request_metadata.clone()))
    }
}

in_context!(GetKeyMetadataRequest);

/// The metadata of an external key: its kind, its usages, and whether it is enabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMetadata {
    spec: KeySpec,
    usages: Usages,
    status: KeyStatus,
}

impl KeyMetadata {
    /// Usages may come in any order; doubles count once. Specification: GetKeyMetadata.
    // GKM-2
    #[must_use]
    pub fn new(spec: KeySpec, usages: impl IntoIterator<Item = KeyUsage>, status: KeyStatus) -> Self {
        let usages = usages.into_iter().collect();
        Self { spec, usages, status }
    }

    /// Returns the key's kind.
    #[must_use]
    pub const fn spec(&self) -> &KeySpec {
        &self.spec
    }

    /// Returns the usages that it permits.
    #[must_use]
    pub fn usages(&self) -> &[KeyUsage] {
        self.usages.as_slice()
    }

    /// Returns whether it is enabled.
    #[must_use]
    pub const fn status(&self) -> KeyStatus {
        self.status
    }

    /// Returns the same key in another state.
    #[must_use]
    pub fn with_status(self, status: KeyStatus) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            key_spec: &'a str,
            key_usage: Usages,
            key_status: &'static str,
        }
        let body = Body {
            key_spec: self.spec.as_str(),
            key_usage: self.usages,
            key_status: self.status.as_str(),
        };
        // Strings always serialize.
        Zeroizing::new(serde_json::to_vec(&body).unwrap_or_default())
    }
}

/// Usages in their order, each of them once: in place, since every request for metadata copies them.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Usages {
    /// What is beyond `count` is `Encrypt`.
    all: [KeyUsage; KeyUsage::ALL.len()],
    count: usize,
}

impl Usages {
    fn as_slice(&self) -> &[KeyUsage] {
        self.all.get(..self.count).unwrap_or_default()
    }
}

impl FromIterator<KeyUsage> for Usages {
    fn from_iter<I: IntoIterator<Item = KeyUsage>>(usages: I) -> Self {
        let mut collected = Self {
            all: [KeyUsage::Encrypt; KeyUsage::ALL.len()],
            count: 0,
        };
        for usage in usages {
            // There is a place for each.
            if let Err(place) = collected.as_slice().binary_search(&usage)
                && let Some(places) = collected.all.get_mut(place..=collected.count)
            {
                places.rotate_right(1);
                if let Some(place) = places.first_mut() {
                    *place = usage;
                }
                collected.count += 1;
            }
        }
        collected
    }
}

impl Serialize for Usages {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.as_slice().iter().map(|usage| usage.as_str()))
    }
}

impl fmt::Debug for Usages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

/// The kind of an external key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeySpec {
    /// A 256-bit AES key: the only kind that can back a KMS key in version 1. Specification: GetKeyMetadata.
    // GKM-1
    Aes256,
    /// Any other kind, by the name that the key manager gives it, such as `RSA_2048`. KMS will refuse it, and
    /// its user sees why.
    Other(Cow<'static, str>),
}

impl KeySpec {
    /// Returns the name on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Aes256 => "AES_256",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for KeySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeySpec {
    type Err = Infallible;

    /// Every name is one: what is not `AES_256` is [`Other`](Self::Other).
    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(match name {
            "AES_256" => Self::Aes256,
            other => Self::Other(other.to_owned().into()),
        })
    }
}

serde_as_text! { KeySpec }

/// Something that a key may be used for. Specification: GetKeyMetadata.
// GKM-2
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum KeyUsage {
    /// `ENCRYPT`; a KMS key needs this and `DECRYPT`.
    Encrypt,
    /// `DECRYPT`; a KMS key needs this and `ENCRYPT`.
    Decrypt,
    /// `SIGN`
    Sign,
    /// `VERIFY`
    Verify,
    /// `WRAP`
    Wrap,
    /// `UNWRAP`
    Unwrap,
    /// `DERIVE`
    Derive,
}

named_enum! {
    KeyUsage, "a key usage",
    Encrypt => "ENCRYPT",
    Decrypt => "DECRYPT",
    Sign => "SIGN",
    Verify => "VERIFY",
    Wrap => "WRAP",
    Unwrap => "UNWRAP",
    Derive => "DERIVE",
}

/// Whether an external key is enabled. Specification: GetKeyMetadata.
// GKM-3
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the specification has these two and no others")]
pub enum KeyStatus {
    /// `ENABLED`; also where the key manager cannot disable single keys.
    Enabled,
    /// `DISABLED`
    Disabled,
}

named_enum! {
    KeyStatus, "a key status",
    Enabled => "ENABLED",
    Disabled => "DISABLED",
}
