//! The check of all code that reads a module's results: whatever the module answers, certain properties hold.

use std::{
    collections::{HashMap, HashSet},
    ffi::c_ulong,
    time::Duration,
};

use cryptoki_sys as ck;
use xks_core::backend::KeyUsage;

use crate::{
    attribute::{AttributeValue, Wanted},
    config::{KeyLookup, KeyName},
    gcm::{self, AttemptError, Ivs},
    keys::{Keys, On},
    manage::Found,
    quirks::{AppendedIv, IvSource},
    raw::{Cryptoki, Gcm, LinkedModule, Locking, MOST_SLOTS, MOST_WRAPPED, SLACK, Wrapping},
    session::Session,
};

const PLAINTEXT: &[u8] = b"a plaintext of 26 bytes...";
const AAD: &[u8] = b"aad";
const TAG: usize = 16;
/// The part that is a trial of wrappings.
const TRIAL: u8 = 252;

/// Calls the module, in the way that `part` selects, and checks what the backend makes of its
/// answers. `is_told` returns whether the module told an attribute with a value other than zero.
///
/// # Panics
/// If an answer has led to a result that no answer may lead to.
pub fn check_answers(module: &LinkedModule, part: u8, is_told: impl Fn(c_ulong) -> bool) {
    let Ok((cryptoki, _)) = Cryptoki::link(module) else {
        return;
    };
    match part % 4 {
        // What opens by RSA takes a thousand times as long as all else.
        0 if part == TRIAL => trial(&cryptoki),
        0 => small_answers(&cryptoki),
        1 => search(&cryptoki, is_told),
        2 => inventory(&cryptoki),
        _ => ciphers(&cryptoki),
    }
}

fn small_answers(cryptoki: &Cryptoki) {
    let _ = cryptoki.initialize(None, Locking::System);
    if let Ok(slots) = cryptoki.slots() {
        assert!(slots.len() <= MOST_SLOTS);
    }
    if let Ok(info) = cryptoki.token_info(1) {
        // A byte that is no UTF-8 becomes three.
        assert!(info.label.len() <= 32 * 3 && info.serial.len() <= 16 * 3);
        assert!(!info.label.ends_with([' ', '\0']));
    }
    let _ = cryptoki.mechanism_info(1, ck::CKM_AES_GCM);
    let _ = cryptoki.open_session(1, true);
    let _ = cryptoki.log_in(1, Some(b"1234"));
    let _ = cryptoki.is_logged_in(1);
    for most in [0, 1, 2, 7] {
        if let Ok(found) = cryptoki.find(1, &[], most) {
            assert!(found.len() <= most);
        }
    }
    let wanted = [
        Wanted::Bytes(ck::CKA_LABEL),
        Wanted::Number(ck::CKA_VALUE_LEN),
        Wanted::Flag(ck::CKA_TOKEN),
    ];
    if let Ok(values) = cryptoki.attributes(1, 1, &wanted) {
        for value in &values {
            let length = value.bytes().map(<[u8]>::len);
            assert!(length.is_none_or(|length| length <= AttributeValue::ROOM));
            assert_eq!(value.number().is_some(), matches!(length, Some(1 | 2 | 4 | 8)));
            assert_eq!(value.flag().is_some(), matches!(length, Some(1..=8)));
        }
    }
    let _ = cryptoki.generate_key(1, ck::CKM_AES_KEY_GEN, &[]);
    let _ = cryptoki.generate_key_pair(1, ck::CKM_EC_KEY_PAIR_GEN, &[], &[]);
    let _ = cryptoki.create_object(1, &[]);
    for most in [0, 16, 64] {
        if let Ok(signature) = cryptoki.sign(1, 1, ck::CKM_AES_CMAC, AAD, most) {
            assert!(signature.len() <= most);
        }
    }
    for wrapping in [Wrapping::RsaOaepSha1, Wrapping::RsaAesSha256, Wrapping::AesKwp] {
        if let Ok(wrapped) = cryptoki.wrap_key(1, 1, 1, wrapping) {
            assert!(wrapped.len() <= MOST_WRAPPED);
        }
    }
    let _ = cryptoki.random(1, &mut [0; 24]);
    let _ = cryptoki.close_session(1);
}

