//! Any return code, once, from any function that a request may call: the request ends with the right answer
//! or an applicable error, and the next one succeeds.

use std::time::Duration;

use xks_backend_pkcs11::{Config, KeyName, ReturnCode};
use xks_core::backend::BackendErrorKind as Kind;
use xks_pkcs11_fixture::{Function, Profile, Shim, SoftHsm, When, own_process, sys::*};

use super::{
    KEYS, Scene,
    codes::{self, CODES},
    make_keys, wait_for_silence,
};
use crate::support::{copy, decrypt, encrypt, id, metadata, round_trip, wait_until};

#[test]
fn softhsm() {
    own_process("faults::sweep::softhsm", |hsm| sweep(hsm, Profile::SoftHsm));
}

#[test]
fn cloudhsm() {
    own_process("faults::sweep::cloudhsm", |hsm| sweep(hsm, Profile::CloudHsm));
}

/// The request that the fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It encrypts with a key that is known.
    Encrypt,
    /// It decrypts.
    Decrypt,
    /// It encrypts with a key that it has to look for.
    Search,
    /// It asks for the metadata of a key that is not there.
    SearchInVain,
    /// It encrypts on a session that was closed, so that it opens another one.
    Reopen,
    /// It encrypts after the user was logged out, so that it logs in.
    LogIn,
}

const STEPS: [(Function, Step); 15] = [
    // First, for after another login no key is known.
    (Function::C_OpenSession, Step::Reopen),
    (Function::C_GenerateRandom, Step::Reopen),
    (Function::C_FindObjectsInit, Step::Search),
    (Function::C_FindObjects, Step::Search),
    (Function::C_FindObjectsFinal, Step::Search),
    (Function::C_GetAttributeValue, Step::Search),
    (Function::C_EncryptInit, Step::Encrypt),
    (Function::C_Encrypt, Step::Encrypt),
    (Function::C_DecryptInit, Step::Decrypt),
    (Function::C_Decrypt, Step::Decrypt),
    (Function::C_GetTokenInfo, Step::SearchInVain),
    (Function::C_GetSessionInfo, Step::SearchInVain),
    (Function::C_FindObjectsInit, Step::SearchInVain),
    (Function::C_GetSessionInfo, Step::LogIn),
    (Function::C_Login, Step::LogIn),
];

/// A request and the fault that hits it.
#[derive(Clone, Copy, Debug)]
struct Case {
    function: Function,
    step: Step,
    code: CK_RV,
    /// Whether the operation stays active on the session.
    active: bool,
    /// How many calls of the function succeed before.
    after: u64,
}

fn sweep(hsm: &SoftHsm, profile: Profile) {
    make_keys(hsm);
    let shim = Shim::load();
    let cases: Vec<_> = cases(profile).collect();
    let scene = Scene::again(&shim, profile, |config| {
        let config = config
            .sessions(1)
            .deadline(Duration::from_secs(5))
            .health_interval(Duration::from_secs(30))
            // On a busy machine too, the keys that are to be searched for are found by no other request.
            .key_refresh(Duration::from_secs(3600));
        (0..cases.len()).fold(config, |config, number| alias(config, number, cases[number].step))
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let backend = &*scene.backend;
    let encrypted = runtime.block_on(encrypt(backend, KEYS[0], b"plaintext")).unwrap();
    let (mut recovered, mut wrong) = (0, Vec::new());
    for (number, case) in cases.iter().enumerate() {
        let name = format!("alias-{number}");
        let request = async {
            match case.step {
                Step::Decrypt => decrypt(backend, KEYS[0], &copy(&encrypted))
                    .await
                    .map(|plaintext| assert_eq!(plaintext, b"plaintext", "{case:?}")),
                Step::SearchInVain => metadata(backend, &name).await.map(drop),
                Step::Search => round_trip(backend, &name, name.as_bytes()).await,
                Step::Encrypt | Step::Reopen | Step::LogIn => round_trip(backend, KEYS[0], name.as_bytes()).await,
            }
        };
        if case.step == Step::LogIn && cases[number - 1].step != Step::LogIn {
            assert_eq!(
                shim.counters().finalized,
                0,
                "single errors are no reason to reinitialize"
            );
        }
        let struck = shim.counters().injected;
        case.prepare(&shim);
        let outcome = runtime.block_on(request).map_err(|error| error.kind());
        let was_struck = shim.counters().injected > struck;
        recovered += u64::from(was_struck && outcome.is_ok());
        if !was_struck {
            if case.after == 0 {
                wrong.push(format!("{}: no such call", case.text()));
            }
            shim.clear();
        } else if !case.may_be(profile, outcome) {
            wrong.push(format!("{}: {outcome:?}", case.text()));
        }
        let next = if case.step == Step::Search { &name } else { KEYS[0] };
        let next = || runtime.block_on(round_trip(backend, next, b"next"));
        if case.has_token_tested() {
            wait_until("the next request", || next().is_ok());
            wait_for_silence(
                &shim,
                Duration::from_millis(if case.step == Step::LogIn { 5 } else { 50 }),
            );
        } else if let Err(error) = next() {
            wrong.push(format!("{}: and the next request: {error:?}", case.text()));
        }
    }
    println!("{} cases, of which {recovered} were recovered", cases.len());
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), cases.len());
    // Those sessions that the module said were gone; but not while the token is being connected.
    wait_for_silence(&shim, Duration::from_millis(100));
    shim.close_sessions();
    runtime.block_on(round_trip(backend, KEYS[0], b"last")).unwrap();
    scene.end();
}

