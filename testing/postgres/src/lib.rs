//! PostgreSQL servers of this process alone, for tests: each in a folder of its own, with its own port and
//! Unix socket. They flush to the disk as real ones. They end with the process, however that ends.
//!
//! ```no_run
//! use xks_test_postgres::Server;
//!
//! let primary = Server::start();
//! primary.create_database("xks");
//! let standby = primary.standby("second");
//! primary.wait_for("second"); // from now on commits wait for it
//! println!("{} {}", primary.url("xks"), primary.password_file().display());
//! primary.stop();
//! standby.promote();
//! ```
//!
//! Methods panic when something is wrong that no test is about.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "only tests use it"
)]

mod certificates;
mod folder;
mod pooler;
mod programs;
mod server;

pub use self::{
    pooler::{PoolMode, Pooler},
    programs::free_port,
    server::{Server, Setup},
};

/// The password of all users.
pub const PASSWORD: &str = "correct horse battery staple";
/// The same, as PostgreSQL keeps it (RFC 5802), of one iteration in place of 4096: a debug build takes a
/// tenth of a second for these at each connection.
const VERIFIER: &str = "SCRAM-SHA-256$1:eGtzLXRlc3QtcG9zdGdyZQ==$VviNwTUaXwm4rSnSD1JvjEoBKMNI6nbn2AyEuXUasCk=\
                        :JH9ZCCxhWwupfTeJigUqnvqp7Lo4OxHEzCa7GLouHNA=";
/// The user who owns the databases, and may do nothing else.
pub const USER: &str = "xks";
