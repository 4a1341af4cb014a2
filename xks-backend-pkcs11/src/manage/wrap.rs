//! The wrapping of keys for the import into AWS KMS, under an RSA key that is not the token's.
//!
//! Which ways of wrapping a token has is tried with keys that are made for it and gone afterwards: the list
//! of its mechanisms tells no hash, and not what a mechanism makes.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use cryptoki_sys as ck;
use xks_core::{
    KeyId,
    manage::{ManageError, ManageErrorKind, WrappingAlgorithm, WrappingKey},
};

use super::{has_mechanism, refusal};
use crate::{
    attribute::Attribute,
    error::CallError,
    keys::On,
    module::Access,
    raw::Wrapping,
    request::Failed,
    session::SessionSlot,
    token::{Connection, Token},
};

/// The modulus of an RSA key of 2048 bits, whose private half was not kept.
const TEST_MODULUS: &str = "b367d9edfad38b7ccbc6a26fcc6ada4de39ca80c430fc4c54278474705848e71\
                            ddf792bf4fbe103ddeca6347247a5f90b228531c5f062eb8985472ef11a1a140\
                            bace6bdb1a30c9e628b06cd3eda7803f11b93f7d5cbbebfd60da30695e26c3af\
                            f8153b601e42a531cada8921e1a2f32f79a114b641a79ecbe1ec8a4a6ade71eb\
                            d59d5b9751036001db83f9032397146770b9478c2a590333a9edf348a3cdd131\
                            2af69e7c9e93e9a9bd4e36f3ff1f97d61f56662b81bdfb8d31b1557d1f1f463d\
                            bb3fc5fd97ce0214c075a7efd937c104b3ddcf81f2bd49da263f958efaf106ee\
                            b52868dd50a4fe0e78b963e73e6f6c82d876c5277b474c47ef7414b831792ab7";

/// The ways of wrapping that a token was found to have, and in which initialization of its module.
#[derive(Debug, Default)]
pub(crate) struct Wrappings(Mutex<Option<(u64, Vec<WrappingAlgorithm>)>>);

impl Wrappings {
    fn known(&self) -> MutexGuard<'_, Option<(u64, Vec<WrappingAlgorithm>)>> {
        // What a panic leaves behind is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Token {
    pub(super) fn wrap_key(
        &self,
        session_slot: &mut SessionSlot,
        deadline: Instant,
        id: &KeyId,
        wrapping_key: &WrappingKey,
    ) -> Result<Vec<u8>, ManageError> {
        let algorithm = wrapping_key.algorithm();
        let unsupported = || {
            let detail = format!("the token does not wrap keys by {algorithm}");
            ManageError::new(ManageErrorKind::Unsupported, detail)
        };
        let Some(wrapping) = wrapping_of(algorithm) else {
            return Err(unsupported());
        };
        let known = self.with_session(session_slot, deadline, |access, connection, session| {
            Ok(self.wrappings(access, connection, session.handle)?)
        });
        let is_supported = known.map_err(Failed::into_error)?.contains(&algorithm);
        let wrapped = self.with_key(session_slot, id, deadline, None, |access, session, held| {
            let on = self.on(access, session.handle);
            if self.keys.exposure(on, held.handle)?.is_extractable == Some(false) {
                return Ok(Err(ManageErrorKind::NotExtractable.into()));
            }
            if !is_supported {
                return Ok(Err(unsupported()));
            }
            let wrapped = with_public_key(on, wrapping_key.modulus(), |public| {
                on.cryptoki.wrap_key(on.session, public, held.handle, wrapping)
            });
            match wrapped {
                Ok(wrapped) => Ok(Ok(wrapped)),
                Err(error) => refusal::or_failure(&error, true, "the token does not wrap the key"),
            }
        });
        let wrapped = wrapped.map_err(Failed::into_error)??;
        if wrapped.len() != wrapping_key.wrapped_length() {
            let (is, shall_be) = (wrapped.len(), wrapping_key.wrapped_length());
            let detail = format!("what the token wraps has {is} bytes, and not {shall_be}: it is of no use to AWS KMS");
            return Err(ManageError::new(ManageErrorKind::Other, detail));
        }
        Ok(wrapped)
    }

