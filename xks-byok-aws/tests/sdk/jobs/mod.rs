//! Jobs on a state in PostgreSQL, in processes that are killed. The AWS APIs are another process.

mod killed;
mod nodes;
mod place;

/// The name of a child.
const NAME: &str = "XKS_JOBS_NAME";
