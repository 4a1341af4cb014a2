//! Jobs against the double of AWS, over a proxy in this process.

mod bars;
mod clean_up;
mod crashes;
mod failures;
mod hsm;
mod others;
mod plans;
mod rotation;
pub(crate) mod site;
pub(crate) mod store;
mod whole;