    /// The ways of wrapping that the token has, the best first.
    pub(super) fn wrappings(
        &self,
        access: &Access<'_>,
        connection: &Connection,
        session: ck::CK_SESSION_HANDLE,
    ) -> Result<Vec<WrappingAlgorithm>, CallError> {
        if let Some((generation, known)) = &*self.wrappings.known()
            && *generation == access.generation()
        {
            return Ok(known.clone());
        }
        let on = self.on(access, session);
        let mut listed = Vec::new();
        for algorithm in WrappingAlgorithm::ALL {
            if let Some(wrapping) = wrapping_of(algorithm)
                && has_mechanism(access, connection, wrapping.mechanism())?
            {
                listed.push((algorithm, wrapping));
            }
        }
        let found = match listed.is_empty() {
            true => Vec::new(),
            false => tried(on, connection, &listed)?,
        };
        *self.wrappings.known() = Some((access.generation(), found.clone()));
        Ok(found)
    }
}

const fn wrapping_of(algorithm: WrappingAlgorithm) -> Option<Wrapping> {
    match algorithm {
        WrappingAlgorithm::RsaAesKeyWrapSha256 => Some(Wrapping::RsaAesSha256),
        WrappingAlgorithm::RsaOaepSha256 => Some(Wrapping::RsaOaepSha256),
        WrappingAlgorithm::RsaOaepSha1 => Some(Wrapping::RsaOaepSha1),
        _ => None,
    }
}

/// Those by which a key is wrapped in fact.
fn tried(
    on: On<'_>,
    connection: &Connection,
    listed: &[(WrappingAlgorithm, Wrapping)],
) -> Result<Vec<WrappingAlgorithm>, CallError> {
    let template = [
        Attribute::Number(ck::CKA_CLASS, ck::CKO_SECRET_KEY),
        Attribute::Number(ck::CKA_KEY_TYPE, ck::CKK_AES),
        Attribute::Number(ck::CKA_VALUE_LEN, 32),
        Attribute::Flag(ck::CKA_TOKEN, false),
        Attribute::Flag(ck::CKA_PRIVATE, connection.wants_login),
        Attribute::Flag(ck::CKA_SENSITIVE, true),
        Attribute::Flag(ck::CKA_EXTRACTABLE, true),
        Attribute::Flag(ck::CKA_ENCRYPT, true),
    ];
    let key = match on.cryptoki.generate_key(on.session, ck::CKM_AES_KEY_GEN, &template) {
        Ok(key) => key,
        // It makes no keys that do not stay: what it lists is all that is known.
        Err(error) if refusal::of(&error).is_some() => {
            return Ok(listed.iter().map(|(algorithm, _)| *algorithm).collect());
        }
        Err(error) => return Err(error),
    };
    let modulus = crate::keys::from_hex(TEST_MODULUS).unwrap_or_default();
    let attempts = with_public_key(on, &modulus, |public| {
        let mut found = Vec::new();
        for (algorithm, wrapping) in listed {
            match on.cryptoki.wrap_key(on.session, public, key, *wrapping) {
                Ok(wrapped) if wrapped.len() == modulus.len() + wrapping.added() => found.push(*algorithm),
                Ok(_) => {}
                Err(error) if refusal::of(&error).is_some() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    });
    destroy(on, key);
    match attempts {
        // It takes no public key.
        Err(error) if refusal::of(&error).is_some() => Ok(Vec::new()),
        attempts => attempts,
    }
}

/// Does something with an RSA public key that is brought to the token for it.
fn with_public_key<T>(
    on: On<'_>,
    modulus: &[u8],
    work: impl FnOnce(ck::CK_OBJECT_HANDLE) -> Result<T, CallError>,
) -> Result<T, CallError> {
    let template = [
        Attribute::Number(ck::CKA_CLASS, ck::CKO_PUBLIC_KEY),
        Attribute::Number(ck::CKA_KEY_TYPE, ck::CKK_RSA),
        Attribute::Flag(ck::CKA_TOKEN, false),
        Attribute::Flag(ck::CKA_PRIVATE, false),
        Attribute::Flag(ck::CKA_WRAP, true),
        Attribute::Bytes(ck::CKA_MODULUS, modulus),
        Attribute::Bytes(ck::CKA_PUBLIC_EXPONENT, &WrappingKey::EXPONENT),
    ];
    let public = on.cryptoki.create_object(on.session, &template)?;
    let done = work(public);
    destroy(on, public);
    done
}

/// Some modules keep what was to live in a session.
fn destroy(on: On<'_>, object: ck::CK_OBJECT_HANDLE) {
    if let Err(error) = on.cryptoki.destroy_object(on.session, object) {
        tracing::debug!(cause = %error, "an object that was made for a moment was not destroyed");
    }
}
