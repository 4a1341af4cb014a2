//! Calls by name, without a socket: JSON in and JSON out, with all that can go wrong.

use std::time::Duration;

use kms_double::{
    call::{Answer, AnswerLost},
    kms::{Clock, Kms, PrincipalKind, RequestQuotas, Trouble},
};
use serde_json::{Value, json};

use crate::site::alice;

async fn called(kms: &Kms, operation: &str, body: Value) -> Answer {
    kms.call(&alice(), operation, &body).await.unwrap()
}

fn error(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.error_name().unwrap())
}

#[tokio::test]
async fn operations_of_kms_answer_as_over_http() {
    let kms = Kms::builder().clock(Clock::stopped_at(1e9)).build().unwrap();
    let made = called(&kms, "CreateKey", json!({ "Origin": "EXTERNAL" })).await;
    assert_eq!((made.status, made.error_name(), made.request_id.len()), (200, None, 36));
    let key = &made.body["KeyMetadata"];
    assert_eq!(
        (&key["KeyState"], &key["CreationDate"]),
        (&json!("PendingImport"), &json!(1e9))
    );
    let key = key["KeyId"].clone();
    let tag = json!({ "KeyId": key, "Tags": [{ "TagKey": "a", "TagValue": "b" }] });
    assert_eq!(called(&kms, "TagResource", tag.clone()).await.body, json!({}));
    let tags = called(&kms, "ListResourceTags", json!({ "KeyId": key })).await;
    assert_eq!(tags.body, json!({ "Tags": tag["Tags"], "Truncated": false }));
    for (operation, body, expected) in [
        (
            "Encrypt",
            json!({ "KeyId": key, "Plaintext": "YQ==" }),
            (400, "KMSInvalidStateException"),
        ),
        (
            "Encrypt",
            json!({ "KeyId": "none", "Plaintext": "YQ==" }),
            (400, "NotFoundException"),
        ),
        ("Encrypt", json!({ "Colour": "blue" }), (400, "ValidationException")),
        ("DescribeKey", json!([]), (400, "ValidationException")),
        ("Sign", json!({}), (404, "UnknownOperationException")),
        ("", json!({}), (404, "UnknownOperationException")),
    ] {
        let answer = called(&kms, operation, body).await;
        assert_eq!(error(&answer), expected, "{answer:?}");
        assert!(answer.body["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
    let mine = kms.call(&alice().request_id("mine"), "ListKeys", &json!({})).await;
    assert_eq!(mine.unwrap().request_id, "mine");
}

#[tokio::test]
async fn quotas_replicas_denials_and_lost_answers_are_there_too() {
    let clock = Clock::stopped_at(1e9);
    let builder = Kms::builder().clock(clock.clone()).request_quotas(RequestQuotas::aws());
    let kms = builder.settle(Duration::from_secs(60)).build().unwrap();
    let create = async || kms.call(&alice(), "CreateKey", &json!({ "Origin": "EXTERNAL" })).await;
    kms.faults().inject("CreateKey", 1, Trouble::LostBefore);
    kms.faults().inject("CreateKey", 2, Trouble::LostAfter);
    let AnswerLost { .. } = create().await.unwrap_err();
    let AnswerLost { .. } = create().await.unwrap_err();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let keys = called(&kms, "ListKeys", json!({})).await.body["Keys"]
            .as_array()
            .unwrap()
            .len();
        seen.push(keys);
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1], "one is made, which one replica has");
    let mut throttled = 0;
    for _ in 0..6 {
        let answer = create().await.unwrap();
        throttled += usize::from(answer.error_name() == Some("ThrottlingException"));
    }
    assert_eq!(throttled, 3, "two of five a second are used up");
    kms.faults().deny("ListUsers");
    let denied = called(&kms, "ListUsers", json!({})).await;
    assert_eq!(error(&denied), (403, "AccessDenied"));
    let message = denied.body["message"].as_str().unwrap();
    assert!(
        message.contains("not authorized to perform: iam:ListUsers"),
        "{message}"
    );
    kms.faults().inject("CreateAccessKey", 1, Trouble::LostAfter);
    kms.add_principal(PrincipalKind::User, "Alice").unwrap();
    clock.advance(Duration::from_secs(60));
    let lost = kms.call(&alice(), "CreateAccessKey", &json!({})).await;
    let AnswerLost { .. } = lost.unwrap_err();
    clock.advance(Duration::from_secs(60));
    let keys = called(&kms, "ListAccessKeys", json!({})).await;
    assert_eq!(keys.body["AccessKeyMetadata"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_access_key_works_after_a_delay_and_until_it_is_taken_away() {
    let clock = Clock::stopped_at(1e9);
    let kms = Kms::builder()
        .clock(clock.clone())
        .settle(Duration::from_secs(9))
        .build()
        .unwrap();
    kms.add_access_key("Alice", "AKIAFIRST", "secret").unwrap();
    clock.advance(Duration::from_secs(9));
    let call = async |id: &str, secret: &str, operation: &str, body: Value| {
        kms.call_signed(id, secret, operation, &body).await.unwrap()
    };
    let who = call("AKIAFIRST", "secret", "GetCallerIdentity", json!({})).await;
    assert_eq!(who.body["Arn"], alice().principal_arn());
    assert!(who.body["UserId"].as_str().unwrap().starts_with("AIDA"), "{who:?}");
    let wrong = call("AKIAFIRST", "other", "GetCallerIdentity", json!({})).await;
    assert_eq!(error(&wrong), (403, "SignatureDoesNotMatch"));
    let made = call("AKIAFIRST", "secret", "CreateAccessKey", json!({})).await;
    let key = &made.body["AccessKey"];
    let (id, secret) = (
        key["AccessKeyId"].as_str().unwrap(),
        key["SecretAccessKey"].as_str().unwrap(),
    );
    assert_eq!(
        (&key["UserName"], &key["Status"], secret.len()),
        (&json!("Alice"), &json!("Active"), 40)
    );
    let early = call(id, secret, "ListKeys", json!({})).await;
    assert_eq!(error(&early), (400, "UnrecognizedClientException"));
    clock.advance(Duration::from_secs(9));
    assert_eq!(call(id, secret, "ListKeys", json!({})).await.status, 200);
    let update = json!({ "AccessKeyId": "AKIAFIRST", "Status": "Inactive" });
    assert_eq!(call(id, secret, "UpdateAccessKey", update).await.body, json!({}));
    let gone = call("AKIAFIRST", "secret", "GetUser", json!({})).await;
    assert_eq!(error(&gone), (403, "InvalidClientTokenId"));
    let listed = call(
        id,
        secret,
        "ListAccessKeys",
        json!({ "UserName": "Alice", "MaxItems": 1 }),
    )
    .await;
    assert_eq!(listed.body["IsTruncated"], true);
    let rest = json!({ "Marker": listed.body["Marker"] });
    let rest = call(id, secret, "ListAccessKeys", rest).await;
    assert_eq!(
        (&rest.body["IsTruncated"], rest.body.get("Marker")),
        (&json!(false), None)
    );
    let wrong = json!({ "AccessKeyId": "AKIAFIRST", "Status": "Gone" });
    assert_eq!(
        error(&call(id, secret, "UpdateAccessKey", wrong).await),
        (400, "ValidationError")
    );
    call(id, secret, "DeleteAccessKey", json!({ "AccessKeyId": "AKIAFIRST" })).await;
    let again = call(id, secret, "DeleteAccessKey", json!({ "AccessKeyId": "AKIAFIRST" })).await;
    assert_eq!(error(&again), (404, "NoSuchEntity"));
}

#[tokio::test]
async fn users_and_roles_are_listed_in_parts() {
    let kms = Kms::builder().build().unwrap();
    for name in ["A", "B", "C"] {
        kms.add_principal(PrincipalKind::User, name).unwrap();
        kms.add_principal(PrincipalKind::Role, name).unwrap();
    }
    for (operation, list, member) in [("ListUsers", "Users", "UserName"), ("ListRoles", "Roles", "RoleName")] {
        let (mut names, mut request) = (Vec::new(), json!({ "MaxItems": 2, "PathPrefix": "/" }));
        loop {
            let part = called(&kms, operation, request.clone()).await.body;
            names.extend(part[list].as_array().unwrap().iter().map(|item| item[member].clone()));
            if part["IsTruncated"] == false {
                break;
            }
            request["Marker"] = part["Marker"].clone();
        }
        assert_eq!(names, ["A", "B", "C"]);
        let elsewhere = called(&kms, operation, json!({ "PathPrefix": "/teams/" })).await;
        assert_eq!(elsewhere.body[list], json!([]));
        for wrong in [
            json!({ "MaxItems": 0 }),
            json!({ "MaxItems": 1001 }),
            json!({ "Limit": 1 }),
        ] {
            let answer = called(&kms, operation, wrong).await;
            assert_eq!(error(&answer), (400, "ValidationError"));
        }
    }
}
