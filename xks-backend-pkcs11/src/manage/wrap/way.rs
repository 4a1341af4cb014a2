//! A way of wrapping: one mechanism, or two of them and a temporary key.

use std::fmt;

use cryptoki_sys as ck;
use xks_core::manage::{
    WrappingAlgorithm::{self, RsaAesKeyWrapSha256, RsaOaepSha1, RsaOaepSha256},
    WrappingKey,
};

use crate::{
    attribute::Attribute,
    error::CallError,
    keys::{On, USAGES},
    raw::Wrapping,
};

/// How a token wraps a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By this mechanism, under the RSA key.
    Direct(Wrapping),
    /// As `RSA_AES_KEY_WRAP_SHA_256` has it, on a token that lacks `CKM_RSA_AES_KEY_WRAP`: by this mechanism
    /// under an AES-256 key that is made on the token for this alone, and behind that key, which RSA-OAEP
    /// with SHA-256 wraps.
    Composed(Wrapping),
}

/// All ways, the best first. RSAES_PKCS1_V1_5 is not among them: AWS KMS withdrew it.
pub(super) const WAYS: [(WrappingAlgorithm, Way); 5] = [
    (RsaAesKeyWrapSha256, Way::Direct(Wrapping::RsaAesSha256)),
    (RsaAesKeyWrapSha256, Way::Composed(Wrapping::AesKwp)),
    (RsaAesKeyWrapSha256, Way::Composed(Wrapping::AesPad)),
    (RsaOaepSha256, Way::Direct(Wrapping::RsaOaepSha256)),
    (RsaOaepSha1, Way::Direct(Wrapping::RsaOaepSha1)),
];

impl Way {
    /// The mechanisms that it takes.
    pub(super) fn mechanisms(self) -> impl Iterator<Item = Wrapping> {
        let (one, other) = match self {
            Self::Direct(wrapping) => (wrapping, None),
            Self::Composed(wrapping) => (Wrapping::RsaOaepSha256, Some(wrapping)),
        };
        [one].into_iter().chain(other)
    }

    /// Wraps a key under a public key. `key` returns its handle when all else has been made that it takes.
    pub(super) fn wrap(
        self,
        on: On<'_>,
        has_login: bool,
        public: ck::CK_OBJECT_HANDLE,
        key: impl FnOnce() -> Result<ck::CK_OBJECT_HANDLE, CallError>,
    ) -> Result<Vec<u8>, CallError> {
        let wrap = |under, key, wrapping| on.cryptoki.wrap_key(on.session, under, key, wrapping);
        match self {
            Self::Direct(wrapping) => wrap(public, key()?, wrapping),
            Self::Composed(wrapping) => {
                let template = [
                    &SESSION_KEY[..],
                    &[
                        Attribute::Number(ck::CKA_VALUE_LEN, 32),
                        Attribute::Flag(ck::CKA_PRIVATE, has_login),
                    ],
                    &USAGES.map(|(kind, _)| Attribute::Flag(kind, kind == ck::CKA_WRAP)),
                ]
                .concat();
                let ephemeral = on.cryptoki.generate_key(on.session, ck::CKM_AES_KEY_GEN, &template)?;
                let wrapped = wrap(public, ephemeral, Wrapping::RsaOaepSha256).and_then(|mut wrapped| {
                    wrapped.extend(wrap(ephemeral, key()?, wrapping)?);
                    Ok(wrapped)
                });
                destroy(on, ephemeral);
                wrapped
            }
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, wrapping) in self.mechanisms().enumerate() {
            let and = if number == 0 { "" } else { " and " };
            write!(f, "{and}{}", wrapping.name())?;
        }
        Ok(())
    }
}

/// What AES keys have in common that are made for a moment, and may leave the token wrapped.
pub(super) const SESSION_KEY: [Attribute<'static>; 5] = [
    Attribute::Number(ck::CKA_CLASS, ck::CKO_SECRET_KEY),
    Attribute::Number(ck::CKA_KEY_TYPE, ck::CKK_AES),
    Attribute::Flag(ck::CKA_TOKEN, false),
    Attribute::Flag(ck::CKA_SENSITIVE, true),
    Attribute::Flag(ck::CKA_EXTRACTABLE, true),
];

/// Does something with an RSA public key that is brought to the token for it.
pub(super) fn with_public_key<T>(
    on: On<'_>,
    modulus: &[u8],
    work: impl FnOnce(ck::CK_OBJECT_HANDLE) -> Result<T, CallError>,
) -> Result<T, CallError> {
    let template = [
        Attribute::Number(ck::CKA_CLASS, ck::CKO_PUBLIC_KEY),
        Attribute::Number(ck::CKA_KEY_TYPE, ck::CKK_RSA),
        Attribute::Flag(ck::CKA_TOKEN, false),
        Attribute::Flag(ck::CKA_PRIVATE, false),
        Attribute::Flag(ck::CKA_WRAP, true),
        Attribute::Bytes(ck::CKA_MODULUS, modulus),
        Attribute::Bytes(ck::CKA_PUBLIC_EXPONENT, &WrappingKey::EXPONENT),
    ];
    let public = on.cryptoki.create_object(on.session, &template)?;
    let done = work(public);
    destroy(on, public);
    done
}

/// Some modules keep what was to live in a session.
pub(super) fn destroy(on: On<'_>, object: ck::CK_OBJECT_HANDLE) {
    if let Err(error) = on.cryptoki.destroy_object(on.session, object) {
        tracing::debug!(cause = %error, "an object that was made for a moment was not destroyed");
    }
}
