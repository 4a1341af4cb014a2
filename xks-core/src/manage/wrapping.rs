//! The public key under which key material leaves a key manager for AWS KMS.

use std::fmt;

use thiserror::Error;

use super::spki;
use crate::names::named_enum;

/// The algorithm by which key material is wrapped for `ImportKeyMaterial`. RSAES_PKCS1_V1_5 is not among
/// them: AWS KMS withdrew it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WrappingAlgorithm {
    /// `RSA_AES_KEY_WRAP_SHA_256`: an ephemeral AES-256 key under RSA-OAEP, with SHA-256 for the hash and
    /// MGF1, followed by the material under that key with AES key wrap with padding (RFC 5649).
    RsaAesKeyWrapSha256,
    /// `RSAES_OAEP_SHA_256`: RSA-OAEP with SHA-256 for the hash and MGF1, and an empty label.
    RsaOaepSha256,
    /// `RSAES_OAEP_SHA_1`: RSA-OAEP with SHA-1 for the hash and MGF1, and an empty label; for key managers
    /// without SHA-256.
    RsaOaepSha1,
}

// The best first.
named_enum! {
    WrappingAlgorithm, "a wrapping algorithm",
    RsaAesKeyWrapSha256 => "RSA_AES_KEY_WRAP_SHA_256",
    RsaOaepSha256 => "RSAES_OAEP_SHA_256",
    RsaOaepSha1 => "RSAES_OAEP_SHA_1",
}

/// An RSA public key of AWS KMS, and the algorithm that it is to be used with: two of the results of
/// `GetParametersForImport`.
///
/// ```
/// use xks_core::manage::{WrappingAlgorithm, WrappingKey, WrappingKeyError};
///
/// let error = WrappingKey::from_spki_der(b"-----BEGIN PUBLIC KEY-----", WrappingAlgorithm::RsaOaepSha256).unwrap_err();
/// assert_eq!(error, WrappingKeyError::Malformed);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct WrappingKey {
    algorithm: WrappingAlgorithm,
    spki: Vec<u8>,
    modulus: Vec<u8>,
}

impl WrappingKey {
    /// Reads a public key as `GetParametersForImport` returns it: the DER of a SubjectPublicKeyInfo (RFC
    /// 5280) with an RSA key (RFC 8017) of 2048, 3072 or 4096 bits and the public exponent 65537.
    ///
    /// # Errors
    /// Says what it is instead.
    pub fn from_spki_der(spki: &[u8], algorithm: WrappingAlgorithm) -> Result<Self, WrappingKeyError> {
        let (modulus, exponent) = spki::rsa_key(spki).ok_or(WrappingKeyError::Malformed)?;
        let bits = match modulus {
            [first, rest @ ..] => 8 * rest.len() + (u8::BITS - first.leading_zeros()) as usize,
            [] => 0,
        };
        if ![2048, 3072, 4096].contains(&bits) {
            return Err(WrappingKeyError::Size(bits));
        }
        if modulus.last().is_none_or(|last| last % 2 == 0) {
            return Err(WrappingKeyError::Malformed); // no product of two odd primes
        }
        if exponent != Self::EXPONENT {
            return Err(WrappingKeyError::Exponent);
        }
        Ok(Self {
            algorithm,
            spki: spki.to_vec(),
            modulus: modulus.to_vec(),
        })
    }

    /// The public exponent of every wrapping key, in big-endian order: 65537.
    pub const EXPONENT: [u8; 3] = [1, 0, 1];

    /// Replaces the algorithm.
    #[must_use]
    pub fn with_algorithm(self, algorithm: WrappingAlgorithm) -> Self {
        Self { algorithm, ..self }
    }

    /// Returns the algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> WrappingAlgorithm {
        self.algorithm
    }

    /// Returns the DER of the SubjectPublicKeyInfo, as it was given.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// Returns the modulus in big-endian order, without leading zeros.
    #[must_use]
    pub fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    /// Returns the length of the modulus: 2048, 3072 or 4096 bits.
    #[must_use]
    pub const fn bits(&self) -> usize {
        self.modulus.len() * 8
    }

    /// Returns the length of a wrapped AES-256 key in bytes: that of the modulus, and with
    /// [`RsaAesKeyWrapSha256`](WrappingAlgorithm::RsaAesKeyWrapSha256) 40 more.
    #[must_use]
    pub const fn wrapped_length(&self) -> usize {
        self.modulus.len()
            + match self.algorithm {
                WrappingAlgorithm::RsaAesKeyWrapSha256 => 40,
                WrappingAlgorithm::RsaOaepSha256 | WrappingAlgorithm::RsaOaepSha1 => 0,
            }
    }
}

impl fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrappingKey")
            .field("algorithm", &self.algorithm)
            .field("bits", &self.bits())
            .finish_non_exhaustive()
    }
}