/// What opens as the key of a trial is made by a wrapping alone, and by no luck.
fn trial(cryptoki: &Cryptoki) {
    let has = |mechanism| Ok(cryptoki.mechanism_info(1, mechanism).is_ok());
    if let Ok(found) = Found::by_trial(on(cryptoki), true, has) {
        assert_eq!(found.algorithms(), []);
    }
}

/// An empty cache of keys.
fn keys(lookup: KeyLookup) -> Keys {
    Keys::new(lookup, HashMap::new(), Duration::from_secs(1))
}

fn on(cryptoki: &Cryptoki) -> On<'_> {
    On {
        cryptoki,
        session: 1,
        login_epoch: 1,
    }
}

/// A key that is found has the name that was asked for, unless the module does not tell it, and the usages
/// that the module told.
fn search(cryptoki: &Cryptoki, is_told: impl Fn(c_ulong) -> bool) {
    let name = KeyName::Label("key".to_owned());
    let Ok(Ok(key)) = keys(KeyLookup::Label).search(on(cryptoki), &name) else {
        return;
    };
    assert!(key.identity.may_be(&name));
    for (kind, usage) in [
        (ck::CKA_SIGN, KeyUsage::Sign),
        (ck::CKA_VERIFY, KeyUsage::Verify),
        (ck::CKA_WRAP, KeyUsage::Wrap),
        (ck::CKA_UNWRAP, KeyUsage::Unwrap),
        (ck::CKA_DERIVE, KeyUsage::Derive),
    ] {
        assert!(is_told(kind) || !key.permits(usage), "{usage:?} was not told");
    }
}

/// No external key id occurs twice.
fn inventory(cryptoki: &Cryptoki) {
    for lookup in [KeyLookup::Label, KeyLookup::Id] {
        let keys = keys(lookup);
        let Ok(mut inventory) = keys.begin_inventory(on(cryptoki), &HashSet::new()) else {
            continue;
        };
        if keys.go_on(&mut inventory, on(cryptoki), |_| true) == Ok(true) {
            let found = inventory.found(|_| false);
            let several = found.several.iter().map(|(id, _)| id.as_str());
            let mut ids: Vec<&str> = found.keys.iter().map(|(id, _)| id.as_str()).chain(several).collect();
            let count = ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), count);
        }
    }
}

/// A ciphertext has the length of its plaintext, and a new IV; a plaintext has the length of its ciphertext.
fn ciphers(cryptoki: &Cryptoki) {
    for iv_length in [0, 12, 16] {
        let gcm = Gcm {
            iv: &mut vec![1; iv_length],
            iv_bits: 96,
            aad: AAD,
        };
        if let Ok(output) = cryptoki.gcm_encrypt(1, 1, gcm, PLAINTEXT) {
            assert!(output.len() <= PLAINTEXT.len() + SLACK);
        }
    }
    let sources = [
        IvSource::TokenRandom,
        IvSource::SystemRandom,
        IvSource::WrittenBack,
        IvSource::Appended(AppendedIv::Bytes12),
        IvSource::Appended(AppendedIv::Bytes16),
    ];
    let mut session = Session::new(1, 1);
    for source in sources {
        let ivs = Ivs::new(source, 1);
        let mut seen = Vec::new();
        for _ in 0..4 {
            match ivs.seal(cryptoki, &mut session, 1, AAD, PLAINTEXT) {
                Ok(sealed) => {
                    assert_eq!(sealed.ciphertext.len(), PLAINTEXT.len());
                    assert_eq!(sealed.tag.as_bytes().len(), TAG);
                    assert!(sealed.iv.as_bytes().iter().any(|byte| *byte != 0));
                    assert!(!seen.contains(&sealed.iv));
                    let both = gcm::with_tag(&sealed.ciphertext, &sealed.tag);
                    if let Ok(opened) = gcm::open(cryptoki, 1, 1, &sealed.iv, AAD, &both) {
                        assert_eq!(opened.len(), PLAINTEXT.len());
                    }
                    seen.push(sealed.iv);
                }
                Err(AttemptError::Call(_) | AttemptError::IvFault(_) | AttemptError::Final(_)) => {}
            }
        }
    }
}
