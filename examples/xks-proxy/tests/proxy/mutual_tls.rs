//! Mutual TLS: which client certificates are accepted.

use std::path::PathBuf;

use serde_json::json;

use crate::support::{Authority, Identity, Leaf, Server, Settings, Site, body, ended};

/// What KMS calls itself.
const NAME: &str = "cks.kms.us-east-1.amazonaws.com";
/// Another name that is let in.
const SECOND: &str = "kms.example.com";

/// A server that asks for certificates, and the authority whose clients it takes.
struct Place {
    settings: Settings,
    server: Server,
    clients: Authority,
}

impl Place {
    fn new() -> Self {
        let clients = Authority::root("Root of clients");
        let settings = Site::new(&Leaf::SERVER).settings().health().metrics().tables(&format!(
            "[tls.client]\nroots = \"clients.pem\"\nnames = [\"{NAME}\", \"{SECOND}\"]"
        ));
        settings.folder.write("clients.pem", &clients.pem());
        Self {
            server: Server::start(&settings),
            settings,
            clients,
        }
    }

    fn write(&self, name: &str, identity: &Identity) -> (PathBuf, PathBuf) {
        let folder = &self.settings.folder;
        (
            folder.write(&format!("{name}.pem"), &identity.pem()),
            folder.write(&format!("{name}-key.pem"), &identity.key_pem()),
        )
    }

    /// The status of a signed call by curl with this certificate; 0 when there is no HTTP answer.
    fn call(&self, identity: Option<&Identity>, arguments: &[&str]) -> u16 {
        let mut curl = self.server.curl().process("health", &body(&json!({})));
        curl.arg("--cacert").arg(self.settings.file("root.pem")).args(arguments);
        if let Some(identity) = identity {
            let (certificate, key) = self.write("client", identity);
            curl.arg("--cert").arg(certificate).arg("--key").arg(key);
        }
        let (code, out, log) = ended(&mut curl);
        let status = out.rsplit('\n').next().unwrap().parse().unwrap();
        assert_eq!(code == Some(0), status != 0, "{out}{log}");
        status
    }
}

const VERSIONS: [&[&str]; 2] = [&["--tlsv1.2", "--tls-max", "1.2"], &["--tlsv1.3"]];

/// TRN-6, LOG-1: the configured name, in the subject's CN or in a DNS SAN, under the configured root.
#[test]
fn who_has_the_name_is_let_in() {
    let place = Place::new();
    for (what, leaf) in [
        (
            "CN",
            Leaf {
                common_name: Some(NAME),
                ..Leaf::default()
            },
        ),
        (
            "DNS SAN",
            Leaf {
                names: &[NAME],
                ..Leaf::default()
            },
        ),
        (
            "CN, with other names in the SAN",
            Leaf {
                common_name: Some(NAME),
                names: &["other.example.com"],
                ..Leaf::default()
            },
        ),
        (
            "second of several SANs, of another CN",
            Leaf {
                common_name: Some("other.example.com"),
                names: &["third.example.com", SECOND],
                ..Leaf::default()
            },
        ),
        (
            "CN, of an RSA key",
            Leaf {
                common_name: Some(NAME),
                is_rsa: true,
                ..Leaf::default()
            },
        ),
    ] {
        let identity = place.clients.issue(&leaf);
        for version in VERSIONS {
            assert_eq!(place.call(Some(&identity), version), 200, "{what}, {version:?}");
        }
    }
    // LOG-1: the record says by which name.
    let (_, log) = place.server.stop();
    let named = |name: &str| log.matches(&format!("tls_client=\"{name}\"")).count();
    assert_eq!((named(NAME), named(SECOND)), (8, 2), "{log}");
}

/// TRN-6: other clients get no further than the handshake, whatever they sign; and health is answered to them
/// all the same.
#[test]
fn everybody_else_ends_at_the_handshake() {
    let place = Place::new();
    let right = Leaf {
        common_name: Some(NAME),
        names: &[NAME],
        ..Leaf::default()
    };
    let longer = format!("x{NAME}");
    let expired = Leaf {
        is_expired: true,
        ..right.clone()
    };
    let identities = [
        (
            "another name",
            Some(place.clients.issue(&Leaf {
                common_name: Some("cks.kms.us-west-2.amazonaws.com"),
                names: &["kms.us-east-1.amazonaws.com"],
                ..Leaf::default()
            })),
        ),
        (
            "a name that ends in the right one",
            Some(place.clients.issue(&Leaf {
                common_name: Some(&longer),
                ..Leaf::default()
            })),
        ),
        (
            "a name for all names",
            Some(place.clients.issue(&Leaf {
                names: &["*.kms.us-east-1.amazonaws.com", "*.us-east-1.amazonaws.com"],
                ..Leaf::default()
            })),
        ),
        ("no name", Some(place.clients.issue(&Leaf::default()))),
        ("another root", Some(Authority::root("Root of clients").issue(&right))),
        ("expired", Some(place.clients.issue(&expired))),
        ("self-signed", Some(right.self_signed())),
        ("absent", None),
    ];
    for (what, identity) in &identities {
        for version in VERSIONS {
            assert_eq!(place.call(identity.as_ref(), version), 0, "{what}, {version:?}");
        }
        assert_eq!(place.server.readiness(), 200, "health is asked without a certificate");
    }
    let refused = (identities.len() * VERSIONS.len()) as f64;
    let metrics = place.server.metrics();
    assert_eq!(metrics.sum("xks_tls_handshake_failures_total", &[]), refused);
    assert_eq!(metrics.sum("xks_requests_total", &[]), 0.0);
    assert_eq!(place.call(Some(&place.clients.issue(&right)), &[]), 200);
}
