//! GetHealthStatus.

use serde_json::{Value, json};

use crate::check::{
    body::{self, Operation},
    case::{Case, Judged as _, Passed, Stop},
    errors::{AUTHENTICATION, VALIDATION},
    subject::{Subject, printable},
};

const MEANS_SHAPE: &str = "ConnectCustomKeyStore fails, or KMS cannot show the fleet's health";

pub(super) fn cases() -> Vec<Case> {
    vec![
        looks("fleet-size", "xksProxyFleetSize, an integer above 0", |health| {
            health
                .get("xksProxyFleetSize")
                .and_then(Value::as_u64)
                .is_some_and(|size| size > 0)
        }),
        looks(
            "names",
            "xksProxyVendor, xksProxyModel and ekmVendor, all non-empty",
            |health| {
                ["xksProxyVendor", "xksProxyModel", "ekmVendor"]
                    .iter()
                    .all(|name| is_text(health.get(*name)))
            },
        ),
        looks("fleet-details", "1 to 10 ekmFleetDetails", |health| {
            (1..=10).contains(&details(health).len())
        }),
        looks(
            "fleet-members",
            "id, model and healthStatus in each of ekmFleetDetails",
            |health| {
                details(health).iter().all(|member| {
                    ["id", "model", "healthStatus"]
                        .iter()
                        .all(|name| is_text(member.get(*name)))
                })
            },
        ),
        looks(
            "statuses",
            "each healthStatus ACTIVE, DEGRADED or UNAVAILABLE",
            |health| {
                statuses(health)
                    .iter()
                    .all(|status| ["ACTIVE", "DEGRADED", "UNAVAILABLE"].contains(status))
            },
        ),
        Case::should("health/without-request-metadata", &["HLT-4"])
            .sends("a signed health request with {} as its body")
            .means("AWS's own proxy test requires it")
            .refused(VALIDATION, |subject| subject.request("health", &json!({}))),
        Case::must("health/unsigned", &["HLT-2"])
            .sends("a health request without a signature")
            .means("unauthenticated clients learn the proxy's vendor and model")
            .refused(AUTHENTICATION, |subject| {
                subject.unsigned(
                    "health",
                    body::plain(subject.setup(), Operation::Health).to_string().as_bytes(),
                )
            }),
        Case::must("health/without-authorization", &["HLT-2"])
            .sends("a health request, which names no principal")
            .expects("200")
            .means("secondary authorization rejects KMS's own health checks")
            .steps(|subject| async move {
                let answer = subject
                    .post("health", &body::plain(subject.setup(), Operation::Health))
                    .await?;
                match answer.status {
                    200 => Ok(None),
                    _ => Err(Stop::failed(subject.describe(&answer))),
                }
            }),
        Case::should("health/tells-the-truth", &["HLT-1"])
            .sends("Encrypt, then a health request")
            .expects("if encryption fails with 5xx: an error, or no key manager ACTIVE")
            .means("KMS keeps sending requests, and no operator is warned")
            .steps(truth),
    ]
}

fn looks(name: &str, expected: &'static str, is_right: fn(&Value) -> bool) -> Case {
    Case::must(format!("health/{name}"), &["HLT-4"])
        .sends("a health request")
        .expects(expected)
        .means(MEANS_SHAPE)
        .steps(move |subject| async move {
            let health = health(&subject).await?;
            match is_right(&health) {
                true => Ok(None),
                false => Err(Stop::failed(printable(&health.to_string(), 200))),
            }
        })
}

async fn health(subject: &Subject) -> Result<Value, Stop> {
    let answer = subject
        .post("health", &body::plain(subject.setup(), Operation::Health))
        .await?;
    answer.is_served(subject)?;
    answer
        .json()
        .ok_or_else(|| Stop::failed("200 with a body that is not JSON"))
}

fn is_text(value: Option<&Value>) -> bool {
    value.and_then(Value::as_str).is_some_and(|text| !text.is_empty())
}

fn details(health: &Value) -> &[Value] {
    health
        .get("ekmFleetDetails")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn statuses(health: &Value) -> Vec<&str> {
    let statuses = details(health).iter().map(|member| member.get("healthStatus"));
    statuses
        .map(|status| status.and_then(Value::as_str).unwrap_or_default())
        .collect()
}

async fn truth(subject: Subject) -> Passed {
    let body = body::encrypt(subject.setup(), b"some plaintext", None, false);
    let encrypted = subject.post(&Operation::Encrypt.path(subject.key()), &body).await?;
    let answer = subject
        .post("health", &body::plain(subject.setup(), Operation::Health))
        .await?;
    if encrypted.status < 500 {
        return Ok(None);
    }
    match (answer.status, answer.json()) {
        (200, Some(health)) if statuses(&health).contains(&"ACTIVE") => Err(Stop::failed(format!(
            "ACTIVE, and for Encrypt {}",
            subject.describe(&encrypted)
        ))),
        _ => Ok(None),
    }
}
