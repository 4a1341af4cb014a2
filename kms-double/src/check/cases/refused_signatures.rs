//! Signatures with something wrong, which must not be taken.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use zeroize::Zeroizing;

use crate::check::{
    body::{self, Operation},
    case::{Case, Stop},
    errors::AUTHENTICATION,
    signature::{CONTENT_HASH, DATE, Recipe, value},
    subject::Subject,
};
use crate::wire::{Http, Raw, SignError};

const MEANS: &str = "an attacker on the network can use the proxy's keys, or change requests in transit";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = before_signing();
    cases.extend(after_signing());
    cases
}

/// What is signed, or with what, is wrong.
fn before_signing() -> Vec<Case> {
    type Change = fn(&mut Raw, &mut Recipe);
    let changes: [(&str, &'static [&'static str], &str, Change); 15] = [
        ("wrong-secret", &["SIG-4"], "another secret", |_, recipe| {
            recipe.secret = Zeroizing::new("AnotherSecretOf43To64CharactersThatIsNotThisOne".into());
        }),
        (
            "wrong-access-key",
            &["SIG-6"],
            "an unknown access key id",
            |_, recipe| {
                recipe.access_key_id = "NOBODYHASTHISACCESSKEYID2345".into();
            },
        ),
        (
            "access-key-in-lower-case",
            &["SIG-6"],
            "the access key id in lower case",
            |_, recipe| {
                recipe.access_key_id.make_ascii_lowercase();
            },
        ),
        ("wrong-region", &["SIG-4"], "another Region", |_, recipe| {
            recipe.region = if recipe.region == "eu-north-1" {
                "us-east-1"
            } else {
                "eu-north-1"
            }
            .into();
        }),
        ("wrong-service", &["SIG-1"], "another service, s3", |_, recipe| {
            recipe.service = "s3";
        }),
        (
            "wrong-terminator",
            &["SIG-1"],
            "aws5_request for aws4_request",
            |_, recipe| {
                recipe.terminator = "aws5_request";
            },
        ),
        (
            "scope-of-another-day",
            &["SIG-5"],
            "another day in the scope than in x-amz-date",
            |_, recipe| {
                recipe.scope_date = Some("20230101".into());
            },
        ),
        ("host-not-signed", &["SIG-2"], "x-amz-date alone signed", |_, recipe| {
            recipe.signed = vec!["x-amz-date"];
        }),
        ("date-not-signed", &["SIG-2"], "host alone signed", |_, recipe| {
            recipe.signed = vec!["host"];
        }),
        (
            "nothing-signed",
            &["SIG-2"],
            "content-type alone signed",
            |_, recipe| recipe.signed = vec!["content-type"],
        ),
        ("without-date", &["SIG-2"], "no x-amz-date", |_, recipe| {
            recipe.has_date_header = false;
            recipe.signed = vec!["host"];
        }),
        (
            "signed-header-absent",
            &["SIG-3"],
            "a header in SignedHeaders that the request lacks",
            |_, recipe| {
                recipe.signed = vec!["host", "x-amz-date", "x-amz-target"];
            },
        ),
        (
            "other-algorithm",
            &["SIG-1"],
            "AWS4-HMAC-SHA512 for AWS4-HMAC-SHA256",
            |_, recipe| {
                recipe.algorithm = "AWS4-HMAC-SHA512";
            },
        ),
        (
            "unsigned-payload",
            &["SIG-3"],
            "UNSIGNED-PAYLOAD for the body's hash",
            |request, recipe| {
                request
                    .headers
                    .insert(CONTENT_HASH, HeaderValue::from_static("UNSIGNED-PAYLOAD"));
                recipe.payload = Some("UNSIGNED-PAYLOAD".into());
                recipe.signed = vec!["host", "x-amz-content-sha256", "x-amz-date"];
            },
        ),
        (
            "hash-of-another-body",
            &["SIG-3"],
            "an x-amz-content-sha256 of another body",
            |request, recipe| {
                let hash = crate::check::signature::hex_hash(b"another body");
                if let Ok(hash) = value(&hash) {
                    request.headers.insert(CONTENT_HASH, hash);
                }
                recipe.payload = Some(hash);
                recipe.signed = vec!["host", "x-amz-content-sha256", "x-amz-date"];
            },
        ),
    ];
    let case = |(name, ids, what, change): (&str, _, &str, Change)| {
        Case::must(format!("signature/{name}"), ids)
            .sends(format!("GetKeyMetadata with a wrong signature: {what}"))
            .means(MEANS)
            .refused(AUTHENTICATION, move |subject| {
                let (mut request, mut recipe) = subject.to_be_signed()?;
                change(&mut request, &mut recipe);
                recipe.sign(&mut request)?;
                Ok(request)
            })
    };
    changes.into_iter().map(case).collect()
}

