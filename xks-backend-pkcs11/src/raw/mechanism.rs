//! Mechanisms and their parameters, as the C structures that a module reads.

use std::ptr;

use cryptoki_sys as ck;

use super::to_ulong;

/// The bits of a tag.
const TAG_BITS: ck::CK_ULONG = 128;

/// The parameters of AES-GCM.
pub(crate) struct Gcm<'a> {
    /// Empty where the module appends its own.
    pub(crate) iv: &'a mut [u8],
    /// The bits of the IV; for Luna, those of the IV that it is to make.
    pub(crate) iv_bits: usize,
    pub(crate) aad: &'a [u8],
}

impl Gcm<'_> {
    /// Some modules read the length, some the bits.
    pub(super) fn parameters(self) -> ck::CK_GCM_PARAMS {
        ck::CK_GCM_PARAMS {
            pIv: if self.iv.is_empty() {
                ptr::null_mut()
            } else {
                self.iv.as_mut_ptr()
            },
            ulIvLen: to_ulong(self.iv.len()),
            ulIvBits: to_ulong(self.iv_bits),
            pAAD: self.aad.as_ptr().cast_mut(),
            ulAADLen: to_ulong(self.aad.len()),
            ulTagBits: TAG_BITS,
        }
    }
}

/// A mechanism that wraps keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrapping {
    /// Under an RSA key.
    RsaOaepSha1,
    /// Under an RSA key.
    RsaOaepSha256,
    /// Under an RSA key: a temporary AES-256 key wraps the key, and RSA-OAEP wraps that.
    RsaAesSha256,
    /// Under an AES key, as RFC 5649 has it.
    AesKwp,
    /// Under an AES key: by RFC 5649 in some modules, and in others with another padding.
    AesPad,
}

impl Wrapping {
    pub(crate) const fn mechanism(self) -> ck::CK_MECHANISM_TYPE {
        match self {
            Self::RsaOaepSha1 | Self::RsaOaepSha256 => ck::CKM_RSA_PKCS_OAEP,
            Self::RsaAesSha256 => ck::CKM_RSA_AES_KEY_WRAP,
            Self::AesKwp => ck::CKM_AES_KEY_WRAP_KWP,
            Self::AesPad => ck::CKM_AES_KEY_WRAP_PAD,
        }
    }

    /// The mechanism's name in the standard.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::RsaOaepSha1 | Self::RsaOaepSha256 => "CKM_RSA_PKCS_OAEP",
            Self::RsaAesSha256 => "CKM_RSA_AES_KEY_WRAP",
            Self::AesKwp => "CKM_AES_KEY_WRAP_KWP",
            Self::AesPad => "CKM_AES_KEY_WRAP_PAD",
        }
    }

    /// OAEP with one hash for itself and MGF1, without a label; none for a wrapping under an AES key.
    pub(super) fn oaep(self) -> Option<ck::CK_RSA_PKCS_OAEP_PARAMS> {
        let (hash, mask) = match self {
            Self::RsaOaepSha1 => (ck::CKM_SHA_1, ck::CKG_MGF1_SHA1),
            Self::RsaOaepSha256 | Self::RsaAesSha256 => (ck::CKM_SHA256, ck::CKG_MGF1_SHA256),
            Self::AesKwp | Self::AesPad => return None,
        };
        Some(ck::CK_RSA_PKCS_OAEP_PARAMS {
            hashAlg: hash,
            mgf: mask,
            source: ck::CKZ_DATA_SPECIFIED,
            pSourceData: ptr::null_mut(),
            ulSourceDataLen: 0,
        })
    }
}

pub(super) fn without_parameters(mechanism: ck::CK_MECHANISM_TYPE) -> ck::CK_MECHANISM {
    ck::CK_MECHANISM {
        mechanism,
        pParameter: ptr::null_mut(),
        ulParameterLen: 0,
    }
}

/// Points to the parameters, which must outlive the mechanism.
pub(super) fn with_parameters<P>(mechanism: ck::CK_MECHANISM_TYPE, parameters: &mut P) -> ck::CK_MECHANISM {
    ck::CK_MECHANISM {
        mechanism,
        pParameter: (&raw mut *parameters).cast(),
        ulParameterLen: to_ulong(size_of::<P>()),
    }
}
