//! A module that answers whatever some bytes say.

use std::{cell::RefCell, collections::HashSet, rc::Rc, vec};

use cryptoki_sys as ck;

use super::{
    call::{Asked, Call, Direction, ulong},
    list::{Answering, answer_by},
};

const TAG: usize = 16;
/// The longest value of an attribute that a caller may read.
const LONGEST: usize = 256;

/// Has a module that answers what `bytes` say answer the calls of this thread, until the guard is dropped.
pub fn wild(bytes: &[u8]) -> (Answering, Told) {
    let told = Told::default();
    let mut module = Wild {
        bytes: Vec::from(bytes).into_iter(),
        told: told.clone(),
    };
    (answer_by(move |call| module.answer(call)), told)
}

/// The attributes that a wild module told, of whatever object, with a value other than zero.
#[derive(Clone, Debug, Default)]
pub struct Told(Rc<RefCell<HashSet<ck::CK_ATTRIBUTE_TYPE>>>);

impl Told {
    /// Returns whether the module told the attribute with a value other than zero.
    #[must_use]
    pub fn is_true(&self, attribute: ck::CK_ATTRIBUTE_TYPE) -> bool {
        self.0.borrow().contains(&attribute)
    }
}

/// Takes every decision from the next byte, from 0 when none is left.
struct Wild {
    bytes: vec::IntoIter<u8>,
    told: Told,
}

impl Wild {
    fn byte(&mut self) -> u8 {
        self.bytes.next().unwrap_or(0)
    }

    /// Returns a length or a number: often the right one.
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
                direction,
                gcm,
                input,
                output,
                length,
                ..
            } => {
                if let Some(iv) = gcm.iv
                    && self.byte() < 128
                {
                    self.fill(iv);
                }
                let plaintext = match direction {
                    Direction::Encrypt => input.len(),
                    Direction::Decrypt => input.len().saturating_sub(TAG),
                };
                let right = match self.byte() % 4 {
                    0 => plaintext,
                    1 => plaintext + TAG,
                    2 => plaintext + TAG + 12,
                    _ => plaintext + TAG + 16,
                };
                let written = usize::from(self.byte()).min(output.len());
                output.iter_mut().take(written).for_each(|place| *place = self.byte());
                *length = self.number(ulong(right));
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
        // The caller's memory goes on after the attribute's room, and is zero there.
        let told = usize::try_from(*asked.length).ok().filter(|length| *length <= LONGEST);
        if let Some(length) = told
            && asked.room.iter().take(length).any(|byte| *byte != 0)
        {
            self.told.0.borrow_mut().insert(asked.kind);
        }
    }
}
