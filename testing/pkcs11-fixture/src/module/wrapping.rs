//! How keys are wrapped: as SoftHSM2 does it, or as other modules were seen to.
//!
//! What SoftHSM2 lacks is made of what it has: it wraps the key under an AES key of the shim's, which opens
//! that, and wraps the value as it is to be wrapped.

use std::ptr;
use std::slice;
use std::str::SplitWhitespace;
use std::sync::Mutex;

use aws_lc_rs::{
    error::Unspecified,
    key_wrap::{AES_256, AesKek, KeyWrap as _, KeyWrapPadded as _},
    rand,
    rsa::{
        OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPublicEncryptingKey, PublicEncryptingKey,
        PublicKeyComponents,
    },
};
use cryptoki_sys::{
    CK_ATTRIBUTE, CK_ATTRIBUTE_TYPE, CK_BBOOL, CK_BYTE, CK_FALSE, CK_FUNCTION_LIST, CK_MECHANISM, CK_MECHANISM_TYPE,
    CK_OBJECT_HANDLE, CK_RSA_PKCS_OAEP_PARAMS, CK_RV, CK_SESSION_HANDLE, CK_TRUE, CK_ULONG, CKA_CLASS, CKA_KEY_TYPE,
    CKA_MODULUS, CKA_PRIVATE, CKA_TOKEN, CKA_VALUE, CKA_WRAP, CKK_AES, CKM_AES_KEY_WRAP_KWP, CKM_AES_KEY_WRAP_PAD,
    CKM_RSA_AES_KEY_WRAP, CKM_RSA_PKCS_OAEP, CKM_SHA256, CKO_SECRET_KEY, CKR_BUFFER_TOO_SMALL, CKR_FUNCTION_FAILED,
    CKR_FUNCTION_NOT_SUPPORTED, CKR_MECHANISM_INVALID, CKR_OK,
};

use super::call::on_session;
use super::lock;
use super::real::real;
use super::sessions::Session;
use super::state::state;
use crate::function::Function;
use crate::shim::Wraps;

/// The value of the shim's AES key.
const OWN: [u8; 32] = *b"the shim opens what this wrapped";

/// How many bytes padding adds to a key of 32.
const ADDED: usize = 8;

#[derive(Default)]
pub(super) struct Wrappings(Mutex<Vec<Wraps>>);

impl Wrappings {
    /// Chooses those of these names.
    pub(super) fn choose(&self, names: SplitWhitespace<'_>) -> Result<(), String> {
        let chosen = names.map(|name| {
            let way = Wraps::ALL.into_iter().find(|way| format!("{way:?}") == name);
            way.ok_or_else(|| format!("no such wrapping: {name}"))
        });
        *lock(&self.0) = chosen.collect::<Result<_, _>>()?;
        Ok(())
    }

    fn has(&self, way: Wraps) -> bool {
        lock(&self.0).contains(&way)
    }

    /// Whether the module lists a mechanism, where that is not for SoftHSM2 to say.
    pub(super) fn lists(&self, mechanism: CK_MECHANISM_TYPE) -> Option<bool> {
        let has = |ways: [Wraps; 2]| ways.into_iter().any(|way| self.has(way));
        match mechanism {
            CKM_RSA_AES_KEY_WRAP => has([Wraps::RsaAes, Wraps::RsaAesBySha1]).then_some(true),
            CKM_AES_KEY_WRAP_KWP => has([Wraps::Kwp, Wraps::KwpByRfc3394]).then_some(true),
            CKM_AES_KEY_WRAP_PAD => self.has(Wraps::NoPad).then_some(false),
            _ => None,
        }
    }

    /// The way of a mechanism, where it is not SoftHSM2's.
    fn way_of(&self, mechanism: &CK_MECHANISM) -> Option<Wraps> {
        let ways: &[Wraps] = match mechanism.mechanism {
            CKM_RSA_AES_KEY_WRAP => &[Wraps::RsaAes, Wraps::RsaAesBySha1],
            CKM_AES_KEY_WRAP_KWP => &[Wraps::Kwp, Wraps::KwpByRfc3394],
            CKM_AES_KEY_WRAP_PAD => &[Wraps::PadByPkcs7, Wraps::NoPad],
            CKM_RSA_PKCS_OAEP => {
                let parameters = mechanism.pParameter.cast::<CK_RSA_PKCS_OAEP_PARAMS>();
                // SAFETY: these are the parameters of this mechanism.
                match unsafe { (*parameters).hashAlg } {
                    CKM_SHA256 => &[Wraps::OaepSha256, Wraps::OaepSha256BySha1],
                    _ => &[],
                }
            }
            _ => &[],
        };
        ways.iter().copied().find(|way| self.has(*way))
    }
}

