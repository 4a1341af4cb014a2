//! Several nodes on one PostgreSQL: what one commits is served by all, and what happens when one goes.

mod confirmed;
mod guide;
mod lapse;
mod serving_on;
mod shared;
mod site;
mod tokens;
mod told;

pub(crate) use self::site::{Site, done, give, key, key_store, key_store_of};
