//! The credential with which KMS signs its requests to one key store, and the file that the AWS
//! console takes it from.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{key_store::UriPathPrefix, names::text_type, sigv4::SigningKeys};

text_type! {
    /// An access key id: 20 to 30 characters of `A-Z 2-7`. It is a name, not a secret.
    /// Specification: Appendix A.
    ///
    /// ```
    /// # use xks_core::key_store::AccessKeyId;
    /// assert!(AccessKeyId::new("BETWEEN2TENAND3TENCHARACTERS").is_ok());
    /// assert!(AccessKeyId::new("tooshort").is_err());
    /// ```
    // SIG-6
    AccessKeyId, CredentialError, check_access_key_id
}

/// A secret access key: 43 to 64 characters of `a-z A-Z 0-9 + / =`, wiped when dropped, never
/// printed. Specification: Appendix A.
///
/// It must come from at least 256 bits of entropy, which no check can see:
/// [`Credential::from_entropy`] makes one that does.
// SIG-6
// SIG-6
#[derive(Clone)]
pub struct SecretAccessKey(Zeroizing<String>);

/// The error of a text that is not a part of a credential. Specification: Appendix A.
// SIG-6
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// Not an access key id.
    #[error("an access key id must be 20 to 30 characters of A-Z 2-7")]
    AccessKeyId,
    /// Not a secret access key.
    #[error("a secret access key must be 43 to 64 characters of a-z A-Z 0-9 + / =")]
    SecretAccessKey,
}

pub(crate) fn check_access_key_id(text: &str) -> Result<(), CredentialError> {
    let legal = |byte: u8| byte.is_ascii_uppercase() || matches!(byte, b'2'..=b'7');
    if (20..=30).contains(&text.len()) && text.bytes().all(legal) {
        Ok(())
    } else {
        Err(CredentialError::AccessKeyId)
    }
}

impl SecretAccessKey {
    /// Checks `text` and keeps it.
    ///
    /// # Errors
    /// [`CredentialError::SecretAccessKey`] when its length or a character is not allowed.
    pub fn new(text: impl Into<Zeroizing<String>>) -> Result<Self, CredentialError> {
        let text = text.into();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        if (43..=64).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text))
        } else {
            Err(CredentialError::SecretAccessKey)
        }
    }

    /// Returns the secret itself: for a signer, or for the operator who gives it to AWS KMS. Never log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for SecretAccessKey {
    /// Takes the same time wherever they differ; the length is no secret.
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for SecretAccessKey {}

impl fmt::Debug for SecretAccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretAccessKey({} characters)", self.0.len())
    }
}

/// An access key id and its secret: what KMS and one key store share.
///
/// ```
/// use xks_core::Credential;
///
/// let credential = Credential::new(
///     "BETWEEN2TENAND3TENCHARACTERS",
///     "PleaseReplaceThisWithSomeSecretOfLength43To64".to_owned(),
/// )?;
/// assert!(!format!("{credential:?}").contains("Please"));
/// # Ok::<(), xks_core::key_store::CredentialError>(())
/// ```
///
/// A clone is the same credential: it shares the signing keys that were derived from it, and its last use.
#[derive(Clone)]
pub struct Credential(Arc<Shared>);

struct Shared {
    access_key_id: AccessKeyId,
    secret_access_key: SecretAccessKey,
    signing_keys: SigningKeys,
    /// In seconds since 1970; 0 for never.
    last_used: AtomicU64,
}

impl Credential {
    /// Checks both parts and keeps them.
    ///
    /// # Errors
    /// A [`CredentialError`] that says which part is not legal, and never what it was.
    pub fn new(
        access_key_id: impl AsRef<str>,
        secret_access_key: impl Into<Zeroizing<String>>,
    ) -> Result<Self, CredentialError> {
        Ok(Self(Arc::new(Shared {
            access_key_id: AccessKeyId::new(access_key_id)?,
            secret_access_key: SecretAccessKey::new(secret_access_key)?,
            signing_keys: SigningKeys::default(),
            last_used: AtomicU64::new(0),
        })))
    }

    /// Creates a credential from 48 bytes of the operating system's random source: 16 bytes become the access
    /// key id (26 characters), 32 bytes the secret (44 characters, 256 bits of entropy). The `getrandom`
    /// crate's `fill(&mut *entropy)` fills them.
    ///
    /// # Errors
    /// None with today's alphabets; the checks of [`Credential::new`] still run.
    pub fn from_entropy(entropy: &Zeroizing<[u8; 48]>) -> Result<Self, CredentialError> {
        let (id, secret) = entropy.split_at(16);
        Self::new(base32(id), BASE64_STANDARD.encode(secret))
    }

    /// Returns the public part.
    #[must_use]
    pub fn access_key_id(&self) -> &AccessKeyId {
        &self.0.access_key_id
    }

    /// Returns the secret part.
    #[must_use]
    pub fn secret_access_key(&self) -> &SecretAccessKey {
        &self.0.secret_access_key
    }

    /// Returns when this process last verified a request that was signed with it, to the second, by the
    /// proxy's clock; none if it never did. An operator who rotates credentials sees by it when the former
    /// one can go.
    #[must_use]
    pub fn last_used(&self) -> Option<SystemTime> {
        let seconds = self.0.last_used.load(Ordering::Relaxed);
        (seconds > 0).then(|| UNIX_EPOCH + Duration::from_secs(seconds))
    }

