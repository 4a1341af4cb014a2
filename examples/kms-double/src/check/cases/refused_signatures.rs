//! Signatures with something wrong, which must not be taken.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use zeroize::Zeroizing;

use crate::check::{
    body::{self, Operation},
    case::{Case, Judged as _, Stop},
    errors::{AUTHENTICATION, expectation},
    signature::{CONTENT_HASH, DATE, Recipe, value},
    subject::Subject,
};
use crate::wire::{Http, Raw, SignError};

const MEANS: &str = "whoever reaches the proxy's port can use its keys, or change requests on their way";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = before_signing();
    cases.extend(after_signing());
    cases.extend(dates());
    cases.extend(unsigned());
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
            "an access key id that nobody has",
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
            "a header among those signed that is not there",
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
            .sends(format!("GetKeyMetadata signed with one thing wrong: {what}"))
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
        ("body-longer", &["SIG-3"], "a space behind the body", |_, request| {
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
        ("empty", &["SIG-1"], "no digits of a signature", |_, request| {
            edit(request, |text| {
                text.get(..text.len().saturating_sub(64)).unwrap_or_default().to_owned()
            })
        }),
        ("longer", &["SIG-1"], "a digit too much", |_, request| {
            edit(request, |text| format!("{text}0"))
        }),
        ("last-digit-changed", &["SIG-4"], "another last digit", |_, request| {
            edit(request, |text| {
                let (head, last) = text.split_at_checked(text.len().saturating_sub(1)).unwrap_or_default();
                format!("{head}{}", if last == "0" { "1" } else { "0" })
            })
        }),
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
            .means("nothing for KMS, which writes lower case")
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
            .expects("an error, of the HTTP server's own too")
            .means("whoever is in front of the proxy, and the proxy, see two hosts")
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

fn dates() -> Vec<Case> {
    type Shift = fn(&SystemTime, Duration) -> Option<SystemTime>;
    let shifts: [(&str, u64, Shift); 4] = [
        ("310-seconds-old", 310, SystemTime::checked_sub),
        ("310-seconds-ahead", 310, SystemTime::checked_add),
        ("a-day-old", 86_400, SystemTime::checked_sub),
        ("a-day-ahead", 86_400, SystemTime::checked_add),
    ];
    let case = |(name, seconds, shift): (&str, u64, Shift)| {
        Case::should(format!("signature/{name}"), &["SIG-5"])
            .sends("GetKeyMetadata signed more than 5 minutes from the proxy's time")
            .means("whoever has seen a request can send it again for as long as he likes")
            .refused(AUTHENTICATION, move |subject| {
                let (mut request, mut recipe) = subject.to_be_signed()?;
                let time = shift(&subject.their_time(), Duration::from_secs(seconds));
                recipe.time = time.ok_or_else(|| Stop::not_tried("no such time"))?;
                recipe.sign(&mut request)?;
                Ok(request)
            })
    };
    shifts.into_iter().map(case).collect()
}

fn unsigned() -> Vec<Case> {
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
            .means("strangers reach the JSON parser")
            .refused(AUTHENTICATION, |subject| {
                subject.unsigned(&Operation::Encrypt.path(subject.key()), b"garbage")
            }),
    );
    cases.push(
        Case::must("unsigned/in-the-query", &["SIG-1"])
            .sends("a request signed in its query, as presigned URLs are")
            .expects("401 AuthenticationFailedException or 404 InvalidUriPathException")
            .means("signatures get into logs, and stay good for as long as they say")
            .refused(crate::check::errors::AUTHENTICATION_OR_PATH, |subject| {
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
            .expects(format!("{} both times, in the same words", expectation(AUTHENTICATION)))
            .means("strangers learn which keys there are")
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
