//! What vendors do differently, as data.

use std::{fmt, str::FromStr};

use cryptoki_sys as ck;
use thiserror::Error;
use xks_core::backend::BackendErrorKind;

use crate::{
    error::CallError,
    raw::CodeNames,
    return_code::{Phase, Remedy, ReturnCode},
};

/// Where the IV of an encryption comes from. Specification: Encrypt.
///
/// A module that is configured to make its own and does not would encrypt under an IV of zeros, again and
/// again, and no return code tells. So it is tried before the first request, and an IV that is still zero
/// after a call is never used.
// ENC-6
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IvSource {
    /// 12 bytes from the token's random source (`C_GenerateRandom`), fetched for 32 encryptions at a time. A
    /// token that has none (`CKR_RANDOM_NO_RNG`, `CKR_FUNCTION_NOT_SUPPORTED`) gets the system's, and the log
    /// says so.
    TokenRandom,
    /// 12 bytes from the operating system's random source.
    SystemRandom,
    /// 12 bytes that the module writes where the IV is passed, which must hold zeros: nShield, AWS CloudHSM.
    WrittenBack,
    /// Bytes that the module appends to ciphertext and tag: Thales Luna in FIPS mode.
    Appended(AppendedIv),
}

/// How long an IV is that a module appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the API takes these two and no others (ENC-6)")]
pub enum AppendedIv {
    /// 12 bytes: Luna from firmware 7.9.3 on.
    Bytes12,
    /// 16 bytes: Luna before that, and by default.
    Bytes16,
}

impl IvSource {
    /// What `ulIvBits` says on encryption.
    pub(crate) const fn bits(self) -> usize {
        match self {
            Self::TokenRandom | Self::SystemRandom | Self::WrittenBack | Self::Appended(AppendedIv::Bytes12) => 96,
            // Old firmware does not know the meaning of another number, and new firmware makes 16 bytes of
            // this one.
            Self::Appended(AppendedIv::Bytes16) => 0,
        }
    }

    /// How many bytes follow the tag.
    pub(crate) const fn appended(self) -> usize {
        match self {
            Self::TokenRandom | Self::SystemRandom | Self::WrittenBack => 0,
            Self::Appended(AppendedIv::Bytes12) => 12,
            Self::Appended(AppendedIv::Bytes16) => 16,
        }
    }
}

/// Returns what kind of sessions are opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionMode {
    /// Read-write, unless the token says that it is write-protected. Some modules do not encrypt on read-only
    /// sessions.
    #[default]
    Automatic,
    /// Read-write.
    ReadWrite,
    /// Read-only.
    ReadOnly,
}

/// What a vendor's modules do differently from others. Begin with a vendor's, and change what is different at
/// yours.
///
/// ```
/// use xks_backend_pkcs11::{IvSource, Quirks};
///
/// let quirks: Quirks = "luna".parse()?;
/// let without_fips_mode = quirks.with_iv_source(IvSource::TokenRandom);
/// assert_eq!(without_fips_mode.iv_source(), IvSource::TokenRandom);
/// assert_eq!(without_fips_mode.vendor(), Quirks::LUNA.vendor());
/// # Ok::<_, xks_backend_pkcs11::UnknownVendor>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quirks {
    name: &'static str,
    vendor: Option<&'static str>,
    iv_source: IvSource,
    session_mode: SessionMode,
    /// Codes that mean a full queue, and the phases in which they do.
    throttled: &'static [(Phase, ReturnCode)],
    /// A code of `C_Decrypt` that certainly means a wrong tag, where the standard's meaning is another.
    invalid_ciphertext: Option<ReturnCode>,
    /// A PIN is a user's name and password in one, of which the token tells only what one may have.
    has_user_in_pin: bool,
    code_names: CodeNames,
}

impl Quirks {
    /// A module that keeps to the standard: the IV is the caller's.
    pub const STANDARD: Self = Self {
        name: "standard",
        vendor: None,
        iv_source: IvSource::TokenRandom,
        session_mode: SessionMode::Automatic,
        throttled: &[],
        invalid_ciphertext: None,
        has_user_in_pin: false,
        code_names: &[],
    };

    /// SoftHSM2, which keeps to the standard but for a return code that the backend can interpret.
    pub const SOFTHSM: Self = Self {
        name: "softhsm",
        vendor: Some("SoftHSM project"),
        ..Self::STANDARD
    };

    /// Entrust nShield: the HSM makes the IV.
    pub const NSHIELD: Self = Self {
        name: "nshield",
        vendor: Some("Entrust"),
        iv_source: IvSource::WrittenBack,
        ..Self::STANDARD
    };

