//! A call of the module, in safe types: what it was given, and the places for what it answers. All lengths
//! are those that the caller has said; an answer may lie about its own.

use std::ffi::CStr;

use cryptoki_sys as ck;

pub(crate) enum Call<'a> {
    Initialize {
        flags: ck::CK_FLAGS,
        reserved: Option<&'a CStr>,
    },
    Finalize,
    GetSlotList {
        /// None: only their number is asked for.
        slots: Option<&'a mut [ck::CK_SLOT_ID]>,
        count: &'a mut ck::CK_ULONG,
    },
    GetTokenInfo {
        slot: ck::CK_SLOT_ID,
        info: &'a mut ck::CK_TOKEN_INFO,
    },
    GetMechanismInfo {
        slot: ck::CK_SLOT_ID,
        mechanism: ck::CK_MECHANISM_TYPE,
        info: &'a mut ck::CK_MECHANISM_INFO,
    },
    OpenSession {
        slot: ck::CK_SLOT_ID,
        flags: ck::CK_FLAGS,
        session: &'a mut ck::CK_SESSION_HANDLE,
    },
    CloseSession {
        session: ck::CK_SESSION_HANDLE,
    },
    Login {
        session: ck::CK_SESSION_HANDLE,
        user: ck::CK_USER_TYPE,
        pin: Option<&'a [u8]>,
    },
    GetSessionInfo {
        session: ck::CK_SESSION_HANDLE,
        info: &'a mut ck::CK_SESSION_INFO,
    },
    FindObjectsInit {
        session: ck::CK_SESSION_HANDLE,
        template: Vec<Given<'a>>,
    },
    FindObjects {
        session: ck::CK_SESSION_HANDLE,
        objects: &'a mut [ck::CK_OBJECT_HANDLE],
        count: &'a mut ck::CK_ULONG,
    },
    FindObjectsFinal {
        session: ck::CK_SESSION_HANDLE,
    },
    GetAttributeValue {
        session: ck::CK_SESSION_HANDLE,
        object: ck::CK_OBJECT_HANDLE,
        template: Vec<Asked<'a>>,
    },
    GenerateKey {
        session: ck::CK_SESSION_HANDLE,
        mechanism: ck::CK_MECHANISM_TYPE,
        template: Vec<Given<'a>>,
        key: &'a mut ck::CK_OBJECT_HANDLE,
    },
    GenerateKeyPair {
        session: ck::CK_SESSION_HANDLE,
        mechanism: ck::CK_MECHANISM_TYPE,
        public_template: Vec<Given<'a>>,
        private_template: Vec<Given<'a>>,
        public: &'a mut ck::CK_OBJECT_HANDLE,
        private: &'a mut ck::CK_OBJECT_HANDLE,
    },
    CreateObject {
        session: ck::CK_SESSION_HANDLE,
        template: Vec<Given<'a>>,
        object: &'a mut ck::CK_OBJECT_HANDLE,
    },
    DestroyObject {
        session: ck::CK_SESSION_HANDLE,
        object: ck::CK_OBJECT_HANDLE,
    },
    GenerateRandom {
        session: ck::CK_SESSION_HANDLE,
        bytes: &'a mut [u8],
    },
    CipherInit {
        direction: Direction,
        session: ck::CK_SESSION_HANDLE,
        key: ck::CK_OBJECT_HANDLE,
        gcm: Gcm<'a>,
    },
    Cipher {
        direction: Direction,
        session: ck::CK_SESSION_HANDLE,
        /// What the call that began the operation was given, read again.
        gcm: Gcm<'a>,
        input: &'a [u8],
        output: &'a mut [u8],
        length: &'a mut ck::CK_ULONG,
    },
    SignInit {
        session: ck::CK_SESSION_HANDLE,
        key: ck::CK_OBJECT_HANDLE,
        mechanism: ck::CK_MECHANISM_TYPE,
    },
    Sign {
        session: ck::CK_SESSION_HANDLE,
        /// What the call that began the operation was given, read again.
        mechanism: ck::CK_MECHANISM_TYPE,
        data: &'a [u8],
        signature: &'a mut [u8],
        length: &'a mut ck::CK_ULONG,
    },
    WrapKey {
        session: ck::CK_SESSION_HANDLE,
        wrapping: Wrapping,
        wrapping_key: ck::CK_OBJECT_HANDLE,
        key: ck::CK_OBJECT_HANDLE,
        wrapped: &'a mut [u8],
        length: &'a mut ck::CK_ULONG,
    },
}

/// The mechanism of a wrapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrapping {
    pub(crate) mechanism: ck::CK_MECHANISM_TYPE,
    /// The bits of the AES key that is made for it, if one is.
    pub(crate) aes_bits: Option<ck::CK_ULONG>,
    pub(crate) hash: ck::CK_MECHANISM_TYPE,
    pub(crate) mask: ck::CK_RSA_PKCS_MGF_TYPE,
    /// The bytes of the label of OAEP.
    pub(crate) label: ck::CK_ULONG,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Encrypt,
    Decrypt,
}

/// An attribute of a template that is only read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given<'a> {
    pub(crate) kind: ck::CK_ATTRIBUTE_TYPE,
    pub(crate) value: &'a [u8],
}

/// An attribute that is asked for.
pub(crate) struct Asked<'a> {
    pub(crate) kind: ck::CK_ATTRIBUTE_TYPE,
    /// The length alone is asked for.
    pub(crate) is_query: bool,
    pub(crate) room: &'a mut [u8],
    pub(crate) length: &'a mut ck::CK_ULONG,
}

impl Asked<'_> {
    /// Answers as the standard says.
    pub(crate) fn tell(&mut self, value: &[u8]) -> ck::CK_RV {
        if self.is_query {
            *self.length = ulong(value.len());
            return ck::CKR_OK;
        }
        let Some(place) = self.room.get_mut(..value.len()) else {
            *self.length = ck::CK_UNAVAILABLE_INFORMATION;
            return ck::CKR_BUFFER_TOO_SMALL;
        };
        place.copy_from_slice(value);
        *self.length = ulong(value.len());
        ck::CKR_OK
    }
}

/// The mechanism of an encryption or decryption.
pub(crate) struct Gcm<'a> {
    pub(crate) mechanism: ck::CK_MECHANISM_TYPE,
    /// None where there is no place for one.
    pub(crate) iv: Option<&'a mut [u8]>,
    pub(crate) iv_bits: ck::CK_ULONG,
    pub(crate) aad: &'a [u8],
    pub(crate) tag_bits: ck::CK_ULONG,
}

pub(crate) fn ulong(number: usize) -> ck::CK_ULONG {
    ck::CK_ULONG::try_from(number).unwrap_or(ck::CK_ULONG::MAX)
}
