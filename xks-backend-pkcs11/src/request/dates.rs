//! A request that a module refuses because of a key's dates, which its return code does not say.

use std::time::SystemTime;

use xks_core::{BackendError, KeyId};

use crate::{
    error::CallError,
    keys::{Holding, On},
    return_code::Phase,
    session::SessionSlot,
    token::Token,
};

impl Token {
    /// What a request has failed with, and the key's dates, if the module may have refused it by them. They
    /// are read once for each time that the key's attributes are.
    pub(super) fn with_dates(
        &self,
        session_slot: &mut SessionSlot,
        key: Option<(&KeyId, &Holding)>,
        error: &CallError,
        failed: BackendError,
    ) -> BackendError {
        if !matches!(error.phase(), Phase::EncryptInit | Phase::Encrypt | Phase::DecryptInit) {
            return failed;
        }
        let Some(((id, held), access)) = key.zip(self.module.enter()) else {
            return failed;
        };
        let Some(session) = session_slot.opened(&access) else {
            return failed;
        };
        let on = On {
            cryptoki: &access,
            session: session.handle,
            login_epoch: held.key.login_epoch,
        };
        let is_first = held.key.dates().is_none();
        let Some(dates) = self.keys.dates(on, held.handle, &held.key).against(SystemTime::now()) else {
            return failed;
        };
        if is_first {
            tracing::warn!(token = self.name(), key = %id, cause = %error, "the module rejects a key: {dates}");
        }
        BackendError::new(failed.kind(), format!("{failed}: {dates}"))
    }
}