    /// Thales Luna in FIPS mode: the HSM makes the IV, of 16 bytes, and appends it. Without FIPS mode the IV
    /// is [the caller's](IvSource::TokenRandom).
    pub const LUNA: Self = Self {
        name: "luna",
        vendor: Some("Thales"),
        iv_source: IvSource::Appended(AppendedIv::Bytes16),
        ..Self::STANDARD
    };

    /// AWS CloudHSM: the HSM makes the IV; a busy cluster answers with codes that mean something else
    /// elsewhere. The PIN has the form `user:password`. With a single HSM, the client's key availability
    /// check has to be disabled.
    pub const CLOUDHSM: Self = Self {
        name: "cloudhsm",
        vendor: Some("AWS"),
        iv_source: IvSource::WrittenBack,
        session_mode: SessionMode::ReadWrite,
        throttled: &[
            (Phase::EncryptInit, ReturnCode(ck::CKR_FUNCTION_FAILED)),
            (Phase::Encrypt, ReturnCode(ck::CKR_FUNCTION_FAILED)),
            (Phase::DecryptInit, ReturnCode(ck::CKR_FUNCTION_FAILED)),
            (Phase::Attributes, ReturnCode(ck::CKR_DEVICE_ERROR)),
            (Phase::Random, ReturnCode(ck::CKR_FUNCTION_FAILED)),
        ],
        has_user_in_pin: true,
        ..Self::STANDARD
    };

    /// All that have a name.
    pub const ALL: [Self; 5] = [Self::STANDARD, Self::SOFTHSM, Self::NSHIELD, Self::LUNA, Self::CLOUDHSM];

    /// The quirks of a vendor that is not among these, with a name of its own in settings and logs. They are
    /// those of the [standard](Self::STANDARD) until others are set.
    ///
    /// ```
    /// use xks_backend_pkcs11::{IvSource, Phase, Quirks, ReturnCode, SessionMode};
    ///
    /// const BUSY: ReturnCode = ReturnCode::new(0x8000_0101);
    /// const ACME: Quirks = Quirks::new("acme", "Acme")
    ///     .with_iv_source(IvSource::WrittenBack)
    ///     .with_session_mode(SessionMode::ReadWrite)
    ///     .with_throttled(&[(Phase::EncryptInit, BUSY), (Phase::DecryptInit, BUSY)])
    ///     .with_invalid_ciphertext(ReturnCode::new(0x8000_0102))
    ///     .with_code_names(&[(BUSY, "ACME_BUSY")]);
    /// assert_eq!(ACME.name(), "acme");
    /// ```
    #[must_use]
    pub const fn new(name: &'static str, vendor: &'static str) -> Self {
        Self {
            name,
            vendor: Some(vendor),
            ..Self::STANDARD
        }
    }

    /// Returns the name by which they are configured: `standard`, `softhsm`, `nshield`, `luna` or `cloudhsm`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the vendor of the HSMs; none where the token itself has to be asked.
    #[must_use]
    pub const fn vendor(&self) -> Option<&'static str> {
        self.vendor
    }

    /// Returns where the IV of an encryption comes from.
    #[must_use]
    pub const fn iv_source(&self) -> IvSource {
        self.iv_source
    }

    /// Returns the same quirks with another source of IVs.
    #[must_use]
    pub const fn with_iv_source(self, iv_source: IvSource) -> Self {
        Self { iv_source, ..self }
    }

    /// What kind of sessions are opened.
    #[must_use]
    pub const fn session_mode(&self) -> SessionMode {
        self.session_mode
    }

    /// Returns the same quirks with another kind of sessions.
    #[must_use]
    pub const fn with_session_mode(self, session_mode: SessionMode) -> Self {
        Self { session_mode, ..self }
    }

    /// Returns the same quirks with a return code of `C_Decrypt` that certainly means a wrong tag.
    ///
    /// Without this, a code that has another meaning in the standard is looked into by decrypting again, and
    /// by encrypting and decrypting with the same key; that costs some forty calls for each ciphertext that
    /// does not authenticate.
    #[must_use]
    pub const fn with_invalid_ciphertext(self, code: ReturnCode) -> Self {
        Self {
            invalid_ciphertext: Some(code),
            ..self
        }
    }

    /// Returns the same quirks with return codes that mean a full queue, and the phases in which they do:
    /// requests are `Throttled` then. Replaces the previous codes.
    #[must_use]
    pub const fn with_throttled(self, codes: &'static [(Phase, ReturnCode)]) -> Self {
        Self {
            throttled: codes,
            ..self
        }
    }

    /// Returns the same quirks with PINs of the form `user:password`, to which the token's limits of PIN
    /// lengths do not apply.
    #[must_use]
    pub const fn with_user_in_pin(self) -> Self {
        Self {
            has_user_in_pin: true,
            ..self
        }
    }

    /// Returns the same quirks with the vendor's names of its own return codes, which messages show. The
    /// backend that loads a module names its codes for all backends.
    #[must_use]
    pub const fn with_code_names(self, names: &'static [(ReturnCode, &'static str)]) -> Self {
        Self {
            code_names: names,
            ..self
        }
    }

    pub(crate) const fn code_names(&self) -> CodeNames {
        self.code_names
    }

    pub(crate) const fn has_user_in_pin(&self) -> bool {
        self.has_user_in_pin
    }

    /// Whether the module was too busy for a call.
    pub(crate) fn is_throttled(&self, error: &CallError) -> bool {
        self.remedy(error) == Remedy::Fail(BackendErrorKind::Throttled)
    }

    /// Whether the module refuses what it was asked for, and will at the next attempt too.
    pub(crate) fn is_refused(&self, error: &CallError) -> bool {
        self.remedy(error) == Remedy::Fail(BackendErrorKind::Other)
    }

    /// What is to be done about a failed call: what is known of the vendor goes before what is generally so.
    pub(crate) fn remedy(&self, error: &CallError) -> Remedy {
        let (phase, code) = (error.phase(), error.code());
        if self.throttled.contains(&(phase, code)) {
            return Remedy::Fail(BackendErrorKind::Throttled);
        }
        if phase == Phase::Decrypt && self.invalid_ciphertext == Some(code) {
            return Remedy::Fail(BackendErrorKind::InvalidCiphertext);
        }
        code.remedy(phase)
    }
}

