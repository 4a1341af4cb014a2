//! The functions that make objects, sign, and wrap keys.

use std::ptr;

use cryptoki_sys as ck;

use super::{
    call::{Call, Wrapping},
    list::{ACTIVE, answer},
    memory::{given, given_template, place, room, size},
};

/// The lengths of the parameters of wrappings.
const OAEP: usize = size_of::<ck::CK_RSA_PKCS_OAEP_PARAMS>();
const WITH_AES: usize = size_of::<ck::CK_RSA_AES_KEY_WRAP_PARAMS>();

pub(super) unsafe extern "C" fn generate_key(
    session: ck::CK_SESSION_HANDLE,
    mechanism: *mut ck::CK_MECHANISM,
    template: *mut ck::CK_ATTRIBUTE,
    count: ck::CK_ULONG,
    key: *mut ck::CK_OBJECT_HANDLE,
) -> ck::CK_RV {
    // SAFETY: mechanism and template are such, and the caller has a place for the handle.
    let (mechanism, template, key) = unsafe { (plain(mechanism), given_template(template, count), place(key)) };
    match mechanism {
        Some(mechanism) => answer(Call::GenerateKey {
            session,
            mechanism,
            template,
            key,
        }),
        None => ck::CKR_MECHANISM_PARAM_INVALID,
    }
}

pub(super) unsafe extern "C" fn generate_key_pair(
    session: ck::CK_SESSION_HANDLE,
    mechanism: *mut ck::CK_MECHANISM,
    public_template: *mut ck::CK_ATTRIBUTE,
    public_count: ck::CK_ULONG,
    private_template: *mut ck::CK_ATTRIBUTE,
    private_count: ck::CK_ULONG,
    public: *mut ck::CK_OBJECT_HANDLE,
    private: *mut ck::CK_OBJECT_HANDLE,
) -> ck::CK_RV {
    // SAFETY: mechanism and templates are such, and the caller has places for the handles.
    unsafe {
        match plain(mechanism) {
            Some(mechanism) => answer(Call::GenerateKeyPair {
                session,
                mechanism,
                public_template: given_template(public_template, public_count),
                private_template: given_template(private_template, private_count),
                public: place(public),
                private: place(private),
            }),
            None => ck::CKR_MECHANISM_PARAM_INVALID,
        }
    }
}

pub(super) unsafe extern "C" fn create_object(
    session: ck::CK_SESSION_HANDLE,
    template: *mut ck::CK_ATTRIBUTE,
    count: ck::CK_ULONG,
    object: *mut ck::CK_OBJECT_HANDLE,
) -> ck::CK_RV {
    // SAFETY: the template is one, and the caller has a place for the handle.
    let (template, object) = unsafe { (given_template(template, count), place(object)) };
    answer(Call::CreateObject {
        session,
        template,
        object,
    })
}

pub(super) unsafe extern "C" fn wrap_key(
    session: ck::CK_SESSION_HANDLE,
    mechanism: *mut ck::CK_MECHANISM,
    wrapping_key: ck::CK_OBJECT_HANDLE,
    key: ck::CK_OBJECT_HANDLE,
    wrapped: *mut ck::CK_BYTE,
    length: *mut ck::CK_ULONG,
) -> ck::CK_RV {
    // SAFETY: the mechanism is one, and the caller has room for as many bytes as it says.
    let (wrapping, wrapped, length) = unsafe { (wrapping(mechanism), room(wrapped, *length), place(length)) };
    match wrapping {
        Some(wrapping) => answer(Call::WrapKey {
            session,
            wrapping,
            wrapping_key,
            key,
            wrapped,
            length,
        }),
        None => ck::CKR_MECHANISM_PARAM_INVALID,
    }
}

pub(super) unsafe extern "C" fn sign_init(
    session: ck::CK_SESSION_HANDLE,
    mechanism: *mut ck::CK_MECHANISM,
    key: ck::CK_OBJECT_HANDLE,
) -> ck::CK_RV {
    // SAFETY: the mechanism is one, and stays where it is until the second half of the operation.
    let Some(kind) = (unsafe { plain(mechanism) }) else {
        return ck::CKR_MECHANISM_PARAM_INVALID;
    };
    let code = answer(Call::SignInit {
        session,
        key,
        mechanism: kind,
    });
    if code == ck::CKR_OK {
        ACTIVE.set(mechanism);
    }
    code
}

pub(super) unsafe extern "C" fn sign(
    session: ck::CK_SESSION_HANDLE,
    data: *mut ck::CK_BYTE,
    data_length: ck::CK_ULONG,
    signature: *mut ck::CK_BYTE,
    length: *mut ck::CK_ULONG,
) -> ck::CK_RV {
    let mechanism = ACTIVE.replace(ptr::null_mut());
    if mechanism.is_null() {
        return ck::CKR_OPERATION_NOT_INITIALIZED;
    }
    // SAFETY: the mechanism is still there, the data are as long as said, and the caller has room for as much
    // as it says.
    unsafe {
        match plain(mechanism) {
            Some(mechanism) => answer(Call::Sign {
                session,
                mechanism,
                data: given(data, data_length),
                signature: room(signature, *length),
                length: place(length),
            }),
            None => ck::CKR_MECHANISM_PARAM_INVALID,
        }
    }
}

/// A mechanism that takes no parameters, if it has none.
unsafe fn plain(mechanism: *mut ck::CK_MECHANISM) -> Option<ck::CK_MECHANISM_TYPE> {
    // SAFETY: the caller says that it is one.
    let mechanism = unsafe { mechanism.read() };
    (mechanism.pParameter.is_null() && mechanism.ulParameterLen == 0).then_some(mechanism.mechanism)
}

/// A mechanism that wraps keys, if its parameters are such.
unsafe fn wrapping(mechanism: *mut ck::CK_MECHANISM) -> Option<Wrapping> {
    // SAFETY: the mechanism is one, and its parameters are as long as it says.
    unsafe {
        let mechanism = mechanism.read();
        if let ck::CKM_AES_KEY_WRAP_KWP | ck::CKM_AES_KEY_WRAP_PAD = mechanism.mechanism {
            return (mechanism.pParameter.is_null() && mechanism.ulParameterLen == 0).then_some(Wrapping {
                mechanism: mechanism.mechanism,
                aes_bits: None,
                hash: 0,
                mask: 0,
                label: 0,
            });
        }
        let (oaep, aes_bits) = match (mechanism.mechanism, size(mechanism.ulParameterLen)) {
            (ck::CKM_RSA_PKCS_OAEP, OAEP) => (mechanism.pParameter.cast::<ck::CK_RSA_PKCS_OAEP_PARAMS>(), None),
            (ck::CKM_RSA_AES_KEY_WRAP, WITH_AES) => {
                let both = mechanism.pParameter.cast::<ck::CK_RSA_AES_KEY_WRAP_PARAMS>().read();
                (both.pOAEPParams, Some(both.ulAESKeyBits))
            }
            _ => return None,
        };
        let oaep = oaep.read();
        (oaep.source == ck::CKZ_DATA_SPECIFIED && oaep.pSourceData.is_null()).then_some(Wrapping {
            mechanism: mechanism.mechanism,
            aes_bits,
            hash: oaep.hashAlg,
            mask: oaep.mgf,
            label: oaep.ulSourceDataLen,
        })
    }
}