fn alias(config: Config, number: usize, step: Step) -> Config {
    let label = if step == Step::SearchInVain { "absent" } else { KEYS[1] };
    config.key(id(&format!("alias-{number}")), KeyName::Label(label.into()))
}

fn cases(profile: Profile) -> impl Iterator<Item = Case> {
    let steps = STEPS
        .into_iter()
        .filter(move |(function, _)| !profile.writes_iv_back() || *function != Function::C_GenerateRandom);
    let cases = steps.flat_map(|(function, step)| {
        CODES.into_iter().flat_map(move |code| {
            let orders = [(false, 0), (true, 0), (false, 1)];
            orders.map(|(active, after)| Case {
                function,
                step,
                code,
                active,
                after,
            })
        })
    });
    cases.filter(Case::is_possible)
}

impl Case {
    fn prepare(&self, shim: &Shim) {
        match self.step {
            Step::Reopen => shim.close_sessions(),
            Step::LogIn => shim.log_out(),
            Step::Encrypt | Step::Decrypt | Step::Search | Step::SearchInVain => {}
        }
        let when = When::once().after(self.after);
        if self.active {
            shim.fail_active(self.function, self.code, when);
        } else {
            shim.fail(self.function, self.code, when);
        }
    }

    /// Whether a known-answer test follows, which the next fault must not hit.
    fn has_token_tested(&self) -> bool {
        let is_of_the_mechanism = matches!(self.code, CKR_MECHANISM_INVALID | CKR_MECHANISM_PARAM_INVALID);
        self.step == Step::LogIn || is_of_the_mechanism && matches!(self.step, Step::Encrypt | Step::Decrypt)
    }

    fn is_possible(&self) -> bool {
        let is_called_twice = matches!(
            (self.function, self.step),
            (Function::C_FindObjects | Function::C_GetAttributeValue, Step::Search) | (_, Step::SearchInVain)
        );
        // These say that some values are there, and the shim gives none.
        let says_half = self.function == Function::C_GetAttributeValue
            && matches!(
                self.code,
                CKR_ATTRIBUTE_SENSITIVE | CKR_ATTRIBUTE_TYPE_INVALID | CKR_BUFFER_TOO_SMALL
            );
        // After these there are no more logins.
        let refuses = self.function == Function::C_Login && codes::is_refusal(self.code);
        let is_too_much = self.active && self.step == Step::LogIn;
        (self.after == 0 || is_called_twice) && !says_half && !refuses && !is_too_much
    }

    fn may_be(&self, profile: Profile, outcome: Result<(), Kind>) -> bool {
        use Function::{C_DecryptInit, C_EncryptInit, C_Login, C_OpenSession};

        let Err(kind) = outcome else {
            return self.step != Step::SearchInVain;
        };
        let is_of_a_session = codes::is_of_a_session(self.code);
        let is_recoverable = is_of_a_session || codes::is_of_the_device(self.code);
        let is_busy = profile == Profile::CloudHsm && matches!(self.code, CKR_FUNCTION_FAILED | CKR_DEVICE_ERROR);
        match kind {
            Kind::KeyNotFound => self.step == Step::SearchInVain,
            Kind::InvalidCiphertext => codes::blames_the_ciphertext(self.function, self.code),
            Kind::KeyUsage => {
                matches!(self.function, C_EncryptInit | C_DecryptInit)
                    && matches!(
                        self.code,
                        CKR_KEY_FUNCTION_NOT_PERMITTED | CKR_KEY_TYPE_INCONSISTENT | CKR_KEY_SIZE_RANGE
                    )
            }
            Kind::Throttled => {
                is_busy
                    || self.code == CKR_TOKEN_RESOURCE_EXCEEDED
                    || (self.function == C_OpenSession && self.code == CKR_SESSION_COUNT)
            }
            // A request tries each remedy once, and these would need one twice.
            Kind::Unavailable => {
                !is_recoverable
                    || self.function == C_Login
                    || matches!(self.step, Step::Reopen | Step::LogIn) && is_of_a_session
            }
            Kind::Other => !is_recoverable,
            _ => false,
        }
    }

    fn text(&self) -> String {
        let active = if self.active { ", and stays active" } else { "" };
        format!(
            "{} -> {}{active} ({:?}, after {})",
            self.function.name(),
            ReturnCode::new(self.code),
            self.step,
            self.after
        )
    }
}
