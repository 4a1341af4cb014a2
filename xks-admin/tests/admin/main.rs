//! The REST API, called in process over a store in memory.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod cloud;
mod confirmation;
mod hostile;
mod hsm;
mod pages;
mod revisions;
mod routes;
mod site;
