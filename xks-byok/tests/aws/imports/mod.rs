//! KMS keys with imported material: plans, and jobs against the double of AWS.

mod bars;
mod crashes;
mod failures;
mod meanwhile;
mod others;
mod plans;
mod scheduled;
mod site;
mod whole;
