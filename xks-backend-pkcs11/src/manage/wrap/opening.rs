//! What a token has wrapped, opened outside of it by AWS-LC, which AWS KMS opens it with too.

use std::sync::OnceLock;

use aws_lc_rs::{
    cmac,
    encoding::{AsDer as _, PublicKeyX509Der},
    key_wrap::{AES_256, AesKek, KeyWrapPadded as _},
    rsa::{OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey},
};
use xks_core::{
    Zeroizing,
    manage::{WrappingAlgorithm, WrappingKey},
};

/// An RSA key of 2048 bits, as PKCS#8 in DER. It protects nothing: only keys that tokens make for a trial, or
/// get for it, are ever wrapped under it.
const KNOWN_KEY: &[u8] = include_bytes!("known-key.der");

/// The bytes of an AES-256 key.
const KEY: usize = 32;

/// How many bytes AES key wrap with padding adds to it.
const ADDED: usize = 8;

/// The owner of the RSA key under which a token wraps in a trial.
pub(super) struct Opener {
    private: OaepPrivateDecryptingKey,
    public: WrappingKey,
}

impl Opener {
    /// None if AWS-LC cannot be used.
    pub(super) fn get() -> Option<&'static Self> {
        // Reading the key takes longer than using it.
        static OPENER: OnceLock<Option<Opener>> = OnceLock::new();
        OPENER.get_or_init(Self::new).as_ref()
    }

    fn new() -> Option<Self> {
        let private = PrivateDecryptingKey::from_pkcs8(KNOWN_KEY).ok()?;
        let public: PublicKeyX509Der<'_> = private.public_key().as_der().ok()?;
        Some(Self {
            public: WrappingKey::from_spki_der(public.as_ref(), WrappingAlgorithm::RsaOaepSha256).ok()?,
            private: OaepPrivateDecryptingKey::new(private).ok()?,
        })
    }

    /// The modulus of the RSA key.
    pub(super) fn modulus(&self) -> &[u8] {
        self.public.modulus()
    }

    /// The key that was wrapped by this algorithm; none if it was not, or is no AES-256 key.
    pub(super) fn open(&self, algorithm: WrappingAlgorithm, wrapped: &[u8]) -> Option<Zeroizing<[u8; KEY]>> {
        let oaep = match algorithm {
            WrappingAlgorithm::RsaOaepSha256 | WrappingAlgorithm::RsaAesKeyWrapSha256 => &OAEP_SHA256_MGF1SHA256,
            WrappingAlgorithm::RsaOaepSha1 => &OAEP_SHA1_MGF1SHA1,
            _ => return None,
        };
        let (by_rsa, by_aes) = wrapped.split_at_checked(self.private.key_size_bytes())?;
        let mut room = Zeroizing::new(vec![0; self.private.min_output_size()]);
        let opened: &[u8] = self.private.decrypt(oaep, by_rsa, &mut room, None).ok()?;
        let opened = Zeroizing::new(<[u8; KEY]>::try_from(opened).ok()?);
        if algorithm != WrappingAlgorithm::RsaAesKeyWrapSha256 {
            return by_aes.is_empty().then_some(opened);
        }
        let mut room = Zeroizing::new([0; KEY + ADDED]);
        let ephemeral = AesKek::new(&AES_256, &*opened).ok()?;
        let opened: &[u8] = ephemeral.unwrap_with_padding(by_aes, &mut *room).ok()?;
        Some(Zeroizing::new(opened.try_into().ok()?))
    }

    /// AES-CMAC under a key.
    pub(super) fn cmac(&self, key: &[u8], message: &[u8]) -> Option<Vec<u8>> {
        let mac = cmac::sign(&cmac::Key::new(cmac::AES_256, key).ok()?, message).ok()?;
        Some(mac.as_ref().to_vec())
    }
}
