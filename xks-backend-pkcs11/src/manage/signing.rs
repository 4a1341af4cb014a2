//! ECDSA keys on P-256 that sign digests, such as the heads of an audit log: keys of the deployment's own,
//! which serve no KMS key.

use std::{fmt, thread, time::Instant};

use cryptoki_sys as ck;
use xks_core::{
    KeyId,
    backend::KeyUsage,
    manage::{CreationToken, ManageError, ManageErrorKind},
};

use super::{
    Here,
    create::{MOST_ROUNDS, to_id, unseen},
    refusal,
};
use crate::{
    attribute::{Attribute, Wanted},
    backend::Pkcs11Backend,
    config::KeyName,
    error::CallError,
    gcm::AttemptError,
    keys::{Key, Miss, On},
    request::Failed,
    session::SessionSlot,
    token::{A_MOMENT, Token},
};

/// The DER of the object identifier of P-256 (`CKA_EC_PARAMS`).
const P_256: [u8; 10] = [0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];

/// The DER of an octet string of the length of a point.
const OCTET_STRING: [u8; 2] = [0x04, POINT as u8];

/// The bytes of an uncompressed point on P-256.
const POINT: usize = 65;

/// The first byte of one.
const UNCOMPRESSED: u8 = 0x04;

/// The bytes of a signature.
const SIGNATURE: usize = 64;

/// An ECDSA key on P-256 whose private half is on the token, and never leaves it.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    label: KeyId,
    point: [u8; POINT],
}

impl SigningKey {
    /// Returns what names the key to [`Pkcs11Backend::sign_digest`]: its `CKA_LABEL`.
    #[must_use]
    pub const fn label(&self) -> &KeyId {
        &self.label
    }

