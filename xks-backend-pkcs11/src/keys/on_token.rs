//! What a token says of its keys: which has a name, what it is, and what it may do.

use cryptoki_sys as ck;
use xks_core::backend::{KeyMetadata, KeySpec, KeyStatus, KeyUsage};

use super::{
    Identity, Key, Keys, Miss,
    attributes::{Told, fails_the_object},
};
use crate::{
    attribute::{Attribute, Wanted},
    config::KeyName,
    error::CallError,
    raw::Cryptoki,
};

/// How many objects of one name are looked at: a key may share its label with a certificate and its key pair.
const MOST_NAMESAKES: usize = 16;

/// The attributes that say what a key may be used for.
pub(crate) const USAGES: [(ck::CK_ATTRIBUTE_TYPE, KeyUsage); 7] = [
    (ck::CKA_ENCRYPT, KeyUsage::Encrypt),
    (ck::CKA_DECRYPT, KeyUsage::Decrypt),
    (ck::CKA_SIGN, KeyUsage::Sign),
    (ck::CKA_VERIFY, KeyUsage::Verify),
    (ck::CKA_WRAP, KeyUsage::Wrap),
    (ck::CKA_UNWRAP, KeyUsage::Unwrap),
    (ck::CKA_DERIVE, KeyUsage::Derive),
];

/// A session, in a login.
#[derive(Clone, Copy)]
pub(crate) struct On<'a> {
    pub(crate) cryptoki: &'a Cryptoki,
    pub(crate) session: ck::CK_SESSION_HANDLE,
    pub(crate) login_epoch: u64,
}

/// Whether the value of a key may leave the token, as far as the module tells.
pub(crate) struct Exposure {
    pub(crate) is_extractable: Option<bool>,
    pub(crate) is_sensitive: Option<bool>,
}

impl Exposure {
    fn of(told: &Told) -> Self {
        Self {
            is_extractable: told.flag(ck::CKA_EXTRACTABLE),
            is_sensitive: told.flag(ck::CKA_SENSITIVE),
        }
    }
}

/// An object that may be a key.
pub(super) struct Seen {
    class: Option<ck::CK_OBJECT_CLASS>,
    is_on_token: bool,
    pub(super) key: Key,
}

impl Seen {
    /// An unknown class is no other class.
    fn is_of_class(&self, class: ck::CK_OBJECT_CLASS) -> bool {
        self.class.is_none_or(|actual| actual == class)
    }

    pub(super) const fn is_on_token(&self) -> bool {
        self.is_on_token
    }
}

impl Keys {
    /// Looks for the one key with this name on the token.
    pub(crate) fn search(&self, on: On<'_>, name: &KeyName) -> Result<Result<Key, Miss>, CallError> {
        // By the name alone: some modules look each condition up on its own, and a second search costs as
        // much as the first. Whether a key is private (CKA_PRIVATE) makes no difference.
        let template = [match name {
            KeyName::Label(label) => Attribute::Bytes(ck::CKA_LABEL, label.as_bytes()),
            KeyName::Id(id) => Attribute::Bytes(ck::CKA_ID, id),
        }];
        let mut found = Vec::new();
        for handle in on.cryptoki.find(on.session, &template, MOST_NAMESAKES)? {
            match self.see(on, handle) {
                Ok(seen) if seen.is_on_token => found.push(seen),
                Ok(_) => {}
                // It has just gone.
                Err(error) if error.says_object_is_gone() => {}
                Err(error) => return Err(error),
            }
        }
        // A module that fills names up, or does not tell them, knows whose they are.
        if found.iter().any(|seen| seen.key.identity.is_exactly(name)) {
            found.retain(|seen| seen.key.identity.is_exactly(name));
        } else {
            found.retain(|seen| seen.key.identity.may_be(name));
        }
        // Private keys too, so that one which is no secret key is distinguished from one that is not there.
        for class in [ck::CKO_SECRET_KEY, ck::CKO_PRIVATE_KEY] {
            let mut of_class = found
                .extract_if(.., |seen| seen.is_of_class(class))
                .map(|seen| seen.key);
            match (of_class.next(), of_class.next()) {
                (None, _) => {}
                (Some(key), None) => return Ok(Ok(key)),
                (Some(first), Some(second)) => {
                    let identities = [first, second].into_iter().chain(of_class).map(|key| key.identity);
                    return Ok(Err(Miss::Several(identities.collect())));
                }
            }
        }
        Ok(Err(Miss::Absent))
    }

    /// Reads a key's attributes; none if this is not, or no longer, the key with this name.
    pub(crate) fn look_at(
        &self,
        on: On<'_>,
        handle: ck::CK_OBJECT_HANDLE,
        name: &KeyName,
    ) -> Result<Option<Key>, CallError> {
        let seen = self.see(on, handle)?;
        Ok((seen.is_on_token && seen.key.identity.may_be(name)).then_some(seen.key))
    }

    /// Whether the module finds keys and returns what they are: one that returns nothing may have reasons of
    /// its own, several have not. A token without keys has nothing to tell.
    pub(crate) fn are_told(&self, on: On<'_>) -> Result<(), CallError> {
        let template = [Attribute::Number(ck::CKA_CLASS, ck::CKO_SECRET_KEY)];
        let mut refusal = None;
        for handle in on.cryptoki.find(on.session, &template, MOST_NAMESAKES)? {
            match self.see(on, handle) {
                Ok(_) => return Ok(()),
                Err(error) if error.says_object_is_gone() => {}
                Err(error) => refusal = Some(error),
            }
        }
        refusal.map_or(Ok(()), Err)
    }

