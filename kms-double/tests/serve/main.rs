//! `kms-double serve` as a program: called by the AWS CLI, and by hand.

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
mod adverse;
mod aws;
mod callers;
mod cli;
mod emulators;
#[path = "../check/support/folder.rs"]
mod folder;
mod import;
mod judge;
mod programs;
mod protocol;
mod stories;

use std::{path::Path, process::Command};

use self::{
    folder::Folder,
    programs::{Program, xks_proxy},
};

const ACCESS_KEY_ID: &str = "BETWEEN2TENAND3TENCHARACTERS";
const SECRET: &str = "PleaseReplaceThisWithSomeSecretOfLength43To64";

/// `kms-double serve`, and its address.
fn serve(more: &[&str]) -> (Program, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kms-double"));
    command.args(["serve", "--allow-http", "--timeout-ms", "30000"]);
    if !more.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    let mut program = Program::start(command.args(more));
    let url = program.wait_for("Listening on ");
    let (url, _) = url.split_once(',').unwrap();
    (program, url.to_owned())
}

/// The server with the software keys `usable` and `other`.
fn proxy(folder: &Folder) -> (Program, String) {
    for name in ["usable", "other"] {
        std::fs::write(folder.path(name), format!("{name:>32}")).unwrap();
    }
    let settings = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nbudget_ms = 30000\ndrain_delay_secs = 0\n[log]\naudit = \"failures\"\n\
         [backends.keys]\nkind = \"soft\"\nkeys = {{ usable = \"usable\", other = \"other\" }}\n\
         [[key_stores]]\nuri_path_prefix = \"/example/tenant\"\nregions = [\"us-east-1\"]\nall_keys = true\n\
         [[key_stores.credentials]]\naccess_key_id = \"{ACCESS_KEY_ID}\"\nsecret_access_key = \"{SECRET}\"\n"
    );
    let settings = folder.write("settings.toml", &settings);
    let mut server = Program::start(Command::new(xks_proxy()).arg("--config").arg(settings));
    let url = server.wait_for("address");
    server.wait_for("Ready.");
    (server, url)
}

/// A key store on the proxy, as CreateCustomKeyStore takes it.
fn key_store(url: &str) -> String {
    format!(
        "{{\"CustomKeyStoreName\": \"cli\", \"CustomKeyStoreType\": \"EXTERNAL_KEY_STORE\", \
         \"XksProxyConnectivity\": \"PUBLIC_ENDPOINT\", \"XksProxyUriEndpoint\": \"{url}\", \
         \"XksProxyUriPath\": \"/example/tenant/kms/xks/v1\", \"XksProxyAuthenticationCredential\": \
         {{\"AccessKeyId\": \"{ACCESS_KEY_ID}\", \"RawSecretAccessKey\": \"{SECRET}\"}}}}"
    )
}

fn project() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