pub(super) fn replace(list: &mut CK_FUNCTION_LIST) {
    list.C_WrapKey = Some(wrap_key);
}

unsafe extern "C" fn wrap_key(
    handle: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    wrapping_key: CK_OBJECT_HANDLE,
    key: CK_OBJECT_HANDLE,
    wrapped: *mut CK_BYTE,
    length: *mut CK_ULONG,
) -> CK_RV {
    on_session(Function::C_WrapKey, handle, |_, session| {
        let Some(function) = real().C_WrapKey else {
            return CKR_FUNCTION_NOT_SUPPORTED;
        };
        let numbers = &state().numbers;
        let (wrapping_key, key) = match (numbers.real(session, wrapping_key), numbers.real(session, key)) {
            (Ok(wrapping_key), Ok(key)) => (wrapping_key, key),
            (Err(code), _) | (_, Err(code)) => return code,
        };
        // SAFETY: the caller gave a mechanism.
        let Some(way) = state().wrappings.way_of(unsafe { &*mechanism }) else {
            // SAFETY: the caller's own arguments.
            return unsafe { function(session.real, mechanism, wrapping_key, key, wrapped, length) };
        };
        match wrapped_so(session, way, wrapping_key, key) {
            // SAFETY: the caller has room for as many bytes as it says.
            Ok(bytes) => unsafe { give(&bytes, wrapped, length) },
            Err(code) => code,
        }
    })
}

/// # Safety
/// `length` can be read and written, and `wrapped` is null or has room for so many bytes.
unsafe fn give(bytes: &[u8], wrapped: *mut CK_BYTE, length: *mut CK_ULONG) -> CK_RV {
    // SAFETY: as the caller promises.
    unsafe {
        let room = *length as usize;
        *length = bytes.len() as CK_ULONG;
        if wrapped.is_null() {
            return CKR_OK;
        }
        if room < bytes.len() {
            return CKR_BUFFER_TOO_SMALL;
        }
        slice::from_raw_parts_mut(wrapped, bytes.len()).copy_from_slice(bytes);
    }
    CKR_OK
}

/// A key, wrapped in this way.
fn wrapped_so(
    session: &Session,
    way: Wraps,
    wrapping_key: CK_OBJECT_HANDLE,
    key: CK_OBJECT_HANDLE,
) -> Result<Vec<u8>, CK_RV> {
    if way == Wraps::NoPad {
        return Err(CKR_MECHANISM_INVALID);
    }
    let value = value_of(session, key)?;
    let kek = || value_of(session, wrapping_key);
    let modulus = || modulus(session, wrapping_key);
    let rsa_aes = |oaep| {
        let mut ephemeral = [0; 32];
        rand::fill(&mut ephemeral).map_err(failed)?;
        let mut wrapped = by_rsa(oaep, &modulus()?, &ephemeral)?;
        wrapped.extend(by_aes(&ephemeral, &value)?);
        Ok(wrapped)
    };
    match way {
        Wraps::OaepSha256 => by_rsa(&OAEP_SHA256_MGF1SHA256, &modulus()?, &value),
        Wraps::OaepSha256BySha1 => by_rsa(&OAEP_SHA1_MGF1SHA1, &modulus()?, &value),
        Wraps::RsaAes => rsa_aes(&OAEP_SHA256_MGF1SHA256),
        Wraps::RsaAesBySha1 => rsa_aes(&OAEP_SHA1_MGF1SHA1),
        Wraps::Kwp => by_aes(&kek()?, &value),
        Wraps::KwpByRfc3394 => by_rfc3394(&kek()?, &value),
        Wraps::PadByPkcs7 => by_rfc3394(&kek()?, &[&value[..], &[ADDED as u8; ADDED]].concat()),
        Wraps::NoPad => Err(CKR_MECHANISM_INVALID),
    }
}

fn failed(_: Unspecified) -> CK_RV {
    CKR_FUNCTION_FAILED
}

