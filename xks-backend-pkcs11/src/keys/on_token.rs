//! What a token says of its keys: which has a name, what it is, and what it may do.

use std::time::Instant;

use cryptoki_sys as ck;
use xks_core::{KeyMetadata, KeySpec, KeyStatus, KeyUsage};

use super::{Key, Miss};
use crate::{
    config::KeyName,
    error::CallError,
    raw::{Attribute, AttributeValue, Cryptoki, Wanted},
};

/// Looks for the one key with this name on the token.
pub(crate) fn search(
    cryptoki: &Cryptoki,
    session: ck::CK_SESSION_HANDLE,
    name: &KeyName,
    epoch: u64,
) -> Result<Result<Key, Miss>, CallError> {
    // Private keys too, so that one which is no secret key is told from one that is not there. Whether a key is private
    // (CKA_PRIVATE) makes no difference.
    for class in [ck::CKO_SECRET_KEY, ck::CKO_PRIVATE_KEY] {
        let template = [
            Attribute::Number(ck::CKA_CLASS, class),
            Attribute::Flag(ck::CKA_TOKEN, true),
            match name {
                KeyName::Label(label) => Attribute::Bytes(ck::CKA_LABEL, label.as_bytes()),
                KeyName::Id(id) => Attribute::Bytes(ck::CKA_ID, id),
            },
        ];
        match *cryptoki.find(session, &template, 2)? {
            [] => {}
            [handle] => return Ok(look_at(cryptoki, session, handle, name, epoch)?.ok_or(Miss::Absent)),
            _ => return Ok(Err(Miss::Several)),
        }
    }
    Ok(Err(Miss::Absent))
}

/// Reads a key's attributes; none if this is not, or no longer, the key with this name.
pub(crate) fn look_at(
    cryptoki: &Cryptoki,
    session: ck::CK_SESSION_HANDLE,
    handle: ck::CK_OBJECT_HANDLE,
    name: &KeyName,
    epoch: u64,
) -> Result<Option<Key>, CallError> {
    let seen = see(cryptoki, session, handle, epoch)?;
    Ok(seen.has(name).then_some(seen.key))
}

/// A key, and what it is called.
pub(super) struct Seen {
    pub(super) label: AttributeValue,
    pub(super) id: AttributeValue,
    is_on_token: bool,
    pub(super) key: Key,
}

impl Seen {
    pub(super) fn has(&self, name: &KeyName) -> bool {
        let actual = match name {
            KeyName::Label(_) => &self.label,
            KeyName::Id(_) => &self.id,
        };
        self.is_on_token && actual.bytes() == Some(name.bytes())
    }
}

pub(super) fn see(
    cryptoki: &Cryptoki,
    session: ck::CK_SESSION_HANDLE,
    handle: ck::CK_OBJECT_HANDLE,
    epoch: u64,
) -> Result<Seen, CallError> {
    const USAGES: [(ck::CK_ATTRIBUTE_TYPE, KeyUsage); 7] = [
        (ck::CKA_ENCRYPT, KeyUsage::Encrypt),
        (ck::CKA_DECRYPT, KeyUsage::Decrypt),
        (ck::CKA_SIGN, KeyUsage::Sign),
        (ck::CKA_VERIFY, KeyUsage::Verify),
        (ck::CKA_WRAP, KeyUsage::Wrap),
        (ck::CKA_UNWRAP, KeyUsage::Unwrap),
        (ck::CKA_DERIVE, KeyUsage::Derive),
    ];
    let wanted = [
        Wanted::Number(ck::CKA_KEY_TYPE),
        Wanted::Number(ck::CKA_VALUE_LEN),
        Wanted::Bytes(ck::CKA_LABEL),
        Wanted::Bytes(ck::CKA_ID),
        Wanted::Flag(ck::CKA_TOKEN),
    ];
    let [key_type, length, label, id, token] = cryptoki.attributes(session, handle, wanted)?;
    let flags = cryptoki.attributes(session, handle, USAGES.map(|(kind, _)| Wanted::Flag(kind)))?;
    let usages = USAGES.iter().zip(&flags);
    let usages = usages
        .filter(|(_, flag)| flag.flag() == Some(true))
        .map(|((_, usage), _)| *usage);
    Ok(Seen {
        label,
        id,
        is_on_token: token.flag() != Some(false),
        key: Key {
            handle,
            // GKM-3: PKCS#11 cannot disable a single key.
            metadata: KeyMetadata::new(key_spec(&key_type, &length), usages, KeyStatus::Enabled),
            read: Instant::now(),
            epoch,
        },
    })
}

/// GKM-1.
fn key_spec(key_type: &AttributeValue, length: &AttributeValue) -> KeySpec {
    const NAMES: [(ck::CK_KEY_TYPE, &str); 6] = [
        (ck::CKK_AES, "AES"),
        (ck::CKK_DES3, "DES3"),
        (ck::CKK_EC, "EC"),
        (ck::CKK_GENERIC_SECRET, "GENERIC_SECRET"),
        (ck::CKK_RSA, "RSA"),
        (ck::CKK_CHACHA20, "CHACHA20"),
    ];
    let Some(key_type) = key_type.number() else {
        return KeySpec::Other("UNKNOWN".into());
    };
    let name = NAMES
        .iter()
        .find(|(number, _)| *number == key_type)
        .map(|(_, name)| *name);
    match (name, length.number()) {
        (Some("AES"), Some(32)) => KeySpec::Aes256,
        (Some(name), Some(bytes)) => KeySpec::Other(format!("{name}_{}", u128::from(bytes) * 8).into()),
        (Some(name), None) => KeySpec::Other(name.into()),
        (None, _) => KeySpec::Other(format!("CKK_{key_type:#x}").into()),
    }
}
