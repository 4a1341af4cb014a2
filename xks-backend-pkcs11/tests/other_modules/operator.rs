//! Another user of the module: in this process beside the backend, or in another.

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::Mechanism,
    object::{Attribute, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};
use xks_pkcs11_fixture::initialize_with;

use crate::{
    checks::VALUE,
    module::Module,
    token::{LABEL, PIN, Token, WRONG_PIN},
};

const OFFICERS_PIN: &str = "officer's pin 1";

/// A session that is logged in.
pub(crate) struct Operator {
    pub(crate) pkcs11: Pkcs11,
    pub(crate) session: Session,
}

impl Operator {
    /// Logs in to the token. The module is initialized unless it is, and stays so until
    /// [`leave`](Self::leave).
    pub(crate) fn log_in(token: &Token) -> Self {
        let pkcs11 = initialized(token);
        let session = pkcs11.open_rw_session(slot(&pkcs11)).unwrap();
        match session.login(UserType::User, Some(&pin(PIN))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(error) => panic!("{error}"),
        }
        Self { pkcs11, session }
    }

    /// Finalizes the module.
    pub(crate) fn leave(self) {
        self.session.close().unwrap();
        self.pkcs11.finalize().unwrap();
    }

    /// Makes a key of this value, whose `CKA_ID` is its label.
    pub(crate) fn import(&self, label: &str, value: [u8; 32]) {
        let mut template = template(label, true, true);
        template.extend([
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Value(value.to_vec()),
        ]);
        self.session.create_object(&template).unwrap();
    }

    fn generate(&self, label: &str, encrypt: bool, decrypt: bool) {
        let mut template = template(label, encrypt, decrypt);
        template.push(Attribute::ValueLen(32.into()));
        self.session.generate_key(&Mechanism::AesKeyGen, &template).unwrap();
    }

    pub(crate) fn delete(&self, label: &str) {
        self.session.destroy_object(self.key(label)).unwrap();
    }

    /// The one key with this label.
    pub(crate) fn key(&self, label: &str) -> ObjectHandle {
        let wanted = [Attribute::Token(true), Attribute::Label(label.into())];
        let found = self.session.find_objects(&wanted).unwrap();
        assert_eq!(found.len(), 1, "{label}");
        found[0]
    }
}

/// Performs the task of a process that was started for it.
pub(crate) fn perform(token: &Token, task: &str) {
    let words: Vec<_> = task.split_whitespace().collect();
    match *words {
        ["make"] => make(token),
        ["import", label, byte] => {
            let operator = Operator::log_in(token);
            operator.import(label, [byte.parse().unwrap(); 32]);
            operator.leave();
        }
        ["delete", label] => {
            let operator = Operator::log_in(token);
            operator.delete(label);
            operator.leave();
        }
        ["lock", attempts] => lock(token, attempts.parse().unwrap()),
        _ => panic!("unknown task {task}"),
    }
}

/// Makes the token and the keys of the conformance checks.
fn make(token: &Token) {
    let pkcs11 = initialized(token);
    let officers_pin = match token.module {
        // Its token is there already, without PINs.
        Module::Softoken => pin(""),
        Module::Craton | Module::Kryoptic => {
            let slot = pkcs11.get_slots_with_token().unwrap()[0];
            pkcs11.init_token(slot, &pin(OFFICERS_PIN), LABEL).unwrap();
            pin(OFFICERS_PIN)
        }
    };
    let session = pkcs11.open_rw_session(slot(&pkcs11)).unwrap();
    session.login(UserType::So, Some(&officers_pin)).unwrap();
    session.init_pin(&pin(PIN)).unwrap();
    session.logout().unwrap();
    session.login(UserType::User, Some(&pin(PIN))).unwrap();
    let operator = Operator { pkcs11, session };
    operator.import("known", VALUE);
    operator.generate("second", true, true);
    operator.generate("encrypts", true, false);
    operator.generate("decrypts", false, true);
    operator.leave();
}

/// Tries a wrong PIN so often, none of which locks the token, and once more, which does.
fn lock(token: &Token, attempts: u32) {
    let pkcs11 = initialized(token);
    let session = pkcs11.open_rw_session(slot(&pkcs11)).unwrap();
    let attempt = || match session.login(UserType::User, Some(&pin(WRONG_PIN))) {
        Err(Error::Pkcs11(code, _)) => code,
        other => panic!("{other:?}"),
    };
    for number in 0..attempts {
        assert!(matches!(attempt(), RvError::PinIncorrect), "attempt {number}");
    }
    assert!(matches!(attempt(), RvError::PinLocked));
    session.close().unwrap();
    pkcs11.finalize().unwrap();
}

fn initialized(token: &Token) -> Pkcs11 {
    let pkcs11 = Pkcs11::new(token.module.path()).unwrap();
    let outcome = match token.parameters() {
        Some(parameters) => initialize_with(&pkcs11, &parameters),
        None => pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)),
    };
    match outcome {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => pkcs11,
        Err(error) => panic!("{error}"),
    }
}

fn slot(pkcs11: &Pkcs11) -> Slot {
    let slots = pkcs11.get_slots_with_token().unwrap().into_iter();
    let mut labelled = slots.filter(|slot| pkcs11.get_token_info(*slot).unwrap().label() == LABEL);
    labelled.next().expect("a token with the label")
}

fn template(label: &str, encrypt: bool, decrypt: bool) -> Vec<Attribute> {
    vec![
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(encrypt),
        Attribute::Decrypt(decrypt),
        Attribute::Label(label.into()),
        Attribute::Id(label.into()),
    ]
}

fn pin(pin: &str) -> AuthPin {
    AuthPin::new(pin.into())
}
