//! What a token says of itself.

use cryptoki_sys as ck;

/// What a token says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TokenInfo {
    pub(crate) label: String,
    pub(crate) manufacturer: String,
    pub(crate) model: String,
    pub(crate) serial: String,
    pub(crate) firmware: (u8, u8),
    pub(crate) flags: ck::CK_FLAGS,
    /// None: as many as one likes, or unknown.
    pub(crate) max_sessions: Option<usize>,
    /// The bytes that a PIN may have; none where the token does not tell.
    pub(crate) pin_length: Option<(usize, usize)>,
}

impl TokenInfo {
    pub(crate) const fn is_initialized(&self) -> bool {
        self.flags & ck::CKF_TOKEN_INITIALIZED != 0
    }

    pub(crate) const fn wants_login(&self) -> bool {
        self.flags & ck::CKF_LOGIN_REQUIRED != 0
    }

    pub(crate) const fn is_write_protected(&self) -> bool {
        self.flags & ck::CKF_WRITE_PROTECTED != 0
    }
}
