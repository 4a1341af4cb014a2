//! The cipher: AES-256-GCM under one key, with IVs that are made here and nowhere else.

use aes_gcm::aead::consts::U16;
use xks_core::{
    BackendError, Zeroizing,
    backend::{BackendErrorKind, Iv, Tag},
};

#[cfg(feature = "aws-lc-rs")]
use crate::aws_lc::AwsLc as ShortIv;
use crate::{SoftKeyError, material::KeyMaterial, rust_crypto::RustCrypto};

#[cfg(not(feature = "aws-lc-rs"))]
type ShortIv = RustCrypto<aes_gcm::aead::consts::U12>;

/// A key, ready for use.
pub(crate) struct Gcm {
    short_iv: ShortIv,
    /// No IV of 16 bytes is made here, but the specification knows them.
    // DEC-2
    long_iv: RustCrypto<U16>,
}

/// What encryption gives.
pub(crate) struct Sealed {
    pub(crate) ciphertext: Vec<u8>,
    pub(crate) iv: Iv,
    pub(crate) tag: Tag,
}

impl Gcm {
    pub(crate) fn new(material: &KeyMaterial) -> Result<Self, SoftKeyError> {
        Ok(Self {
            short_iv: ShortIv::new(material)?,
            long_iv: RustCrypto::new(material)?,
        })
    }

    /// Encrypts with a fresh IV of 12 bytes from the operating system's random source.
    // ENC-6
    pub(crate) fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Sealed, BackendError> {
        let mut iv = [0; 12];
        getrandom::fill(&mut iv).map_err(|error| {
            BackendError::new(
                BackendErrorKind::Unavailable,
                "the operating system's random number generator failed: encryption stops until it recovers",
            )
            .with_source(error)
        })?;
        self.seal_with(iv, aad, plaintext)
    }

    fn seal_with(&self, iv: [u8; 12], aad: &[u8], plaintext: &[u8]) -> Result<Sealed, BackendError> {
        let (ciphertext, tag) = self.short_iv.seal(&iv, aad, plaintext).ok_or_else(|| {
            BackendError::new(
                BackendErrorKind::Unsupported,
                "the plaintext or the AAD is larger than AES-GCM allows: set smaller limits",
            )
        })?;
        let iv = iv.into();
        Ok(Sealed { ciphertext, iv, tag })
    }

    /// Decrypts into a buffer that is wiped. Whatever does not fit, the error is the same.
    // DEC-3
    pub(crate) fn open(
        &self,
        iv: &Iv,
        aad: &[u8],
        ciphertext: &[u8],
        tag: &Tag,
    ) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        match iv.as_bytes() {
            iv if iv.len() == 12 => self.short_iv.open(iv, aad, ciphertext, tag),
            iv => self.long_iv.open(iv, aad, ciphertext, tag),
        }
        .ok_or_else(BackendError::invalid_ciphertext)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::hex;

    struct Vector {
        key: &'static str,
        iv: &'static str,
        aad: &'static str,
        plaintext: &'static str,
        ciphertext: &'static str,
        tag: &'static str,
    }

    const KEY: &str = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
    const AAD: &str = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
    const PLAINTEXT: &str = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                             1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";

    /// Test cases 13, 14 and 16 of *The Galois/Counter Mode of Operation* (McGrew, Viega).
    const SHORT_IV: [Vector; 3] = [
        Vector {
            key: "0000000000000000000000000000000000000000000000000000000000000000",
            iv: "000000000000000000000000",
            aad: "",
            plaintext: "",
            ciphertext: "",
            tag: "530f8afbc74536b9a963b4f1c4cb738b",
        },
        Vector {
            key: "0000000000000000000000000000000000000000000000000000000000000000",
            iv: "000000000000000000000000",
            aad: "",
            plaintext: "00000000000000000000000000000000",
            ciphertext: "cea7403d4d606b6e074ec5d3baf39d18",
            tag: "d0d1c8a799996bf0265b98b5d48ab919",
        },
        Vector {
            key: KEY,
            iv: "cafebabefacedbaddecaf888",
            aad: AAD,
            plaintext: PLAINTEXT,
            ciphertext: "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                         8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
            tag: "76fc6ece0f4e1768cddf8853bb2d551b",
        },
    ];

