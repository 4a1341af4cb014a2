//! Keys under management, in the server: the store is opened after the backends, the external key stores in
//! it are served beside those of the settings file, and what the life cycle has to do by itself runs beside
//! the requests.
//!
//! ```text
//! [store], [lifecycle] ──▶ Opened ──▶ Guard, around the backends of the settings file's key stores
//!                            │
//!                            └──▶ Running ──▶ Commands ◀── administration
//!                                    │           └──▶ KeyStoresInForce ──▶ Reconciler
//!                                    └──▶ run: recover, then schedules, counts, usage
//! ```

mod backend;
mod background;
mod backup;
mod cloud;
mod create;
mod error;
#[cfg_attr(
    not(feature = "postgres"),
    allow(dead_code, reason = "a store in a file has no nodes")
)]
mod facts;
mod guard;
mod in_use;
mod key_stores;
mod metrics;
#[cfg_attr(
    not(feature = "postgres"),
    allow(dead_code, reason = "a store in a file has no nodes")
)]
mod node;
#[cfg_attr(
    not(feature = "postgres"),
    allow(dead_code, reason = "a store in a file has no nodes")
)]
mod node_meter;
#[cfg_attr(
    not(feature = "postgres"),
    allow(dead_code, reason = "a store in a file has no nodes")
)]
mod node_watch;
mod open;
mod summary;

use std::sync::Arc;

use xks_byok::jobs::Jobs;
use xks_lifecycle::{
    commands::{Actor, Commands},
    schedule::Scheduler,
};

pub(crate) use self::{
    background::close,
    backup::{back_up, restore},
    create::create,
    error::StartError,
    guard::Guard,
    in_use::{InUse, other_names},
    key_stores::KeyStoresInForce,
    metrics::Measured,
    node::{LiveNode, OwnNode},
    open::Opened,
};
use crate::{audit, reconciler::Reconciler, settings::AdminSettings};

/// What gives commands without a person.
const ACTOR: &str = "server";

/// Keys under management that are served, and the commands that administration gives.
pub(crate) struct Running {
    pub(crate) commands: Arc<Commands>,
    pub(crate) admin: AdminSettings,
    /// None without an audit log.
    pub(crate) audit: Option<audit::Queue>,
    node: Option<OwnNode>,
    scheduler: Scheduler,
    actor: Actor,
    measured: Arc<Measured>,
    key_stores: Arc<KeyStoresInForce>,
    guard: Guard,
    /// None where AWS is not called.
    pub(crate) jobs: Option<Arc<Jobs>>,
}

impl Running {
    /// Returns what says whether keys under management are to be served: in external key stores of the store,
    /// or as adopted keys in key stores of the settings file.
    pub(crate) fn serves_keys(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let (key_stores, guard) = (Arc::clone(&self.key_stores), self.guard.clone());
        move || key_stores.has_any() || guard.serves_adopted()
    }

    /// Joins the other nodes, if there may be any.
    pub(crate) fn join(&mut self) -> Option<LiveNode> {
        Some(self.node.take()?.start(&self.commands))
    }

    /// Puts the external key stores of the store in force, and keeps them so: a command that has returned is
    /// in force.
    pub(crate) fn start(opened: Opened, reconciler: &Arc<Reconciler>) -> Result<Self, StartError> {
        let Opened {
            commands,
            in_use,
            guard,
            admin,
            node,
            audit,
            cloud,
        } = opened;
        let key_stores = Arc::new(KeyStoresInForce::new(reconciler));
        let meter = node.as_ref().map(OwnNode::meter);
        let measured = Measured::new(Arc::clone(commands.view()), Arc::clone(&key_stores), meter);
        let measured = Arc::new(measured);
        reconciler.manage(in_use, &key_stores, &measured);
        let commands = Arc::new(commands.with_observer(Arc::clone(&key_stores) as _));
        // It is a legal name.
        let actor = Actor::new(ACTOR).map_err(|_| StartError::Thread)?;
        let jobs = cloud.map(|cloud| cloud::jobs(&commands, cloud));
        let jobs = jobs.transpose()?.map(Arc::new);
        if let Some(jobs) = &jobs {
            let _ = measured.jobs.set(Arc::clone(jobs)); // for the first time
        }
        let scheduler = Scheduler::new(Arc::clone(&commands), actor.clone())?;
        Ok(Self {
            commands,
            admin,
            audit,
            node,
            scheduler,
            actor,
            measured,
            key_stores,
            guard,
            jobs,
        })
    }
}

#[cfg(test)]
mod tests;
