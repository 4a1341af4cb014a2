//! Texts for logs and files: an error with its causes, and hexadecimal digits.

use std::{error::Error, fmt};

/// Shows an error and its causes in one line: `what failed: why: why that`. A cause that the text before it
/// already ends with is left out, as some errors show their cause themselves.
///
/// ```
/// use xks_core::{BackendError, backend::BackendErrorKind, text::ErrorChain};
///
/// let error = BackendError::new(BackendErrorKind::Unavailable, "no session").with_source("link down");
/// assert_eq!(ErrorChain(&error).to_string(), "no session: link down");
/// ```
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "it shows one error, and never more")]
pub struct ErrorChain<'e>(pub &'e (dyn Error + 'e));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !shown.ends_with(&text) {
                shown.push_str(": ");
                shown.push_str(&text);
            }
            cause = error.source();
        }
        f.write_str(&shown)
    }
}

/// Shows bytes as lower-case hexadecimal digits, two for each.
///
/// ```
/// assert_eq!(xks_core::text::Hex(&[0x00, 0xc0, 0xde]).to_string(), "00c0de");
/// ```
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "it shows bytes, and never more")]
pub struct Hex<'b>(pub &'b [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Returned by [`decode_hex`] for what is not hexadecimal digits, two for each byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not hexadecimal digits, two for each byte")]
#[non_exhaustive]
pub struct HexError;

/// Decodes hexadecimal digits of either case into `bytes`, which has room for exactly what they say. What it
/// does depends on no digit, since they may be secret.
///
/// ```
/// let mut bytes = [0; 3];
/// xks_core::text::decode_hex(b"00C0de", &mut bytes)?;
/// assert_eq!(bytes, [0x00, 0xc0, 0xde]);
/// # Ok::<(), xks_core::text::HexError>(())
/// ```
///
/// # Errors
/// [`HexError`]; `bytes` holds nothing of use then.
pub fn decode_hex(digits: impl AsRef<[u8]>, bytes: &mut [u8]) -> Result<(), HexError> {
    let (pairs, rest) = digits.as_ref().as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != bytes.len() {
        return Err(HexError);
    }
    let mut all = 0;
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (value_of(*high), value_of(*low));
        all |= high | low;
        *byte = high << 4 | low & 0xf;
    }
    if all <= 0xf { Ok(()) } else { Err(HexError) }
}

/// Writes `bytes` as lower-case digits into `text`, which has twice as many.
pub(crate) fn encode_hex<const N: usize>(bytes: &[u8; N], text: &mut [u8]) {
    for ([high, low], byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *high = digit_of(byte >> 4);
        *low = digit_of(byte & 0xf);
    }
}

const fn digit_of(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

/// Above 0xf if it is no digit.
const fn value_of(digit: u8) -> u8 {
    let (number, letter) = (digit.wrapping_sub(b'0'), (digit | 0x20).wrapping_sub(b'a'));
    if number < 10 {
        number
    } else if letter < 6 {
        letter + 10
    } else {
        0xff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_can_be_written_and_read() {
        for byte in 0..=u8::MAX {
            let mut text = [0; 2];
            encode_hex(&[byte], &mut text);
            assert_eq!(text, *format!("{byte:02x}").as_bytes());
            assert_eq!(text, *Hex(&[byte]).to_string().as_bytes());
            for digits in [text, text.map(|digit| digit.to_ascii_uppercase())] {
                let mut read = [!byte];
                decode_hex(digits, &mut read).unwrap();
                assert_eq!(read, [byte]);
            }
        }
    }

    #[test]
    fn only_hexadecimal_digits_are_read() {
        for other in (0..=u8::MAX).filter(|byte| !byte.is_ascii_hexdigit()) {
            assert_eq!(decode_hex([b'0', other], &mut [0]), Err(HexError), "{other}");
            assert_eq!(decode_hex([other, b'0'], &mut [0]), Err(HexError), "{other}");
        }
        for (digits, room) in [("0", 1), ("000", 1), ("00", 2), ("0000", 1), ("", 1), ("00", 0)] {
            assert_eq!(decode_hex(digits, &mut vec![0; room]), Err(HexError), "{digits:?}");
        }
        assert_eq!(decode_hex("", &mut []), Ok(()));
    }

    /// An error with a text and a cause.
    #[derive(Debug)]
    struct Link(&'static str, Option<Box<Self>>);

    impl fmt::Display for Link {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Link {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    #[test]
    fn a_chain_says_each_cause_once() {
        let chain = |texts: &[&'static str]| {
            let link = texts
                .iter()
                .rev()
                .fold(None, |cause, text| Some(Box::new(Link(text, cause))));
            ErrorChain(&*link.unwrap()).to_string()
        };
        assert_eq!(chain(&["a"]), "a");
        assert_eq!(chain(&["a", "b", "c"]), "a: b: c");
        assert_eq!(
            chain(&["open failed: no such file", "no such file"]),
            "open failed: no such file"
        );
        assert_eq!(chain(&["a", "a: b", "b", "c"]), "a: a: b: c");
    }
}
