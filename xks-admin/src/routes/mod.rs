//! The paths of the API.

mod cloud_accounts;
mod cloud_key_stores;
mod cloud_keys;
mod credentials;
mod events;
mod jobs;
mod key_sets;
mod key_stores;
mod keys;
mod nodes;
mod resource;
mod schedules;
mod table;
mod tenants;
mod versions;

use axum::Router;
use http::Method;
use xks_lifecycle::{CloudAccount, CloudKey, CloudKeyStore, ExternalKeyStore, KeySet, Schedule, Tenant};

use self::table::Routes;
use crate::{problem::Problem, service::Served};

/// What all paths begin with.
const ROOT: &str = "/admin/v1";

/// All paths, with their methods.
pub(crate) fn paths() -> Vec<(Method, String)> {
    all()
        .paths()
        .map(|(method, path)| (method, format!("{ROOT}{path}")))
        .collect()
}

pub(crate) fn router(served: Served) -> Router {
    Router::new()
        .nest(ROOT, all().into_router())
        .fallback(async || Problem::no_such_path())
        .method_not_allowed_fallback(async || Problem::no_such_method())
        .with_state(served)
}

fn all() -> Routes {
    Routes::new()
        .merge(resource::routes::<Tenant>())
        .merge(resource::routes::<KeySet>())
        .merge(resource::routes::<ExternalKeyStore>())
        .merge(resource::routes::<Schedule>())
        .merge(resource::routes::<CloudAccount>())
        .merge(resource::routes::<CloudKeyStore>())
        .merge(resource::routes::<CloudKey>())
        .merge(cloud_accounts::routes())
        .merge(cloud_keys::routes())
        .merge(key_sets::routes())
        .merge(key_stores::routes())
        .merge(credentials::routes())
        .merge(schedules::routes())
        .merge(keys::routes())
        .merge(versions::routes())
        .merge(jobs::routes())
        .merge(events::routes())
        .merge(nodes::routes())
}
