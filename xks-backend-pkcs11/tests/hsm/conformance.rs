//! The conformance checks on SoftHSM2 and on the vendors that the shim emulates.

use std::{path::Path, sync::Arc, time::Duration};

use xks_backend_pkcs11::{Config, Dispatch, IvSource, Quirks};
use xks_core::testkit::conformance::{CONTRACTS, Fixture};
use xks_pkcs11_fixture::{
    KeyTemplate, OwnProcess, Permission, Profile, Shim, SoftHsm, softhsm_path, sys::CKR_DEVICE_REMOVED,
};

use crate::{
    checks::{VALUE, check},
    support::{self, CEILING, PIN, TOKEN, open},
};

/// Long enough for a busy machine: these tests are not about deadlines.
const LEISURE: Duration = Duration::from_secs(10);

fn config(module: &Path) -> Config {
    support::config(module).deadline(LEISURE)
}

fn vendor_config(module: &Path, profile: Profile) -> Config {
    support::vendor_config(module, profile).deadline(LEISURE)
}

fn at_leisure(test: &str, body: impl FnOnce(&SoftHsm)) {
    OwnProcess::new(test).limit(Duration::from_secs(600)).run(body);
}

#[test]
fn softhsm() {
    at_leisure("conformance::softhsm", |hsm| {
        make_keys(hsm, TOKEN);
        for dispatch in [Dispatch::Inline, Dispatch::Threads] {
            check(open(config(&softhsm_path()).dispatch(dispatch)), Quirks::SOFTHSM);
        }
        let by_system = Quirks::SOFTHSM.with_iv_source(IvSource::SystemRandom);
        check(open(config(&softhsm_path()).quirks(by_system)), by_system);
    });
}

#[test]
fn nshield() {
    emulated("conformance::nshield", Profile::Nshield);
}

#[test]
fn luna() {
    emulated("conformance::luna", Profile::Luna);
}

#[test]
fn cloudhsm() {
    emulated("conformance::cloudhsm", Profile::CloudHsm);
}

#[test]
fn nss_as_emulated() {
    emulated("conformance::nss_as_emulated", Profile::Nss);
}

#[test]
fn luna_with_short_ivs() {
    at_leisure("conformance::luna_with_short_ivs", |hsm| {
        make_keys(hsm, TOKEN);
        let shim = Shim::load();
        shim.profile(Profile::Luna);
        let source = IvSource::Appended(xks_backend_pkcs11::AppendedIv::Bytes12);
        let quirks = Quirks::LUNA.with_iv_source(source);
        check(open(vendor_config(shim.path(), Profile::Luna).quirks(quirks)), quirks);
        shim.assert_clean();
    });
}

/// nShield's module slot: no login, only public keys.
#[test]
fn nshield_with_module_protection() {
    at_leisure("conformance::nshield_with_module_protection", |hsm| {
        hsm.token("accelerator", PIN);
        for template in keys() {
            hsm.key("accelerator", &template.public());
        }
        let shim = Shim::load();
        shim.profile(Profile::Nshield);
        let config = vendor_config(shim.path(), Profile::Nshield)
            .slot(xks_backend_pkcs11::SlotSelector::First)
            .pin(xks_backend_pkcs11::Pin::None);
        check(open(config), Quirks::NSHIELD);
        assert_eq!(shim.counters().logins(), 0);
        shim.assert_clean();
    });
}

fn emulated(test: &str, profile: Profile) {
    at_leisure(test, move |hsm| {
        make_keys(hsm, TOKEN);
        let shim = Shim::load();
        shim.profile(profile);
        let config = vendor_config(shim.path(), profile);
        let quirks = match profile {
            Profile::Nshield => Quirks::NSHIELD,
            Profile::Luna => Quirks::LUNA,
            Profile::CloudHsm => Quirks::CLOUDHSM,
            Profile::SoftHsm | Profile::Nss => Quirks::STANDARD,
        };
        for dispatch in [Dispatch::Inline, Dispatch::Threads] {
            check(open(config.clone().dispatch(dispatch)), quirks);
            assert_eq!(shim.counters().open_sessions, 0, "sessions were left open");
        }
        shim.assert_clean();
    });
}

/// HLT-1, HLT-3, ENC-12: the token is taken out.
#[test]
fn outages() {
    at_leisure("conformance::outages", |hsm| {
        make_keys(hsm, TOKEN);
        let shim = Arc::new(Shim::load());
        for dispatch in [Dispatch::Inline, Dispatch::Threads] {
            for name in ["health_follows", "outages_tell_no_plaintext"] {
                let backend = Arc::new(open(config(shim.path()).dispatch(dispatch)));
                let of_operator = Arc::clone(&shim);
                let fixture = Fixture::new(Arc::clone(&backend) as _, "known")
                    .break_down(move || of_operator.remove_tokens(CKR_DEVICE_REMOVED));
                let contract = CONTRACTS.iter().find(|contract| contract.name == name).unwrap();
                assert_eq!(contract.check(&Arc::new(fixture)), Ok(()), "{name}");
                shim.insert_tokens();
                assert!(backend.shutdown(CEILING), "calls did not return");
            }
        }
        shim.assert_clean();
    });
}

fn keys() -> [KeyTemplate; 4] {
    [
        KeyTemplate::aes256("known").value(VALUE),
        KeyTemplate::aes256("second"),
        KeyTemplate::aes256("encrypts").may_not(Permission::Decrypt),
        KeyTemplate::aes256("decrypts").may_not(Permission::Encrypt),
    ]
}

fn make_keys(hsm: &SoftHsm, token: &str) {
    hsm.token(token, PIN);
    for template in keys() {
        hsm.key(token, &template);
    }
}
