//! Our own proxy keeps everything.

use std::time::Duration;

use kms_double::{check::Outcome, wire::Http};

use crate::support::{Server, checked, missed, setup};

#[test]
fn our_own_proxy_keeps_everything_over_both_versions_of_http() {
    let server = Server::right();
    let mut setup = setup(&server.url);
    setup.http = vec![Http::One, Http::Two];
    setup.ivs = 200;
    setup.load = Duration::from_secs(1);
    setup.connections = 4;
    setup.is_destructive = true;
    setup.only = Vec::new();
    let report = checked(&setup);
    assert_eq!(missed(&report), Vec::<&str>::new(), "{report}");
    assert!(report.is_conformant());
    assert!(report.summary.pass > 500, "{report}");
    // Without TLS, with metadata on every ciphertext, and on a short URL.
    let mut not_tried = report.named(Outcome::NotTried);
    not_tried.sort_unstable();
    not_tried.dedup();
    let expected = [
        "half-sent/closed",
        "tampering/metadata-added",
        "tls/certificate-lasts",
        "tls/client-certificate-demanded",
        "tls/https",
        "tls/old-versions-refused",
        "tls/suites",
        "uri/of-256-characters",
    ];
    assert_eq!(not_tried, expected);
    for operation in ["metadata", "encrypt", "decrypt", "health", "under load"] {
        let latency = report.latency[operation];
        assert!(latency.count > 0 && latency.min_ms <= latency.p50_ms && latency.p50_ms <= latency.max_ms);
    }
    assert!(report.clock_skew_seconds.unwrap().abs() < 60.0);
}