impl Default for Quirks {
    fn default() -> Self {
        Self::STANDARD
    }
}

impl fmt::Display for Quirks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromStr for Quirks {
    type Err = UnknownVendor;

    fn from_str(name: &str) -> Result<Self, UnknownVendor> {
        Self::ALL
            .into_iter()
            .find(|quirks| quirks.name.eq_ignore_ascii_case(name))
            .ok_or(UnknownVendor)
    }
}

/// A name that no [`Quirks`] have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[error("unknown quirks: use standard, softhsm, nshield, luna or cloudhsm")]
pub struct UnknownVendor;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quirks_have_names() {
        for quirks in Quirks::ALL {
            assert_eq!(quirks.name().parse(), Ok(quirks));
            assert_eq!(quirks.name().to_uppercase().parse(), Ok(quirks));
        }
        assert_eq!("nCipher".parse::<Quirks>(), Err(UnknownVendor));
    }

    #[test]
    fn what_is_known_of_a_vendor_goes_first() {
        let call = |phase, code| CallError::new("C_", phase, ReturnCode(code));
        let failed = |phase| call(phase, ck::CKR_FUNCTION_FAILED);
        let throttled = Remedy::Fail(BackendErrorKind::Throttled);
        assert_eq!(Quirks::CLOUDHSM.remedy(&failed(Phase::Encrypt)), throttled);
        let busy = call(Phase::Attributes, ck::CKR_DEVICE_ERROR);
        assert_eq!(Quirks::CLOUDHSM.remedy(&busy), throttled);
        // At C_Decrypt it may be a wrong tag as well.
        assert_eq!(Quirks::CLOUDHSM.remedy(&failed(Phase::Decrypt)), Remedy::Ambiguous);
        assert_eq!(Quirks::NSHIELD.remedy(&failed(Phase::Encrypt)), Remedy::DeviceError);
        let known = Quirks::NSHIELD.with_invalid_ciphertext(ReturnCode(ck::CKR_FUNCTION_FAILED));
        let invalid = Remedy::Fail(BackendErrorKind::InvalidCiphertext);
        assert_eq!(known.remedy(&failed(Phase::Decrypt)), invalid);
        assert_eq!(known.remedy(&failed(Phase::Encrypt)), Remedy::DeviceError);
    }

    /// A vendor's own quirks are used as those that are built in.
    #[test]
    fn a_vendor_has_quirks_of_its_own() {
        const BUSY: ReturnCode = ReturnCode::new(0x8000_0101);
        const ACME: Quirks = Quirks::new("acme", "Acme")
            .with_throttled(&[(Phase::Encrypt, BUSY)])
            .with_user_in_pin();
        let call = |phase| CallError::new("C_", phase, BUSY);
        assert!(ACME.is_throttled(&call(Phase::Encrypt)) && !ACME.is_throttled(&call(Phase::Random)));
        assert!(ACME.has_user_in_pin() && !Quirks::NSHIELD.has_user_in_pin());
        assert_eq!(
            (ACME.name(), ACME.vendor(), ACME.to_string()),
            ("acme", Some("Acme"), "acme".to_owned())
        );
        assert_eq!(ACME.iv_source(), Quirks::STANDARD.iv_source());
    }
}
