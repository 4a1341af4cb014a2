//! Proxies that do not look closely at signatures, or too closely.

use serde_json::json;

use crate::{
    support::{ACCESS_KEY_ID, Answered, Asked, Broken},
    table::broken,
};

/// Takes requests for well signed that are not.
fn accepts(is_meant: impl Fn(&Asked) -> bool + Send + Sync + 'static) -> Broken {
    Broken::requests(move |asked| {
        if asked.parts.method == "POST" && is_meant(asked) {
            asked.sign();
        }
    })
}

/// Refuses requests that are signed well.
fn refuses(is_meant: impl Fn(&Asked) -> bool + Send + Sync + 'static) -> Broken {
    Broken::answers(move |asked, answered| {
        if answered.status == 200 && is_meant(asked) {
            *answered = unauthenticated();
        }
    })
}

fn unauthenticated() -> Answered {
    Answered::new(401, &json!({ "errorName": "AuthenticationFailedException" }))
}

/// A part of `Authorization`.
fn part<'a>(asked: &'a Asked, name: &str) -> &'a str {
    let text = asked.header("authorization");
    text.split_once(name)
        .map_or("", |(_, rest)| rest.split(',').next().unwrap_or_default())
}

fn scope(asked: &Asked, index: usize) -> &str {
    part(asked, "Credential=").split('/').nth(index).unwrap_or_default()
}

fn signs(asked: &Asked, header: &str) -> bool {
    part(asked, "SignedHeaders=").split(';').any(|name| name == header)
}

/// How many seconds `x-amz-date` is from now.
fn age(asked: &Asked) -> u64 {
    asked.age().map_or(0, |age| age.as_secs())
}

