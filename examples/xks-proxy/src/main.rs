//! The program: `xks-server` with the kinds of backends that come with it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;
use xks_server::{Server, kinds};

/// The C library's allocator keeps what thousands of connections took for as long as the process lives.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    Server::new("xks-proxy", env!("CARGO_PKG_VERSION"))
        .backend("pkcs11", kinds::Pkcs11Settings::read)
        .backend("soft", kinds::SoftSettings::read)
        .backend("fleet", kinds::FleetSettings::read)
        .sample_proxy("pkcs11")
        .demo(kinds::soft_demo)
        .main()
}
