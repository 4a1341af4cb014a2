//! Requests without a signature where one belongs.

use http::header;

use crate::check::{
    body::{self, Operation},
    case::{Case, Judged as _, Stop},
    errors::{AUTHENTICATION, AUTHENTICATION_OR_PATH, expectation},
};

const MEANS: &str = "any client that reaches the proxy's port can use its keys";

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<_> = [Operation::Metadata, Operation::Encrypt, Operation::Decrypt]
        .into_iter()
        .map(|operation| {
            Case::must(format!("unsigned/{}", operation.name()), &["SIG-1"])
                .sends("a request without Authorization")
                .means(MEANS)
                .refused(AUTHENTICATION, move |subject| {
                    let body = body::plain(subject.setup(), operation).to_string();
                    subject.unsigned(&operation.path(subject.key()), body.as_bytes())
                })
        })
        .collect();
    cases.push(
        Case::should("unsigned/garbage", &["SIG-9"])
            .sends("a body that is not JSON, without a signature")
            .means("unauthenticated clients reach the JSON parser")
            .refused(AUTHENTICATION, |subject| {
                subject.unsigned(&Operation::Encrypt.path(subject.key()), b"garbage")
            }),
    );
    cases.push(
        Case::must("unsigned/in-the-query", &["SIG-1"])
            .sends("a request signed in its query, as presigned URLs are")
            .expects("401 AuthenticationFailedException or 404 InvalidUriPathException")
            .means("signatures get into logs, and stay valid until they expire")
            .refused(AUTHENTICATION_OR_PATH, |subject| {
                let (mut request, recipe) = subject.to_be_signed()?;
                recipe.sign(&mut request)?;
                let text = request.headers.remove(header::AUTHORIZATION);
                let text = text.as_ref().and_then(|text| text.to_str().ok()).unwrap_or_default();
                let signature = text.rsplit('=').next().unwrap_or_default();
                request.target = format!(
                    "{}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}&X-Amz-Signature={signature}",
                    request.target, recipe.access_key_id
                );
                Ok(request)
            }),
    );
    cases.push(
        Case::should("unsigned/tells-nothing-of-keys", &["SIG-9"])
            .sends("the same unsigned request for a key that exists and for one that does not")
            .expects(format!(
                "{} both times, with the same body",
                expectation(AUTHENTICATION)
            ))
            .means("unauthenticated clients learn which keys exist")
            .steps(|subject| async move {
                let mut bodies = Vec::new();
                for key in [subject.key(), subject.missing_key()] {
                    let body = body::plain(subject.setup(), Operation::Metadata).to_string();
                    let request = subject.unsigned(&Operation::Metadata.path(key), body.as_bytes())?;
                    let answer = subject.send(&request).await?;
                    answer.is_error(&subject, AUTHENTICATION)?;
                    bodies.push(answer.json());
                }
                bodies.dedup();
                if bodies.len() == 1 {
                    Ok(None)
                } else {
                    Err(Stop::failed("different words"))
                }
            }),
    );
    cases
}
