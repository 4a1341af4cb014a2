//! A proxy in this process, right or broken in one way, and a check of it.

mod broken;
mod folder;
mod server;

use std::time::Duration;

use kms_double::{
    check::{Outcome, Report, Setup, run},
    wire::Credential,
};

pub(crate) use self::{
    broken::{Answered, Asked, Broken},
    folder::Folder,
    server::{Server, Tcp, software_keys},
};

pub(crate) const ACCESS_KEY_ID: &str = "BETWEEN2TENAND3TENCHARACTERS";
pub(crate) const SECRET: &str = "PleaseReplaceThisWithSomeSecretOfLength43To64";
pub(crate) const REGION: &str = "us-east-1";
pub(crate) const PREFIX: &str = "/a-key-store";
pub(crate) const KEY: &str = "Usable-key.1";

pub(crate) fn credential() -> Credential {
    Credential::new(ACCESS_KEY_ID, SECRET, REGION)
}

/// All that there is to check on [`Server`], without waiting long for anything.
pub(crate) fn setup(url: &str) -> Setup {
    let mut setup = Setup::new(format!("{url}{PREFIX}"), credential(), KEY);
    setup.keys.push("second".into());
    setup.encrypt_only = Some("encrypt-only".into());
    setup.decrypt_only = Some("decrypt-only".into());
    setup.disabled = Some("disabled".into());
    setup.half_sent = Duration::ZERO;
    setup.ivs = 12;
    setup
}

/// Checks a proxy on a runtime of its own.
pub(crate) fn checked(setup: &Setup) -> Report {
    runtime().block_on(run(setup)).unwrap()
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// The cases that something else came of than was expected. A busy machine is slow: times are left out.
pub(crate) fn missed(report: &Report) -> Vec<&str> {
    let mut missed = report.named(Outcome::Fail);
    missed.extend(report.named(Outcome::Warn));
    missed.extend(report.named(Outcome::Note));
    missed.retain(|name| !["latency/within-250-ms", "http/first-answer"].contains(name));
    missed
}
