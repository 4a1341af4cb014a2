//! The path prefix under which a key store is reached.

use thiserror::Error;

use crate::{names::text_type, route::API_ROOT};

// URI-1, in characters: with [`API_ROOT`] that makes 128.
const MAX_PREFIX: usize = 117;
/// The AWS console refuses shorter ones; the specification does not.
const MIN_CONSOLE_PREFIX: usize = 9;

text_type! {
/// The part before `/kms/xks/v1` in the paths of one key store: empty, or up to 117 characters of
    /// `a-z A-Z 0-9 / - _`, starting with a slash and not ending with one. Prefixes separate the tenants of
    /// one proxy. Specification: API operations.
    ///
    /// ```
    /// use xks_core::key_store::UriPathPrefix;
    ///
    /// let prefix: UriPathPrefix = "/example/tenant-a".parse()?;
    /// assert_eq!(prefix.xks_proxy_uri_path(), "/example/tenant-a/kms/xks/v1");
    /// # Ok::<(), xks_core::key_store::UriPathPrefixError>(())
    /// ```
    // URI-1, URI-4
    UriPathPrefix, UriPathPrefixError, check
}

impl UriPathPrefix {
    /// Returns the *XksProxyUriPath* that AWS KMS asks for: the prefix and `/kms/xks/v1`, at most 128
    /// characters.
    #[must_use]
    pub fn xks_proxy_uri_path(&self) -> String {
        format!("{self}{API_ROOT}")
    }

    /// Returns whether the AWS console would refuse this prefix as too short (it asks for at least 9
    /// characters, or none); the KMS API takes it.
    #[must_use]
    pub fn is_too_short_for_console(&self) -> bool {
        (1..MIN_CONSOLE_PREFIX).contains(&self.as_str().len())
    }
}

/// The error of a text that is not a [`UriPathPrefix`]. Specification: API operations.
// URI-1
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UriPathPrefixError {
    /// Longer than 117 characters.
    #[error("a URI path prefix must have at most 117 characters")]
    Length,
    /// A character that is not allowed.
    #[error("a URI path prefix holds only the characters a-z A-Z 0-9 / - _")]
    Character,
    /// Not empty, and no slash at its start, or one at its end, or two in a row.
    #[error("a URI path prefix must be empty or like `/one/two`: a slash before each part, none at the end")]
    Slashes,
}

// URI-1.
fn check(text: &str) -> Result<(), UriPathPrefixError> {
    if text.len() > MAX_PREFIX {
        return Err(UriPathPrefixError::Length);
    }
    if !text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_'))
    {
        return Err(UriPathPrefixError::Character);
    }
    if !text.is_empty() && (!text.starts_with('/') || text.ends_with('/') || text.contains("//")) {
        return Err(UriPathPrefixError::Slashes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// URI-1: length, alphabet and shape of a prefix, and what the console thinks of it.
    #[test]
    fn only_legal_prefixes_are_prefixes() {
        for good in [
            "",
            "/a",
            "/example/uri/path/prefix",
            "/A-z_0/9",
            &format!("/{}", "p".repeat(116)),
        ] {
            let prefix = UriPathPrefix::new(good).unwrap();
            assert!(prefix.xks_proxy_uri_path().len() <= 128);
        }
        for (bad, why) in [
            (format!("/{}", "p".repeat(117)), UriPathPrefixError::Length),
            ("/a.b".into(), UriPathPrefixError::Character),
            ("/a%20".into(), UriPathPrefixError::Character),
            ("/ä".into(), UriPathPrefixError::Character),
            ("a".into(), UriPathPrefixError::Slashes),
            ("/".into(), UriPathPrefixError::Slashes),
            ("/a/".into(), UriPathPrefixError::Slashes),
            ("/a//b".into(), UriPathPrefixError::Slashes),
        ] {
            assert_eq!(UriPathPrefix::new(&bad), Err(why), "{bad}");
        }
        let too_short = |text: &str| UriPathPrefix::new(text).unwrap().is_too_short_for_console();
        assert!(too_short("/tenants"));
        assert!(!too_short("/tenants9"));
        assert!(!too_short(""));
    }
}
