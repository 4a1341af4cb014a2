//! Health checks of load balancers.

use std::fs;

use serde_json::json;

use crate::support::{Leaf, Server, Settings, Site, Token, body, fetch, wait_until};

/// TRN-7: on a listener of its own, without TLS and without a signature; there is nothing else on it.
#[test]
fn health_has_a_listener_of_its_own() {
    let settings = Site::new(&Leaf::SERVER).settings().health();
    let server = Server::start(&settings);
    assert_eq!(fetch(server.health_url(), &[]), (200, "ready\n".to_owned()));
    let base = server.health_url().strip_suffix("/ping").unwrap();
    assert_eq!(fetch(&format!("{base}/livez"), &[]).0, 200);
    assert_eq!(fetch(server.health_url(), &["-X", "POST"]).0, 405);
    for path in ["", "/", "/ping/", "/metrics", "/example/tenant-a/kms/xks/v1/health"] {
        assert_eq!(fetch(&format!("{base}{path}"), &[]).0, 404, "{path}");
    }
}

/// TRN-7: or on the API's, under paths of one's own.
#[test]
fn health_is_on_the_listener_of_the_api() {
    let settings = Settings::new().tables("[health]\nreadiness_path = \"/\"\nliveness_path = \"/is/alive\"");
    let server = Server::start(&settings);
    assert_eq!(fetch(server.url(), &[]), (200, "ready\n".to_owned()));
    assert_eq!(fetch(&format!("{}/is/alive", server.url()), &[]).0, 200);
    assert_eq!(fetch(&format!("{}/ping", server.url()), &[]).0, 200);
    assert_eq!(server.curl().call("health", &body(&json!({})), &[]).0, 200);
}

/// TRN-7: what balancers ask for by default is answered on the API's port too, in its TLS. All else there is
/// the API's.
#[test]
fn the_root_of_the_api_is_a_health_check() {
    let settings = Site::new(&Leaf::SERVER).settings().health();
    let server = Server::start(&settings);
    let root = settings.file("root.pem");
    let ask = |path: &str, more: &[&str]| {
        let arguments = [&["--cacert", root.to_str().unwrap()], more].concat();
        fetch(&format!("{}{path}", server.url()), &arguments)
    };
    for path in ["/", "/ping"] {
        assert_eq!(ask(path, &[]), (200, "ready\n".to_owned()), "{path}");
        assert_eq!(ask(path, &["-I", "--http1.1"]).0, 200, "{path}");
        for more in [&["-H", "authorization: AWS4-HMAC-SHA256"][..], &["-d", "{}"]] {
            let (status, text) = ask(path, more);
            assert_eq!(status, 404, "{path} {more:?}");
            assert!(text.contains("InvalidUriPathException"), "{path} {more:?}: {text}");
        }
    }
    for path in ["/livez", "//", "/example/tenant-a/", "/example/tenant-a/ping"] {
        assert_eq!(ask(path, &[]).0, 404, "{path}");
    }
}

/// TRN-7, HLT-1: not ready while no key manager works, alive all the same, and ready again when one does.
#[test]
fn readiness_follows_the_key_managers() {
    let (token, token_for_any) = (Token::new(), "");
    let settings = token.settings(token_for_any).health();
    let server = token.serve(&settings);
    assert_eq!(server.readiness(), 200);
    let liveness = server.health_url().replace("/ping", "/livez");
    let on_api = || ["/", "/ping"].map(|path| fetch(&format!("{}{path}", server.url()), &[]).0);
    assert_eq!(on_api(), [200, 200]);
    let (here, away) = (token.folder.path().join("tokens"), token.folder.path().join("away"));
    fs::rename(&here, &away).unwrap();
    wait_until("readiness goes down", || server.readiness() == 503);
    assert_eq!(fetch(&liveness, &[]).0, 200);
    assert_eq!(on_api(), [503, 503]);
    fs::rename(&away, &here).unwrap();
    wait_until("readiness comes back", || server.readiness() == 200);
    assert_eq!(server.curl().call("keys/known/metadata", &body(&json!({})), &[]).0, 200);
}

/// With several key managers, one that works is enough, or each has to.
#[test]
fn any_or_all_key_managers_have_to_work() {
    for (when, status) in [("any", 200), ("all", 503)] {
        let token = Token::new();
        let mut settings = token.settings("");
        let soft = Settings::new();
        fs::copy(soft.file("usable.key"), settings.file("usable.key")).unwrap();
        settings.backends += &soft.backends;
        settings.key_stores = settings.key_stores.replace("all_keys", "backend = \"token\"\nall_keys")
            + &soft
                .key_stores
                .replace("all_keys", "backend = \"keys\"\nall_keys")
                .replace("tenant-a", "tenant-b")
                .replace(crate::support::ACCESS_KEY_ID, crate::support::OTHER_ACCESS_KEY_ID);
        settings.tables += &format!("[health]\nlisten = \"127.0.0.1:0\"\nready_when = \"{when}\"\ninterval_secs = 1\n");
        settings.tables += "[metrics]\nlisten = \"127.0.0.1:0\"\n";
        let server = token.serve(&settings);
        assert_eq!(server.readiness(), 200);
        let is_up = |backend| server.metrics().value("xks_backend_up", &[("backend", backend)]);
        assert_eq!((is_up("token"), is_up("keys")), (1.0, 1.0));
        fs::rename(token.folder.path().join("tokens"), token.folder.path().join("away")).unwrap();
        wait_until("the token is seen to be gone", || is_up("token") == 0.0);
        assert_eq!(is_up("keys"), 1.0);
        wait_until("readiness is settled", || server.readiness() == status);
    }
}
