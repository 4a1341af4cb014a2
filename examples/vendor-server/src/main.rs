//! A vendor's server: `xks-server` with a kind of backend of its own.
//!
//! `cargo run -p xks-vendor-server -- --config settings.toml`, with a backend such as
//!
//! ```toml
//! [backends.vault]
//! kind = "acme"
//! master_key_file = "master.hex"
//! keys = ["invoices"]
//! ```

#![forbid(unsafe_code)]

mod acme;

use std::process::ExitCode;

use xks_server::{Server, kinds};

fn main() -> ExitCode {
    Server::new("acme-proxy", env!("CARGO_PKG_VERSION"))
        .backend("acme", acme::AcmeSettings::read)
        .backend("fleet", kinds::FleetSettings::read)
        .main()
}
