//! An independent computation of ciphertexts, without anything of the proxy: AES-GCM in software, the framing
//! of the AAD and the integrity value by hand.

use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{Aead as _, Payload},
};
use sha2::{Digest as _, Sha256};

/// How a key store makes the AAD input of AES-GCM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// The specification's.
    Spec,
    /// That of AWS's sample proxy.
    Digest,
}

impl Framing {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Spec => "spec",
            Self::Digest => "digest",
        }
    }

    fn frame(self, aad: Option<&[u8]>, metadata: &[u8]) -> Vec<u8> {
        let bytes = aad.unwrap_or_default();
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        let mut input = length.to_be_bytes().to_vec();
        match self {
            Self::Spec => input.extend_from_slice(bytes),
            Self::Digest if aad.is_some() => input.extend_from_slice(&Sha256::digest(bytes)),
            Self::Digest => {}
        }
        input.push(u8::try_from(metadata.len()).unwrap_or(u8::MAX));
        input.extend_from_slice(metadata);
        input
    }
}

/// What an encryption returned, and what it was of.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) aad: Option<Vec<u8>>,
    pub(crate) metadata: Vec<u8>,
    pub(crate) iv: Vec<u8>,
    pub(crate) ciphertext: Vec<u8>,
    pub(crate) tag: Vec<u8>,
}

impl Sealed {
    /// What is in it under this value of a key.
    pub(crate) fn open(&self, value: &[u8; 32], framing: Framing) -> Option<Vec<u8>> {
        let iv: [u8; 12] = self.iv.as_slice().try_into().ok()?;
        let aad = framing.frame(self.aad.as_deref(), &self.metadata);
        let payload = [self.ciphertext.as_slice(), &self.tag].concat();
        let payload = Payload {
            msg: &payload,
            aad: &aad,
        };
        Aes256Gcm::new(&(*value).into()).decrypt(&iv.into(), payload).ok()
    }

    /// Its integrity value.
    pub(crate) fn integrity(&self) -> Vec<u8> {
        let aad = self.aad.as_deref().unwrap_or_default();
        let parts = [aad, &self.metadata, &self.iv, &self.ciphertext, &self.tag];
        Sha256::digest(parts.concat()).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: [u8; 32] = [7; 32];

    fn sealed(framing_input: &[u8]) -> Sealed {
        let payload = Payload {
            msg: b"plaintext",
            aad: framing_input,
        };
        let mut ciphertext = Aes256Gcm::new(&VALUE.into()).encrypt(&[1; 12].into(), payload).unwrap();
        let tag = ciphertext.split_off(9);
        Sealed {
            aad: Some(b"aad".to_vec()),
            metadata: b"md".to_vec(),
            iv: vec![1; 12],
            ciphertext,
            tag,
        }
    }

    #[test]
    fn framings_are_those_of_the_requirements() {
        let good = sealed(b"\0\x03aad\x02md");
        assert_eq!(good.open(&VALUE, Framing::Spec).unwrap(), b"plaintext");
        assert_eq!(good.open(&VALUE, Framing::Digest), None);
        let digest = [b"\0\x03".as_slice(), &Sha256::digest(b"aad"), b"\x02md"].concat();
        assert_eq!(sealed(&digest).open(&VALUE, Framing::Digest).unwrap(), b"plaintext");
        let plain = Sealed {
            metadata: Vec::new(),
            ..sealed(b"\0\x03aad\0")
        };
        assert_eq!(plain.open(&VALUE, Framing::Spec).unwrap(), b"plaintext");
        let nothing = Sealed {
            aad: None,
            metadata: Vec::new(),
            ..sealed(b"\0\0\0")
        };
        assert_eq!(nothing.open(&VALUE, Framing::Digest).unwrap(), b"plaintext");
    }

    #[test]
    fn a_changed_bit_anywhere_is_found() {
        let good = sealed(b"\0\x03aad\x02md");
        let changes: [fn(&mut Sealed); 5] = [
            |sealed| sealed.aad.as_mut().unwrap()[0] ^= 1,
            |sealed| sealed.metadata[0] ^= 1,
            |sealed| sealed.iv[0] ^= 1,
            |sealed| sealed.ciphertext[0] ^= 1,
            |sealed| sealed.tag[0] ^= 1,
        ];
        for change in changes {
            let mut bad = good.clone();
            change(&mut bad);
            assert_eq!(bad.open(&VALUE, Framing::Spec), None);
            assert_ne!(bad.integrity(), good.integrity());
        }
        assert_eq!(good.open(&[8; 32], Framing::Spec), None);
    }

    /// The vector of the requirements, ENC-9.
    #[test]
    fn the_integrity_value_is_that_of_the_specification() {
        let sealed = Sealed {
            aad: Some(b"project=nile,department=marketing".to_vec()),
            metadata: b"key_version=1".to_vec(),
            iv: unhex("1ccae5470f39700254779031"),
            ciphertext: unhex("821c642b5b71783367deaf18"),
            tag: unhex("bc1c4dda7707d6812447c5955e99b261"),
        };
        let wanted = "a8703f2260bd8791ec2d15ea0b23e65a0631eedcf2a13a65cc82db3f47cf5ec7";
        assert_eq!(sealed.integrity(), unhex(wanted));
    }

    fn unhex(digits: &str) -> Vec<u8> {
        let digit = |digit: &u8| char::from(*digit).to_digit(16).unwrap() as u8;
        let bytes = digits.as_bytes().chunks(2);
        bytes.map(|pair| 16 * digit(&pair[0]) + digit(&pair[1])).collect()
    }
}
