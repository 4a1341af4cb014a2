//! An AWS KMS external key store proxy, for production, as a library.
//!
//! A program names the kinds of backends that it has, and runs. `kind` of a `[backends.NAME]` table says
//! which of them that backend is; a kind of your own is added in the same way, see [`backend`].
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use xks_server::{Server, kinds};
//!
//! fn main() -> ExitCode {
//!     Server::new("acme-proxy", env!("CARGO_PKG_VERSION"))
//!         .backend("pkcs11", kinds::Pkcs11Settings::read)
//!         .backend("fleet", kinds::FleetSettings::read)
//!         .main()
//! }
//! ```
//!
//! The settings file has all else: listeners, TLS, key stores, limits, health, metrics and logs.
//! `settings/reference.toml` shows and explains every setting. To embed a proxy in a server of your own, take
//! `xks-core` and `xks-http`.

#![forbid(unsafe_code)]

#[cfg(feature = "lifecycle")]
mod admin;
mod api;
mod audit;
mod auxiliary;
pub mod backend;
mod backends;
mod certificates;
mod command_line;
mod comparing;
mod connection;
mod credential;
mod demo;
mod described;
mod expiry;
mod health;
pub mod kinds;
mod life;
#[cfg_attr(not(feature = "lifecycle"), path = "no_lifecycle.rs")]
mod lifecycle;
mod limits;
mod listener;
mod log;
mod metrics;
mod port;
mod ports;
mod process;
mod program;
mod reading;
mod reconciler;
mod registry;
mod reload;
mod server;
mod service_manager;
pub mod settings;
mod source;
mod summary;
mod timer;
mod tls;
mod workers;

use std::io::{self, Write as _};

use anyhow::Context as _;

#[doc(hidden)]
pub use crate::reading::{Model, Reading};
pub use crate::{
    demo::Demo,
    metrics::Samples,
    server::Server,
    source::{KeyStoreSource, SourceError},
};

/// The exit status when the program fails otherwise; another start may go well.
pub(crate) const FAILURE: u8 = 1;
/// The exit status when the settings are wrong, or when what they say can never be served: a token without
/// AES-GCM, a vendor that is not the module's. A service manager should not start the program again then, nor
/// when a token refuses its PIN, since HSMs lock. They are `EX_CONFIG` and `EX_NOPERM` of `sysexits.h`.
pub(crate) const WRONG_SETTINGS: u8 = 78;
pub(crate) const PIN_REFUSED: u8 = 77;

pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}
