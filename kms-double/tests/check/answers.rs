//! Proxies whose answers have another form, or tell too much.

use std::time::Duration;

use kms_double::check::Outcome;
use serde_json::{Value, json};

use crate::{
    support::{Answered, Asked, Broken, SECRET, Server, checked, missed, setup},
    table::broken,
};

/// Changes the fields of answers with 200 to an operation.
fn fields(operation: &'static str, change: fn(&mut Value)) -> Broken {
    Broken::answers(move |asked, answered| {
        if asked.is(operation) && answered.status == 200 {
            let mut json = answered.json();
            change(&mut json);
            answered.set_json(&json);
        }
    })
}

/// Changes the fields of errors.
fn errors(change: fn(&Asked, &mut Value)) -> Broken {
    Broken::answers(move |asked, answered| {
        if answered.status >= 400 && answered.status != 405 {
            let mut json = answered.json();
            change(asked, &mut json);
            answered.set_json(&json);
        }
    })
}

/// Calls an error something else.
fn renamed(from: &'static str, status: u16, to: &'static str) -> Broken {
    Broken::answers(move |_, answered| {
        if answered.error_name() == from {
            *answered = Answered::new(status, &json!({ "errorName": to }));
        }
    })
}

/// The signature that a request ought to have had.
fn expected_signature(asked: &Asked) -> String {
    let mut right = Asked {
        parts: asked.parts.clone(),
        body: asked.body.clone(),
    };
    let signed: Vec<_> = asked.header("authorization").split("SignedHeaders=").collect();
    if signed.len() < 2 || !signed[1].starts_with("content-type;host;x-amz-date") {
        return String::new();
    }
    right.sign_at(asked.header("x-amz-date"));
    right.header("authorization").rsplit('=').next().unwrap().to_owned()
}

