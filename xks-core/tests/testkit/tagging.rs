//! A layer that tags its ciphertexts is a backend like any other.

use std::sync::Arc;

use xks_core::testkit::conformance::Fixture;

use crate::{
    good::{Good, fixture},
    layer::Tagging,
};

/// Two layers around a backend, which binds what another layer may have given it.
fn layers() -> Fixture {
    let two_around = |good| Tagging::around(Tagging::around(good, b"inner"), b"o");
    fixture(two_around(Arc::new(Good::new()))).restarted(two_around(Arc::new(Good::new())))
}

mod by_macro {
    xks_core::testkit::conformance!(super::layers(), all but a_change_of_status_is_seen, health_follows,
        outages_tell_no_plaintext);
}