/// The request is changed after it was signed.
fn after_signing() -> Vec<Case> {
    type Change = fn(&Subject, &mut Raw) -> Result<(), SignError>;
    let changes: [(&str, &'static [&'static str], &str, Change); 17] = [
        ("body-changed", &["SIG-3"], "another body", |_, request| {
            let body = String::from_utf8_lossy(&request.body).replace("DescribeKey", "CreateKey");
            request.body = Bytes::from(body);
            Ok(())
        }),
        ("body-longer", &["SIG-3"], "a space after the body", |_, request| {
            request.body = Bytes::from([&*request.body, b" "].concat());
            Ok(())
        }),
        (
            "path-changed",
            &["SIG-3"],
            "the path of another key",
            |subject, request| {
                let path = Operation::Metadata.path(subject.missing_key());
                request.target = format!("{}/{path}", subject.endpoint().uri_path());
                Ok(())
            },
        ),
        (
            "date-changed",
            &["SIG-4"],
            "an x-amz-date of one second later",
            |_, request| {
                let later = SystemTime::now() + Duration::from_secs(1);
                request.headers.insert(DATE, value(&crate::check::date::basic(later))?);
                Ok(())
            },
        ),
        (
            "header-changed",
            &["SIG-3"],
            "another content-type, which was signed",
            |_, request| {
                let other = HeaderValue::from_static("application/json; charset=utf-8");
                request.headers.insert(header::CONTENT_TYPE, other);
                Ok(())
            },
        ),
        ("host-changed", &["SIG-2"], "another host", |_, request| {
            request
                .headers
                .insert(header::HOST, HeaderValue::from_static("xks.example.org"));
            Ok(())
        }),
        (
            "truncated",
            &["SIG-1"],
            "a signature without its last digit",
            |_, request| {
                edit(request, |text| {
                    text.get(..text.len().saturating_sub(1)).unwrap_or_default().to_owned()
                })
            },
        ),
        ("cut-to-half", &["SIG-1"], "half a signature", |_, request| {
            edit(request, |text| {
                text.get(..text.len().saturating_sub(32)).unwrap_or_default().to_owned()
            })
        }),
        ("empty", &["SIG-1"], "an empty signature", |_, request| {
            edit(request, |text| {
                text.get(..text.len().saturating_sub(64)).unwrap_or_default().to_owned()
            })
        }),
        (
            "longer",
            &["SIG-1"],
            "a signature with one digit too many",
            |_, request| edit(request, |text| format!("{text}0")),
        ),
        (
            "last-digit-changed",
            &["SIG-4"],
            "a signature with another last digit",
            |_, request| {
                edit(request, |text| {
                    let (head, last) = text.split_at_checked(text.len().saturating_sub(1)).unwrap_or_default();
                    format!("{head}{}", if last == "0" { "1" } else { "0" })
                })
            },
        ),
        ("of-zeros", &["SIG-4"], "64 zeros", |_, request| {
            edit(request, |text| {
                let head = text.get(..text.len().saturating_sub(64)).unwrap_or_default();
                format!("{head}{}", "0".repeat(64))
            })
        }),
        (
            "without-signed-headers",
            &["SIG-1"],
            "no SignedHeaders",
            |_, request| edit(request, |text| text.replace("SignedHeaders=", "Signed=")),
        ),
        ("without-credential", &["SIG-1"], "no Credential", |_, request| {
            edit(request, |text| text.replace("Credential=", "Cred="))
        }),
        ("garbage", &["SIG-1"], "garbage for Authorization", |_, request| {
            edit(request, |_| "AWS4-HMAC-SHA256 ,,=,".into())
        }),
        ("basic", &["SIG-1"], "Basic authentication", |_, request| {
            edit(request, |_| "Basic YWRtaW46YWRtaW4=".into())
        }),
        ("twice", &["SIG-1"], "a second Authorization", |_, request| {
            request.headers.append(
                header::AUTHORIZATION,
                HeaderValue::from_static("AWS4-HMAC-SHA256 Credential=A"),
            );
            Ok(())
        }),
    ];
    let mut cases: Vec<_> = changes
        .into_iter()
        .map(|(name, ids, what, change)| {
            Case::must(format!("signature/{name}"), ids)
                .sends(format!("GetKeyMetadata changed after signing: {what}"))
                .means(MEANS)
                .refused(AUTHENTICATION, move |subject| {
                    let mut request = signed(subject)?;
                    change(subject, &mut request)?;
                    Ok(request)
                })
        })
        .collect();
    cases.push(
        Case::should("signature/in-upper-case", &["SIG-1"])
            .sends("GetKeyMetadata with its signature in upper-case hex")
            .means("none with KMS, which writes lower case")
            .refused(AUTHENTICATION, |subject| {
                let mut request = signed(subject)?;
                edit(&mut request, |text| {
                    let (head, signature) = text.split_at_checked(text.len().saturating_sub(64)).unwrap_or_default();
                    format!("{head}{}", signature.to_ascii_uppercase())
                })?;
                Ok(request)
            }),
    );
    cases.push(
        Case::should("signature/of-get", &["SIG-3"])
            .sends("a POST signed as a GET")
            .means(MEANS)
            .refused(AUTHENTICATION, |subject| {
                let (mut request, recipe) = subject.to_be_signed()?;
                request.method = Method::GET;
                recipe.sign(&mut request)?;
                request.method = Method::POST;
                Ok(request)
            }),
    );
    cases.push(
        Case::must("signature/date-twice", &["SIG-2"])
            .sends("GetKeyMetadata with a second x-amz-date, of another day, after signing")
            .means(MEANS)
            .refused(AUTHENTICATION, |subject| {
                let mut request = signed(subject)?;
                request
                    .headers
                    .append(DATE, HeaderValue::from_static("20230101T000000Z"));
                Ok(request)
            }),
    );
    cases.push(
        Case::must("signature/host-twice", &["SIG-2"])
            .sends("GetKeyMetadata with a second host after signing")
            .expects("an error, also from the HTTP server")
            .means("the proxy and a balancer in front of it see different hosts")
            .only_over(Http::One)
            .steps(|subject| async move {
                let mut request = signed(&subject)?;
                request
                    .headers
                    .append(header::HOST, HeaderValue::from_static("xks.example.org"));
                let mut connection = subject.endpoint().connect().await?;
                // The HTTP server may refuse it before the proxy sees it: its form is not judged.
                let answer = connection.send(&request).await?;
                match answer.status {
                    400..=499 => Ok(None),
                    _ => Err(Stop::failed(subject.describe(&answer))),
                }
            }),
    );
    cases
}

/// GetKeyMetadata as AWS's own signer signs it.
fn signed(subject: &Subject) -> Result<Raw, Stop> {
    let body = body::plain(subject.setup(), Operation::Metadata);
    subject.request(&Operation::Metadata.path(subject.key()), &body)
}

/// Rewrites `Authorization`.
fn edit(request: &mut Raw, change: impl Fn(&str) -> String) -> Result<(), SignError> {
    let text = request
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|text| text.to_str().ok());
    let text = change(text.unwrap_or_default());
    request.headers.insert(header::AUTHORIZATION, value(&text)?);
    Ok(())
}
