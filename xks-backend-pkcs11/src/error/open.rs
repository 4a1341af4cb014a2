//! Why a backend could not be opened, and what to do about it.

use std::{path::PathBuf, time::Duration};

use cryptoki_sys as ckr;
use thiserror::Error;

use super::{CallError, LoadError};
use crate::{config::SlotSelector, return_code::Remedy};

/// Why a backend could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The library could not be loaded.
    #[error("the PKCS#11 module {} cannot be used", path.display())]
    #[non_exhaustive]
    Load {
        /// The library's path, as configured, or the linked module's name.
        path: PathBuf,
        /// Why.
        source: LoadError,
    },
    /// The module is loaded already, with other parameters.
    #[error("the PKCS#11 module {} is already initialized with other parameters: use the same `module_parameters` \
             for all of its tokens", path.display())]
    #[non_exhaustive]
    Parameters {
        /// The library's path, as configured, or the linked module's name.
        path: PathBuf,
    },
    /// The module does not let itself be initialized.
    #[error("the PKCS#11 module {} cannot be initialized{}", module.display(), initialize_advice(source))]
    #[non_exhaustive]
    Initialize {
        /// The library's path, as configured, or the linked module's name.
        module: PathBuf,
        /// What `C_Initialize` answered.
        source: CallError,
    },
    /// No token is the one that was asked for.
    #[error("no token {wanted}; tokens present: {}", list_of_tokens(present))]
    #[non_exhaustive]
    NoToken {
        /// What was asked for.
        wanted: SlotSelector,
        /// What there is: label and serial number of each token.
        present: Vec<String>,
    },
    /// Several tokens are the one that was asked for.
    #[error(
        "{count} tokens {wanted}; select one by its serial number (`token_serial`): {}",
        list(serials)
    )]
    #[non_exhaustive]
    Ambiguous {
        /// What was asked for.
        wanted: SlotSelector,
        /// How many there are.
        count: usize,
        /// The serial number of each of them.
        serials: Vec<String>,
    },
    /// In place of the token that this process has used there is another one now, which need not have its
    /// keys. It is refused, and is sent no PIN; the one before is taken again when it is back.
    #[error(
        "the token {wanted} is not the one used before: it has {found}; it had {known}. If it was replaced on \
         purpose, restart the process, select it by its serial number (`token_serial`), or set `token_may_change = \
         true`"
    )]
    #[non_exhaustive]
    AnotherToken {
        /// What was asked for.
        wanted: SlotSelector,
        /// Serial number, manufacturer and model of the token before.
        known: String,
        /// Those of the token that is there now.
        found: String,
    },
    /// The token knows no AES-GCM.
    #[error("the token {token} does not support AES-GCM (CKM_AES_GCM){}", if *is_behind_p11_kit { P11_KIT } else { "" })]
    #[non_exhaustive]
    NoAesGcm {
        /// The token's label.
        token: String,
        /// Whether it is seen through p11-kit, which may be what hides it.
        is_behind_p11_kit: bool,
    },
    /// The token wants a login, and there is no PIN, nor was it [said](crate::Config::pin) that there is
    /// none: its private keys could not be seen.
    #[error(
        "the token {token} requires a login (CKF_LOGIN_REQUIRED), and no PIN is configured: set `pin_file`, \
         `pin_env` or `pin`, or `login = false` if all its keys are public"
    )]
    #[non_exhaustive]
    LoginRequired {
        /// The token's label.
        token: String,
    },
    /// The PIN is shorter or longer than the token takes. It was not tried.
    #[error("the token {token} requires a PIN of {shortest} to {longest} bytes: the configured PIN was not sent")]
    #[non_exhaustive]
    PinLength {
        /// The token's label.
        token: String,
        /// The fewest bytes that it takes (`ulMinPinLen`).
        shortest: usize,
        /// The most (`ulMaxPinLen`).
        longest: usize,
    },
    /// The token refuses the PIN, or has refused it before. For HSMs lock, this process does not send it
    /// again, also when the backend is opened again; another PIN is tried.
    #[error("the token rejected the PIN, which is not sent again: {}", pin_advice(.0))]
    PinRefused(#[source] CallError),
    /// `C_Login` failed with a code that does not tell whether the PIN was looked at, now or a short time
    /// ago.
    #[error(
        "the login failed {attempts} times in a row with an error that does not mention the PIN; the next attempt \
         follows after {wait:.1?}, so that the PIN is not locked"
    )]
    #[non_exhaustive]
    LoginPostponed {
        /// How many attempts with this PIN have failed in a row, in this process.
        attempts: u32,
        /// How long it is until the next one.
        wait: Duration,
        /// What the last one failed with.
        source: CallError,
    },
    /// The test key that was named is missing, or is not fit to be one.
    #[error("test key unusable: {problem}")]
    #[non_exhaustive]
    TestKey {
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The self-test went wrong: to go on would put data at risk.
    #[error("the self-test failed: {problem}")]
    #[non_exhaustive]
    SelfTest {
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A call of the self-test failed, in a way that may pass.
    #[error(
        "an operation of the known-answer test failed; if it fails every time, check that `quirks` names the \
             token's vendor"
    )]
    TestCall(#[source] CallError),
    /// The token gives one session, and two are needed.
    #[error(
        "the token provides one session, and two are required: check whether other applications use the token, and \
         its session limit"
    )]
    FewSessions,
    /// A call failed.
    #[error("a call of the PKCS#11 module failed")]
    Call(#[from] CallError),
    /// The module is being reinitialized, or could not be.
    #[error("the PKCS#11 module is not initialized now")]
    NotInitialized,
    /// The configuration contradicts itself.
    #[error("invalid configuration: {0}")]
    Config(&'static str),
    /// The system gives no more threads.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

impl OpenError {
    /// What SoftHSM2 says while another process writes to a token, as each login does; and what is reported
    /// of a session that another is taken for.
    pub(crate) fn may_be_momentary(&self) -> bool {
        match self {
            Self::NoToken { .. } => true,
            Self::TestCall(error) | Self::Call(error) if error.code().0 == ckr::CKR_OPERATION_ACTIVE => true,
            Self::Call(error) | Self::LoginPostponed { source: error, .. } | Self::Initialize { source: error, .. } => {
                matches!(
                    error.code().0,
                    ckr::CKR_GENERAL_ERROR | ckr::CKR_USER_PIN_NOT_INITIALIZED
                )
            }
            _ => false,
        }
    }

    /// Whether the same attempt fails again until the configuration, the token, or what is installed is
    /// changed. A service manager should not start the program again by itself then.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        match self {
            Self::Load { source, .. } => !matches!(source, LoadError::Call(_)),
            Self::Initialize { source, .. } => {
                source.says_arguments_are_refused() || source.code().0 == ckr::CKR_FUNCTION_NOT_SUPPORTED
            }
            Self::Call(error) => matches!(error.code().remedy(error.phase()), Remedy::Misconfigured),
            Self::Parameters { .. }
            | Self::Ambiguous { .. }
            | Self::NoAesGcm { .. }
            | Self::LoginRequired { .. }
            | Self::PinLength { .. }
            | Self::PinRefused(_)
            | Self::TestKey { .. }
            | Self::SelfTest { .. }
            | Self::Config(_) => true,
            Self::NoToken { .. }
            | Self::AnotherToken { .. }
            | Self::LoginPostponed { .. }
            | Self::FewSessions
            | Self::TestCall(_)
            | Self::NotInitialized
            | Self::Thread(_) => false,
        }
    }

    /// Whether a backend may wait for the same attempt to go well.
    pub(crate) const fn may_pass(&self) -> bool {
        !self.is_permanent() && !matches!(self, Self::Thread(_) | Self::Load { .. })
    }
}

