//! Wrapping keys, unwrapping and import tokens: the cryptography of an import.
//!
//! The RSA keys are real. Two of each length are made for a process, when they are first asked for, and
//! handed out in turn: so two answers of GetParametersForImport in a row never have the same key, as in AWS
//! KMS none have. A token holds all that belongs to it, sealed: KMS key, wrapping key, algorithm and end. So
//! any number of them is outstanding, over a restart too.

use std::sync::{Arc, Mutex};

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der},
    key_wrap::{AES_256, AesKek, KeyWrapPadded as _},
    rsa::{
        KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey,
        PrivateDecryptingKey,
    },
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    api::{WrappingAlgorithm, WrappingKeySpec},
    binary::Binary,
    exception::{Exception, ExceptionName},
    locked,
    seal::{KeyMaterial, Purpose},
};

/// How many keys of each length a process has.
const KEYS: usize = 2;

/// A key pair: the private key as PKCS#8, the public one as SubjectPublicKeyInfo, both in DER.
pub(crate) struct WrappingKey {
    private: Binary,
    pub(crate) public: Binary,
}

/// The keys of one length, and how many have been handed out.
#[derive(Default)]
struct Pool {
    keys: Vec<Arc<WrappingKey>>,
    handed_out: usize,
}

static POOLS: Mutex<[Pool; 3]> = Mutex::new(
    [const {
        Pool {
            keys: Vec::new(),
            handed_out: 0,
        }
    }; 3],
);

/// All that belongs to an import token.
#[derive(Serialize, Deserialize)]
pub(crate) struct Token {
    pub(crate) key_id: String,
    pub(crate) algorithm: WrappingAlgorithm,
    pub(crate) valid_to: f64,
    private: Binary,
}

impl WrappingKey {
    /// The next key of this length. Making one may take a second.
    pub(crate) fn next(spec: WrappingKeySpec) -> Result<Arc<Self>, Exception> {
        let (index, size) = match spec {
            WrappingKeySpec::Rsa2048 => (0, KeySize::Rsa2048),
            WrappingKeySpec::Rsa3072 => (1, KeySize::Rsa3072),
            WrappingKeySpec::Rsa4096 => (2, KeySize::Rsa4096),
            WrappingKeySpec::Sm2 => return Err(unsupported("SM2 is for Regions in China")),
        };
        let mut pools = locked(&POOLS);
        let pool = pools.get_mut(index).ok_or_else(failed)?;
        let next = pool.handed_out % KEYS;
        pool.handed_out = pool.handed_out.wrapping_add(1);
        if pool.keys.len() <= next {
            pool.keys.push(Arc::new(Self::generate(size).ok_or_else(failed)?));
        }
        pool.keys.get(next).cloned().ok_or_else(failed)
    }

    fn generate(size: KeySize) -> Option<Self> {
        let key = PrivateDecryptingKey::generate(size).ok()?;
        let private: Pkcs8V1Der<'_> = key.as_der().ok()?;
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().ok()?;
        Some(Self {
            private: private.as_ref().into(),
            public: public.as_ref().into(),
        })
    }
}

impl WrappingAlgorithm {
    /// Refuses what AWS KMS no longer takes.
    pub(crate) fn check(self, spec: WrappingKeySpec) -> Result<(), Exception> {
        match (self, spec) {
            (Self::RsaesPkcs1V15, _) => Err(unsupported(
                "The wrapping algorithm RSAES_PKCS1_V1_5 is not supported since October 10, 2023",
            )),
            (Self::Sm2pke, _) | (_, WrappingKeySpec::Sm2) => Err(unsupported("SM2 is for Regions in China")),
            _ => Ok(()),
        }
    }
}

impl Token {
    pub(crate) fn new(key_id: &str, algorithm: WrappingAlgorithm, valid_to: f64, key: &WrappingKey) -> Self {
        Self {
            key_id: key_id.to_owned(),
            algorithm,
            valid_to,
            private: key.private.clone(),
        }
    }

    pub(crate) fn sealed(&self, secret: &KeyMaterial) -> Result<Binary, Exception> {
        let text = serde_json::to_vec(self).map(Zeroizing::new).map_err(|_| failed())?;
        Ok(secret.seal(Purpose::ImportToken, &text, &[])?.into())
    }

    /// The token of a request; none where this KMS did not make it.
    pub(crate) fn open(token: &[u8], secret: &KeyMaterial) -> Option<Self> {
        let text = secret.open(Purpose::ImportToken, token, &[])?;
        serde_json::from_slice(&text).ok()
    }

    /// The material, where it was wrapped for this token.
    pub(crate) fn unwrap(&self, wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (oaep, is_hybrid) = oaep(self.algorithm)?;
        let key = PrivateDecryptingKey::from_pkcs8(&self.private).ok()?;
        let key = OaepPrivateDecryptingKey::new(key).ok()?;
        let (by_rsa, by_aes) = wrapped.split_at_checked(key.key_size_bytes())?;
        let mut opened = Zeroizing::new(vec![0; key.min_output_size()]);
        let length = key.decrypt(oaep, by_rsa, &mut opened, None).ok()?.len();
        opened.truncate(length);
        if !is_hybrid {
            return by_aes.is_empty().then_some(opened);
        }
        let kek = AesKek::new(&AES_256, &opened).ok()?;
        let mut material = Zeroizing::new(vec![0; by_aes.len()]);
        let length = kek.unwrap_with_padding(by_aes, &mut material).ok()?.len();
        material.truncate(length);
        Some(material)
    }
}

/// Hash, and whether an AES key is between the RSA key and the material.
fn oaep(algorithm: WrappingAlgorithm) -> Option<(&'static OaepAlgorithm, bool)> {
    match algorithm {
        WrappingAlgorithm::RsaesOaepSha1 => Some((&OAEP_SHA1_MGF1SHA1, false)),
        WrappingAlgorithm::RsaesOaepSha256 => Some((&OAEP_SHA256_MGF1SHA256, false)),
        WrappingAlgorithm::RsaAesKeyWrapSha1 => Some((&OAEP_SHA1_MGF1SHA1, true)),
        WrappingAlgorithm::RsaAesKeyWrapSha256 => Some((&OAEP_SHA256_MGF1SHA256, true)),
        WrappingAlgorithm::RsaesPkcs1V15 | WrappingAlgorithm::Sm2pke => None,
    }
}

fn unsupported(message: &str) -> Exception {
    Exception::new(ExceptionName::UnsupportedOperation, message)
}

fn failed() -> Exception {
    Exception::new(ExceptionName::Internal, "the wrapping key cannot be made or used")
}
