//! The making of a key, once for each token of creation, whatever becomes of the answers.

use std::{thread, time::Instant};

use cryptoki_sys as ck;
use xks_core::{
    KeyId,
    manage::{CreationToken, ManageError, ManageErrorKind, NewKey},
    text::Hex,
};

use super::{Here, PAUSE, refusal};
use crate::{
    attribute::Attribute,
    config::{KeyLookup, KeyName},
    error::CallError,
    gcm::AttemptError,
    keys::{Exposure, Key, Miss, On, USAGES},
    request::Failed,
    session::SessionSlot,
    token::{A_MOMENT, Token},
};

/// The first bytes of the `CKA_ID` of every key that is made here; those of its token follow.
const MARK: &[u8; 8] = b"xks key ";

/// How often a key is made that another process makes too.
pub(super) const MOST_ROUNDS: u32 = 4;

/// The `CKA_ID` of the key with this token.
pub(super) fn to_id(token: CreationToken) -> Vec<u8> {
    [&MARK[..], token.as_bytes()].concat()
}

/// The token that a key with this `CKA_ID` was made with, if it was made here.
pub(super) fn token_of(id: &[u8]) -> Option<CreationToken> {
    let bytes: [u8; 16] = id.strip_prefix(MARK)?.try_into().ok()?;
    Some(CreationToken::from(bytes))
}

impl Token {
    pub(super) fn create_key(
        &self,
        session_slot: &mut SessionSlot,
        deadline: Instant,
        new: &NewKey,
    ) -> Result<KeyId, ManageError> {
        let name = KeyName::Id(to_id(new.token()));
        let id = self.id_of(new, &name)?;
        let _turn = self.module.take_turn(deadline)?;
        for _ in 0..MOST_ROUNDS {
            let made = self.with_session(session_slot, deadline, |access, connection, session| {
                let here = self.here(access, connection, session, deadline);
                if let Some(useless) = self.useless(&here, new)? {
                    return Ok(Err(useless));
                }
                self.find_or_make(&here, new, &name)
            });
            if let Some(key) = made.map_err(Failed::into_error)?? {
                self.show(&id, &key, deadline);
                return Ok(id);
            }
            thread::sleep(A_MOMENT);
        }
        Err(contended())
    }

    /// Why a key that can be wrapped is not made, if the token wraps none.
    pub(super) fn useless(&self, here: &Here<'_>, new: &NewKey) -> Result<Option<ManageError>, CallError> {
        if !new.is_extractable() {
            return Ok(None);
        }
        let found = self.wrappings(here.access, here.connection, here.on.session)?;
        if !found.algorithms().is_empty() {
            return Ok(None);
        }
        let detail = format!(
            "the token wraps no keys for AWS KMS, so that an extractable one is of no use: not {}",
            found.rejected()
        );
        Ok(Some(ManageError::new(ManageErrorKind::Unsupported, detail)))
    }

    /// The external key id that a new key is to have.
    pub(super) fn id_of(&self, new: &NewKey, name: &KeyName) -> Result<KeyId, ManageError> {
        let (id, stands_for) = match self.config.key_lookup {
            KeyLookup::Label => (new.label().clone(), KeyName::Label(new.label().as_str().to_owned())),
            KeyLookup::Id => {
                let text = Hex(name.bytes()).to_string();
                let id = text.parse().map_err(|_| ManageError::from(ManageErrorKind::Other))?;
                (id, name.clone())
            }
        };
        if self.keys.name(&id).as_ref() != Some(&stands_for) {
            let detail = format!("the external key id {id} is configured for a key of another name");
            return Err(ManageError::new(ManageErrorKind::LabelTaken, detail));
        }
        Ok(id)
    }

    /// The key, found or made; none if another process has made it at the same time: both are gone then, or
    /// the other's is left.
    pub(super) fn find_or_make(
        &self,
        here: &Here<'_>,
        new: &NewKey,
        name: &KeyName,
    ) -> Result<Result<Option<Key>, ManageError>, AttemptError> {
        let (on, has_login) = (here.on, here.connection.wants_login);
        match self.look_for(here, name)? {
            Ok(key) => return self.confirm_found(on, new, key),
            Err(Miss::Absent) => {}
            Err(miss) => return Ok(Err(miss.error(name).into())),
        }
        if let Some(taken) = self.label_taken(here, new.label())? {
            return Ok(Err(taken));
        }
        let made = match make(on, has_login, new, name) {
            Ok(made) => made,
            Err(error) => return refusal::or_failure(&error, has_login, "the token makes no such key"),
        };
        match self.look_for(here, name)? {
            Ok(key) => self.confirm_made(on, new, key),
            Err(Miss::Several(_)) => {
                on.cryptoki.destroy_object(on.session, made)?;
                Ok(Ok(None))
            }
            Err(_) => Ok(Err(unseen(name))),
        }
    }

    /// Has requests find a key that is new. A search that began before it was there may still note that it is
    /// not.
    pub(super) fn show(&self, id: &KeyId, key: &Key, deadline: Instant) {
        loop {
            let shown = self.keys.put(id, key.clone());
            let is_known = self.keys.known(id, shown.login_epoch).is_some();
            if is_known || shown.login_epoch != self.login_epoch() || Instant::now() >= deadline {
                return;
            }
            thread::sleep(PAUSE);
        }
    }

