//! A call of the module in safe types: its arguments, and the memory for its results. All lengths are those
//! that the caller stated; an answer may state wrong ones.

use std::ffi::CStr;

use cryptoki_sys as ck;

/// A call, with the arguments of the function of that name.
#[allow(missing_docs, reason = "the arguments are those of the standard")]
#[allow(missing_debug_implementations, reason = "it lives for a call")]
pub enum Call<'a> {
    Initialize {
        flags: ck::CK_FLAGS,
        reserved: Option<&'a CStr>,
    },
    Finalize,
    GetSlotList {
        /// None: the caller asks for their number alone.
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
        /// The argument of the call that began the operation, read again.
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
        /// The argument of the call that began the operation, read again.
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

/// The mechanism of `C_WrapKey`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrapping {
    /// Its type.
    pub mechanism: ck::CK_MECHANISM_TYPE,
    /// The bits of the temporary AES key, for `CKM_RSA_AES_KEY_WRAP`.
    pub aes_bits: Option<ck::CK_ULONG>,
    /// The hash of OAEP; zero, as the two after it, for a wrapping under an AES key.
    pub hash: ck::CK_MECHANISM_TYPE,
    /// The mask generation function of OAEP.
    pub mask: ck::CK_RSA_PKCS_MGF_TYPE,
    /// The bytes of the label of OAEP.
    pub label: ck::CK_ULONG,
}

/// What a cipher does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `C_EncryptInit`, `C_Encrypt`
    Encrypt,
    /// `C_DecryptInit`, `C_Decrypt`
    Decrypt,
}

/// An attribute of a template that is only read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given<'a> {
    /// Its type.
    pub kind: ck::CK_ATTRIBUTE_TYPE,
    /// Its value.
    pub value: &'a [u8],
}

/// An attribute that the caller asks for.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Its type.
    pub kind: ck::CK_ATTRIBUTE_TYPE,
    /// The caller asks for the length alone.
    pub is_query: bool,
    /// The memory for the value.
    pub room: &'a mut [u8],
    /// The length: that of the memory, until the module answers.
    pub length: &'a mut ck::CK_ULONG,
}

impl Asked<'_> {
    /// Answers as the standard says.
    pub fn answer(&mut self, value: &[u8]) -> ck::CK_RV {
        if self.is_query {
            *self.length = ulong(value.len());
            return ck::CKR_OK;
        }
        let Some(room) = self.room.get_mut(..value.len()) else {
            *self.length = ck::CK_UNAVAILABLE_INFORMATION;
            return ck::CKR_BUFFER_TOO_SMALL;
        };
        room.copy_from_slice(value);
        *self.length = ulong(value.len());
        ck::CKR_OK
    }
}

/// The mechanism of an encryption or decryption.
#[derive(Debug)]
pub struct Gcm<'a> {
    /// Its type.
    pub mechanism: ck::CK_MECHANISM_TYPE,
    /// The IV, which the module may write; none if the pointer is null.
    pub iv: Option<&'a mut [u8]>,
    /// `ulIvBits`
    pub iv_bits: ck::CK_ULONG,
    /// The AAD.
    pub aad: &'a [u8],
    /// `ulTagBits`
    pub tag_bits: ck::CK_ULONG,
}

pub(super) fn ulong(number: usize) -> ck::CK_ULONG {
    ck::CK_ULONG::try_from(number).unwrap_or(ck::CK_ULONG::MAX)
}
