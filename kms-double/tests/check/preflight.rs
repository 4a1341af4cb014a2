//! A setup that the proxy refuses: an exit code of its own, and the cause. And failures that follow from
//! another one.

use std::time::{Duration, SystemTime};

use kms_double::{
    check::{CannotRun, Outcome, Refusal, Setup, run},
    wire::{Credential, Http},
};
use serde_json::json;
use time::{OffsetDateTime, macros::format_description};

use crate::{
    program::{check, text},
    support::{ACCESS_KEY_ID, Answered, Broken, Folder, REGION, SECRET, Server, checked, runtime, setup},
};

/// What `kms-double check` says of a proxy that refuses its setup.
#[track_caller]
fn refused(server: &Server, more: &[&str]) -> String {
    let folder = Folder::new();
    let output = check(&folder, &server.url, more);
    let said = text(&output.stderr);
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(3), String::new()),
        "{said}"
    );
    assert!(said.starts_with("kms-double: nothing was checked: "), "{said}");
    assert!(!said.contains(SECRET));
    said
}

fn refusal(server: &Server, change: impl FnOnce(&mut Setup)) -> Refusal {
    let mut setup = setup(&server.url);
    change(&mut setup);
    match runtime().block_on(run(&setup)) {
        Err(CannotRun::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wrong_region_is_named_with_the_right_one() {
    let said = refused(&Server::right(), &["--region", "eu-north-1"]);
    assert!(
        said.contains("GetKeyMetadata of Usable-key.1: 401 AuthenticationFailedException"),
        "{said}"
    );
    assert!(
        said.contains("--region eu-north-1: signed for us-east-1 the same request is accepted"),
        "{said}"
    );
}

/// A proxy does not tell which of the two it is.
#[test]
fn a_wrong_credential_is_named() {
    let (server, other_secret) = (Server::right(), SECRET.replace('P', "Q"));
    let other_id = "ANOTHER2ACCESS3KEY4ID5";
    for (id, secret) in [(other_id, SECRET), (ACCESS_KEY_ID, &other_secret)] {
        let causes = refusal(&server, |setup| setup.credential = Credential::new(id, secret, REGION)).causes;
        let causes = causes.join("\n");
        let expected = format!("--access-key {id} or its secret does not belong to this key store");
        assert!(causes.contains(&expected), "{causes}");
        assert!(!causes.contains("--region") && !causes.contains("must be"), "{causes}");
        assert!(!causes.contains(secret), "{causes}");
    }
    let short = refusal(&server, |setup| setup.credential = Credential::new("a", "b", REGION));
    let causes = short.causes.join("\n");
    assert!(
        causes.contains("--access-key: must be 20 to 30 characters of A-Z 2-7"),
        "{causes}"
    );
    assert!(causes.contains("The secret must be 43 to 64 characters"), "{causes}");
}

/// SIG-5: a proxy whose clock is an hour ahead.
#[test]
fn clocks_that_are_apart_are_named() {
    const AHEAD: Duration = Duration::from_secs(3600);
    let server = Server::start(Broken::instead(|asked| {
        let theirs = SystemTime::now() + AHEAD;
        let date = OffsetDateTime::from(theirs);
        let is_recent = asked
            .age()
            .is_some_and(|age| age.abs_diff(AHEAD) < Duration::from_secs(300));
        let mut answered = if is_recent {
            Answered::new(200, &json!({}))
        } else {
            Answered::new(401, &json!({ "errorName": "AuthenticationFailedException" }))
        };
        let format =
            format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
        answered
            .headers
            .insert("date", date.format(format).unwrap().parse().unwrap());
        Some(answered)
    }));
    let causes = refusal(&server, |_| {}).causes.join("\n");
    assert!(causes.starts_with("The clocks: the proxy's is 3"), "{causes}");
    assert!(
        causes.contains("s ahead of this machine's. Signed for that time, the request is accepted"),
        "{causes}"
    );
}

/// SIG-2: something on the way, such as a balancer, changes Host.
#[test]
fn a_changed_host_is_named() {
    for port in ["", ":443"] {
        let server = Server::start(Broken::requests(move |asked| {
            asked
                .parts
                .headers
                .insert("host", format!("127.0.0.1{port}").parse().unwrap());
        }));
        let causes = refusal(&server, |_| {}).causes.join("\n");
        if port.is_empty() {
            assert!(
                causes.contains("and the proxy receives \"127.0.0.1\": a balancer in front of the proxy changes it"),
                "{causes}"
            );
        } else {
            assert!(causes.contains("Or Host: \"127.0.0.1:"), "{causes}");
        }
    }
}

#[test]
fn other_refusals_are_told_by_what_is_wrong() {
    let right = Server::right();
    let path = refusal(&right, |setup| setup.url = right.url.clone() + "/another-key-store");
    assert!(
        path.causes[0].contains("--url: the proxy has no key store at /another-key-store/kms/xks/v1"),
        "{path}"
    );
    let key = refusal(&right, |setup| setup.keys = vec!["absent".into()]);
    assert!(key.causes[0].contains("--key: the proxy has no key absent"), "{key}");
    let denied = Server::start(Broken::instead(|_| {
        Some(Answered::new(403, &json!({ "errorName": "AccessDeniedException" })))
    }));
    let denied = refusal(&denied, |setup| {
        setup.principal = "arn:aws:iam::111122223333:user/Bob".into();
    });
    assert!(
        denied.causes[0].contains("--principal arn:aws:iam::111122223333:user/Bob"),
        "{denied}"
    );
    let firewall = Server::start(Broken::instead(|_| {
        let mut answered = Answered::new(403, &json!({}));
        answered.body = "<html>Forbidden</html>".into();
        Some(answered)
    }));
    let firewall = refusal(&firewall, |_| {}).causes.join("\n");
    assert!(
        firewall.contains("a balancer in front of the proxy may have sent it"),
        "{firewall}"
    );
}

/// SIG-2: what is refused over HTTP/2 alone is the proxy's fault, and the report says so.
#[test]
fn a_refusal_over_one_version_of_http_is_no_setup() {
    let server = Server::start(Broken::requests(|asked| {
        if asked.was_http_2() {
            asked
                .parts
                .headers
                .insert("host", "internal.example.com".parse().unwrap());
        }
    }));
    let mut setup = setup(&server.url);
    setup.http = vec![Http::One, Http::Two];
    setup.only = vec!["round-trip/16".into()];
    let report = checked(&setup);
    let is_over = |http: Http, outcome| {
        report
            .cases
            .iter()
            .any(|case| case.http == http && case.outcome == outcome)
    };
    assert!(
        is_over(Http::Two, Outcome::Fail) && !is_over(Http::One, Outcome::Fail),
        "{report}"
    );
}

/// Where Encrypt does not work at all, one failure stands for itself and the others are marked.
#[test]
fn failures_that_follow_from_another_one_are_marked() {
    let server = Server::start(Broken::answers(|asked, answered| {
        if asked.is("encrypt") && answered.status == 200 {
            *answered = Answered::new(
                500,
                &json!({ "errorName": "InternalException", "errorMessage": "length" }),
            );
        }
    }));
    let report = checked(&setup(&server.url));
    let failed: Vec<_> = report
        .cases
        .iter()
        .filter(|case| case.outcome == Outcome::Fail)
        .collect();
    let own: Vec<_> = failed.iter().filter(|case| case.follows_from.is_none()).collect();
    assert_eq!(own.len(), 1, "{report}");
    assert!(failed.len() > 50, "{report}");
    assert!(
        failed
            .iter()
            .all(|case| case.follows_from.as_ref().is_none_or(|root| *root == own[0].name))
    );
    let said = report.to_string();
    let end = format!("cases follow from {}: correct that first", own[0].name);
    assert!(said.contains(&end), "{said}");
    assert!(
        said.contains(&format!(
            "follows from {}: encrypt: 500 InternalException: length",
            own[0].name
        )),
        "{said}"
    );
    assert!(!said.contains("a changed ciphertext decrypts"), "{said}");
    assert!(!report.is_conformant());
}

/// A changed ciphertext that is refused by another name did not go unnoticed; one that decrypts did.
#[test]
fn nothing_is_said_to_go_unnoticed_that_was_refused() {
    let tampered = |status, body: serde_json::Value| {
        let server = Server::start(Broken::answers(move |_, answer| {
            if answer.error_name() == "InvalidCiphertextException" {
                *answer = Answered::new(status, &body);
            }
        }));
        let mut setup = setup(&server.url);
        setup.only = vec!["tampering/tag-bits".into()];
        let case = checked(&setup).cases.pop().unwrap();
        assert_eq!(case.outcome, Outcome::Fail);
        case.means
    };
    let outage = tampered(503, json!({ "errorName": "DependencyTimeoutException" }));
    assert!(
        outage.starts_with("rejected with the wrong error: KMS treats it as an outage of the proxy"),
        "{outage}"
    );
    let another = tampered(400, json!({ "errorName": "InvalidStateException" }));
    assert_eq!(
        another,
        "rejected with the wrong error: KMS reports another cause to its caller"
    );
    let unnoticed = tampered(200, json!({ "plaintext": "AAAA" }));
    assert!(unnoticed.contains("a changed ciphertext decrypts"), "{unnoticed}");
}
