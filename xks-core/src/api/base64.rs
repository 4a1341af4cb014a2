//! Base64 as the specification has it: the standard alphabet with padding, no white space, no stray
//! bits. Secrets are decoded straight into the buffer they stay in.

use base64::{Engine as _, decoded_len_estimate};
use zeroize::Zeroizing;

use super::Text;
use crate::{backend::LengthError, error::Error};

/// By the vector instructions that the machine is found to have.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
static BASE64: std::sync::LazyLock<base64::engine::Simd> =
    std::sync::LazyLock::new(|| base64::engine::Simd::standard(base64::engine::general_purpose::PAD));
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
use base64::prelude::BASE64_STANDARD as BASE64;

/// How many bytes `text` decodes to at the most.
pub(super) fn decoded_len(text: &Text<'_>) -> usize {
    decoded_len_estimate(text.as_str().len())
}

/// Decodes a field of any length.
pub(super) fn decode(text: &Text<'_>, field: &'static str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut bytes = Zeroizing::new(vec![0; decoded_len(text)]);
    let length = decode_into(text, field, &mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}

/// Decodes a field to the beginning of `room`, which is large enough, and says how long it is.
// ENC-1
pub(super) fn decode_into(text: &Text<'_>, field: &'static str, room: &mut [u8]) -> Result<usize, Error> {
    BASE64.decode_slice(text.as_str(), room).map_err(|_| not_base64(field))
}

/// Decodes a field that has only a few legal lengths.
pub(super) fn decode_short<T>(text: &Text<'_>, field: &'static str) -> Result<T, Error>
where
    T: for<'a> TryFrom<&'a [u8], Error = LengthError>,
{
    let mut bytes = [0; 48];
    let length = BASE64
        .decode_slice(text.as_str(), &mut bytes)
        .map_err(|error| match error {
            base64::DecodeSliceError::DecodeError(_) => not_base64(field),
            base64::DecodeSliceError::OutputSliceTooSmall => Error::validation(format!("{field} is too long")),
        })?;
    T::try_from(bytes.get(..length).unwrap_or_default()).map_err(|error| Error::validation(error.to_string()))
}

/// Encodes `bytes` to the end of a buffer.
pub(super) fn append_encoded(bytes: &[u8], buffer: &mut Vec<u8>) {
    let start = buffer.len();
    buffer.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let room = buffer.get_mut(start..).unwrap_or_default();
    // The room is exactly what is needed, so this does not fail.
    let written = BASE64.encode_slice(bytes, room).unwrap_or_default();
    buffer.truncate(start + written);
}

fn not_base64(field: &'static str) -> Error {
    Error::validation(format!(
        "{field} is not Base64 (standard alphabet, padded, without white space)"
    ))
}