broken! {
    everything_is_200: Broken::instead(|_| Some(Answered::new(200, &json!({})))) => [
        "http/*", "uri/*", "request-metadata/*", "key-metadata/*", "missing-key/*", "encrypt-only/*", "decrypt-only/*",
        "disabled/*", "round-trip/*", "encrypt/*", "json/*", "base64/*", "decrypt/*", "tampering/*", "health/*",
        "signature/*", "unsigned/*",
    ];
    everything_is_500: Broken::instead(|_| Some(Answered::new(500, &json!({ "errorName": "InternalException" })))) => [
        "http/*", "uri/*", "request-metadata/*", "key-metadata/*", "missing-key/*", "encrypt-only/*", "decrypt-only/*",
        "disabled/*", "round-trip/*", "encrypt/*", "json/*", "base64/*", "decrypt/*", "tampering/*", "health/*",
        "authentication/*", "signature/*", "unsigned/*", "alive/at-the-end",
    ];
    validation_has_status_422: Broken::answers(|_, answered| {
        if answered.status == 400 && answered.error_name() == "ValidationException" {
            answered.status = 422;
        }
    }) => [
        "request-metadata/*", "encrypt/*", "json/*", "base64/*", "decrypt/*", "tampering/*", "health/without-request-metadata",
        "every-answer/status-fits",
    ];
    bad_input_is_called_internal: renamed("ValidationException", 500, "InternalException") => [
        "request-metadata/*", "encrypt/*", "json/*", "base64/*", "decrypt/*", "tampering/*", "health/without-request-metadata",
    ];
    errors_have_no_name: errors(|_, error| *error = json!({ "message": "wrong" })) => ["*", "every-answer/error-is-named"];
    errors_have_a_name_of_their_own: errors(|_, error| error["errorName"] = json!("BadRequest")) => [
        "*", "every-answer/error-is-named",
    ];
    errors_are_html: Broken::answers(|_, answered| {
        if answered.status >= 400 {
            answered.body = "<html>Bad Request</html>".into();
            answered.headers.insert("content-type", "text/html".parse().unwrap());
        }
    }) => ["*", "every-answer/error-is-named", "every-answer/is-json"];
    nothing_is_called_json: Broken::answers(|_, answered| {
        answered.headers.insert("content-type", "text/plain".parse().unwrap());
    }) => ["every-answer/is-json"];
    errors_have_no_content_type: Broken::answers(|_, answered| {
        if answered.status == 401 {
            answered.headers.remove("content-type");
        }
    }) => ["every-answer/is-json"];
    messages_are_long: errors(|_, error| error["errorMessage"] = json!("x".repeat(512))) => ["every-answer/message-is-clean"];
    messages_have_line_ends: errors(|_, error| error["errorMessage"] = json!("one\ntwo")) => ["every-answer/message-is-clean"];
    messages_are_not_ascii: errors(|_, error| error["errorMessage"] = json!("schl\u{fc}ssel")) => ["every-answer/message-is-clean"];
    messages_are_objects: errors(|_, error| error["errorMessage"] = json!({})) => ["every-answer/message-is-clean"];
    errors_tell_the_secret: errors(|_, error| error["errorMessage"] = json!(format!("not {SECRET}"))) => ["every-answer/no-secret"];
    errors_tell_the_expected_signature: errors(|asked, error| {
        error["errorMessage"] = json!(format!("expected {}", expected_signature(asked)));
    }) => ["every-answer/no-expected-signature"];
    errors_tell_the_plaintext: errors(|asked, error| {
        let plaintext = asked.json()["plaintext"].as_str().unwrap_or_default().to_owned();
        if plaintext.len() < 400 && !plaintext.contains('\n') {
            error["errorMessage"] = json!(format!("cannot encrypt {plaintext}"));
        }
    }) => ["every-answer/no-plaintext"];
    errors_tell_where_it_panicked: errors(|_, error| {
        error["errorMessage"] = json!("thread 'main' panicked at src/main.rs:1");
    }) => ["every-answer/no-innards"];
    redirects: Broken::instead(|asked| asked.is("health").then(|| Answered::new(307, &json!({})))) => [
        "health/*", "request-metadata/health-*", "uri/unknown-prefix", "every-answer/status-fits",
    ];
    connections_are_closed: Broken::answers(|_, answered| {
        answered.headers.insert("connection", "close".parse().unwrap());
    }) => ["http/kept-connection"];
    get_is_404: Broken::answers(|asked, answered| {
        if asked.parts.method == "GET" {
            *answered = Answered::new(404, &json!({ "errorName": "InvalidUriPathException" }));
        }
    }) => ["http/allow", "http/get-metadata", "http/get-encrypt", "http/get-decrypt", "http/get-health"];
    unsigned_get_is_401: Broken::answers(|asked, answered| {
        if asked.parts.method == "GET" && !asked.has_authorization() {
            *answered = Answered::new(401, &json!({ "errorName": "AuthenticationFailedException" }));
        }
    }) => ["http/get-metadata-unsigned", "http/get-encrypt-unsigned", "http/get-decrypt-unsigned", "http/get-health-unsigned"];
    get_is_served: Broken::requests(|asked| if asked.parts.method == "GET" { asked.parts.method = http::Method::POST }) => [
        "http/allow", "http/get-*",
    ];
    no_allow: Broken::answers(|_, answered| {
        answered.headers.remove("allow");
    }) => ["http/allow"];
    key_spec_is_rsa: fields("metadata", |json| json["keySpec"] = json!("RSA_0")) => ["key-metadata/spec*"];
    no_usages: fields("metadata", |json| json["keyUsage"] = json!([])) => [
        "key-metadata/usages*", "encrypt-only/metadata", "decrypt-only/metadata",
    ];
    eleven_usages: fields("metadata", |json| {
        let usages = json["keyUsage"].as_array_mut().unwrap();
        usages.extend((0..9).map(|_| json!("WRAP")));
    }) => ["key-metadata/usages*"];
    every_usage: fields("metadata", |json| json["keyUsage"] = json!(["ENCRYPT", "DECRYPT"])) => [
        "encrypt-only/metadata", "decrypt-only/metadata",
    ];
    always_enabled: fields("metadata", |json| json["keyStatus"] = json!("ENABLED")) => ["disabled/metadata"];
    status_in_lower_case: fields("metadata", |json| json["keyStatus"] = json!("enabled")) => [
        "key-metadata/status*", "disabled/metadata",
    ];
    missing_keys_are_invalid: renamed("KeyNotFoundException", 400, "ValidationException") => [
        "missing-key/*", "uri/id-of-128-characters", "uri/id-with-every-kind-of-character", "uri/id-is-case-sensitive",
    ];
    paths_are_keys_not_found: renamed("InvalidUriPathException", 404, "KeyNotFoundException") => [
        "uri/*", "unsigned/in-the-query", "every-answer/error-fits-the-operation",
    ];
    health_has_no_fleet: fields("health", |json| json["xksProxyFleetSize"] = json!(0)) => ["health/fleet-size"];
    health_has_no_names: fields("health", |json| json["ekmVendor"] = json!("")) => ["health/names"];
    health_has_no_details: fields("health", |json| json["ekmFleetDetails"] = json!([])) => ["health/fleet-details"];
    health_has_eleven_details: fields("health", |json| {
        let one = json["ekmFleetDetails"][0].clone();
        json["ekmFleetDetails"] = json!(vec![one; 11]);
    }) => ["health/fleet-details"];
    health_says_ok: fields("health", |json| json["ekmFleetDetails"][0]["healthStatus"] = json!("OK")) => ["health/statuses"];
    health_has_no_ids: fields("health", |json| {
        json["ekmFleetDetails"][0].as_object_mut().unwrap().remove("id");
    }) => ["health/fleet-members"];
    health_is_authorized: Broken::answers(|asked, answered| {
        if asked.is("health") && answered.status == 200 {
            *answered = Answered::new(403, &json!({ "errorName": "AccessDeniedException" }));
        }
    }) => ["every-answer/error-fits-the-operation", "health/without-authorization"];
    health_is_not_authenticated: Broken::requests(|asked| if asked.is("health") { asked.sign() }) => ["health/unsigned"];
    health_needs_no_request_metadata: Broken::answers(|asked, answered| {
        if asked.is("health") && answered.status == 400 && asked.json() == json!({}) {
            *answered = Answered::new(200, &json!({}));
        }
    }) => ["health/without-request-metadata"];
    health_is_active_while_encryption_fails: Broken::answers(|asked, answered| {
        if asked.is("encrypt") && answered.status == 200 {
            *answered = Answered::new(500, &json!({ "errorName": "InternalException" }));
        }
    }) => [
        "health/tells-the-truth", "round-trip/*", "encrypt/*", "request-metadata/encrypt-*", "decrypt/*", "tampering/*",
        "encrypt-only/encrypt", "request-metadata/unknown-field-beside",
    ];
}

