//! TLS: versions, suites, protocols, the chain.

use rustls::{
    CipherSuite, ProtocolVersion, SupportedCipherSuite,
    crypto::aws_lc_rs::cipher_suite::{
        TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS13_AES_256_GCM_SHA384,
        TLS13_CHACHA20_POLY1305_SHA256,
    },
    version::{TLS12, TLS13},
};
use serde_json::json;

use crate::support::{
    Authority, Connection, Http, Leaf, PREFIX, Raw, Server, Site, Target, body, ciphertext, client_config, plaintext,
    run, usual_signer,
};

const RSA: Leaf<'_> = Leaf {
    is_rsa: true,
    ..Leaf::SERVER
};

fn target(server: &Server, client: rustls::ClientConfig) -> Target {
    assert!(server.url().starts_with("https://"), "{}", server.summary);
    Target::plain(server.address(), PREFIX).with_tls(client)
}

/// The version and the suite of a connection of a client that offers nothing else, over which a request is
/// answered.
async fn agreed(server: &Server, site: &Site, suite: SupportedCipherSuite) -> (ProtocolVersion, CipherSuite) {
    let client = client_config(&site.root, None, &[&TLS12, &TLS13], &[suite]);
    let mut connection = Connection::open(&target(server, client), Http::One).await.unwrap();
    let answer = connection
        .post(&usual_signer(), "keys/usable/metadata", &body(&json!({})))
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let handshake = connection.handshake.unwrap();
    (handshake.version, handshake.suite.suite())
}

/// TRN-1, TRN-3: each of the four suites that KMS has is taken, in its version of TLS.
#[tokio::test]
async fn each_suite_of_kms_is_served() {
    for (leaf, suites) in [
        (RSA, [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS13_AES_256_GCM_SHA384]),
        (
            Leaf::SERVER,
            [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256],
        ),
    ] {
        let site = Site::new(&leaf);
        let settings = site.settings();
        let server = Server::start(&settings);
        for (suite, version) in suites
            .into_iter()
            .zip([ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3])
        {
            assert_eq!(agreed(&server, &site, suite).await, (version, suite.suite()));
        }
    }
}

/// TRN-1, TRN-3: another TLS library than the server's, with the suites by their names in OpenSSL.
#[test]
fn curl_is_served_on_tls_1_2_and_1_3() {
    let site = Site::new(&RSA);
    let settings = site.settings();
    let server = Server::start(&settings);
    let root = settings.file("root.pem");
    for version in [
        &[
            "--tlsv1.2",
            "--tls-max",
            "1.2",
            "--ciphers",
            "ECDHE-RSA-AES256-GCM-SHA384",
        ][..],
        &["--tlsv1.3", "--tls13-ciphers", "TLS_AES_256_GCM_SHA384"],
        &["--tlsv1.3", "--tls13-ciphers", "TLS_CHACHA20_POLY1305_SHA256"],
    ] {
        let arguments = [version, &["--cacert", root.to_str().unwrap()]].concat();
        let call = |operation: &str, body| {
            server
                .curl()
                .call(&format!("keys/usable/{operation}"), &body, &arguments)
        };
        let (status, encrypted) = call("encrypt", plaintext(b"over TLS"));
        assert_eq!(status, 200, "{version:?}: {encrypted}");
        let decrypted = call("decrypt", ciphertext(&encrypted));
        assert_eq!(decrypted, (200, json!({"plaintext": "b3ZlciBUTFM="})));
    }
}

/// TRN-2: the client chooses HTTP/2 or HTTP/1.1, and one that chooses nothing gets HTTP/1.1.
#[tokio::test]
async fn both_versions_of_http_are_offered() {
    let site = Site::new(&Leaf::SERVER);
    let settings = site.settings();
    let server = Server::start(&settings);
    let target = target(&server, site.client());
    for (http, alpn) in [(Http::One, b"http/1.1".to_vec()), (Http::Two, b"h2".to_vec())] {
        let mut connection = Connection::open(&target, http).await.unwrap();
        let answer = connection
            .post(&usual_signer(), "health", &body(&json!({})))
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(connection.handshake.unwrap().alpn, Some(alpn));
    }

    let root = settings.file("root.pem");
    let version = |arguments: &[&str]| {
        let mut curl = server.curl().process("health", &body(&json!({})));
        curl.args(["-o", "/dev/null", "-w", "%{http_code} %{http_version}", "--cacert"])
            .arg(&root)
            .args(arguments);
        run(&mut curl)
    };
    assert_eq!(version(&["--http2"]), "200 2");
    assert_eq!(version(&["--http1.1"]), "200 1.1");
    assert_eq!(version(&["--no-alpn"]), "200 1.1");
}

/// A client that knows the root alone gets the way to it from the server.
#[tokio::test]
async fn the_whole_chain_is_sent() {
    let site = Site::new(&Leaf::SERVER);
    let settings = site.settings();
    let server = Server::start(&settings);
    let connection = Connection::open(&target(&server, site.client()), Http::One)
        .await
        .unwrap();
    let certificates = connection.handshake.unwrap().certificates;
    assert_eq!((certificates.len(), &certificates[0]), (2, site.identity.der()));

    let other = client_config(&Authority::root("Another root"), None, &[&TLS13], &[]);
    assert!(
        Connection::open(&target(&server, other), Http::One).await.is_err(),
        "the test's client believes anybody"
    );
}

/// TRN-3: one that offers no more than TLS 1.1 gets the alert `protocol_version`.
#[test]
fn tls_1_1_is_refused() {
    let mut hello = vec![3, 2]; // TLS 1.1
    hello.extend([7; 32]); // random bytes
    hello.push(0); // no session
    hello.extend([0, 6, 0xc0, 0x14, 0xc0, 0x0a, 0x00, 0x35]); // AES_256_CBC_SHA with ECDHE-RSA, ECDHE-ECDSA, RSA
    hello.extend([1, 0]); // no compression
    hello.extend([0, 24, 0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0]); // P-256, uncompressed points
    hello.extend([0, 13, 0, 6, 0, 4, 4, 3, 8, 4]); // signatures by ECDSA and RSA-PSS
    let mut message = vec![1, 0, 0, u8::try_from(hello.len()).unwrap()];
    message.extend(hello);
    let mut record = vec![22, 3, 1, 0, u8::try_from(message.len()).unwrap()];
    record.extend(message);

    for leaf in [Leaf::SERVER, RSA] {
        let settings = Site::new(&leaf).settings();
        let server = Server::start(&settings);
        let mut client = Raw::open(server.address());
        client.send(&record).unwrap();
        let answer = client.read_to_end();
        let answer = answer.as_bytes();
        // An alert, of any version; fatal; protocol_version.
        assert_eq!((answer[0], &answer[5..]), (21, &[2, 70][..]), "{answer:?}");
    }
}

/// Plain HTTP on the port of HTTPS harms no other client.
#[test]
fn plain_http_is_not_answered() {
    let site = Site::new(&Leaf::SERVER);
    let settings = site.settings();
    let server = Server::start(&settings);
    let mut client = Raw::open(server.address());
    client.send(b"GET /ping HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let answer = client.read_to_end();
    assert!(!answer.contains("HTTP/"), "{answer:?}");
    let root = settings.file("root.pem");
    let answer = server
        .curl()
        .call("health", &body(&json!({})), &["--cacert", root.to_str().unwrap()]);
    assert_eq!(answer.0, 200, "{answer:?}");
}
