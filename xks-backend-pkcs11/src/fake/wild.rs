//! A module that answers whatever some bytes say, and what must hold nevertheless.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    rc::Rc,
    time::Duration,
};

use cryptoki_sys as ck;
use xks_core::backend::KeyUsage;

use super::{
    call::{Asked, Call, ulong},
    list,
};
use crate::{
    attribute::{AttributeValue, Wanted},
    config::{KeyLookup, KeyName},
    gcm::{self, AttemptError, Ivs},
    keys::{Keys, On},
    quirks::{AppendedIv, IvSource},
    raw::{Cryptoki, Gcm, Locking, MOST_SLOTS, MOST_WRAPPED, SLACK, Wrapping},
    session::Session,
};

const PLAINTEXT: &[u8] = b"a plaintext of 26 bytes...";
const AAD: &[u8] = b"aad";
const TAG: usize = 16;

/// What the module has told of each attribute, of whatever object.
type Told = Rc<RefCell<HashMap<ck::CK_ATTRIBUTE_TYPE, Vec<Vec<u8>>>>>;

/// Calls everything that reads what a module says, on a module that says what `bytes` have it say, and checks
/// what comes out.
///
/// # Panics
/// When something comes out that no answer of a module may lead to.
pub fn wild(bytes: &[u8]) {
    let told = Told::default();
    let mut module = Wild {
        bytes: Vec::from(bytes).into_iter(),
        told: Rc::clone(&told),
    };
    let part = module.byte() % 4;
    let _answering = list::answer_by(move |call| module.answer(call));
    let Ok((cryptoki, _)) = list::cryptoki() else {
        return;
    };
    match part {
        0 => small_answers(&cryptoki),
        1 => search(&cryptoki, &told),
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
    for wrapping in [Wrapping::RsaOaepSha1, Wrapping::RsaOaepSha256, Wrapping::RsaAesSha256] {
        if let Ok(wrapped) = cryptoki.wrap_key(1, 1, 1, wrapping) {
            assert!(wrapped.len() <= MOST_WRAPPED);
        }
    }
    let _ = cryptoki.random(1, &mut [0; 24]);
    let _ = cryptoki.close_session(1);
}

/// Where there is nothing but this.
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

/// A key that is found has the name that was asked for, unless the module does not tell it, and is what the
/// module said of it.
fn search(cryptoki: &Cryptoki, told: &Told) {
    let name = KeyName::Label("key".to_owned());
    let Ok(Ok(key)) = keys(KeyLookup::Label).search(on(cryptoki), &name) else {
        return;
    };
    let told = told.borrow();
    assert!(key.identity.may_be(&name));
    for (kind, usage) in [
        (ck::CKA_SIGN, KeyUsage::Sign),
        (ck::CKA_VERIFY, KeyUsage::Verify),
        (ck::CKA_WRAP, KeyUsage::Wrap),
        (ck::CKA_UNWRAP, KeyUsage::Unwrap),
        (ck::CKA_DERIVE, KeyUsage::Derive),
    ] {
        let is_true = |value: &Vec<u8>| value.iter().any(|byte| *byte != 0);
        let is_told = told.get(&kind).is_some_and(|values| values.iter().any(is_true));
        assert!(is_told || !key.permits(usage), "{usage:?} was not told");
    }
}

/// An external key id comes once at most.
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

/// What was sealed has the length of its plaintext, and an IV that was not there before; what was opened has
/// the length of its ciphertext.
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

/// Takes every decision from the next byte; when there are none left, it is 0, and the module comes to an
/// end.
struct Wild {
    bytes: std::vec::IntoIter<u8>,
    told: Told,
}

impl Wild {
    fn byte(&mut self) -> u8 {
        self.bytes.next().unwrap_or(0)
    }

    /// A length or a number: often the right one.
    fn number(&mut self, right: ck::CK_ULONG) -> ck::CK_ULONG {
        match self.byte() {
            0..=127 => right,
            128..=191 => self.byte().into(),
            192..=207 => right.wrapping_add(1),
            208..=223 => right.wrapping_sub(1),
            224..=231 => ck::CK_UNAVAILABLE_INFORMATION,
            232..=239 => ck::CK_ULONG::MAX / 2,
            240..=247 => 1 << 32,
            248..=255 => 1 << 20,
        }
    }

    fn fill(&mut self, place: &mut [u8]) {
        place
            .iter_mut()
            .zip(&mut self.bytes)
            .for_each(|(place, byte)| *place = byte);
    }

    fn code(&mut self) -> ck::CK_RV {
        match self.byte() {
            0..=223 => ck::CKR_OK,
            224..=231 => ck::CKR_BUFFER_TOO_SMALL,
            232..=239 => ck::CKR_ATTRIBUTE_TYPE_INVALID,
            240..=247 => ck::CKR_ATTRIBUTE_SENSITIVE,
            248..=251 => ck::CKR_SESSION_HANDLE_INVALID,
            252..=255 => self.byte().into(),
        }
    }

    fn answer(&mut self, call: Call<'_>) -> ck::CK_RV {
        match call {
            Call::GetSlotList { slots, count } => {
                *count = self.number(*count);
                slots.into_iter().flatten().for_each(|slot| *slot = self.byte().into());
            }
            Call::GetTokenInfo { info, .. } => {
                for text in [
                    &mut info.label[..],
                    &mut info.manufacturerID,
                    &mut info.model,
                    &mut info.serialNumber,
                ] {
                    self.fill(text);
                }
                info.flags = self.byte().into();
                info.ulMaxSessionCount = self.number(3);
            }
            Call::GetMechanismInfo { info, .. } => info.flags = self.byte().into(),
            Call::OpenSession { session: handle, .. }
            | Call::GenerateKey { key: handle, .. }
            | Call::CreateObject { object: handle, .. } => *handle = self.byte().into(),
            Call::GenerateKeyPair { public, private, .. } => {
                (*public, *private) = (self.byte().into(), self.byte().into());
            }
            Call::GetSessionInfo { info, .. } => info.state = self.byte().into(),
            Call::FindObjects { objects, count, .. } => {
                let given = usize::from(self.byte() % 8).min(objects.len());
                objects
                    .iter_mut()
                    .take(given)
                    .for_each(|object| *object = self.byte().into());
                *count = self.number(ulong(given));
            }
            Call::GetAttributeValue { template, .. } => {
                template.into_iter().for_each(|mut asked| self.tell(&mut asked));
            }
            Call::GenerateRandom { bytes, .. } => self.fill(bytes),
            Call::Cipher {
                gcm, output, length, ..
            } => {
                if let Some(iv) = gcm.iv
                    && self.byte() < 128
                {
                    self.fill(iv);
                }
                let said = match self.byte() % 4 {
                    0 => PLAINTEXT.len(),
                    1 => PLAINTEXT.len() + TAG,
                    2 => PLAINTEXT.len() + TAG + 12,
                    _ => PLAINTEXT.len() + TAG + 16,
                };
                let written = usize::from(self.byte()).min(output.len());
                output.iter_mut().take(written).for_each(|place| *place = self.byte());
                *length = self.number(ulong(said));
            }
            Call::Sign {
                signature: room,
                length,
                ..
            }
            | Call::WrapKey {
                wrapped: room, length, ..
            } => {
                let written = usize::from(self.byte()).min(room.len());
                room.iter_mut().take(written).for_each(|place| *place = self.byte());
                *length = self.number(ulong(written));
            }
            Call::Initialize { .. }
            | Call::Finalize
            | Call::CloseSession { .. }
            | Call::Login { .. }
            | Call::FindObjectsInit { .. }
            | Call::FindObjectsFinal { .. }
            | Call::DestroyObject { .. }
            | Call::CipherInit { .. }
            | Call::SignInit { .. } => {}
        }
        self.code()
    }

    fn tell(&mut self, asked: &mut Asked<'_>) {
        let number = |number: ck::CK_ULONG| number.to_ne_bytes().to_vec();
        let right = match asked.kind {
            ck::CKA_KEY_TYPE => number(ck::CKK_AES),
            ck::CKA_VALUE_LEN => number(32),
            ck::CKA_LABEL => b"key".to_vec(),
            ck::CKA_ID => vec![1, 2],
            _ => vec![ck::CK_TRUE],
        };
        asked
            .room
            .iter_mut()
            .zip(&right)
            .for_each(|(place, byte)| *place = *byte);
        if self.byte() >= 128 {
            let written = usize::from(self.byte()).min(asked.room.len());
            asked
                .room
                .iter_mut()
                .take(written)
                .for_each(|place| *place = self.byte());
        }
        *asked.length = self.number(ulong(right.len()));
        // What it says is longer than there was room for may be read all the same, as far as there is memory
        // of ours.
        let told = usize::try_from(*asked.length)
            .ok()
            .filter(|length| *length <= AttributeValue::ROOM);
        if let Some(length) = told {
            let mut told = asked.room.to_vec();
            told.resize(length, 0);
            self.told.borrow_mut().entry(asked.kind).or_default().push(told);
        }
    }
}
