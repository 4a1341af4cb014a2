//! The function list of the fake: each function makes a [`Call`] of its arguments and has it answered.
//!
//! Before that it [touches](super::memory) the memory of its arguments: a memory checker then notices a
//! buffer that is shorter than stated, uninitialized or freed.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    ffi::{CStr, c_ulong, c_void},
    panic::{self, AssertUnwindSafe},
    ptr, slice,
    sync::LazyLock,
    thread,
};

use cryptoki_sys as ck;

use super::{
    call::{Asked, Call, Direction, Gcm},
    honest,
    making::{create_object, generate_key, generate_key_pair, sign, sign_init, wrap_key},
    memory::{given, given_template, place, room, size},
};

static LIST: LazyLock<ck::CK_FUNCTION_LIST> = LazyLock::new(list);

type Answer = Box<dyn FnMut(Call<'_>) -> ck::CK_RV>;

thread_local! {
    /// Answers the calls of this thread; without one, the honest token does.
    static ANSWER: RefCell<Option<Answer>> = const { RefCell::new(None) };
    /// The panic of an answer. It must not unwind through a function of C.
    static PANIC: RefCell<Option<Box<dyn Any + Send>>> = const { RefCell::new(None) };
    /// The mechanism of the active operation, at its caller's address. One thread calls both halves.
    pub(super) static ACTIVE: Cell<*mut ck::CK_MECHANISM> = const { Cell::new(ptr::null_mut()) };
}

/// Has `answer` answer the calls of this thread until the returned guard is dropped; the honest token answers
/// all others. If `answer` panics, the call fails, and dropping the guard resumes the panic.
pub fn answer_by(answer: impl FnMut(Call<'_>) -> ck::CK_RV + 'static) -> Answering {
    ANSWER.set(Some(Box::new(answer)));
    Answering
}

/// The guard of [`answer_by`].
#[derive(Debug)]
#[must_use = "dropping it ends the answers"]
pub struct Answering;

impl Drop for Answering {
    fn drop(&mut self) {
        ANSWER.set(None);
        ACTIVE.set(ptr::null_mut());
        if let Some(panic) = PANIC.take()
            && !thread::panicking()
        {
            panic::resume_unwind(panic);
        }
    }
}

pub(super) fn answer(call: Call<'_>) -> ck::CK_RV {
    let Some(mut answer) = ANSWER.take() else {
        return honest::answer(call);
    };
    let answered = panic::catch_unwind(AssertUnwindSafe(|| answer(call)));
    ANSWER.set(Some(answer));
    answered.unwrap_or_else(|panic| {
        PANIC.set(Some(panic));
        ck::CKR_GENERAL_ERROR
    })
}

/// Returns a list of the functions that the backend calls. The others are missing.
pub fn list() -> ck::CK_FUNCTION_LIST {
    ck::CK_FUNCTION_LIST {
        version: ck::CK_VERSION { major: 2, minor: 40 },
        C_Initialize: Some(initialize),
        C_Finalize: Some(finalize),
        C_GetSlotList: Some(get_slot_list),
        C_GetTokenInfo: Some(get_token_info),
        C_GetMechanismInfo: Some(get_mechanism_info),
        C_OpenSession: Some(open_session),
        C_CloseSession: Some(close_session),
        C_Login: Some(login),
        C_GetSessionInfo: Some(get_session_info),
        C_FindObjectsInit: Some(find_objects_init),
        C_FindObjects: Some(find_objects),
        C_FindObjectsFinal: Some(find_objects_final),
        C_GetAttributeValue: Some(get_attribute_value),
        C_CreateObject: Some(create_object),
        C_DestroyObject: Some(destroy_object),
        C_GenerateKey: Some(generate_key),
        C_GenerateKeyPair: Some(generate_key_pair),
        C_WrapKey: Some(wrap_key),
        C_GenerateRandom: Some(generate_random),
        C_EncryptInit: Some(encrypt_init),
        C_Encrypt: Some(encrypt),
        C_DecryptInit: Some(decrypt_init),
        C_Decrypt: Some(decrypt),
        C_SignInit: Some(sign_init),
        C_Sign: Some(sign),
        ..Default::default()
    }
}

/// The fake's `C_GetFunctionList`.
///
/// # Safety
/// `list` can be written to.
pub unsafe extern "C" fn get_function_list(list: *mut *mut c_void) -> c_ulong {
    // SAFETY: the caller has a place for a pointer there.
    unsafe { list.write(ptr::from_ref(&*LIST).cast_mut().cast()) };
    ck::CKR_OK
}

unsafe extern "C" fn initialize(arguments: *mut c_void) -> ck::CK_RV {
    // SAFETY: the caller passes these arguments, and what they hold is a text that ends with a zero, or null.
    unsafe {
        let arguments: &ck::CK_C_INITIALIZE_ARGS = &*arguments.cast();
        let reserved = arguments.pReserved.cast_const().cast();
        answer(Call::Initialize {
            flags: arguments.flags,
            reserved: (!arguments.pReserved.is_null()).then(|| CStr::from_ptr(reserved)),
        })
    }
}

unsafe extern "C" fn finalize(reserved: *mut c_void) -> ck::CK_RV {
    if reserved.is_null() {
        answer(Call::Finalize)
    } else {
        ck::CKR_ARGUMENTS_BAD
    }
}

unsafe extern "C" fn get_slot_list(
    with_token: ck::CK_BBOOL,
    slots: *mut ck::CK_SLOT_ID,
    count: *mut ck::CK_ULONG,
) -> ck::CK_RV {
    if with_token != ck::CK_TRUE {
        return ck::CKR_ARGUMENTS_BAD;
    }
    // SAFETY: the caller has room for `count` slots, or asks for their number with a null pointer.
    unsafe {
        let slots = (!slots.is_null()).then(|| room(slots, *count));
        answer(Call::GetSlotList {
            slots,
            count: place(count),
        })
    }
}

unsafe extern "C" fn get_token_info(slot: ck::CK_SLOT_ID, info: *mut ck::CK_TOKEN_INFO) -> ck::CK_RV {
    // SAFETY: the caller has a place for it.
    let info = unsafe { place(info) };
    answer(Call::GetTokenInfo { slot, info })
}

unsafe extern "C" fn get_mechanism_info(
    slot: ck::CK_SLOT_ID,
    mechanism: ck::CK_MECHANISM_TYPE,
    info: *mut ck::CK_MECHANISM_INFO,
) -> ck::CK_RV {
    // SAFETY: the caller has a place for it.
    let info = unsafe { place(info) };
    answer(Call::GetMechanismInfo { slot, mechanism, info })
}

unsafe extern "C" fn open_session(
    slot: ck::CK_SLOT_ID,
    flags: ck::CK_FLAGS,
    application: *mut c_void,
    notify: ck::CK_NOTIFY,
    session: *mut ck::CK_SESSION_HANDLE,
) -> ck::CK_RV {
    if !application.is_null() || notify.is_some() {
        return ck::CKR_ARGUMENTS_BAD;
    }
    // SAFETY: the caller has a place for it.
    let session = unsafe { place(session) };
    answer(Call::OpenSession { slot, flags, session })
}

unsafe extern "C" fn close_session(session: ck::CK_SESSION_HANDLE) -> ck::CK_RV {
    answer(Call::CloseSession { session })
}

unsafe extern "C" fn login(
    session: ck::CK_SESSION_HANDLE,
    user: ck::CK_USER_TYPE,
    pin: *mut ck::CK_UTF8CHAR,
    length: ck::CK_ULONG,
) -> ck::CK_RV {
    // SAFETY: the PIN is as long as said; a null pointer is none.
    let pin = (!pin.is_null()).then(|| unsafe { given(pin, length) });
    answer(Call::Login { session, user, pin })
}

unsafe extern "C" fn get_session_info(session: ck::CK_SESSION_HANDLE, info: *mut ck::CK_SESSION_INFO) -> ck::CK_RV {
    // SAFETY: the caller has a place for it.
    let info = unsafe { place(info) };
    answer(Call::GetSessionInfo { session, info })
}

unsafe extern "C" fn find_objects_init(
    session: ck::CK_SESSION_HANDLE,
    template: *mut ck::CK_ATTRIBUTE,
    count: ck::CK_ULONG,
) -> ck::CK_RV {
    // SAFETY: the template is one.
    let template = unsafe { given_template(template, count) };
    answer(Call::FindObjectsInit { session, template })
}

unsafe extern "C" fn find_objects(
    session: ck::CK_SESSION_HANDLE,
    objects: *mut ck::CK_OBJECT_HANDLE,
    most: ck::CK_ULONG,
    count: *mut ck::CK_ULONG,
) -> ck::CK_RV {
    // SAFETY: the caller has room for `most` handles, and a place for their number.
    let (objects, count) = unsafe { (room(objects, most), place(count)) };
    answer(Call::FindObjects {
        session,
        objects,
        count,
    })
}

unsafe extern "C" fn find_objects_final(session: ck::CK_SESSION_HANDLE) -> ck::CK_RV {
    answer(Call::FindObjectsFinal { session })
}

unsafe extern "C" fn get_attribute_value(
    session: ck::CK_SESSION_HANDLE,
    object: ck::CK_OBJECT_HANDLE,
    template: *mut ck::CK_ATTRIBUTE,
    count: ck::CK_ULONG,
) -> ck::CK_RV {
    // SAFETY: the template is one, each entry of which has room for as many bytes as it says.
    let template = unsafe {
        let entries = slice::from_raw_parts_mut(template, size(count)).iter_mut();
        let asked = entries.map(|entry| Asked {
            kind: entry.type_,
            is_query: entry.pValue.is_null(),
            room: match entry.pValue.is_null() {
                true => &mut [],
                false => room(entry.pValue.cast(), entry.ulValueLen),
            },
            length: &mut entry.ulValueLen,
        });
        asked.collect()
    };
    answer(Call::GetAttributeValue {
        session,
        object,
        template,
    })
}

unsafe extern "C" fn destroy_object(session: ck::CK_SESSION_HANDLE, object: ck::CK_OBJECT_HANDLE) -> ck::CK_RV {
    answer(Call::DestroyObject { session, object })
}

unsafe extern "C" fn generate_random(
    session: ck::CK_SESSION_HANDLE,
    bytes: *mut ck::CK_BYTE,
    length: ck::CK_ULONG,
) -> ck::CK_RV {
    // SAFETY: the caller has room for so many bytes.
    let bytes = unsafe { room(bytes, length) };
    answer(Call::GenerateRandom { session, bytes })
}

unsafe extern "C" fn encrypt_init(
    session: ck::CK_SESSION_HANDLE,
    mechanism: *mut ck::CK_MECHANISM,
    key: ck::CK_OBJECT_HANDLE,
) -> ck::CK_RV {
    // SAFETY: the mechanism is one.
    unsafe { cipher_init(Direction::Encrypt, session, mechanism, key) }
}

unsafe extern "C" fn decrypt_init(
    session: ck::CK_SESSION_HANDLE,
    mechanism: *mut ck::CK_MECHANISM,
    key: ck::CK_OBJECT_HANDLE,
) -> ck::CK_RV {
    // SAFETY: the mechanism is one.
    unsafe { cipher_init(Direction::Decrypt, session, mechanism, key) }
}

unsafe fn cipher_init(
    direction: Direction,
    session: ck::CK_SESSION_HANDLE,
    mechanism: *mut ck::CK_MECHANISM,
    key: ck::CK_OBJECT_HANDLE,
) -> ck::CK_RV {
    // SAFETY: the mechanism is one, and stays where it is until the second half of the operation.
    let gcm = unsafe { gcm(mechanism) };
    let code = answer(Call::CipherInit {
        direction,
        session,
        key,
        gcm,
    });
    if code == ck::CKR_OK {
        ACTIVE.set(mechanism);
    }
    code
}

unsafe extern "C" fn encrypt(
    session: ck::CK_SESSION_HANDLE,
    input: *mut ck::CK_BYTE,
    input_length: ck::CK_ULONG,
    output: *mut ck::CK_BYTE,
    length: *mut ck::CK_ULONG,
) -> ck::CK_RV {
    // SAFETY: the input is as long as said, and the caller has room for as much output as it says.
    unsafe { cipher(Direction::Encrypt, session, given(input, input_length), output, length) }
}

unsafe extern "C" fn decrypt(
    session: ck::CK_SESSION_HANDLE,
    input: *mut ck::CK_BYTE,
    input_length: ck::CK_ULONG,
    output: *mut ck::CK_BYTE,
    length: *mut ck::CK_ULONG,
) -> ck::CK_RV {
    // SAFETY: the input is as long as said, and the caller has room for as much output as it says.
    unsafe { cipher(Direction::Decrypt, session, given(input, input_length), output, length) }
}

unsafe fn cipher(
    direction: Direction,
    session: ck::CK_SESSION_HANDLE,
    input: &[u8],
    output: *mut ck::CK_BYTE,
    length: *mut ck::CK_ULONG,
) -> ck::CK_RV {
    let mechanism = ACTIVE.replace(ptr::null_mut());
    if mechanism.is_null() {
        return ck::CKR_OPERATION_NOT_INITIALIZED;
    }
    // SAFETY: the mechanism is still there, as is what it points to; the output has room for as much as it
    // says.
    let (gcm, output, length) = unsafe { (gcm(mechanism), room(output, *length), place(length)) };
    answer(Call::Cipher {
        direction,
        session,
        gcm,
        input,
        output,
        length,
    })
}

unsafe fn gcm<'a>(mechanism: *mut ck::CK_MECHANISM) -> Gcm<'a> {
    // SAFETY: the parameters are those of AES-GCM, and IV and AAD are as long as they say.
    unsafe {
        let mechanism = mechanism.read();
        let parameters: ck::CK_GCM_PARAMS = mechanism.pParameter.cast::<ck::CK_GCM_PARAMS>().read();
        Gcm {
            mechanism: mechanism.mechanism,
            iv: (!parameters.pIv.is_null()).then(|| room(parameters.pIv, parameters.ulIvLen)),
            iv_bits: parameters.ulIvBits,
            aad: given(parameters.pAAD, parameters.ulAADLen),
            tag_bits: parameters.ulTagBits,
        }
    }
}
