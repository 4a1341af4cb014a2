//! The program as a person meets it: it is started, what it prints is used, and clients of all kinds call it,
//! good ones and others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may panic"
)]
#![cfg(unix)]

mod administration;
mod audit;
mod authorization;
mod auxiliary_tls;
#[cfg(feature = "lifecycle")]
mod backup;
mod balancers;
mod certificates;
mod check;
#[cfg(feature = "cloud")]
mod cloud;
mod completions;
mod credentials;
mod demo;
mod fleet;
mod forms;
mod health;
mod hostile;
mod idle;
mod lifecycle;
mod limits;
mod log;
mod log_files;
#[cfg(feature = "lifecycle")]
mod managed;
mod memory;
mod messages;
mod metrics;
mod metrics_formats;
mod module;
mod moments;
mod mutual_tls;
#[cfg(feature = "postgres")]
mod nodes;
mod notify;
mod pin;
mod reload;
mod revocation;
mod sample_proxy;
mod script;
mod shipped;
#[cfg(feature = "lifecycle")]
mod store;
mod support;
mod takeover;
mod tls;
mod token;