/// Whoever answers the same to everything misses every case, but for those that other tests here break one by
/// one.
#[test]
fn no_case_passes_whatever_comes() {
    let same = [(200, json!({})), (500, json!({ "errorName": "InternalException" }))];
    let mut unbroken: Option<Vec<String>> = None;
    for (status, json) in same {
        let server = Server::start(Broken::instead(move |_| Some(Answered::new(status, &json))));
        let mut setup = setup(&server.url);
        // Long enough for a URI of 256 characters.
        setup.url = format!("{}/{}", server.url, "p".repeat(100));
        setup.is_destructive = true;
        setup.load = Duration::from_millis(50);
        let report = checked(&setup);
        let missed = missed(&report);
        let cases = report.cases.iter().map(|case| case.name.clone());
        let not_missed: Vec<_> = cases.filter(|name| !missed.contains(&&**name)).collect();
        unbroken = Some(match unbroken {
            None => not_missed,
            Some(before) => before.into_iter().filter(|name| not_missed.contains(name)).collect(),
        });
    }
    let of_others = [
        "tls/https",
        "tls/suites",
        "tls/certificate-lasts",
        "tls/old-versions-refused",
        "tls/client-certificate-demanded",
        "http/first-answer",
        "health/tells-the-truth",
        "every-answer/is-json",
        "every-answer/error-is-named",
        "every-answer/status-fits",
        "every-answer/message-is-clean",
        "every-answer/error-fits-the-operation",
        "every-answer/no-secret",
        "every-answer/no-expected-signature",
        "every-answer/no-plaintext",
        "every-answer/no-innards",
        "latency/within-250-ms",
        "clock/agrees",
        "half-sent/closed",
        "destructive/large-body-unsigned",
    ];
    assert_eq!(unbroken.unwrap(), of_others);
}

/// TRN-8, SIG-5: late answers and another clock are seen.
#[test]
fn slow_answers_and_a_wrong_clock_are_seen() {
    let server = Server::start(Broken::answers(|asked, answered| {
        let late = if asked.is("health") { 260 } else { 25 };
        std::thread::sleep(Duration::from_millis(late));
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        answered.headers.insert("date", date.parse().unwrap());
    }));
    let mut setup = setup(&server.url);
    setup.only = ["http/first-answer", "health/names", "latency/", "clock/"]
        .map(str::to_owned)
        .into();
    let report = checked(&setup);
    assert_eq!(
        report.named(Outcome::Warn),
        ["latency/within-250-ms", "clock/agrees"],
        "{report}"
    );
    assert_eq!(report.named(Outcome::Note), ["http/first-answer"], "{report}");
    assert!(report.clock_skew_seconds.unwrap() < -9e8);
    assert_eq!(report.latency["health"].over_250_ms, 1);
}
