//! Signatures that are right, and have to be taken; and those of another time, which must not.

use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue, header};

use crate::check::{
    case::{Case, Stop},
    errors::AUTHENTICATION,
    signature::{CONTENT_HASH, Recipe, hex_hash},
};
use crate::wire::Raw;

const MEANS: &str = "correctly signed requests of KMS fail";
const TRACE: HeaderName = HeaderName::from_static("x-amzn-trace-id");

type Sign = fn(&mut Raw, &mut Recipe);

pub(super) fn cases() -> Vec<Case> {
    vec![
        taken(
            "host-and-date-signed",
            &["SIG-1", "SIG-2", "SIG-3", "SIG-4"],
            "host and x-amz-date signed",
            |_, _| {},
        ),
        taken(
            "more-headers-signed",
            &["SIG-3"],
            "content-type and another header also signed",
            |request, recipe| {
                request.headers.insert(TRACE, HeaderValue::from_static("Root=1-2345"));
                recipe.signed = vec!["content-type", "host", "x-amz-date", "x-amzn-trace-id"];
            },
        ),
        taken(
            "header-with-inner-spaces",
            &["SIG-3"],
            "a signed header with several spaces in it",
            |request, recipe| {
                request
                    .headers
                    .insert(TRACE, HeaderValue::from_static("Root=1-2345;   Parent=a  b"));
                recipe.signed = vec!["host", "x-amz-date", "x-amzn-trace-id"];
            },
        ),
        taken(
            "header-twice",
            &["SIG-3"],
            "a signed header that occurs twice",
            |request, recipe| {
                request.headers.append(TRACE, HeaderValue::from_static("one"));
                request.headers.append(TRACE, HeaderValue::from_static("two"));
                recipe.signed = vec!["host", "x-amz-date", "x-amzn-trace-id"];
            },
        ),
        taken("header-beside", &["SIG-3"], "an unsigned header", |request, _| {
            request.headers.insert(TRACE, HeaderValue::from_static("Root=1-2345"));
            request
                .headers
                .insert(header::USER_AGENT, HeaderValue::from_static("kms-double"));
        }),
        taken(
            "content-hash",
            &["SIG-3"],
            "x-amz-content-sha256 sent and signed",
            |request, recipe| {
                if let Ok(hash) = HeaderValue::try_from(hex_hash(&request.body)) {
                    request.headers.insert(CONTENT_HASH, hash);
                }
                recipe.signed = vec!["host", "x-amz-content-sha256", "x-amz-date"];
            },
        ),
        at("290-seconds-ago", 290, SystemTime::checked_sub),
        at("290-seconds-ahead", 290, SystemTime::checked_add),
    ]
}

fn taken(name: &str, ids: &'static [&'static str], what: &'static str, sign: Sign) -> Case {
    Case::must(format!("authentication/{name}"), ids)
        .sends(format!("GetKeyMetadata with {what}"))
        .means(MEANS)
        .served(move |subject| {
            let (mut request, mut recipe) = subject.to_be_signed()?;
            sign(&mut request, &mut recipe);
            recipe.sign(&mut request)?;
            Ok(request)
        })
}

fn at(name: &str, seconds: u64, shift: fn(&SystemTime, Duration) -> Option<SystemTime>) -> Case {
    Case::should(format!("authentication/{name}"), &["SIG-5"])
        .sends("GetKeyMetadata signed less than 5 minutes from the proxy's time")
        .means("a small clock difference stops all operations")
        .served(move |subject| {
            let (mut request, mut recipe) = subject.to_be_signed()?;
            recipe.time = shift(&subject.their_time(), Duration::from_secs(seconds))
                .ok_or_else(|| Stop::not_tried("time out of range"))?;
            recipe.sign(&mut request)?;
            Ok(request)
        })
}

pub(super) fn too_far() -> Vec<Case> {
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
            .means("a recorded request can be replayed at any later time")
            .refused(AUTHENTICATION, move |subject| {
                let (mut request, mut recipe) = subject.to_be_signed()?;
                let time = shift(&subject.their_time(), Duration::from_secs(seconds));
                recipe.time = time.ok_or_else(|| Stop::not_tried("time out of range"))?;
                recipe.sign(&mut request)?;
                Ok(request)
            })
    };
    shifts.into_iter().map(case).collect()
}