/// The error of bytes that are not a [`WrappingKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WrappingKeyError {
    /// Not the DER of an RSA key's SubjectPublicKeyInfo, such as PEM text, or a key of another kind.
    #[error("the wrapping key is not the DER of a SubjectPublicKeyInfo with an RSA key")]
    Malformed,
    /// An RSA key of so many bits.
    #[error("the wrapping key has {0} bits; AWS KMS gives keys of 2048, 3072 or 4096 bits")]
    Size(usize),
    /// Another public exponent than 65537.
    #[error("the public exponent of the wrapping key is not 65537")]
    Exponent,
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    use super::*;

    /// By OpenSSL.
    const RSA_2048: &str = "\
        MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAuh0UESIrJvxl+Fb02UkJQCwdqPHcIRZWoDvVFZ0XYlON8tb3PflvXJM6\
        Q0fypUG0jz8WVVuXpWcq+BVF9oZT6p/3t8knfD14qGp7A+mS6hID2HupxdMP52UejcRvnwrMQPo8Dv08D1A4KpkXBPfPNsxfiWBR\
        ep4HIzWy4USsRUD9x3lnIfnhtNHJGbuH3JN7J5sviRSF059i4tlyGTTcuD8xzpw/zuaGw5aCWZLH/0n81iiDQU49In3ZwQqoSgm1\
        +E32Ic0uwcWOM7nDyC8zXYJT3vH5V76BGYuk8TPJGJsaEiPPAGZYWnMJj3HQPC4XDvweOXVk5E8ndJ7aDikAeQIDAQAB";

    fn read(spki: &[u8]) -> Result<WrappingKey, WrappingKeyError> {
        WrappingKey::from_spki_der(spki, WrappingAlgorithm::RsaOaepSha256)
    }

    /// One element of DER, whatever its length.
    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let mut element = vec![tag];
        match length {
            0..=0x7f => element.push(length as u8),
            0x80..=0xff => element.extend([0x81, length as u8]),
            _ => element.extend([0x82, (length >> 8) as u8, length as u8]),
        }
        element.extend_from_slice(content);
        element
    }

    fn number(digits: &[u8]) -> Vec<u8> {
        let sign = if digits[0] < 0x80 { &[][..] } else { &[0] };
        der(0x02, &[sign, digits].concat())
    }

    fn spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
        const RSA_ENCRYPTION: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
        let algorithm = der(0x30, &[der(0x06, &RSA_ENCRYPTION), der(0x05, &[])].concat());
        let key = der(0x30, &[number(modulus), number(exponent)].concat());
        der(0x30, &[algorithm, der(0x03, &[&[0], &key[..]].concat())].concat())
    }

    fn modulus(bits: usize) -> Vec<u8> {
        let mut modulus = vec![0xa5; bits.div_ceil(8)];
        modulus[0] = 1 << ((bits - 1) % 8);
        modulus
    }

    #[test]
    fn keys_of_aws_kms_are_read() {
        let der = BASE64_STANDARD.decode(RSA_2048).unwrap();
        let key = read(&der).unwrap();
        assert_eq!(
            (key.bits(), key.wrapped_length(), key.spki_der()),
            (2048, 256, &der[..])
        );
        assert_eq!(
            (key.modulus().len(), &key.modulus()[..3]),
            (256, &[0xba, 0x1d, 0x14][..])
        );
        assert_eq!(
            der,
            spki(key.modulus(), &WrappingKey::EXPONENT),
            "what the other tests make is DER"
        );
        for (bits, length) in [(2048, 256), (3072, 384), (4096, 512)] {
            let key = read(&spki(&modulus(bits), &[1, 0, 1])).unwrap();
            assert_eq!((key.bits(), key.wrapped_length()), (bits, length));
            let key = key.with_algorithm(WrappingAlgorithm::RsaAesKeyWrapSha256);
            assert_eq!((key.bits(), key.wrapped_length()), (bits, length + 40));
        }
    }

    #[test]
    fn other_keys_are_refused() {
        for bits in [8, 512, 1024, 2040, 2047, 2049, 2056, 8192] {
            assert_eq!(
                read(&spki(&modulus(bits), &[1, 0, 1])),
                Err(WrappingKeyError::Size(bits))
            );
        }
        for exponent in [&[1][..], &[3], &[1, 0, 0], &[1, 0, 3], &[1, 0, 0, 1]] {
            assert_eq!(read(&spki(&modulus(2048), exponent)), Err(WrappingKeyError::Exponent));
        }
        let mut even = modulus(2048);
        even[255] = 0xa4;
        assert_eq!(read(&spki(&even, &[1, 0, 1])), Err(WrappingKeyError::Malformed));
    }

    /// Every byte that is not a digit of the key is fixed, and nothing may be missing or added.
    #[test]
    fn what_is_not_der_is_refused() {
        let good = BASE64_STANDARD.decode(RSA_2048).unwrap();
        for length in 0..good.len() {
            assert_eq!(
                read(&good[..length]),
                Err(WrappingKeyError::Malformed),
                "cut to {length}"
            );
        }
        assert_eq!(read(&[&good[..], &[0]].concat()), Err(WrappingKeyError::Malformed));
        let digits = good.len() - 256 - 5..good.len() - 5;
        for place in (0..good.len()).filter(|place| !digits.contains(place)) {
            for bit in 0..8 {
                let mut changed = good.clone();
                changed[place] ^= 1 << bit;
                assert!(read(&changed).is_err(), "bit {bit} of byte {place}");
            }
        }
        // Lengths and numbers written longer than they need to be.
        let key = der(0x30, &[number(&modulus(2048)), der(0x02, &[0, 1, 0, 1])].concat());
        let algorithm = &good[4..19];
        let padded = der(0x30, &[algorithm, &der(0x03, &[&[0], &key[..]].concat())].concat());
        assert_eq!(read(&padded), Err(WrappingKeyError::Malformed));
        let long_length = [&[0x30, 0x83, 0][..], &good[2..]].concat();
        assert_eq!(read(&long_length), Err(WrappingKeyError::Malformed));
    }
}
