//! A key on the token: what it is called there, what it may do, and its handle.

use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use cryptoki_sys as ck;
use xks_core::{
    backend::{KeyMetadata, KeySpec, KeyUsage},
    text::Hex,
};

use super::{dates::Dates, on_token::On};
use crate::config::KeyName;

/// A key on the token, as it was when its attributes were read.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) handle: ck::CK_OBJECT_HANDLE,
    /// The session that found the handle.
    pub(crate) home: ck::CK_SESSION_HANDLE,
    pub(crate) identity: Identity,
    pub(crate) metadata: KeyMetadata,
    /// When its attributes were read.
    pub(crate) read: Instant,
    /// The login that the handle was found in.
    pub(crate) login_epoch: u64,
    /// Once they were asked for.
    pub(super) dates: OnceLock<Dates>,
    /// Something newer is known.
    is_outdated: AtomicBool,
}

impl Key {
    pub(super) fn new(handle: ck::CK_OBJECT_HANDLE, on: On<'_>, identity: Identity, metadata: KeyMetadata) -> Self {
        Self {
            handle,
            home: on.session,
            identity,
            metadata,
            read: Instant::now(),
            login_epoch: on.login_epoch,
            dates: OnceLock::new(),
            is_outdated: AtomicBool::new(false),
        }
    }

    /// The days of its use, if they have been asked for.
    pub(crate) fn dates(&self) -> Option<&Dates> {
        self.dates.get()
    }

    pub(crate) fn permits(&self, usage: KeyUsage) -> bool {
        self.metadata.usages().contains(&usage)
    }

    pub(crate) fn is_aes_256(&self) -> bool {
        *self.metadata.spec() == KeySpec::Aes256
    }

    /// Whether this is the newest that is known of the key, in this login.
    pub(crate) fn is_current(&self, login_epoch: u64) -> bool {
        self.login_epoch == login_epoch && !self.is_outdated.load(Ordering::Acquire)
    }

    /// Has those who hold this look for something newer.
    pub(super) fn outdate(&self) {
        self.is_outdated.store(true, Ordering::Release);
    }
}

impl Clone for Key {
    fn clone(&self) -> Self {
        Self {
            identity: self.identity.clone(),
            metadata: self.metadata.clone(),
            dates: self.dates.clone(),
            is_outdated: AtomicBool::new(false),
            ..*self
        }
    }
}

/// What tells one key from another, as far as the module says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(super) label: Option<Box<[u8]>>,
    pub(super) id: Option<Box<[u8]>>,
    pub(super) check_value: Option<Box<[u8]>>,
}

impl Identity {
    fn actual(&self, name: &KeyName) -> Option<&[u8]> {
        match name {
            KeyName::Label(_) => self.label.as_deref(),
            KeyName::Id(_) => self.id.as_deref(),
        }
    }

    pub(crate) fn id(&self) -> Option<&[u8]> {
        self.id.as_deref()
    }

    /// The label; empty if the module tells none.
    pub(crate) fn label_text(&self) -> String {
        String::from_utf8_lossy(trimmed(self.label.as_deref().unwrap_or_default())).into_owned()
    }

    pub(crate) fn is_exactly(&self, name: &KeyName) -> bool {
        self.actual(name) == Some(name.bytes())
    }

    /// Whether nothing speaks against it that the key has this name: labels may be filled up, and may not be
    /// told.
    pub(crate) fn may_be(&self, name: &KeyName) -> bool {
        match (self.actual(name), name) {
            (None, _) => true,
            (Some(label), KeyName::Label(name)) => label == name.as_bytes() || trimmed(label) == name.as_bytes(),
            (Some(id), KeyName::Id(name)) => id == name,
        }
    }

    /// Whether there is something to compare it by.
    pub(super) const fn is_known(&self) -> bool {
        self.label.is_some() || self.id.is_some()
    }

    /// Whether this is the same key, by all that is known of both.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let pairs = [
            (&self.label, &other.label),
            (&self.id, &other.id),
            (&self.check_value, &other.check_value),
        ];
        let mut known = pairs
            .iter()
            .filter(|(one, other)| one.is_some() && other.is_some())
            .peekable();
        known.peek().is_some() && known.all(|(one, other)| one == other)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.label {
            Some(label) => write!(
                f,
                "CKA_LABEL {}",
                String::from_utf8_lossy(trimmed(label)).escape_debug()
            )?,
            None => f.write_str("CKA_LABEL unknown")?,
        }
        match &self.id {
            Some(id) => {
                write!(f, ", CKA_ID {}", Hex(id))
            }
            None => f.write_str(", CKA_ID unknown"),
        }
    }
}

/// A label without what some modules fill it up with.
pub(super) fn trimmed(label: &[u8]) -> &[u8] {
    let end = label.iter().rposition(|byte| !matches!(byte, b' ' | b'\0'));
    end.and_then(|end| label.get(..=end)).unwrap_or_default()
}
