//! Servers that are not there, or break off: whether the request was sent decides the kind.

use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use xks_byok::aws::{AwsError, AwsErrorKind, CreateKeyRequest, PageRequest};
use xks_byok_aws::ConnectorError;
use xks_test_aws::Simulator;

use crate::{builder, clients, file};

/// What CreateKey fails with.
async fn created(builder: xks_byok_aws::Builder) -> AwsError {
    let (kms, _) = clients(&builder.build().unwrap()).await;
    kms.create_key(CreateKeyRequest::external()).await.unwrap_err()
}

/// A server that reads the head of a request, answers so, and hangs up; without an answer it waits.
async fn server(answer: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap() == 0 {
                        return;
                    }
                }
                match answer {
                    Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                    None => std::future::pending().await,
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn what_was_not_sent_is_unreachable() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    for url in [format!("http://127.0.0.1:{port}"), "http://kms.invalid".to_owned()] {
        let error = created(builder(&url)).await;
        assert_eq!(error.kind, AwsErrorKind::Unreachable, "{url}: {error}");
        assert!(error.is_retryable() && !error.is_effect_unknown());
    }
}

#[tokio::test]
async fn what_was_sent_without_an_answer_may_have_been_done() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"KeyMetadata\":",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "no HTTP\r\n\r\n",
    ] {
        let error = created(builder(&server(Some(answer)).await)).await;
        assert_eq!(error.kind, AwsErrorKind::AnswerLost, "{answer:?}: {error}");
    }
    let error = created(builder(&server(None).await).timeout(Duration::from_millis(500))).await;
    assert_eq!(error.kind, AwsErrorKind::AnswerLost, "{error}");
}

/// An answer of something in front of AWS, such as a gateway.
#[tokio::test]
async fn an_answer_of_another_server_has_its_status() {
    let gone = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nxyz";
    let error = created(builder(&server(Some(gone)).await)).await;
    assert_eq!(error.kind, AwsErrorKind::Internal, "{error}");
    assert!(error.is_effect_unknown());
    let refused = "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nxyz";
    let error = created(builder(&server(Some(refused)).await)).await;
    assert!(matches!(error.kind, AwsErrorKind::Unknown(_)), "{error}");
    assert!(!error.is_effect_unknown() && !error.is_retryable());
}

#[tokio::test]
async fn a_server_is_trusted_by_its_certificate_alone() {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (
        file("cert.pem", &cert.pem()),
        file("key.pem", &signing_key.serialize_pem()),
    );
    let arguments = [
        "--certificate",
        certificate.to_str().unwrap(),
        "--key",
        key.to_str().unwrap(),
    ];
    let simulator = Simulator::start(&arguments);
    let url = simulator.url().replace("127.0.0.1", "localhost");

    let (kms, _) = clients(&builder(&url).roots(cert.pem()).build().unwrap()).await;
    kms.list_keys(PageRequest::first()).await.unwrap();

    let error = created(builder(&url)).await;
    assert_eq!(error.kind, AwsErrorKind::Unreachable, "{error}");
    // Another name than that of the certificate.
    let error = created(builder(simulator.url()).roots(cert.pem())).await;
    assert_eq!(error.kind, AwsErrorKind::Unreachable, "{error}");
}

#[test]
fn roots_that_are_none_are_refused() {
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for pem in ["", "no certificate", broken] {
        let error = builder("http://localhost").roots(pem).build().unwrap_err();
        assert!(matches!(error, ConnectorError::Roots(_)), "{pem}: {error}");
    }
}