broken! {
    signatures_are_not_looked_at: accepts(|asked| asked.has_authorization()) => ["signature/*"];
    nobody_has_to_sign: accepts(|asked| !asked.has_authorization()) => ["unsigned/*", "health/unsigned"];
    any_region_will_do: accepts(|asked| scope(asked, 2) == "eu-north-1") => ["signature/wrong-region"];
    any_service_will_do: accepts(|asked| scope(asked, 3) == "s3") => ["signature/wrong-service"];
    any_terminator_will_do: accepts(|asked| scope(asked, 4) == "aws5_request") => ["signature/wrong-terminator"];
    the_scopes_date_is_not_compared: accepts(|asked| {
        scope(asked, 1) == "20230101"
    }) => ["signature/scope-of-another-day"];
    any_access_key_in_any_case: accepts(|asked| scope(asked, 0) == ACCESS_KEY_ID.to_lowercase()) => [
        "signature/access-key-in-lower-case",
    ];
    times_are_not_looked_at: accepts(|asked| age(asked) > 300) => [
        "signature/310-seconds-old", "signature/310-seconds-ahead", "signature/a-day-old", "signature/a-day-ahead",
    ];
    old_requests_are_taken: accepts(|asked| asked.is_old()) => ["signature/310-seconds-old", "signature/a-day-old"];
    times_have_to_agree_closely: refuses(|asked| age(asked) > 60) => [
        "authentication/290-seconds-ago", "authentication/290-seconds-ahead",
    ];
    host_need_not_be_signed: accepts(|asked| asked.has_authorization() && !signs(asked, "host") && signs(asked, "x-amz-date")) => [
        "signature/host-not-signed",
    ];
    date_need_not_be_signed: accepts(|asked| {
        signs(asked, "host") && !signs(asked, "x-amz-date") && !asked.header("x-amz-date").is_empty()
    }) => ["signature/date-not-signed"];
    nothing_need_be_signed: accepts(|asked| part(asked, "SignedHeaders=") == "content-type") => ["signature/nothing-signed"];
    no_date_is_needed: accepts(|asked| asked.has_authorization() && asked.header("x-amz-date").is_empty()) => ["signature/without-date"];
    absent_headers_are_passed_over: accepts(|asked| signs(asked, "x-amz-target")) => ["signature/signed-header-absent"];
    any_algorithm_will_do: accepts(|asked| asked.header("authorization").starts_with("AWS4-HMAC-SHA512")) => [
        "signature/other-algorithm",
    ];
    the_stated_hash_is_believed: accepts(|asked| asked.has_authorization() && {
        let stated = asked.header("x-amz-content-sha256");
        !stated.is_empty() && stated != asked.body_hash()
    }) => ["signature/unsigned-payload", "signature/hash-of-another-body"];
    signatures_are_compared_as_far_as_they_go: accepts(|asked| asked.has_authorization() && {
        part(asked, "Signature=").len() < 64 && asked.header("authorization").contains("Signature=")
    }) => ["signature/truncated", "signature/cut-to-half", "signature/empty"];
    signatures_are_read_in_any_case: accepts(|asked| part(asked, "Signature=").bytes().any(|byte| byte.is_ascii_uppercase())) => [
        "signature/in-upper-case",
    ];
    the_first_authorization_counts: accepts(|asked| asked.parts.headers.get_all("authorization").iter().count() > 1) => [
        "signature/twice",
    ];
    the_first_date_counts: accepts(|asked| asked.parts.headers.get_all("x-amz-date").iter().count() > 1) => [
        "signature/date-twice",
    ];
    the_first_host_counts: accepts(|asked| asked.parts.headers.get_all("host").iter().count() > 1) => [
        "signature/host-twice",
    ];
    queries_are_passed_over: Broken::requests(|asked| {
        if asked.parts.uri.query() == Some("a=b") {
            asked.parts.uri = asked.parts.uri.path().parse().unwrap();
        }
    }) => ["uri/query"];
    queries_may_be_signed: accepts(|asked| asked.parts.uri.query().is_some_and(|query| query.contains("X-Amz-Signature"))) => [];
    get_may_be_signed_for_post: Broken::requests(|asked| {
        if asked.parts.method == "POST" && asked.has_authorization() && !asked.is_signed_well() && asked.is_signed_well_for("GET") {
            asked.sign();
        }
    }) => ["signature/of-get"];
    more_signed_headers_are_refused: refuses(|asked| signs(asked, "x-amzn-trace-id")) => [
        "authentication/more-headers-signed", "authentication/header-with-inner-spaces", "authentication/header-twice",
    ];
    inner_spaces_are_not_folded: refuses(|asked| asked.header("x-amzn-trace-id").contains("  ")) => [
        "authentication/header-with-inner-spaces",
    ];
    content_hashes_are_refused: refuses(|asked| !asked.header("x-amz-content-sha256").is_empty()) => ["authentication/content-hash"];
    http_2_signatures_fail: refuses(|asked| asked.was_http_2()) => ["http/version-2"];
    bodies_are_parsed_first: Broken::answers(|asked, answered| {
        if answered.status == 401 && asked.json().is_null() && asked.parts.method == "POST" {
            *answered = Answered::new(400, &json!({ "errorName": "ValidationException" }));
        }
    }) => ["unsigned/garbage"];
    keys_are_looked_for_first: Broken::answers(|asked, answered| {
        if answered.status == 401 && asked.parts.uri.path().contains("/kms-double-") && !asked.has_authorization() {
            *answered = Answered::new(404, &json!({ "errorName": "KeyNotFoundException" }));
        }
    }) => ["unsigned/tells-nothing-of-keys"];
    unsigned_errors_name_the_key: Broken::answers(|asked, answered| {
        if answered.status == 401 && !asked.has_authorization() {
            let message = format!("not signed: {}", asked.parts.uri.path());
            *answered = Answered::new(401, &json!({ "errorName": "AuthenticationFailedException", "errorMessage": message }));
        }
    }) => ["unsigned/tells-nothing-of-keys"];
    wrong_signatures_are_forbidden: Broken::answers(|_, answered| {
        if answered.status == 401 {
            *answered = Answered::new(403, &json!({ "errorName": "AccessDeniedException" }));
        }
    }) => ["signature/*", "unsigned/*", "health/unsigned",  "every-answer/error-fits-the-operation"];
}
