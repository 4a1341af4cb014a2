//! The external key id: how KMS names a key in the external key manager.

use thiserror::Error;

use crate::names::text_type;

text_type! {
    /// An external key id: 1 to 128 characters of `A-Z a-z 0-9 - . _`, case-sensitive, opaque to KMS.
    /// Specification: API operations.
    ///
    /// `.` and `..` are refused: URL normalisers rewrite them.
    ///
    /// ```
    /// use xks_core::KeyId;
    ///
    /// let id: KeyId = "xks-keyset-1".parse()?;
    /// assert_eq!(id.as_str(), "xks-keyset-1");
    /// assert!(KeyId::new("not/a/key").is_err());
    /// # Ok::<(), xks_core::key_store::KeyIdError>(())
    /// ```
    // URI-3
    KeyId, KeyIdError, check
}

/// The error of a text that is not an external key id. Specification: API operations.
// URI-3
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyIdError {
    /// Empty, or longer than 128 characters.
    #[error("an external key id must have 1 to 128 characters")]
    Length,
    /// A character that is not allowed.
    #[error("an external key id holds only the characters A-Z a-z 0-9 - . _")]
    Character,
    /// `.` or `..`.
    #[error("`.` and `..` cannot be external key ids: URL normalisers rewrite them")]
    Dots,
}

// URI-3.
pub(crate) fn check(text: &str) -> Result<(), KeyIdError> {
    if text.is_empty() || text.len() > 128 {
        return Err(KeyIdError::Length);
    }
    if !text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
    {
        return Err(KeyIdError::Character);
    }
    if text == "." || text == ".." {
        return Err(KeyIdError::Dots);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// URI-3: length, alphabet, the two ids that normalisers rewrite, and case.
    #[test]
    fn only_legal_ids_are_ids() {
        for good in ["a", "A-b.c_9", "...", ".hidden", &"k".repeat(128)] {
            assert_eq!(KeyId::new(good).unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", KeyIdError::Length),
            (&"k".repeat(129), KeyIdError::Length),
            ("a/b", KeyIdError::Character),
            ("a b", KeyIdError::Character),
            ("a%41", KeyIdError::Character),
            ("schlüssel", KeyIdError::Character),
            ("a\0", KeyIdError::Character),
            (".", KeyIdError::Dots),
            ("..", KeyIdError::Dots),
        ] {
            assert_eq!(KeyId::new(bad), Err(why), "{bad:?}");
        }
        assert_ne!(KeyId::new("key").unwrap(), KeyId::new("KEY").unwrap());
    }
}
