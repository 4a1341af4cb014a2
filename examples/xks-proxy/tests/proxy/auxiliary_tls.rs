//! Health and metrics over TLS: with the certificate of the API, or with one of their own.

use std::path::Path;

use crate::support::{Authority, Leaf, Server, Settings, Site, check, fetch, wait_until};

/// The status of a GET by somebody who believes in this root alone; 0 where there is no answer.
fn get(url: &str, root: &Path, arguments: &[&str]) -> u16 {
    let arguments = [&["--cacert", root.to_str().unwrap()], arguments].concat();
    fetch(url, &arguments).0
}

/// TRN-7: each listener is plain or has TLS, whatever the others have. A balancer needs no certificate of
/// KMS's.
#[test]
fn health_and_metrics_have_tls_of_the_api_or_their_own() {
    let own = Authority::root("Root of metrics");
    let identity = own.issue(&Leaf::SERVER);
    let settings = Site::new(&Leaf::SERVER).settings().tables(
        "[tls.client]\nroots = \"root.pem\"\nnames = [\"cks.kms.us-east-1.amazonaws.com\"]\n\
         [health]\nlisten = \"127.0.0.1:0\"\ntls = true\n\
         [metrics]\nlisten = \"127.0.0.1:0\"\n\
         [metrics.tls]\ncertificate_chain = \"own.pem\"\nprivate_key = \"own-key.pem\"",
    );
    settings.folder.write("own.pem", &identity.pem());
    settings.folder.write("own-key.pem", &identity.key_pem());
    settings.folder.write("own-root.pem", &own.pem());
    let server = Server::start(&settings);
    let (root, own_root) = (settings.file("root.pem"), settings.file("own-root.pem"));
    let (health, metrics) = (server.health_url(), server.fact("metrics").unwrap());
    assert!(
        health.starts_with("https://") && metrics.starts_with("https://"),
        "{}",
        server.summary
    );
    for version in ["--http1.1", "--http2"] {
        assert_eq!(get(health, &root, &[version]), 200);
        assert_eq!(get(metrics, &own_root, &[version]), 200);
    }
    assert_eq!(get(health, &own_root, &[]), 0, "the API's certificate");
    assert_eq!(get(metrics, &root, &[]), 0, "its own certificate");
    assert_eq!(get(&health.replace("https:", "http:"), &root, &[]), 0);
    assert_eq!(get(&metrics.replace("https:", "http:"), &root, &[]), 0);
    // Neither serves what the other does.
    assert_eq!(get(&health.replace("/ping", "/metrics"), &root, &[]), 404);
    assert_eq!(get(&metrics.replace("/metrics", "/ping"), &own_root, &[]), 404);
}

/// A scraper of metrics may be asked for a certificate, which is none of KMS's.
#[test]
fn metrics_ask_for_client_certificates() {
    let scrapers = Authority::root("Root of scrapers");
    let settings = Site::new(&Leaf::SERVER).settings().tables(
        "[metrics]\nlisten = \"127.0.0.1:0\"\n\
         [metrics.tls]\ncertificate_chain = \"chain.pem\"\nprivate_key = \"key.pem\"\n\
         [metrics.tls.client]\nroots = \"scrapers.pem\"\nnames = [\"prometheus.example.com\"]",
    );
    settings.folder.write("scrapers.pem", &scrapers.pem());
    let server = Server::start(&settings);
    let root = settings.file("root.pem");
    for (name, status) in [("prometheus.example.com", 200), ("another.example.com", 0)] {
        let identity = scrapers.issue(&Leaf {
            names: &[name],
            ..Leaf::SERVER
        });
        let certificate = settings.folder.write(&format!("{name}.pem"), &identity.pem());
        let key = settings.folder.write(&format!("{name}-key.pem"), &identity.key_pem());
        let arguments = ["--cert", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()];
        assert_eq!(
            get(server.fact("metrics").unwrap(), &root, &arguments),
            status,
            "{name}"
        );
    }
    assert_eq!(get(server.fact("metrics").unwrap(), &root, &[]), 0, "no certificate");
}

/// A renewed certificate is shown without a restart.
#[test]
fn a_renewed_certificate_is_shown_by_health() {
    let mut site = Site::new(&Leaf::SERVER);
    let settings = site.settings().tables("[health]\nlisten = \"127.0.0.1:0\"\ntls = true");
    let server = Server::start(&settings);
    let old_root = settings.folder.write("old-root.pem", &site.root.pem());
    assert_eq!(get(server.health_url(), &old_root, &[]), 200);
    site = Site::new(&Leaf::SERVER);
    site.write(&settings.folder);
    wait_until("the new certificate is shown", || {
        get(server.health_url(), &settings.file("root.pem"), &[]) == 200
    });
    assert_eq!(get(server.health_url(), &old_root, &[]), 0);
}

/// What cannot be meant is said, with the table where it stands.
#[test]
fn tls_that_is_not_there_is_said() {
    for (tables, said) in [
        (
            "[health]\nlisten = \"127.0.0.1:0\"\ntls = true",
            "`tls = true` means the certificate of [tls], which is missing: add it",
        ),
        ("[metrics]\ntls = \"yes\"", "`tls` must be true or false, or a table"),
        (
            "[metrics]\n[metrics.tls]\nprivate_key = \"key.pem\"",
            "`certificate_chain` is missing in [metrics.tls]",
        ),
    ] {
        let (code, printed) = check(&Settings::new().tables(tables));
        assert!(code == Some(78) && printed.contains(said), "{said}: {printed}");
    }
    let settings = Site::new(&Leaf::SERVER).settings().tables("[health]\ntls = true");
    let (code, printed) = check(&settings);
    let said = "`tls` requires `listen`: without it health is on the API's listener";
    assert!(code == Some(78) && printed.contains(said), "{printed}");
}
