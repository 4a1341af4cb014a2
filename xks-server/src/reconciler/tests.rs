//! A change of the settings touches what it changes, and nothing else.

use std::path::Path;

use xks_backend_soft::SoftBackend;
use xks_core::Credential;

use super::*;
use crate::{
    backend::{BackendSettings, OpenError, Opening},
    settings,
};

/// A kind of backend that opens anew when its number changes.
#[derive(Clone, Debug, PartialEq)]
struct Numbered(u64);

impl BackendSettings for Numbered {
    fn open(&self, _: &Opening<'_>) -> Result<Arc<dyn OpenBackend>, OpenError> {
        Ok(Arc::new(SoftBackend::new()))
    }

    fn may_block(&self) -> bool {
        false
    }
}

const SECRET: &str = "PleaseReplaceThisWithSomeSecretOfLength43To64";
const OTHER_SECRET: &str = "KindlyReplaceThisWithSomeSecretOfLength43To64";

fn server() -> Server {
    Server::new("test", "1").backend("numbered", |table, _| table.number("number", 0..=9).map(Numbered))
}

/// Settings with these backends, each with its number, and these key stores, each with its backend and its
/// secret.
fn settings(backends: &[(&str, u64)], stores: &[(&str, &str, &str)]) -> Settings {
    let mut text = "[server]\nlisten = \"127.0.0.1:0\"\n".to_owned();
    for (name, number) in backends {
        text += &format!("[backends.{name}]\nkind = \"numbered\"\nnumber = {number}\n");
    }
    for (prefix, backend, secret) in stores {
        text += &format!(
            "[[key_stores]]\nuri_path_prefix = \"{prefix}\"\nregions = [\"us-east-1\"]\nbackend = \"{backend}\"\n\
             all_keys = true\n[[key_stores.credentials]]\naccess_key_id = \"BETWEEN2TENAND3TENCHARACTERS\"\n\
             secret_access_key = \"{secret}\"\n"
        );
    }
    let loaded = settings::parse(Path::new("/settings.toml"), &text, &server().formats);
    loaded.settings.unwrap_or_else(|| panic!("{:?}", loaded.problems))
}

fn reconciler(settings: &Settings) -> Reconciler {
    let backends = Backends::open(&settings.backends, None).unwrap();
    let certificates = Certificates::new(Prepared::new(&settings.tls).unwrap());
    let metrics = Arc::new(Metrics::new(Arc::new(|| 0), Vec::new()));
    Reconciler::new(settings, backends, certificates, metrics, &server(), None).unwrap()
}

fn reload(reconciler: &Reconciler, settings: &Settings) {
    reconciler.replace(settings, reconciler.next_turn()).unwrap();
}

/// The very key store of a prefix.
fn served_at(reconciler: &Reconciler, prefix: &str) -> Option<Arc<KeyStore>> {
    reconciler.proxy.key_stores().get(prefix)
}

fn is_same(one: Option<&Arc<KeyStore>>, other: Option<&Arc<KeyStore>>) -> bool {
    one.zip(other).is_some_and(|(one, other)| Arc::ptr_eq(one, other))
}

/// SIG-7: what a reload leaves as it is, is the same object, with all that it has learnt; so are the key
/// stores of other sources.
#[test]
fn a_change_touches_only_what_it_changes() {
    let backends = [("one", 1), ("two", 1)];
    let reconciler = reconciler(&settings(
        &backends,
        &[("/a", "one", SECRET), ("/b", "one", SECRET), ("/c", "two", SECRET)],
    ));
    let of_tenant = KeyStore::builder("/tenant".parse().unwrap(), Arc::new(SoftBackend::new()))
        .region("us-east-1".parse().unwrap())
        .credential(Credential::new("ANOTHER2TENAND3TENCHARACTERS", SECRET.to_owned()).unwrap())
        .all_keys_of_backend();
    reconciler
        .insert("tenants", Arc::new(of_tenant.build().unwrap()))
        .unwrap();
    let all = ["/a", "/b", "/c", "/tenant"];
    let before = all.map(|prefix| served_at(&reconciler, prefix));
    let stay = |reconciler: &Reconciler| {
        let now = all.map(|prefix| served_at(reconciler, prefix));
        [0, 1, 2, 3].map(|place: usize| is_same(before[place].as_ref(), now[place].as_ref()))
    };
    assert_eq!(stay(&reconciler), [true; 4]);
    // A key store is removed, another one added.
    reload(
        &reconciler,
        &settings(
            &backends,
            &[("/d", "one", SECRET), ("/a", "one", SECRET), ("/c", "two", SECRET)],
        ),
    );
    assert_eq!(stay(&reconciler), [true, false, true, true]);
    assert!(served_at(&reconciler, "/b").is_none() && served_at(&reconciler, "/d").is_some());
    // A backend is another one: its key stores are made again.
    let backends = [("one", 1), ("two", 2)];
    reload(
        &reconciler,
        &settings(&backends, &[("/a", "one", SECRET), ("/c", "two", SECRET)]),
    );
    assert_eq!(stay(&reconciler), [true, false, false, true]);
    assert!(served_at(&reconciler, "/c").is_some());
}

/// SIG-6: an access key id gets another secret in all key stores that have it.
#[test]
fn a_shared_credential_is_replaced_at_once() {
    let backends = [("one", 1)];
    let reconciler = reconciler(&settings(&backends, &[("/a", "one", SECRET), ("/b", "one", SECRET)]));
    reload(
        &reconciler,
        &settings(&backends, &[("/a", "one", OTHER_SECRET), ("/b", "one", OTHER_SECRET)]),
    );
    for prefix in ["/a", "/b"] {
        let store = served_at(&reconciler, prefix).unwrap();
        assert_eq!(store.credentials()[0].secret_access_key().expose(), OTHER_SECRET);
    }
    // One alone cannot have it: nothing changes.
    let wrong = settings(&backends, &[("/b", "one", SECRET)]);
    let taken = KeyStore::builder("/tenant".parse().unwrap(), Arc::new(SoftBackend::new()))
        .region("us-east-1".parse().unwrap())
        .credential(Credential::new("BETWEEN2TENAND3TENCHARACTERS", OTHER_SECRET.to_owned()).unwrap())
        .all_keys_of_backend();
    reconciler.insert("tenants", Arc::new(taken.build().unwrap())).unwrap();
    let before = served_at(&reconciler, "/b");
    reconciler.replace(&wrong, reconciler.next_turn()).unwrap_err();
    assert!(is_same(before.as_ref(), served_at(&reconciler, "/b").as_ref()));
    assert!(served_at(&reconciler, "/a").is_some());
}