fn by_rsa(oaep: &'static OaepAlgorithm, modulus: &[u8], value: &[u8]) -> Result<Vec<u8>, CK_RV> {
    let components = PublicKeyComponents {
        n: modulus,
        e: &[1, 0, 1][..],
    };
    let key: PublicEncryptingKey = components.try_into().map_err(failed)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(failed)?;
    let mut wrapped = vec![0; key.ciphertext_size()];
    let length = key.encrypt(oaep, value, &mut wrapped, None).map_err(failed)?.len();
    wrapped.truncate(length);
    Ok(wrapped)
}

/// RFC 5649.
fn by_aes(kek: &[u8], value: &[u8]) -> Result<Vec<u8>, CK_RV> {
    let mut wrapped = vec![0; value.len() + ADDED];
    let kek = AesKek::new(&AES_256, kek).map_err(failed)?;
    kek.wrap_with_padding(value, &mut wrapped).map_err(failed)?;
    Ok(wrapped)
}

fn by_rfc3394(kek: &[u8], value: &[u8]) -> Result<Vec<u8>, CK_RV> {
    let mut wrapped = vec![0; value.len() + ADDED];
    let kek = AesKek::new(&AES_256, kek).map_err(failed)?;
    kek.wrap(value, &mut wrapped).map_err(failed)?;
    Ok(wrapped)
}

fn modulus(session: &Session, key: CK_OBJECT_HANDLE) -> Result<Vec<u8>, CK_RV> {
    let function = real().C_GetAttributeValue.ok_or(CKR_FUNCTION_NOT_SUPPORTED)?;
    let mut modulus = vec![0; 1024];
    let mut wanted = attribute(CKA_MODULUS, &modulus);
    wanted.pValue = modulus.as_mut_ptr().cast();
    // SAFETY: one attribute, with room for as many bytes as it says.
    match unsafe { function(session.real, key, &raw mut wanted, 1) } {
        CKR_OK => modulus.truncate(wanted.ulValueLen as usize),
        code => return Err(code),
    }
    Ok(modulus)
}

/// The value of an AES key, which SoftHSM2 wraps under the shim's own.
fn value_of(session: &Session, key: CK_OBJECT_HANDLE) -> Result<Vec<u8>, CK_RV> {
    let (create, wrap, destroy) = (real().C_CreateObject, real().C_WrapKey, real().C_DestroyObject);
    let (Some(create), Some(wrap), Some(destroy)) = (create, wrap, destroy) else {
        return Err(CKR_FUNCTION_NOT_SUPPORTED);
    };
    let (class, kind) = (CKO_SECRET_KEY.to_ne_bytes(), CKK_AES.to_ne_bytes());
    let (yes, no): ([CK_BBOOL; 1], [CK_BBOOL; 1]) = ([CK_TRUE], [CK_FALSE]);
    let mut template = [
        attribute(CKA_CLASS, &class),
        attribute(CKA_KEY_TYPE, &kind),
        attribute(CKA_TOKEN, &no),
        attribute(CKA_PRIVATE, &no),
        attribute(CKA_WRAP, &yes),
        attribute(CKA_VALUE, &OWN),
    ];
    let mut mechanism = CK_MECHANISM {
        mechanism: CKM_AES_KEY_WRAP_PAD,
        pParameter: ptr::null_mut(),
        ulParameterLen: 0,
    };
    let (mut own, mut wrapped) = (0, [0; 32 + ADDED]);
    let mut length = wrapped.len() as CK_ULONG;
    // SAFETY: the template's values live until the last call has returned, as all that is written to, and
    // there is room for the stated number of bytes.
    let code = unsafe {
        match create(
            session.real,
            template.as_mut_ptr(),
            template.len() as CK_ULONG,
            &raw mut own,
        ) {
            CKR_OK => {}
            code => return Err(code),
        }
        let code = wrap(
            session.real,
            &raw mut mechanism,
            own,
            key,
            wrapped.as_mut_ptr(),
            &raw mut length,
        );
        destroy(session.real, own);
        code
    };
    if code != CKR_OK {
        return Err(code);
    }
    let (mut room, kek) = ([0; 32 + ADDED], AesKek::new(&AES_256, &OWN).map_err(failed)?);
    let opened = kek.unwrap_with_padding(&wrapped, &mut room).map_err(failed)?;
    Ok(opened.to_vec())
}

fn attribute(kind: CK_ATTRIBUTE_TYPE, value: &[u8]) -> CK_ATTRIBUTE {
    CK_ATTRIBUTE {
        type_: kind,
        pValue: value.as_ptr().cast_mut().cast(),
        ulValueLen: value.len() as CK_ULONG,
    }
}
