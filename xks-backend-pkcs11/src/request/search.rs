//! The search for a key on a session.

use std::{
    thread,
    time::{Duration, Instant},
};

use cryptoki_sys as ck;

use crate::{
    config::{KeyName, TestKey},
    error::CallError,
    keys::{self, Identity, Key, Miss, On},
    module::Access,
    return_code::{Phase, ReturnCode},
    supervisor::is_test_key,
    token::{A_MOMENT, Connection, Token},
};

/// For how long SoftHSM2 may say that a key is not there while another process writes to it, on a busy
/// machine.
const HIDDEN: Duration = Duration::from_millis(150);

/// A search for the key with a name on the token.
pub(crate) struct Search<'a> {
    pub(crate) token: &'a Token,
    pub(crate) access: &'a Access<'a>,
    pub(crate) session: ck::CK_SESSION_HANDLE,
    pub(crate) connection: &'a Connection,
    pub(crate) name: &'a KeyName,
    /// Nothing is looked for twice after this.
    pub(crate) deadline: Instant,
}

impl keys::Search for Search<'_> {
    fn look_again(&mut self, key: &Key) -> Result<Option<Key>, CallError> {
        let keys = &self.token.keys;
        if keys.scope.is_session() && key.home != self.session {
            return Ok(None);
        }
        match keys.look_at(self.on(), key.handle, self.name) {
            Ok(new) => Ok(new.filter(|new| new.identity.is_same(&key.identity))),
            Err(error) if error.leaves_session_usable() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn search(&mut self, was_there: bool) -> Result<Result<Key, Miss>, CallError> {
        let token = self.token;
        let (mut visible_at, mut pause) = (None, A_MOMENT);
        loop {
            let login = token.login_epoch();
            // A token finds nothing, and says no more, when there is no login, or when it has gone.
            self.confirm_login()?;
            match token.keys.search(self.on(), self.name)? {
                // By whatever name.
                Ok(key) if token.is_test_key(&key.identity) => return Ok(Err(Miss::IsTestKey)),
                Err(Miss::Absent) => {}
                found => return Ok(found),
            }
            if let Err(error) = self.access.token_info(self.connection.slot) {
                token.note_unseen();
                return Err(error);
            }
            self.confirm_login()?;
            let now = Instant::now();
            if now + pause >= self.deadline {
                return self.miss().map(Err);
            }
            let visible_at = *visible_at.get_or_insert(if was_there { now + HIDDEN } else { now });
            if now < visible_at {
                thread::sleep(pause);
                pause *= 2;
            } else if login == token.login_epoch() {
                return self.miss().map(Err);
            } // else a logout and a login may have come in between
        }
    }
}

impl Search<'_> {
    fn on(&self) -> On<'_> {
        On {
            cryptoki: self.access,
            session: self.session,
            login_epoch: self.token.login_epoch(),
        }
    }

    /// Why nothing was found.
    fn miss(&self) -> Result<Miss, CallError> {
        let wants_login = || self.token.info().is_some_and(|info| info.wants_login());
        let is_hidden =
            !self.connection.wants_login && wants_login() && !self.token.is_logged_in(self.access, self.session)?;
        Ok(if is_hidden { Miss::Hidden } else { Miss::Absent })
    }

    fn confirm_login(&self) -> Result<(), CallError> {
        if self.connection.wants_login && !self.token.is_logged_in(self.access, self.session)? {
            let code = ReturnCode(ck::CKR_USER_NOT_LOGGED_IN);
            return Err(CallError::new("C_GetSessionInfo", Phase::Session, code));
        }
        Ok(())
    }
}

impl Token {
    // HLT-1: whether this key is one that tokens are tested with, which backs no KMS key.
    pub(crate) fn is_test_key(&self, identity: &Identity) -> bool {
        let is_named = matches!(&self.config.test_key, TestKey::Named(name) if identity.is_exactly(name));
        is_named || identity.id().is_some_and(is_test_key)
    }
}