    /// Whether the handle is, on this session, that of this key.
    pub(crate) fn confirms(&self, on: On<'_>, handle: ck::CK_OBJECT_HANDLE, key: &Key) -> Result<bool, CallError> {
        let wanted = [Wanted::Bytes(ck::CKA_LABEL), Wanted::Bytes(ck::CKA_ID)];
        match self.manner.read(on.cryptoki, on.session, handle, &wanted) {
            Ok(told) => Ok(key.identity.is_known() && key.identity.is_same(&Identity::of(&told))),
            Err(error) if error.says_object_is_gone() || !fails_the_object(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a key's value may leave the token, and whether it may do so bare.
    pub(crate) fn exposure(&self, on: On<'_>, handle: ck::CK_OBJECT_HANDLE) -> Result<Exposure, CallError> {
        let wanted = [Wanted::Flag(ck::CKA_EXTRACTABLE), Wanted::Flag(ck::CKA_SENSITIVE)];
        let told = self.manner.read(on.cryptoki, on.session, handle, &wanted)?;
        Ok(Exposure::of(&told))
    }

    /// The key with a handle, with its exposure, by one call; nothing if there is none on the token.
    pub(crate) fn examine(
        &self,
        on: On<'_>,
        handle: ck::CK_OBJECT_HANDLE,
    ) -> Result<Option<(Key, Exposure)>, CallError> {
        let exposure = [Wanted::Flag(ck::CKA_EXTRACTABLE), Wanted::Flag(ck::CKA_SENSITIVE)];
        match self.see_with(on, handle, &exposure) {
            Ok((seen, told)) => Ok(seen.is_on_token.then(|| (seen.key, Exposure::of(&told)))),
            Err(error) if error.says_object_is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn see(&self, on: On<'_>, handle: ck::CK_OBJECT_HANDLE) -> Result<Seen, CallError> {
        self.see_with(on, handle, &[]).map(|(seen, _)| seen)
    }

    fn see_with(&self, on: On<'_>, handle: ck::CK_OBJECT_HANDLE, more: &[Wanted]) -> Result<(Seen, Told), CallError> {
        let mut wanted = vec![
            Wanted::Number(ck::CKA_KEY_TYPE),
            Wanted::Bytes(ck::CKA_LABEL),
            Wanted::Bytes(ck::CKA_ID),
            Wanted::Number(ck::CKA_CLASS),
            Wanted::Flag(ck::CKA_TOKEN),
            Wanted::Number(ck::CKA_VALUE_LEN),
            Wanted::Bytes(ck::CKA_CHECK_VALUE),
        ];
        wanted.extend(USAGES.map(|(kind, _)| Wanted::Flag(kind)));
        wanted.extend_from_slice(more);
        let told = self.manner.read(on.cryptoki, on.session, handle, &wanted)?;
        // What the module does not say of these two it says when it is asked to do it.
        let may_be_tried = |usage| matches!(usage, KeyUsage::Encrypt | KeyUsage::Decrypt);
        let permits = |(kind, usage)| told.flag(kind).unwrap_or_else(|| may_be_tried(usage));
        let usages = USAGES
            .into_iter()
            .filter(|usage| permits(*usage))
            .map(|(_, usage)| usage);
        let seen = Seen {
            class: told.number(ck::CKA_CLASS),
            is_on_token: told.flag(ck::CKA_TOKEN) != Some(false),
            // GKM-3: PKCS#11 cannot disable a single key.
            key: Key::new(
                handle,
                on,
                Identity::of(&told),
                KeyMetadata::new(key_spec(&told), usages, KeyStatus::Enabled),
            ),
        };
        Ok((seen, told))
    }
}

impl Identity {
    fn of(told: &Told) -> Self {
        // What is empty is not told: it tells no key from another.
        let bytes = |kind| told.bytes(kind).filter(|bytes| !bytes.is_empty()).map(Box::from);
        Self {
            label: bytes(ck::CKA_LABEL),
            id: bytes(ck::CKA_ID),
            check_value: bytes(ck::CKA_CHECK_VALUE),
        }
    }
}

// GKM-1. What is not told of a secret key is taken for what it has to be: the module refuses AES-GCM with
// another. So is a length that no AES key has; modules tell it in bytes, in bits, or as 0.
fn key_spec(told: &Told) -> KeySpec {
    const NAMES: [(ck::CK_KEY_TYPE, &str); 6] = [
        (ck::CKK_AES, "AES"),
        (ck::CKK_DES3, "DES3"),
        (ck::CKK_EC, "EC"),
        (ck::CKK_GENERIC_SECRET, "GENERIC_SECRET"),
        (ck::CKK_RSA, "RSA"),
        (ck::CKK_CHACHA20, "CHACHA20"),
    ];
    let may_be_secret = told
        .number(ck::CKA_CLASS)
        .is_none_or(|class| class == ck::CKO_SECRET_KEY);
    let key_type = match told.number(ck::CKA_KEY_TYPE) {
        Some(key_type) => key_type,
        None if may_be_secret => ck::CKK_AES,
        None => return KeySpec::Other("UNKNOWN".into()),
    };
    let name = NAMES
        .iter()
        .find(|(number, _)| *number == key_type)
        .map(|(_, name)| *name);
    match (name, told.number(ck::CKA_VALUE_LEN)) {
        (Some("AES"), Some(16 | 128)) => KeySpec::Other("AES_128".into()),
        (Some("AES"), Some(24 | 192)) => KeySpec::Other("AES_192".into()),
        (Some("AES"), _) => KeySpec::Aes256,
        (Some(name), Some(bytes)) => KeySpec::Other(format!("{name}_{}", u128::from(bytes) * 8).into()),
        (Some(name), None) => KeySpec::Other(name.into()),
        (None, _) => KeySpec::Other(format!("CKK_{key_type:#x}").into()),
    }
}
