//! A token that answers as the standard says: one slot, one AES key, and a mask and a checksum in place of
//! AES-GCM. Its state is a few relaxed atomics, which synchronize nothing: a data race of the caller's
//! remains visible to whatever looks for races.

use std::{
    cell::RefCell,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use cryptoki_sys as ck;

use super::call::{Asked, Call, Direction, Gcm, ulong};

/// The user's PIN.
pub const PIN: &str = "1234";
/// The `CKA_LABEL` of the key.
pub const LABEL: &str = "key";
/// The `CKA_ID` of the key.
pub const ID: &[u8] = &[0xab, 0x01];

const SLOT: ck::CK_SLOT_ID = 7;
const KEY: ck::CK_OBJECT_HANDLE = 1;
const TAG: usize = 16;
/// The bytes of a wrapped key.
const WRAPPED: usize = 256;

static IS_INITIALIZED: AtomicBool = AtomicBool::new(false);
static IS_LOGGED_IN: AtomicBool = AtomicBool::new(false);
/// The handles given out last; those of session keys follow that of the token's key.
static LAST_SESSION: AtomicU64 = AtomicU64::new(0);
static LAST_KEY: AtomicU64 = AtomicU64::new(KEY);
static RANDOM: AtomicU64 = AtomicU64::new(0);
/// How many calls are in the module.
static INSIDE: AtomicU64 = AtomicU64::new(0);
/// How many calls broke the standard: made before the initialization, or a finalization during another call.
static VIOLATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The results of this thread's search that were not yet returned.
    static FOUND: RefCell<Vec<ck::CK_OBJECT_HANDLE>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn answer(call: Call<'_>) -> ck::CK_RV {
    let others = INSIDE.fetch_add(1, Relaxed);
    let is_out_of_turn = match call {
        Call::Initialize { .. } => false,
        Call::Finalize => others > 0,
        _ => !IS_INITIALIZED.load(Relaxed),
    };
    if is_out_of_turn {
        VIOLATIONS.fetch_add(1, Relaxed);
    }
    let code = execute(call);
    INSIDE.fetch_sub(1, Relaxed);
    code
}

/// Returns how many calls of the process broke the standard: calls while the module was not initialized, and
/// finalizations during other calls.
pub fn violations() -> u64 {
    VIOLATIONS.load(Relaxed)
}

fn execute(call: Call<'_>) -> ck::CK_RV {
    match call {
        Call::Initialize { flags, .. } => {
            if flags & ck::CKF_OS_LOCKING_OK == 0 {
                return ck::CKR_NEED_TO_CREATE_THREADS;
            }
            if IS_INITIALIZED.swap(true, Relaxed) {
                return ck::CKR_CRYPTOKI_ALREADY_INITIALIZED;
            }
        }
        Call::Finalize => {
            IS_LOGGED_IN.store(false, Relaxed);
            IS_INITIALIZED.store(false, Relaxed);
        }
        Call::GetSlotList { slots, count } => {
            *count = 1;
            match slots {
                Some([first, ..]) => *first = SLOT,
                Some([]) => return ck::CKR_BUFFER_TOO_SMALL,
                None => {}
            }
        }
        Call::GetTokenInfo { info, .. } => *info = token_info(),
        Call::GetMechanismInfo { info, .. } => info.flags = ck::CKF_ENCRYPT | ck::CKF_DECRYPT,
        Call::OpenSession { session, .. } => *session = LAST_SESSION.fetch_add(1, Relaxed) + 1,
        Call::CloseSession { .. } | Call::FindObjectsFinal { .. } | Call::DestroyObject { .. } => {}
        Call::Login { pin, .. } => {
            if pin != Some(PIN.as_bytes()) {
                return ck::CKR_PIN_INCORRECT;
            }
            if IS_LOGGED_IN.swap(true, Relaxed) {
                return ck::CKR_USER_ALREADY_LOGGED_IN;
            }
        }
        Call::GetSessionInfo { info, .. } => {
            info.state = if IS_LOGGED_IN.load(Relaxed) {
                ck::CKS_RW_USER_FUNCTIONS
            } else {
                ck::CKS_RW_PUBLIC_SESSION
            };
        }
        Call::FindObjectsInit { template, .. } => {
            let is_it = template
                .iter()
                .all(|wanted| value(KEY, wanted.kind).as_deref() == Some(wanted.value));
            FOUND.set(if is_it { vec![KEY] } else { Vec::new() });
        }
        Call::FindObjects { objects, count, .. } => {
            let next = objects.first_mut().zip(FOUND.with_borrow_mut(Vec::pop));
            *count = ulong(usize::from(next.is_some()));
            if let Some((place, next)) = next {
                *place = next;
            }
        }
        Call::GetAttributeValue { object, template, .. } => return attributes(object, template),
        Call::GenerateKey { key, .. } | Call::CreateObject { object: key, .. } => *key = new_key(),
        Call::GenerateKeyPair { public, private, .. } => (*public, *private) = (new_key(), new_key()),
        Call::GenerateRandom { bytes, .. } => {
            for chunk in bytes.chunks_mut(size_of::<u64>()) {
                let number = mix(RANDOM.fetch_add(1, Relaxed)).to_ne_bytes();
                chunk.iter_mut().zip(number).for_each(|(place, byte)| *place = byte);
            }
        }
        Call::CipherInit { gcm, key, .. } => {
            if key > LAST_KEY.load(Relaxed) {
                return ck::CKR_KEY_HANDLE_INVALID;
            }
            if gcm.mechanism != ck::CKM_AES_GCM || gcm.tag_bits != ulong(TAG * 8) {
                return ck::CKR_MECHANISM_PARAM_INVALID;
            }
        }
        Call::Cipher {
            direction,
            gcm,
            input,
            output,
            length,
            ..
        } => return cipher(direction, &gcm, input, output, length),
        Call::SignInit { key, .. } if key > LAST_KEY.load(Relaxed) => return ck::CKR_KEY_HANDLE_INVALID,
        Call::SignInit { .. } => {}
        Call::Sign {
            data,
            signature,
            length,
            ..
        } => return give(&tag(&[], &[], data), signature, length),
        Call::WrapKey { wrapped, length, .. } => return give(&[0x5a; WRAPPED], wrapped, length),
    }
    ck::CKR_OK
}

fn new_key() -> ck::CK_OBJECT_HANDLE {
    LAST_KEY.fetch_add(1, Relaxed) + 1
}

fn give(bytes: &[u8], room: &mut [u8], length: &mut ck::CK_ULONG) -> ck::CK_RV {
    *length = ulong(bytes.len());
    match room.get_mut(..bytes.len()) {
        Some(place) => place.copy_from_slice(bytes),
        None => return ck::CKR_BUFFER_TOO_SMALL,
    }
    ck::CKR_OK
}

fn token_info() -> ck::CK_TOKEN_INFO {
    let mut info = ck::CK_TOKEN_INFO {
        label: [b' '; 32],
        manufacturerID: [b' '; 32],
        model: [b' '; 16],
        serialNumber: [b' '; 16],
        flags: ck::CKF_TOKEN_INITIALIZED | ck::CKF_LOGIN_REQUIRED | ck::CKF_USER_PIN_INITIALIZED,
        ulMaxSessionCount: ck::CK_EFFECTIVELY_INFINITE,
        ..Default::default()
    };
    info.label
        .iter_mut()
        .zip(b"fake")
        .for_each(|(place, byte)| *place = *byte);
    info.serialNumber
        .iter_mut()
        .zip(b"1")
        .for_each(|(place, byte)| *place = *byte);
    info
}

fn attributes(object: ck::CK_OBJECT_HANDLE, template: Vec<Asked<'_>>) -> ck::CK_RV {
    let mut code = ck::CKR_OK;
    for mut asked in template {
        let told = match value(object, asked.kind) {
            Some(value) => asked.answer(&value),
            None => {
                *asked.length = ck::CK_UNAVAILABLE_INFORMATION;
                ck::CKR_ATTRIBUTE_TYPE_INVALID
            }
        };
        if told != ck::CKR_OK {
            code = told;
        }
    }
    code
}

fn value(object: ck::CK_OBJECT_HANDLE, kind: ck::CK_ATTRIBUTE_TYPE) -> Option<Vec<u8>> {
    let number = |number: ck::CK_ULONG| number.to_ne_bytes().to_vec();
    let is_on_token = object == KEY;
    Some(match kind {
        ck::CKA_CLASS => number(ck::CKO_SECRET_KEY),
        ck::CKA_KEY_TYPE => number(ck::CKK_AES),
        ck::CKA_VALUE_LEN => number(32),
        ck::CKA_TOKEN => vec![u8::from(is_on_token)],
        ck::CKA_LABEL if is_on_token => LABEL.as_bytes().to_vec(),
        ck::CKA_ID if is_on_token => ID.to_vec(),
        ck::CKA_ENCRYPT | ck::CKA_DECRYPT => vec![ck::CK_TRUE],
        ck::CKA_SIGN | ck::CKA_VERIFY | ck::CKA_WRAP | ck::CKA_UNWRAP | ck::CKA_DERIVE => vec![ck::CK_FALSE],
        _ => return None,
    })
}

fn cipher(
    direction: Direction,
    gcm: &Gcm<'_>,
    input: &[u8],
    output: &mut [u8],
    length: &mut ck::CK_ULONG,
) -> ck::CK_RV {
    let iv = gcm.iv.as_deref().unwrap_or_default();
    let mask = |text: &[u8], place: &mut [u8]| {
        let masked = text.iter().zip(0..).map(|(byte, at)| byte ^ mask_byte(iv, at));
        place.iter_mut().zip(masked).for_each(|(place, byte)| *place = byte);
    };
    match direction {
        Direction::Encrypt => {
            *length = ulong(input.len() + TAG);
            let Some((text, rest)) = output.split_at_mut_checked(input.len()) else {
                return ck::CKR_BUFFER_TOO_SMALL;
            };
            mask(input, text);
            let Some(place) = rest.get_mut(..TAG) else {
                return ck::CKR_BUFFER_TOO_SMALL;
            };
            place.copy_from_slice(&tag(iv, gcm.aad, text));
        }
        Direction::Decrypt => {
            let Some((text, given)) = input.split_last_chunk::<TAG>() else {
                return ck::CKR_ENCRYPTED_DATA_LEN_RANGE;
            };
            if *given != tag(iv, gcm.aad, text) {
                return ck::CKR_ENCRYPTED_DATA_INVALID;
            }
            *length = ulong(text.len());
            mask(text, output);
        }
    }
    ck::CKR_OK
}

fn mask_byte(iv: &[u8], at: u64) -> u8 {
    let [byte, ..] = iv
        .iter()
        .fold(mix(at), |state, byte| mix(state ^ u64::from(*byte)))
        .to_le_bytes();
    byte
}

fn tag(iv: &[u8], aad: &[u8], text: &[u8]) -> [u8; TAG] {
    let mut state = 1;
    for part in [iv, aad, text] {
        state = part
            .iter()
            .fold(mix(state), |state, byte| mix(state ^ u64::from(*byte)));
    }
    let mut tag = [0; TAG];
    let (first, second) = tag.split_at_mut(TAG / 2);
    first.copy_from_slice(&state.to_le_bytes());
    second.copy_from_slice(&mix(state).to_le_bytes());
    tag
}

/// One number out of another, never 0 out of a small one.
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number ^ (number >> 27)
}
