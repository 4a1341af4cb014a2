//! TLS: versions, suites, certificate, and the client's certificate.

use std::time::SystemTime;

use rustls::{SupportedCipherSuite, SupportedProtocolVersion, crypto::aws_lc_rs::cipher_suite, version};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{
    check::{
        case::{Case, Stop},
        subject::{Subject, endpoint},
    },
    wire::{Endpoint, Http, Raw},
};

/// KMS offers these, of which a proxy needs one (TRN-3).
const SUITES: [(&str, SupportedCipherSuite, &SupportedProtocolVersion); 4] = [
    (
        "TLS_AES_256_GCM_SHA384",
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        &version::TLS13,
    ),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        &version::TLS13,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        &version::TLS12,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        &version::TLS12,
    ),
];

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::must("tls/https", &["TRN-1"])
            .sends("a TLS handshake")
            .expects("an https URL, and a certificate for its name from a trusted root, valid now")
            .means("KMS does not connect: ConnectCustomKeyStore fails")
            .steps(certificate),
        Case::must("tls/suites", &["TRN-3"])
            .sends("a handshake with each cipher suite that KMS offers, alone")
            .expects("at least one is accepted")
            .means("KMS and the proxy have no cipher suite in common: no request arrives")
            .steps(suites),
        Case::note("tls/certificate-lasts", &["TRN-10"])
            .sends("a TLS handshake")
            .expects("a certificate that is valid for 30 days or more")
            .means("once it has expired, every operation on every KMS key of the key store fails")
            .steps(lasting),
        Case::must("tls/old-versions-refused", &["TRN-3"])
            .sends("a handshake of TLS 1.1")
            .expects("the handshake is rejected")
            .means("an old version of TLS can be read and changed in transit")
            .steps(|_| async {
                Err(Stop::not_tried(
                    "this program's TLS library has no version before 1.2; use openssl s_client -tls1_1",
                ))
            }),
        Case::must("tls/client-certificate-demanded", &["TRN-6"])
            .sends("a signed request over a connection without a client certificate")
            .expects("the handshake is rejected")
            .means("mutual TLS is off: any client may connect to the proxy")
            .steps(demanded),
    ]
}

fn over_tls(subject: &Subject) -> Result<(), Stop> {
    match subject.endpoint().is_tls() {
        true => Ok(()),
        false => Err(Stop::not_tried(
            "the URL is http: TLS must be terminated in front of the proxy",
        )),
    }
}

async fn certificate(subject: Subject) -> Result<Option<String>, Stop> {
    over_tls(&subject)?;
    let tls = subject.setup().tls.clone().secure();
    let (_, handshake) = subject.another(|builder| builder.tls(tls))?.stream().await?;
    Ok(handshake.map(|handshake| {
        let version = handshake.version.map(|version| format!("{version:?}"));
        let suite = handshake.suite.map(|suite| format!("{suite:?}"));
        let alpn = handshake.alpn.map(|alpn| String::from_utf8_lossy(&alpn).into_owned());
        let told = [
            version,
            suite,
            Some(format!("ALPN {}", alpn.as_deref().unwrap_or("none"))),
        ];
        told.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }))
}

async fn suites(subject: Subject) -> Result<Option<String>, Stop> {
    over_tls(&subject)?;
    let (mut taken, mut last) = (Vec::new(), String::new());
    for (name, suite, version) in SUITES {
        let tls = subject.setup().tls.clone().versions(&[version]).suites(&[suite]);
        match subject.another(|builder| builder.tls(tls))?.stream().await {
            Ok(_) => taken.push(name),
            Err(error) => last = error.to_string(),
        }
    }
    match taken.is_empty() {
        true => Err(Stop::failed(format!("none is accepted: {last}"))),
        false => Ok(Some(taken.join(", "))),
    }
}

async fn lasting(subject: Subject) -> Result<Option<String>, Stop> {
    over_tls(&subject)?;
    let (_, handshake) = subject.endpoint().stream().await?;
    let certificates = handshake.map(|handshake| handshake.certificates).unwrap_or_default();
    let certificate = certificates.first().ok_or_else(|| Stop::failed("no certificate"))?;
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|_| Stop::failed("a certificate that cannot be parsed"))?;
    let left = certificate.validity().not_after.to_datetime() - OffsetDateTime::from(SystemTime::now());
    let days = left.whole_days();
    match days < 30 {
        true => Err(Stop::failed(format!("valid for {days} days"))),
        false => Ok(Some(format!("valid for {days} days"))),
    }
}

async fn demanded(subject: Subject) -> Result<Option<String>, Stop> {
    over_tls(&subject)?;
    if !subject.setup().tls.has_identity() {
        return Err(Stop::not_tried("--client-cert is not given"));
    }
    let tls = subject.setup().tls.clone().without_identity();
    let without: Endpoint = subject.another(|builder| builder.tls(tls))?;
    // With TLS 1.3 the refusal comes after the client's side of the handshake: the request tells.
    let Ok(mut connection) = without.connect().await else {
        return Ok(None);
    };
    let request: Raw = subject.request("health", &serde_json::json!({}))?;
    match connection.send(&request).await {
        Ok(answer) => Err(Stop::failed(subject.describe(&answer))),
        Err(_) => Ok(None),
    }
}

/// What is agreed on when both versions of HTTP may be.
pub(super) async fn offers(subject: &Subject, http: Http) -> Result<bool, Stop> {
    let endpoint = endpoint(subject.setup(), http).build();
    let endpoint = endpoint.map_err(|error| Stop::not_tried(error.to_string()))?;
    let Ok((_, handshake)) = endpoint.stream().await else {
        return Ok(false);
    };
    let chosen = handshake.and_then(|handshake| handshake.alpn);
    Ok(match http {
        Http::One => chosen.is_none_or(|chosen| chosen == b"http/1.1"),
        Http::Two => chosen.is_some_and(|chosen| chosen == b"h2"),
    })
}