    /// Why a new key cannot have this label, if another key has it.
    pub(super) fn label_taken(&self, here: &Here<'_>, label: &KeyId) -> Result<Option<ManageError>, CallError> {
        let label = KeyName::Label(label.as_str().to_owned());
        Ok(match self.look_for(here, &label)? {
            Err(Miss::Absent) => None,
            _ => Some(ManageError::new(
                ManageErrorKind::LabelTaken,
                format!("another key of the token has {label}"),
            )),
        })
    }

    /// Whether the key that has the token already is the one that was asked for.
    fn confirm_found(
        &self,
        on: On<'_>,
        new: &NewKey,
        key: Key,
    ) -> Result<Result<Option<Key>, ManageError>, AttemptError> {
        let exposure = self.keys.exposure(on, key.handle)?;
        Ok(match difference(new, &key, &exposure) {
            None => Ok(Some(key)),
            Some(what) => Err(ManageError::new(
                ManageErrorKind::TokenTaken,
                format!("a key with this token exists, and {what}"),
            )),
        })
    }

    /// Whether the token has made what it was asked for. What is otherwise is destroyed again.
    fn confirm_made(
        &self,
        on: On<'_>,
        new: &NewKey,
        key: Key,
    ) -> Result<Result<Option<Key>, ManageError>, AttemptError> {
        let exposure = self.keys.exposure(on, key.handle)?;
        let as_asked = keep_as_asked(on, new, &key, &exposure)?;
        Ok(as_asked.map(|()| Some(key)))
    }
}

/// Checks that the token has made what it was asked for. What is otherwise is destroyed again.
pub(super) fn keep_as_asked(
    on: On<'_>,
    new: &NewKey,
    key: &Key,
    exposure: &Exposure,
) -> Result<Result<(), ManageError>, AttemptError> {
    let Some(what) = difference(new, key, exposure) else {
        return Ok(Ok(()));
    };
    on.cryptoki.destroy_object(on.session, key.handle)?;
    let detail = format!("the token makes another key than was asked for: {what}");
    Ok(Err(ManageError::new(ManageErrorKind::Unsupported, detail)))
}

/// What a key has otherwise than it was asked for.
fn difference(new: &NewKey, key: &Key, exposure: &Exposure) -> Option<String> {
    let label = KeyName::Label(new.label().as_str().to_owned());
    if !key.identity.may_be(&label) {
        return Some(format!("its label is another: {}", key.identity));
    }
    if !key.is_aes_256() {
        return Some(format!("it is no AES-256 key but {}", key.metadata.spec().as_str()));
    }
    for (_, usage) in USAGES {
        let is_wanted = new.usages().contains(&usage);
        if key.permits(usage) != is_wanted {
            return Some(format!("its usage {} is {}", usage.as_str(), !is_wanted));
        }
    }
    if exposure.is_extractable.is_some_and(|is| is != new.is_extractable()) {
        return Some(format!("CKA_EXTRACTABLE is {}", !new.is_extractable()));
    }
    (exposure.is_sensitive == Some(false)).then(|| "CKA_SENSITIVE is false".to_owned())
}

/// Every attribute is stated: what is left out has one meaning in some modules and another in others.
pub(super) fn make(
    on: On<'_>,
    has_login: bool,
    new: &NewKey,
    name: &KeyName,
) -> Result<ck::CK_OBJECT_HANDLE, CallError> {
    let mut template = vec![
        Attribute::Number(ck::CKA_CLASS, ck::CKO_SECRET_KEY),
        Attribute::Number(ck::CKA_KEY_TYPE, ck::CKK_AES),
        Attribute::Number(ck::CKA_VALUE_LEN, 32),
        Attribute::Flag(ck::CKA_TOKEN, true),
        // nShield's module slot, which takes no login, has no private objects.
        Attribute::Flag(ck::CKA_PRIVATE, has_login),
        Attribute::Flag(ck::CKA_SENSITIVE, true),
        Attribute::Flag(ck::CKA_EXTRACTABLE, new.is_extractable()),
        Attribute::Bytes(ck::CKA_LABEL, new.label().as_str().as_bytes()),
        Attribute::Bytes(ck::CKA_ID, name.bytes()),
    ];
    let usages = USAGES.map(|(kind, usage)| Attribute::Flag(kind, new.usages().contains(&usage)));
    template.extend(usages);
    on.cryptoki.generate_key(on.session, ck::CKM_AES_KEY_GEN, &template)
}

/// What a token has made and does not show.
pub(super) fn unseen(name: &KeyName) -> ManageError {
    ManageError::new(
        ManageErrorKind::Other,
        format!("the token has made a key with {name}, and does not show it"),
    )
}

pub(super) fn contended() -> ManageError {
    ManageError::new(
        ManageErrorKind::Unavailable,
        "another process makes the same key at the same time",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_creation_is_read_from_the_id_of_its_key_alone() {
        let token = CreationToken::from([7; 16]);
        let id = to_id(token);
        assert_eq!(token_of(&id), Some(token));
        for other in [
            &[7; 16][..],
            &id[..23],
            &[&id[..], &[7]].concat(),
            b"",
            b"xks test 0123456789abcdef",
        ] {
            assert_eq!(token_of(other), None);
        }
    }
}