const P11_KIT: &str = ", as seen through p11-kit, which hides it before version 0.25: configure the token's own \
                       module instead of p11-kit's, or update p11-kit";

/// What to look at when `C_Initialize` fails so.
fn initialize_advice(error: &CallError) -> &'static str {
    match error.code().0 {
        ckr::CKR_GENERAL_ERROR | ckr::CKR_FUNCTION_FAILED => {
            ": check that this process may read the module's configuration and tokens, and write its log. Most \
             often its user is not in the module's group (softhsm, nfast), or a variable is missing in \
             `[environment]` (SOFTHSM2_CONF)"
        }
        ckr::CKR_ARGUMENTS_BAD => ": check `module_parameters`, which some modules require (NSS)",
        _ => "",
    }
}

/// What to do when `C_Login` refuses a PIN so.
fn pin_advice(error: &CallError) -> &'static str {
    match error.code().0 {
        ckr::CKR_PIN_LOCKED => {
            "it is locked after too many wrong attempts; have the token's security officer unlock it, then restart"
        }
        ckr::CKR_PIN_EXPIRED => {
            "it has expired; set a new PIN with the token's own tool, and configure it (`pin_file`, `pin_env` or \
             `pin`)"
        }
        _ => {
            "correct it (`pin_file`, `pin_env` or `pin`) and reload; if the token's PIN was changed to this one, \
             restart"
        }
    }
}

fn list(present: &[String]) -> String {
    if present.is_empty() {
        "none".to_owned()
    } else {
        present.join(", ")
    }
}

