//! The AWS Region whose KMS calls a key store.

use thiserror::Error;

use crate::names::text_type;

/// Longer than any Region's name is, so that new ones have room.
const MAX_LENGTH: usize = 64;

text_type! {
    /// An AWS Region by its code: 1 to 64 characters of `a-z 0-9 -`. Requests are signed for the Region of
    /// the KMS that sends them. Which Regions there are is not checked: AWS adds new ones. Specification:
    /// Appendix A.
    ///
    /// ```
    /// use xks_core::key_store::Region;
    ///
    /// let region: Region = "eu-central-1".parse()?;
    /// assert_eq!(region.as_str(), "eu-central-1");
    /// assert!(Region::new("Frankfurt").is_err());
    /// # Ok::<(), xks_core::key_store::RegionError>(())
    /// ```
    // SIG-4
    Region, RegionError, check_region
}

/// Why a text is not a [`Region`]. Specification: Appendix A.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegionError {
    /// Empty, or longer than 64 characters.
    #[error("an AWS Region must have 1 to 64 characters, such as eu-central-1")]
    Length,
    /// A character that is not allowed.
    #[error("an AWS Region holds only the characters a-z 0-9 -, such as eu-central-1")]
    Character,
}

pub(crate) fn check_region(text: &str) -> Result<(), RegionError> {
    if !(1..=MAX_LENGTH).contains(&text.len()) {
        return Err(RegionError::Length);
    }
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !text.bytes().all(legal) {
        return Err(RegionError::Character);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_legal_regions_are_regions() {
        for good in ["eu-central-1", "us-gov-west-1", "x", &"9".repeat(64)] {
            assert_eq!(Region::new(good).unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", RegionError::Length),
            (&"x".repeat(65), RegionError::Length),
            ("Frankfurt", RegionError::Character),
            ("eu_central_1", RegionError::Character),
            ("eu-central-1/", RegionError::Character),
            ("eu central 1", RegionError::Character),
            ("eu-*", RegionError::Character),
            ("zürich", RegionError::Character),
        ] {
            assert_eq!(Region::new(bad), Err(why), "{bad:?}");
        }
    }
}
