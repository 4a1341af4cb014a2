//! The life cycle of many keys: the memory that they take, how long a start and a change take, and what
//! making a thousand of them takes.
//!
//! ```text
//! cargo bench -p xks-benches --bench lifecycle
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark may panic and print"
)]

mod creation;
mod many;

use std::{path::PathBuf, sync::Arc, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use xks_benches::measure::is_wanted;
use xks_lifecycle::{
    KeySet, KeySetId, KeySource, Name, Tenant, TenantId,
    commands::{Actor, Backends, Commands, Deployment},
    seal::Root,
};
use xks_pkcs11_fixture::SoftHsm;

fn main() {
    if many::load_if_asked() {
        return;
    }
    let hsm = SoftHsm::reexec();
    let keys = if is_wanted() { 1_000_000 } else { 2_000 };
    many::measure(keys);
    creation::measure(&hsm, if is_wanted() { 1000 } else { 20 });
}

/// A folder that is removed when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("xks-benches-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Root::create_file(&path.join("root")).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // what is left of a benchmark in a folder for such
    }
}

fn root(folder: &std::path::Path) -> Root {
    Root::file("root", &folder.join("root")).unwrap()
}

fn deployment() -> Deployment {
    Deployment::new("prod").unwrap()
}

fn actor() -> Actor {
    Actor::new("benches").unwrap()
}

fn backends<T: xks_core::KeyBackend + xks_core::manage::KeyManager>(backend: Arc<T>) -> Backends {
    Backends::new().with(Name::new("name", "hsm").unwrap(), backend.clone(), backend)
}

/// Makes a tenant and a key set of the HSM.
fn key_set(commands: &Commands) -> KeySetId {
    let tenant = Tenant::new(TenantId::generate().unwrap(), "Tenant").unwrap();
    let set = KeySet::new(KeySetId::generate().unwrap(), tenant.id, "Set", KeySource::Hsm).unwrap();
    let id = set.id;
    pollster::block_on(commands.create(&actor(), tenant)).unwrap();
    pollster::block_on(commands.create(&actor(), set)).unwrap();
    id
}

/// The processor time of this process so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap())
}