/// SoftHSM2 passes over tokens whose files it may not read.
fn list_of_tokens(present: &[String]) -> String {
    if present.is_empty() {
        "none, or none that the user of this process may read".to_owned()
    } else {
        list(present)
    }
}

#[cfg(test)]
mod tests {
    use ckr::*;

    use super::*;
    use crate::return_code::{Phase, ReturnCode};

    /// SoftHSM2's token whose files another user made is not there for this one.
    #[test]
    fn no_token_at_all_leads_to_permissions() {
        let none = |present| {
            let wanted = SlotSelector::TokenLabel("main".to_owned());
            OpenError::NoToken { wanted, present }.to_string()
        };
        assert!(none(Vec::new()).ends_with("none, or none that the user of this process may read"));
        assert!(none(vec!["\"other\"".to_owned()]).ends_with("present: \"other\""));
    }

    /// Each error, and whether it is permanent, and whether a backend may wait for its end.
    #[test]
    fn what_no_retry_fixes_is_distinguished() {
        let call = |phase, code| CallError::new("C_", phase, ReturnCode(code));
        let slot = || SlotSelector::TokenLabel("main".to_owned());
        let (text, path) = (|| "main".to_owned(), || PathBuf::from("/module.so"));
        let load = |source| OpenError::Load { path: path(), source };
        let initialize = |code| OpenError::Initialize {
            module: path(),
            source: call(Phase::Module, code),
        };
        let io = || std::io::Error::from(std::io::ErrorKind::WouldBlock);
        let table = [
            (load(LoadError::NoFunctionList), true, false),
            (load(LoadError::Version(1, 0)), true, false),
            (
                load(LoadError::Call(call(Phase::Module, CKR_GENERAL_ERROR))),
                false,
                false,
            ),
            (initialize(CKR_ARGUMENTS_BAD), true, false),
            (initialize(CKR_CANT_LOCK), true, false),
            (initialize(CKR_NEED_TO_CREATE_THREADS), true, false),
            (initialize(CKR_FUNCTION_NOT_SUPPORTED), true, false),
            (initialize(CKR_GENERAL_ERROR), false, true),
            (initialize(CKR_DEVICE_ERROR), false, true),
            (OpenError::Parameters { path: path() }, true, false),
            (
                OpenError::NoToken {
                    wanted: slot(),
                    present: Vec::new(),
                },
                false,
                true,
            ),
            (
                OpenError::Ambiguous {
                    wanted: slot(),
                    count: 2,
                    serials: vec![text(); 2],
                },
                true,
                false,
            ),
            (
                OpenError::AnotherToken {
                    wanted: slot(),
                    known: text(),
                    found: text(),
                },
                false,
                true,
            ),
            (
                OpenError::NoAesGcm {
                    token: text(),
                    is_behind_p11_kit: false,
                },
                true,
                false,
            ),
            (OpenError::LoginRequired { token: text() }, true, false),
            (
                OpenError::PinLength {
                    token: text(),
                    shortest: 4,
                    longest: 255,
                },
                true,
                false,
            ),
            (
                OpenError::PinRefused(call(Phase::Login, CKR_PIN_INCORRECT)),
                true,
                false,
            ),
            (
                OpenError::LoginPostponed {
                    attempts: 1,
                    wait: Duration::ZERO,
                    source: call(Phase::Login, CKR_FUNCTION_FAILED),
                },
                false,
                true,
            ),
            (OpenError::TestKey { problem: text() }, true, false),
            (OpenError::SelfTest { problem: text() }, true, false),
            (OpenError::TestCall(call(Phase::Encrypt, CKR_DEVICE_ERROR)), false, true),
            (
                OpenError::Call(call(Phase::OpenSession, CKR_DEVICE_REMOVED)),
                false,
                true,
            ),
            (
                OpenError::Call(call(Phase::EncryptInit, CKR_MECHANISM_INVALID)),
                true,
                false,
            ),
            (OpenError::FewSessions, false, true),
            (OpenError::NotInitialized, false, true),
            (OpenError::Config("no"), true, false),
            (OpenError::Thread(io()), false, false),
        ];
        for (error, is_permanent, may_pass) in table {
            assert_eq!(error.is_permanent(), is_permanent, "{error:?}");
            assert_eq!(error.may_pass(), may_pass, "{error:?}");
        }
    }

    #[test]
    fn p11_kit_is_named_where_it_may_hide_the_mechanism() {
        let text = |is_behind_p11_kit| {
            let error = OpenError::NoAesGcm {
                token: "main".to_owned(),
                is_behind_p11_kit,
            };
            error.to_string()
        };
        assert!(
            text(true).contains("p11-kit, which hides it before version 0.25"),
            "{}",
            text(true)
        );
        assert!(!text(false).contains("p11-kit"), "{}", text(false));
    }
}
