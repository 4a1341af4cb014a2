//! The checks of key administration for every module: the contract of `KeyManager`.

use std::{sync::Arc, time::Duration};

use xks_backend_pkcs11::{Config, Pkcs11Backend};
use xks_core::testkit::conformance::{self, Problem, manager::Fixture};

use crate::support::open;

/// The checks that need keys that can be disabled: tokens have none.
const OF_A_STATUS: [&str; 2] = ["a_status_is_set", "disabled_keys_do_nothing"];

/// Runs all checks that apply to a token, except those of what the module cannot do.
pub(crate) fn check(config: &Config, short_ivs_only: bool, cannot: &[&str]) {
    let both = |backend: Arc<Pkcs11Backend>| (Arc::clone(&backend) as _, backend as _);
    let (manager, backend) = both(Arc::new(open(config.clone())));
    let again = config.clone();
    let fixture = Fixture::new(manager, backend)
        .restart(move || both(Arc::new(open(again.clone()))))
        .patience(Duration::from_secs(200));
    let fixture = if short_ivs_only {
        fixture.short_ivs_only()
    } else {
        fixture
    };
    let mut not_tried = Vec::new();
    for finding in conformance::check(fixture) {
        match finding.problem {
            Some(Problem::Broken(how)) => panic!("{:?}: {how}", finding.contract),
            Some(Problem::NotTried(_)) => not_tried.push(finding.contract.name),
            None => {}
        }
    }
    assert_eq!(not_tried, [&OF_A_STATUS[..], cannot].concat());
}
