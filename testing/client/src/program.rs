//! The program that is tested, built as this one is.

use std::{env, io, path::PathBuf, process::Command};

/// Has cargo build `xks-proxy` in this program's profile and folder of builds; returns where it is.
///
/// # Errors
/// It cannot be built, or this program is in no folder of builds.
pub fn build_proxy() -> io::Result<PathBuf> {
    let program = env::current_exe()?;
    let folder = program.parent();
    let no_folder = || io::Error::other("this program is in no folder of builds");
    let (folder, target) = folder
        .and_then(|folder| Some((folder, folder.parent()?)))
        .ok_or_else(no_folder)?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--locked", "--package", "xks-proxy"]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.env("CARGO_TARGET_DIR", target).status()?;
    match status.success() {
        true => Ok(folder.join("xks-proxy")),
        false => Err(io::Error::other("xks-proxy cannot be built")),
    }
}
