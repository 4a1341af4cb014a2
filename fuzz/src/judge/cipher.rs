//! The GCM AAD input and the integrity value of a ciphertext.

use aes_gcm::{
    Aes256Gcm, AesGcm, KeyInit as _,
    aead::{Aead as _, Payload, consts::U16},
    aes::Aes256,
};
use sha2::{Digest as _, Sha256};

use crate::proxy::VERSIONS;

/// ENC-7
fn gcm_aad(aad: &[u8], metadata: &[u8]) -> Vec<u8> {
    let aad_length = u16::try_from(aad.len()).expect("AAD within the limits");
    let metadata_length = u8::try_from(metadata.len()).expect("metadata within the limits");
    [&aad_length.to_be_bytes(), aad, &[metadata_length], metadata].concat()
}

/// ENC-9
pub fn integrity_value(aad: &[u8], metadata: &[u8], iv: &[u8], ciphertext: &[u8], tag: &[u8]) -> Vec<u8> {
    Sha256::digest([aad, metadata, iv, ciphertext, tag].concat()).to_vec()
}

/// Whether this is a ciphertext of one of the versions.
pub fn opens(metadata: &[u8], iv: &[u8], aad: &[u8], ciphertext: &[u8], tag: &[u8]) -> bool {
    let mut versions = VERSIONS.iter();
    let Some((_, byte)) = versions.find(|(number, _)| metadata == format!("key_version={number}").as_bytes()) else {
        return false;
    };
    let key = [*byte; 32].into();
    let (aad, sealed) = (gcm_aad(aad, metadata), [ciphertext, tag].concat());
    let payload = Payload {
        msg: &sealed,
        aad: &aad,
    };
    match iv.len() {
        12 => {
            let iv: [u8; 12] = iv.try_into().expect("12 bytes");
            Aes256Gcm::new(&key).decrypt(&iv.into(), payload).is_ok()
        }
        _ => {
            let iv: [u8; 16] = iv.try_into().expect("12 or 16 bytes");
            AesGcm::<Aes256, U16>::new(&key).decrypt(&iv.into(), payload).is_ok()
        }
    }
}
