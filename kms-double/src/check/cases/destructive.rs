//! What ends weak proxies. Only sent when asked for.

use std::time::Duration;

use http::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{sleep, timeout},
};

use crate::check::{
    body::Sealed,
    case::{Case, Judged as _, Passed, Stop},
    errors::expectation,
    subject::Subject,
};
use crate::wire::{Answer, CallError, Http, Raw};

const MEBIBYTE: usize = 1 << 20;
/// Of the body that no proxy should take.
const LARGE: usize = 96 * MEBIBYTE;
const TOO_MUCH: usize = 64 * MEBIBYTE;

/// What such a decryption may be called.
const TOO_LARGE: &[&str] = &[
    "UnsupportedOperationException",
    "InvalidCiphertextException",
    "ValidationException",
];

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::must("destructive/large-body-unsigned", &["SIG-9", "ENC-4"])
            .sends("an unsigned POST without Content-Length that sends 96 MiB in chunks")
            .expects("a response or a closed connection before 64 MiB were read")
            .means("unauthenticated clients can fill the proxy's memory")
            .only_over(Http::One)
            .destructive()
            .steps(large),
        Case::must("destructive/300-kilobytes-unsigned", &["SIG-9"])
            .sends("an unsigned POST of 300 000 bytes")
            .expects("4xx with an errorName")
            .means("unauthenticated clients reach the proxy's parser")
            .destructive()
            .steps(|subject| async move {
                let body = vec![b' '; 300_000];
                let request = subject.unsigned(&format!("keys/{}/encrypt", subject.key()), &body)?;
                let answer = subject.send(&request).await?;
                match (answer.status, answer.error_name()) {
                    (400..=499, Some(name)) => Ok(Some(name)),
                    _ => Err(Stop::failed(subject.describe(&answer))),
                }
            }),
        Case::must("destructive/long-header", &["TRN-1"])
            .sends("a request with an Authorization of 60 000 bytes")
            .expects("4xx, also from the HTTP server, or a closed connection")
            .means("unauthenticated clients can fill the proxy's memory, or crash it")
            .destructive()
            .steps(|subject| async move {
                let path = format!("keys/{}/metadata", subject.key());
                let mut request = Raw::unsigned(subject.endpoint(), Method::POST, &path, b"{}")?;
                let long = crate::check::signature::value(&format!("AWS4-HMAC-SHA256 {}", "a".repeat(60_000)))?;
                request.headers.insert(http::header::AUTHORIZATION, long);
                let mut connection = subject.endpoint().connect().await?;
                let answer = connection.send(&request).await;
                still_there(&subject, &answer).await?;
                match answer {
                    Ok(answer) if !(400..=499).contains(&answer.status) => Err(Stop::failed(subject.describe(&answer))),
                    Ok(_) | Err(CallError::Closed(_)) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }),
        Case::must("destructive/decrypt-with-65536-bytes-of-aad", &["ENC-4", "DEC-1"])
            .sends("a signed Decrypt with 65 536 bytes of AAD, then GetKeyMetadata over a new connection")
            .expects(format!("{}, then 200", expectation(TOO_LARGE)))
            .means("one request with a valid credential can crash the proxy for all key stores")
            .destructive()
            .steps(|subject| async move {
                let sealed = Sealed {
                    aad: Some(vec![b'a'; 65_536]),
                    ..Sealed::of_nothing()
                };
                let request = subject.decryption(subject.key(), &sealed)?;
                let answer = subject.call(&request).await;
                still_there(&subject, &answer).await?;
                answer.map_err(Stop::from)?.is_error(&subject, TOO_LARGE)
            }),
    ]
}

/// Whether others are served after that.
async fn still_there(subject: &Subject, answer: &Result<Answer, CallError>) -> Result<(), Stop> {
    // A process that ends takes a moment, also to refuse connections.
    sleep(Duration::from_millis(100)).await;
    let came = match answer {
        Ok(answer) => subject.describe(answer),
        Err(error) => error.to_string(),
    };
    let asked = match subject.endpoint().connect().await {
        Ok(_) => subject.ask().await.map(|answer| answer.status),
        Err(error) => Err(Stop::from(error)),
    };
    match asked {
        Ok(200) => Ok(()),
        Ok(status) => Err(Stop::failed(format!("{came}, then {status} for every request"))),
        Err(Stop::Failed(why) | Stop::Otherwise(why, _) | Stop::NotTried(why)) => {
            Err(Stop::failed(format!("{came}, then no request succeeds: {why}")))
        }
    }
}

async fn large(subject: Subject) -> Passed {
    let (endpoint, path) = (subject.endpoint(), format!("keys/{}/encrypt", subject.key()));
    let head = format!(
        "POST {}/{path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        endpoint.uri_path(),
        endpoint.authority()
    );
    let (stream, _) = endpoint.stream().await?;
    let (mut from, mut to) = tokio::io::split(stream);
    let chunk = [b"10000\r\n", &*vec![b' '; 65_536], b"\r\n"].concat();
    let answered = tokio::spawn(async move { from.read(&mut [0; 512]).await.map(|_| ()) });
    let mut taken = 0;
    let sending = async {
        to.write_all(head.as_bytes()).await?;
        while taken < LARGE && !answered.is_finished() {
            to.write_all(&chunk).await?;
            taken += 65_536;
        }
        Ok::<_, std::io::Error>(())
    };
    let sent = timeout(subject.setup().timeout.max(Duration::from_secs(10)), sending).await;
    answered.abort();
    let taken = taken / MEBIBYTE;
    match taken >= TOO_MUCH / MEBIBYTE {
        true => Err(Stop::failed(format!("{taken} MiB were read without a response"))),
        false if sent.is_err() => Err(Stop::failed(format!(
            "{taken} MiB were read, then no response followed"
        ))),
        false => Ok(Some(format!("{taken} MiB were read"))),
    }
}
