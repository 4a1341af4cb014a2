//! What the token says of its keys: of one, or of all, page by page.

use std::{collections::HashSet, num::NonZeroUsize, time::Instant};

use cryptoki_sys as ck;
use xks_core::{
    KeyId,
    manage::{KeyDescription, KeyPage, ManageError, ManageErrorKind},
};

use super::{create::token_of, too_late};
use crate::{
    error::CallError,
    keys::{Key, On},
    request::Failed,
    session::SessionSlot,
    token::Token,
};

impl Token {
    pub(super) fn describe_key(
        &self,
        session_slot: &mut SessionSlot,
        deadline: Instant,
        id: &KeyId,
    ) -> Result<KeyDescription, ManageError> {
        let described = self.with_key(session_slot, id, deadline, None, |access, session, held| {
            let on = self.on(access, session.handle);
            Ok(self.description(on, id, &held.key, held.handle)?)
        });
        Ok(described.map_err(Failed::into_error)?)
    }

    pub(super) fn list_keys(
        &self,
        session_slot: &mut SessionSlot,
        deadline: Instant,
        after: Option<&KeyId>,
        limit: NonZeroUsize,
    ) -> Result<KeyPage, ManageError> {
        let page = self.with_session(session_slot, deadline, |access, _, session| {
            let on = self.on(access, session.handle);
            let mut inventory = self.keys.begin_inventory(on, &HashSet::new())?;
            if inventory.is_too_large() {
                let detail = format!(
                    "the token has {} keys or more, which are too many to list",
                    inventory.total
                );
                return Ok(Err(ManageError::new(ManageErrorKind::Unsupported, detail)));
            }
            if !self.keys.go_on(&mut inventory, on, |_| Instant::now() < deadline)? {
                return Ok(Err(too_late()));
            }
            let mut keys = inventory.found(|identity| self.is_test_key(identity)).keys;
            keys.retain(|(id, _)| after.is_none_or(|after| id > after));
            keys.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            let mut keys = keys.into_iter();
            let mut descriptions = Vec::new();
            while descriptions.len() < limit.get()
                && let Some((id, key)) = keys.next()
            {
                match self.description(on, &id, &key, key.handle) {
                    Ok(description) => descriptions.push(description),
                    // It has gone meanwhile.
                    Err(error) if error.says_object_is_gone() => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let is_last = keys.len() == 0;
            Ok(Ok(KeyPage::new(descriptions, is_last)))
        });
        page.map_err(Failed::into_error)?
    }

    fn description(
        &self,
        on: On<'_>,
        id: &KeyId,
        key: &Key,
        handle: ck::CK_OBJECT_HANDLE,
    ) -> Result<KeyDescription, CallError> {
        let exposure = self.keys.exposure(on, handle)?;
        Ok(KeyDescription::new(id.clone(), key.metadata.clone())
            .with_label(key.identity.label_text())
            // What is not told may be so.
            .with_extractable(exposure.is_extractable.unwrap_or(true))
            .with_sensitive(exposure.is_sensitive.unwrap_or(false))
            .with_token(key.identity.id().and_then(token_of)))
    }
}
