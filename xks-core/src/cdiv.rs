//! The ciphertext data integrity value (ENC-9): a hash by which KMS sees that nothing was corrupted on its way.
//!
//! It is computed over what is about to be returned, and *then* that same memory is decrypted and compared with
//! the plaintext (ENC-10). The other way round, a fault between the two steps would go unseen: the hash would
//! vouch for the corrupted bytes.

use sha2::{Digest as _, Sha256};

use crate::ciphertext::Encrypted;

/// `SHA-256(AAD ‖ metadata ‖ IV ‖ ciphertext ‖ tag)` over decoded bytes, absent parts empty (ENC-9).
pub(crate) fn ciphertext_data_integrity_value(encrypted: &Encrypted) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(encrypted.aad.raw());
    hash.update(encrypted.aad.sent_metadata());
    hash.update(encrypted.iv.as_bytes());
    hash.update(&encrypted.ciphertext);
    hash.update(encrypted.tag.as_bytes());
    hash.finalize_reset().into() // in place: to move it out of itself takes longer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aad::{AadFraming, BoundAad};

    fn hex(text: &str) -> Vec<u8> {
        let digit = |digit: &u8| u8::try_from(char::from(*digit).to_digit(16).unwrap()).unwrap();
        text.as_bytes()
            .chunks(2)
            .map(|pair| digit(&pair[0]) << 4 | digit(&pair[1]))
            .collect()
    }

    /// ENC-9: the specification's vector, which does not depend on the framing.
    #[test]
    fn the_specifications_vector() {
        for framing in [AadFraming::Spec, AadFraming::Digest] {
            let metadata = b"key_version=1"[..].try_into().unwrap();
            let encrypted = Encrypted::new(
                hex("821c642b5b71783367deaf18"),
                hex("1ccae5470f39700254779031")[..].try_into().unwrap(),
                hex("bc1c4dda7707d6812447c5955e99b261")[..].try_into().unwrap(),
                BoundAad::new(framing, Some(b"project=nile,department=marketing"), Some(metadata)).unwrap(),
            );
            let expected = hex("a8703f2260bd8791ec2d15ea0b23e65a0631eedcf2a13a65cc82db3f47cf5ec7");
            assert_eq!(ciphertext_data_integrity_value(&encrypted)[..], expected[..]);
        }
    }
}