    /// Made with OpenSSL 4.0.3 (through Python's `cryptography` 50.0.2).
    const LONG_IV: [Vector; 2] = [
        Vector {
            key: KEY,
            iv: "101112131415161718191a1b1c1d1e1f",
            aad: AAD,
            plaintext: PLAINTEXT,
            ciphertext: "078ddf42d8dbd6c3cc8d80854f9f521f47a686b70a8f0d12d599e38d44c4fa59\
                         ae0f75b47fdf265556a3b94043813ef0569bc9fba1db12ec2f85443f",
            tag: "8d6222a6bfc78248274c6e6d1a7608b7",
        },
        Vector {
            key: KEY,
            iv: "101112131415161718191a1b1c1d1e1f",
            aad: "",
            plaintext: "",
            ciphertext: "",
            tag: "5e780ebcbe99d3b74654c5a07144b3d3",
        },
    ];

    fn gcm(key: &str) -> Gcm {
        Gcm::new(&KeyMaterial::try_from(&*hex(key)).unwrap()).unwrap()
    }

    /// ENC-6: what is computed is AES-256-GCM, ciphertext as long as plaintext, tag apart.
    #[test]
    fn encryption_gives_what_was_published() {
        for vector in SHORT_IV {
            let iv = hex(vector.iv).try_into().unwrap();
            let sealed = gcm(vector.key)
                .seal_with(iv, &hex(vector.aad), &hex(vector.plaintext))
                .unwrap();
            assert_eq!(sealed.ciphertext, hex(vector.ciphertext));
            assert_eq!(sealed.tag.as_bytes(), &*hex(vector.tag));
            assert_eq!(sealed.iv.as_bytes(), iv);
        }
    }

    /// DEC-2: IVs of 12 and of 16 bytes are decrypted.
    #[test]
    fn decryption_gives_what_was_published() {
        for vector in SHORT_IV.into_iter().chain(LONG_IV) {
            let (iv, tag) = (hex(vector.iv), hex(vector.tag));
            let plaintext = gcm(vector.key)
                .open(
                    &Iv::try_from(&*iv).unwrap(),
                    &hex(vector.aad),
                    &hex(vector.ciphertext),
                    &Tag::try_from(&*tag).unwrap(),
                )
                .unwrap();
            assert_eq!(*plaintext, hex(vector.plaintext));
        }
    }

    /// ENC-6: no IV comes twice.
    #[test]
    fn ivs_are_unique() {
        let gcm = gcm(KEY);
        let ivs: std::collections::HashSet<Iv> = (0..10_000).map(|_| gcm.seal(b"", b"").unwrap().iv).collect();
        assert_eq!(ivs.len(), 10_000);
        assert!(ivs.iter().all(|iv| iv.as_bytes().len() == 12));
    }
    /// What one implementation encrypts, the other decrypts.
    #[cfg(feature = "aws-lc-rs")]
    #[test]
    fn ciphertexts_are_the_same_by_either_implementation() {
        use aes_gcm::aead::consts::U12;

        for (plaintext, aad) in [
            (0, 0),
            (1, 0),
            (0, 1),
            (32, 216),
            (15, 17),
            (4300, 8192),
            (70_000, 65_535),
        ] {
            let material = KeyMaterial::generate().unwrap();
            let (rust, lc) = (
                RustCrypto::<U12>::new(&material).unwrap(),
                ShortIv::new(&material).unwrap(),
            );
            let (plaintext, aad, iv) = (vec![7; plaintext], vec![9; aad], [plaintext as u8; 12]);
            let sealed = lc.seal(&iv, &aad, &plaintext).unwrap();
            assert_eq!(Some(&sealed), rust.seal(&iv, &aad, &plaintext).as_ref());
            let (ciphertext, tag) = sealed;
            for opened in [
                lc.open(&iv, &aad, &ciphertext, &tag),
                rust.open(&iv, &aad, &ciphertext, &tag),
            ] {
                assert_eq!(*opened.unwrap(), plaintext);
            }
            let wrong = Tag::from([0; 16]);
            assert!(lc.open(&iv, &aad, &ciphertext, &wrong).is_none());
        }
    }
}