    /// Written at most once a second, so that threads do not take each other's cache line.
    pub(crate) fn was_used(&self, now: SystemTime) {
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if self.0.last_used.load(Ordering::Relaxed) < seconds {
            self.0.last_used.fetch_max(seconds, Ordering::Relaxed);
        }
    }

    pub(crate) fn signing_keys(&self) -> &SigningKeys {
        &self.0.signing_keys
    }

    /// Takes over the signing keys and the last use of a credential that is the same.
    pub(super) fn take_over(&self, former: &Self) {
        if !Arc::ptr_eq(&self.0, &former.0) && self == former {
            self.0.signing_keys.take_over(&former.0.signing_keys);
            let last_used = former.0.last_used.load(Ordering::Relaxed);
            self.0.last_used.fetch_max(last_used, Ordering::Relaxed);
        }
    }

    /// Returns the JSON file that the AWS KMS console takes when an external key store is created. It holds
    /// the secret. Specification: Console configuration.
    // CON-1
    #[must_use]
    pub fn console_json(&self, prefix: &UriPathPrefix) -> Zeroizing<String> {
        // Neither alphabet has a character that JSON escapes.
        let mut json = Zeroizing::new(String::with_capacity(512)); // it never grows, so no copy is left behind
        json.extend([
            r#"{"XksProxyUriPath":""#,
            &prefix.xks_proxy_uri_path(),
            r#"","XksProxyAuthenticationCredential":{"AccessKeyId":""#,
            self.access_key_id().as_str(),
            r#"","RawSecretAccessKey":""#,
            self.secret_access_key().expose(),
            r#""}}"#,
        ]);
        json
    }
}

impl PartialEq for Credential {
    /// Compares both parts, the secret in constant time.
    fn eq(&self, other: &Self) -> bool {
        self.access_key_id() == other.access_key_id() && self.secret_access_key() == other.secret_access_key()
    }
}

impl Eq for Credential {}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("access_key_id", self.access_key_id())
            .field("secret_access_key", self.secret_access_key())
            .finish_non_exhaustive()
    }
}

/// RFC 4648 Base32 without padding.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bit = |index: usize| bytes.get(index / 8).map_or(0, |byte| byte >> (7 - index % 8) & 1);
    (0..bytes.len() * 8)
        .step_by(5)
        .map(|start| (start..start + 5).fold(0u8, |symbol, index| symbol << 1 | bit(index)))
        .filter_map(|symbol| ALPHABET.get(usize::from(symbol)))
        .map(|symbol| char::from(*symbol))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "BETWEEN2TENAND3TENCHARACTERS";
    const SECRET: &str = "PleaseReplaceThisWithSomeSecretOfLength43To64";

    /// SIG-6: lengths and alphabets of both parts.
    #[test]
    fn only_legal_credentials_are_credentials() {
        for good in ["A".repeat(20), "Z7".repeat(15), ID.into()] {
            assert!(AccessKeyId::new(&good).is_ok(), "{good}");
        }
        for bad in [
            "A".repeat(19),
            "A".repeat(31),
            "a".repeat(20),
            format!("{}1", "A".repeat(20)),
        ] {
            assert_eq!(AccessKeyId::new(&bad), Err(CredentialError::AccessKeyId), "{bad}");
        }
        for good in ["s".repeat(43), "+/=9".repeat(16)] {
            assert!(SecretAccessKey::new(good).is_ok());
        }
        for bad in [
            "s".repeat(42),
            "s".repeat(65),
            format!("{}-", "s".repeat(43)),
            "ü".repeat(43),
        ] {
            assert!(SecretAccessKey::new(bad).is_err());
        }
    }

    #[test]
    fn secrets_are_not_printed_not_even_by_errors() {
        let credential = Credential::new(ID, SECRET.to_owned()).unwrap();
        assert!(!format!("{credential:?}").contains("Replace"));
        let error = Credential::new(ID, "short-secret".to_owned()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("short-secret"));
    }

    /// CON-1: the shape of the console's file.
    #[test]
    fn the_console_file_is_what_the_console_takes() {
        let credential = Credential::new(ID, SECRET.to_owned()).unwrap();
        let json = credential.console_json(&"/example/path".parse().unwrap());
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let expected = serde_json::json!({
            "XksProxyUriPath": "/example/path/kms/xks/v1",
            "XksProxyAuthenticationCredential": { "AccessKeyId": ID, "RawSecretAccessKey": SECRET },
        });
        assert_eq!(json, expected);
    }

    /// SIG-6: what is made from random bytes is legal and keeps all the entropy.
    #[test]
    fn credentials_from_entropy_are_legal_and_distinct() {
        let make = |byte| Credential::from_entropy(&Zeroizing::new([byte; 48])).unwrap();
        for byte in 0..=255 {
            assert_eq!(make(byte).access_key_id().as_str().len(), 26);
            assert_eq!(make(byte).secret_access_key().expose().len(), 44);
        }
        assert_ne!(make(1).access_key_id(), make(2).access_key_id());
        assert_eq!(base32(b"foobar"), "MZXW6YTBOI"); // RFC 4648, section 10
    }
}
