//! Backends with short times, and calls of them.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use xks_backend_pkcs11::{Config, Pin, Quirks, SlotSelector};
use xks_pkcs11_fixture::Profile;

#[path = "../support/calls.rs"]
mod calls;
pub(crate) use calls::*;

pub(crate) const TOKEN: &str = "main";
pub(crate) const PIN: &str = "1234";
/// Longer than any wait takes, however busy the machine is.
pub(crate) const CEILING: Duration = Duration::from_secs(60);

/// A backend's configuration for the token `main`, with times that suit a test.
pub(crate) fn config(module: &Path) -> Config {
    Config::new(module)
        .slot(SlotSelector::TokenLabel(TOKEN.into()))
        .pin(Pin::new(PIN))
        .quirks(Quirks::SOFTHSM)
        .sessions(4)
        .deadline(Duration::from_secs(5))
        .recovery_interval(Duration::from_millis(100))
}

/// The same for a vendor that the shim emulates.
pub(crate) fn vendor_config(module: &Path, profile: Profile) -> Config {
    let quirks = match profile {
        Profile::SoftHsm => Quirks::SOFTHSM,
        Profile::Nshield => Quirks::NSHIELD,
        Profile::Luna => Quirks::LUNA,
        Profile::CloudHsm => Quirks::CLOUDHSM,
        Profile::Nss => Quirks::STANDARD,
    };
    config(module).quirks(quirks).pin(Pin::new(profile.pin(PIN)))
}

/// Waits until something is so, for as long as a busy machine may want.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + CEILING;
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not within {CEILING:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
