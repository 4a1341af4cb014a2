//! HTTP: versions, methods, connections.

use std::time::{Duration, SystemTime};

use http::{Method, header};

use super::tls::offers;
use crate::{
    check::{
        body::{self, Operation},
        case::{Case, Judged as _, Passed, Stop},
        subject::Subject,
    },
    wire::{Answer, Http, Raw},
};

/// How long the first answer over a new connection may take before it is worth a note.
const FIRST_ANSWER: Duration = Duration::from_millis(20);

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::must("http/version-1.1", &["TRN-2"])
            .sends("GetKeyMetadata over HTTP/1.1")
            .expects("200 over HTTP/1.1")
            .means("KMS falls back to HTTP/1.1, and every request fails")
            .steps(|subject| over(subject, Http::One)),
        Case::must("http/version-2", &["TRN-2", "SIG-2"])
            .sends("GetKeyMetadata over HTTP/2, where the proxy offers it")
            .expects("200 over HTTP/2")
            .means("a client that negotiates HTTP/2 has all of its requests fail")
            .steps(|subject| over(subject, Http::Two)),
        Case::should("http/kept-connection", &["TRN-8"])
            .sends("two requests over one connection")
            .expects("200 twice")
            .means("KMS opens a connection for each request, and the TLS handshake uses up its 250 ms")
            .steps(kept),
        Case::note("http/first-answer", &["TRN-8"])
            .sends("a request over a new connection, timed from the end of the handshake")
            .expects("an answer within 20 ms, at the median of five")
            .means("packets are delayed (TCP_NODELAY is off), or the first request does lazy initialization")
            .steps(first),
        Case::should("http/allow", &["TRN-4"])
            .sends("a signed GET to an operation's path")
            .expects("405 with Allow: POST")
            .means("none with KMS; HTTP requires it")
            .steps(|subject| async move {
                let answer = get(&subject, Operation::Metadata, true).await?;
                let allow = answer.headers.get(header::ALLOW).and_then(|allow| allow.to_str().ok());
                match (answer.status, allow) {
                    (405, Some(allow)) if allow.split(',').any(|method| method.trim() == "POST") => Ok(None),
                    (status, allow) => Err(Stop::failed(format!(
                        "{status} with Allow: {}",
                        allow.unwrap_or("absent")
                    ))),
                }
            }),
    ];
    for operation in Operation::ALL {
        cases.push(
            Case::must(format!("http/get-{}", operation.name()), &["TRN-4"])
                .sends("a signed GET to the operation's path")
                .expects("405")
                .means("AWS's own proxy test sends one, and expects 405")
                .steps(move |subject| async move { is_405(&subject, &get(&subject, operation, true).await?) }),
        );
        cases.push(
            Case::should(format!("http/get-{}-unsigned", operation.name()), &["TRN-4"])
                .sends("a GET to the operation's path without a signature")
                .expects("405, or 404")
                .means("a browser or scanner is asked to sign a request that would be rejected when signed")
                .steps(move |subject| async move {
                    let answer = get(&subject, operation, false).await?;
                    if answer.status == 404 {
                        Ok(None)
                    } else {
                        is_405(&subject, &answer)
                    }
                }),
        );
    }
    cases
}

fn is_405(subject: &Subject, answer: &Answer) -> Passed {
    match answer.status {
        405 => Ok(None),
        _ => Err(Stop::failed(subject.describe(answer))),
    }
}

async fn get(subject: &Subject, operation: Operation, is_signed: bool) -> Result<Answer, Stop> {
    let (endpoint, path) = (subject.endpoint(), operation.path(subject.key()));
    let request = match is_signed {
        true => Raw::signed(endpoint, Method::GET, &path, b"", SystemTime::now())?,
        false => Raw::unsigned(endpoint, Method::GET, &path, b"")?,
    };
    subject.send(&request).await
}

async fn over(subject: Subject, http: Http) -> Passed {
    let is_tls = subject.endpoint().is_tls();
    if http == Http::Two && is_tls && !offers(&subject, http).await? {
        return Err(Stop::not_tried("the proxy does not select HTTP/2 by ALPN"));
    }
    let endpoint = subject.another(|builder| builder.http(http))?;
    let body = body::plain(subject.setup(), Operation::Metadata).to_string();
    let path = Operation::Metadata.path(subject.key());
    let request = Raw::signed(&endpoint, Method::POST, &path, body.as_bytes(), SystemTime::now())?;
    let mut connection = endpoint.connect().await?;
    let answer = match connection.send(&request).await {
        // Without TLS no server is obliged to guess that HTTP/2 is spoken.
        Err(error) if http == Http::Two && !is_tls => {
            return Err(Stop::not_tried(format!("no HTTP/2 without TLS: {error}")));
        }
        answer => subject.seen(&request, answer)?,
    };
    answer.is_served(&subject)
}

async fn kept(subject: Subject) -> Passed {
    let body = body::plain(subject.setup(), Operation::Metadata);
    let request = subject.request(&Operation::Metadata.path(subject.key()), &body)?;
    let mut connection = subject.endpoint().connect().await?;
    for _ in 0..2 {
        let answer = connection.send(&request).await;
        subject.seen(&request, answer)?.is_served(&subject)?;
    }
    Ok(None)
}

async fn first(subject: Subject) -> Passed {
    let body = body::plain(subject.setup(), Operation::Metadata);
    let request = subject.request(&Operation::Metadata.path(subject.key()), &body)?;
    let mut times = Vec::new();
    for _ in 0..5 {
        let mut connection = subject.endpoint().connect().await?;
        let answer = connection.send(&request).await;
        times.push(subject.seen(&request, answer)?.took);
    }
    times.sort_unstable();
    let median = times.get(2).copied().unwrap_or_default();
    let told = format!("{} ms", median.as_millis());
    if median > FIRST_ANSWER {
        Err(Stop::failed(told))
    } else {
        Ok(Some(told))
    }
}
