//! One operation: what goes wrong with it, the replica that answers, its caller's permission, and the state.

use std::sync::atomic::Ordering;

use super::{
    Builder, Kms,
    caller::Caller,
    exception::Exception,
    faults::{self, Trouble},
    key::Key,
    locked, permissions, replicas,
    state::State,
    uuid,
    world::World,
};

/// One operation of KMS, which may take more than one call to a proxy. All of them have its request id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation<'a> {
    pub(crate) kms: &'a Kms,
    pub(crate) name: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) caller: &'a Caller,
    /// Whether the replica that answers is behind.
    pub(crate) is_behind: bool,
}

impl Operation<'_> {
    /// Looks at the state as this operation sees it.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&State) -> Result<T, Exception>) -> Result<T, Exception> {
        self.kms.read_as(self.is_behind, look)
    }

    /// Changes the state as a whole, or not at all.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> Result<T, Exception>) -> Result<T, Exception> {
        self.kms.change_as(self.is_behind, change)
    }

    /// Changes the state of several Regions as a whole, or not at all.
    pub(crate) fn change_world<T>(
        &self,
        change: impl FnOnce(&mut World) -> Result<T, Exception>,
    ) -> Result<T, Exception> {
        self.kms.change_world_as(self.is_behind, change)
    }

    /// Refuses an operation that the key policy does not allow the caller, or on a key that is not in a state
    /// for it.
    pub(crate) fn check(&self, state: &State, key: &Key) -> Result<(), Exception> {
        self.check_as(self.name, state, key)
    }

    /// [Checks](Self::check) an operation that policies have another name for.
    pub(crate) fn check_as(&self, action: &str, state: &State, key: &Key) -> Result<(), Exception> {
        self.check_permission(action, key)?;
        state.check_key_state(self.name, key)
    }

    /// Refuses what the key policy does not allow the caller, where key policies decide.
    pub(crate) fn check_permission(&self, action: &str, key: &Key) -> Result<(), Exception> {
        match self.kms.0.settings.do_policies_decide {
            true => permissions::check(key, self.caller, &format!("kms:{action}")),
            false => Ok(()),
        }
    }

    /// The key of an operation that does not take an alias, [checked](Self::check).
    pub(crate) fn key_by_id<'s>(&self, state: &'s State, named: &str) -> Result<&'s Key, Exception> {
        let key = state.key_by_id(named)?;
        self.check(state, key)?;
        Ok(key)
    }

    /// Looks at a key, [checked](Self::check).
    pub(crate) fn read_key<T>(
        &self,
        named: &str,
        look: impl FnOnce(&Key) -> Result<T, Exception>,
    ) -> Result<T, Exception> {
        self.read(|state| look(self.key_by_id(state, named)?))
    }

    /// Changes a key, [checked](Self::check), as a whole or not at all.
    pub(crate) fn change_key<T>(
        &self,
        named: &str,
        change: impl FnOnce(&mut Key) -> Result<T, Exception>,
    ) -> Result<T, Exception> {
        self.change(|state| {
            self.key_by_id(state, named)?;
            state.change_key(named, change)
        })
    }
}

impl Kms {
    /// Does one operation of the caller's, under one request id, and whatever goes wrong with it.
    pub(super) async fn operate<T>(
        &self,
        name: &str,
        caller: &Caller,
        operation: impl AsyncFnOnce(Operation<'_>) -> Result<T, Exception>,
    ) -> Result<T, Exception> {
        let Builder { faults, settle, .. } = &self.0.settings;
        let trouble = faults.begin(&self.1, name, caller)?;
        self.check_quota(name)?;
        faults.instead(name, trouble)?;
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        let is_behind = !settle.is_zero() && turn % 2 == 1;
        let result = self.under_request_id(name, caller, is_behind, operation).await;
        match trouble {
            Some(Trouble::LostAfter) => Err(faults::lost()),
            _ => result,
        }
    }

    /// Takes what an operation uses of the Region's request quotas.
    pub(super) fn check_quota(&self, name: &str) -> Result<(), Exception> {
        let Builder { faults, quotas, .. } = &self.0.settings;
        match quotas {
            Some(quotas) if !locked(&self.0.buckets).take(*quotas, &self.1, name, self.now()) => {
                Err(faults.throttled(name))
            }
            _ => Ok(()),
        }
    }

    /// Does one operation, KMS's own as well.
    pub(super) async fn under_request_id<T>(
        &self,
        name: &str,
        caller: &Caller,
        is_behind: bool,
        operation: impl AsyncFnOnce(Operation<'_>) -> Result<T, Exception>,
    ) -> Result<T, Exception> {
        let request_id = match &caller.request_id {
            Some(id) => id.clone(),
            None => uuid()?,
        };
        operation(Operation {
            kms: self,
            name,
            request_id: &request_id,
            caller,
            is_behind,
        })
        .await
    }

    pub(super) fn read<T>(&self, look: impl FnOnce(&State) -> Result<T, Exception>) -> Result<T, Exception> {
        self.read_as(false, look)
    }

    fn read_as<T>(&self, is_behind: bool, look: impl FnOnce(&State) -> Result<T, Exception>) -> Result<T, Exception> {
        let mut state = locked(&self.0.state);
        if is_behind {
            look(state.behind(self.now(), self.settle_secs()).region(&self.1))
        } else {
            look(state.latest(self.now()).region(&self.1))
        }
    }

    /// Looks at all Regions.
    pub(super) fn read_world<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(locked(&self.0.state).latest(self.now()))
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> Result<T, Exception>) -> Result<T, Exception> {
        self.change_as(false, change)
    }

    fn change_as<T>(
        &self,
        is_behind: bool,
        change: impl FnOnce(&mut State) -> Result<T, Exception>,
    ) -> Result<T, Exception> {
        self.change_world_as(is_behind, |world| change(world.region_mut(&self.1)))
    }

    /// Changes the state as a whole, and in its file first; or not at all.
    fn change_world_as<T>(
        &self,
        is_behind: bool,
        change: impl FnOnce(&mut World) -> Result<T, Exception>,
    ) -> Result<T, Exception> {
        let (now, settle) = (self.now(), self.settle_secs());
        let mut state = locked(&self.0.state);
        let mut changed = state.changeable(now, is_behind.then_some(settle));
        let result = change(&mut changed)?;
        changed.share_account_of(&self.1);
        changed.relate(now, &[]);
        if let Some(file) = &mut *locked(&self.0.state_file) {
            file.save(&changed).map_err(|error| replicas::not_kept(&error))?;
        }
        state.replace(changed, now, settle);
        Ok(result)
    }
}
