//! The paths of the API.

mod credentials;
mod events;
mod key_sets;
mod key_stores;
mod keys;
mod resource;
mod schedules;
mod tenants;
mod versions;

use std::sync::Arc;

use axum::Router;
use xks_lifecycle::{ExternalKeyStore, KeySet, Schedule, Tenant, commands::Commands};

use crate::problem::Problem;

type Routes = Router<Arc<Commands>>;

/// All paths.
pub(crate) fn router(commands: Arc<Commands>) -> Router {
    let routes = Routes::new()
        .merge(resource::routes::<Tenant>())
        .merge(resource::routes::<KeySet>())
        .merge(resource::routes::<ExternalKeyStore>())
        .merge(resource::routes::<Schedule>())
        .merge(key_sets::routes())
        .merge(key_stores::routes())
        .merge(credentials::routes())
        .merge(schedules::routes())
        .merge(keys::routes())
        .merge(versions::routes())
        .merge(events::routes());
    Router::new()
        .nest("/admin/v1", routes)
        .fallback(async || Problem::no_such_path())
        .method_not_allowed_fallback(async || Problem::no_such_method())
        .with_state(commands)
}