    /// Returns the public half: an uncompressed point (SEC 1, 2.3.3).
    #[must_use]
    pub const fn public_key(&self) -> &[u8; 65] {
        &self.point
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

impl Pkcs11Backend {
    /// Makes an ECDSA key on P-256 that signs digests, or returns the one that an earlier call with this
    /// token made. It is made once, however often it is called. `deadline` is the time of the answer.
    ///
    /// # Errors
    /// `TokenTaken` when a key with this token exists that is another; `LabelTaken` when another key has the
    /// label; `Unsupported` when the token makes no such keys; `AccessDenied` when it wants another login for
    /// it.
    pub async fn create_signing_key(
        &self,
        token: CreationToken,
        label: &KeyId,
        deadline: Instant,
    ) -> Result<SigningKey, ManageError> {
        let label = label.clone();
        self.administer(deadline, move |this, session_slot, deadline| {
            this.create_signing_key(session_slot, deadline, token, &label)
        })
        .await
    }

    /// Returns the signing key with this label.
    ///
    /// # Errors
    /// `KeyNotFound`; `KeyUsage` when the key with this label is no ECDSA key on P-256.
    pub async fn signing_key(&self, label: &KeyId, deadline: Instant) -> Result<SigningKey, ManageError> {
        let label = label.clone();
        self.administer(deadline, move |token, session_slot, deadline| {
            let found = token.with_session(session_slot, deadline, |access, connection, session| {
                let here = token.here(access, connection, session, deadline);
                match token.private_key(&here, &label)? {
                    Ok(key) => Ok(public_half(here.on, &label, &key)?),
                    Err(error) => Ok(Err(error)),
                }
            });
            found.map_err(Failed::into_error)?
        })
        .await
    }

    /// Signs a SHA-256 digest by ECDSA on P-256 with the key with this label: r and s, 32 bytes each, in
    /// big-endian order (the form of JWS and PKCS#11, not DER).
    ///
    /// # Errors
    /// `KeyNotFound`; `KeyUsage` when the key with this label does not sign so.
    pub async fn sign_digest(
        &self,
        label: &KeyId,
        digest: &[u8; 32],
        deadline: Instant,
    ) -> Result<[u8; 64], ManageError> {
        let (label, digest) = (label.clone(), *digest);
        self.administer(deadline, move |token, session_slot, deadline| {
            token.sign_digest(session_slot, deadline, &label, &digest)
        })
        .await
    }
}

impl Token {
    fn create_signing_key(
        &self,
        session_slot: &mut SessionSlot,
        deadline: Instant,
        token: CreationToken,
        label: &KeyId,
    ) -> Result<SigningKey, ManageError> {
        let name = KeyName::Id(to_id(token));
        let _turn = self.module.take_turn(deadline)?;
        for _ in 0..MOST_ROUNDS {
            let made = self.with_session(session_slot, deadline, |access, connection, session| {
                self.find_or_make_pair(&self.here(access, connection, session, deadline), label, &name)
            });
            if let Some(key) = made.map_err(Failed::into_error)?? {
                return Ok(key);
            }
            thread::sleep(A_MOMENT);
        }
        Err(super::create::contended())
    }

    /// The key, found or made; none if another process has made it at the same time.
    fn find_or_make_pair(
        &self,
        here: &Here<'_>,
        label: &KeyId,
        name: &KeyName,
    ) -> Result<Result<Option<SigningKey>, ManageError>, AttemptError> {
        let (on, has_login) = (here.on, here.connection.wants_login);
        match self.look_for(here, name)? {
            Ok(key) if signs(&key) && key.identity.may_be(&label_of(label)) => {
                return Ok(public_half(on, label, &key)?.map(Some));
            }
            Ok(key) => {
                let detail = format!("a key with this token exists, and it is another: {}", key.identity);
                return Ok(Err(ManageError::new(ManageErrorKind::TokenTaken, detail)));
            }
            Err(Miss::Absent) => {}
            Err(miss) => return Ok(Err(miss.error(name).into())),
        }
        if let Some(taken) = self.label_taken(here, label)? {
            return Ok(Err(taken));
        }
        let (public, private) = match make_pair(on, has_login, label, name) {
            Ok(made) => made,
            Err(error) => return refusal::or_failure(&error, has_login, "the token makes no ECDSA key on P-256"),
        };
        match self.look_for(here, name)? {
            Ok(key) => Ok(public_half(on, label, &key)?.map(Some)),
            Err(Miss::Several(_)) => {
                on.cryptoki.destroy_object(on.session, private)?;
                on.cryptoki.destroy_object(on.session, public)?;
                Ok(Ok(None))
            }
            Err(_) => Ok(Err(unseen(name))),
        }
    }

    fn sign_digest(
        &self,
        session_slot: &mut SessionSlot,
        deadline: Instant,
        label: &KeyId,
        digest: &[u8],
    ) -> Result<[u8; SIGNATURE], ManageError> {
        let signed = self.with_session(session_slot, deadline, |access, connection, session| {
            let here = self.here(access, connection, session, deadline);
            let key = match self.private_key(&here, label)? {
                Ok(key) => key,
                Err(error) => return Ok(Err(error)),
            };
            match access.sign(session.handle, key.handle, ck::CKM_ECDSA, digest, SIGNATURE) {
                Ok(signature) => Ok(Ok(signature)),
                Err(error) => {
                    refusal::or_failure(&error, connection.wants_login, "the token does not sign with the key")
                }
            }
        });
        let signature = signed.map_err(Failed::into_error)??;
        signature.try_into().map_err(|signature: Vec<u8>| {
            let detail = format!(
                "a signature of the token has {} bytes, and not {SIGNATURE}",
                signature.len()
            );
            ManageError::new(ManageErrorKind::Other, detail)
        })
    }

    /// The private half of the signing key with this label.
    fn private_key(&self, here: &Here<'_>, label: &KeyId) -> Result<Result<Key, ManageError>, CallError> {
        let name = label_of(label);
        Ok(match self.look_for(here, &name)? {
            Ok(key) if signs(&key) => Ok(key),
            Ok(_) => Err(ManageError::new(
                ManageErrorKind::KeyUsage,
                format!("the key with {name} is no ECDSA key that may sign"),
            )),
            Err(miss) => Err(miss.error(&name).into()),
        })
    }
}

fn label_of(label: &KeyId) -> KeyName {
    KeyName::Label(label.as_str().to_owned())
}

/// Whether it is the private half of an elliptic curve's key, and may sign.
fn signs(key: &Key) -> bool {
    key.metadata.spec().as_str().starts_with("EC") && key.permits(KeyUsage::Sign)
}

fn make_pair(
    on: On<'_>,
    has_login: bool,
    label: &KeyId,
    name: &KeyName,
) -> Result<(ck::CK_OBJECT_HANDLE, ck::CK_OBJECT_HANDLE), CallError> {
    let names = [
        Attribute::Flag(ck::CKA_TOKEN, true),
        Attribute::Bytes(ck::CKA_LABEL, label.as_str().as_bytes()),
        Attribute::Bytes(ck::CKA_ID, name.bytes()),
    ];
    let public = [
        Attribute::Number(ck::CKA_CLASS, ck::CKO_PUBLIC_KEY),
        Attribute::Number(ck::CKA_KEY_TYPE, ck::CKK_EC),
        Attribute::Bytes(ck::CKA_EC_PARAMS, &P_256),
        Attribute::Flag(ck::CKA_PRIVATE, false),
        Attribute::Flag(ck::CKA_VERIFY, true),
    ];
    let private = [
        Attribute::Number(ck::CKA_CLASS, ck::CKO_PRIVATE_KEY),
        Attribute::Number(ck::CKA_KEY_TYPE, ck::CKK_EC),
        Attribute::Flag(ck::CKA_PRIVATE, has_login),
        Attribute::Flag(ck::CKA_SENSITIVE, true),
        Attribute::Flag(ck::CKA_EXTRACTABLE, false),
        Attribute::Flag(ck::CKA_SIGN, true),
        Attribute::Flag(ck::CKA_DERIVE, false),
    ];
    let (public, private) = ([&public[..], &names].concat(), [&private[..], &names].concat());
    on.cryptoki
        .generate_key_pair(on.session, ck::CKM_EC_KEY_PAIR_GEN, &public, &private)
}

/// The public half of a key, by its `CKA_ID`.
fn public_half(on: On<'_>, label: &KeyId, key: &Key) -> Result<Result<SigningKey, ManageError>, CallError> {
    let id = key.identity.id().unwrap_or_default();
    let template = [
        Attribute::Number(ck::CKA_CLASS, ck::CKO_PUBLIC_KEY),
        Attribute::Bytes(ck::CKA_ID, id),
    ];
    let found = on.cryptoki.find(on.session, &template, 2)?;
    let [public] = *found else {
        let detail = format!(
            "the token has {} public keys with the CKA_ID of {}",
            found.len(),
            key.identity
        );
        return Ok(Err(ManageError::new(ManageErrorKind::Other, detail)));
    };
    let is_p_256 = on
        .cryptoki
        .attribute(on.session, public, Wanted::Bytes(ck::CKA_EC_PARAMS))?
        .bytes()
        .is_some_and(|parameters| parameters == P_256);
    let told = on
        .cryptoki
        .attribute(on.session, public, Wanted::Bytes(ck::CKA_EC_POINT))?;
    // Some modules tell it without the octet string that it stands in.
    let told = told.bytes().unwrap_or_default();
    let point = told
        .strip_prefix(&OCTET_STRING)
        .filter(|point| point.len() == POINT)
        .unwrap_or(told);
    Ok(match <[u8; POINT]>::try_from(point) {
        Ok(point) if is_p_256 && point.starts_with(&[UNCOMPRESSED]) => Ok(SigningKey {
            label: label.clone(),
            point,
        }),
        _ => Err(ManageError::new(
            ManageErrorKind::KeyUsage,
            format!("the key with CKA_LABEL {label:?} is no ECDSA key on P-256"),
        )),
    })
}
