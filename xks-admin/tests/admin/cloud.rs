//! AWS accounts, KMS keys and jobs: what their paths do beyond their answers.

use pollster::block_on;
use xks_admin::Admin;
use xks_byok::aws::{AwsCredentials, Connector as _, CreateKeyRequest, Tag};

use crate::site::{REGION, Site};

/// The secret of an access key is taken, and is in no answer and no event; a policy is for the Regions in
/// use.
#[test]
fn what_is_kept_of_aws_is_shown_as_it_is_given_but_for_secrets() {
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG";
    let site = Site::new();
    let key = serde_json::json!({"access_key": {"id": "AKIAIOSFODNN7EXAMPLE", "secret": SECRET}});
    let body = serde_json::json!({"credential": key});
    let patched = site.send("PATCH", "/admin/v1/cloud-accounts/{account}", Some(body));
    let shown = site.send("GET", "/admin/v1/cloud-accounts/{account}", None);
    let id = serde_json::json!({"access_key": {"id": "AKIAIOSFODNN7EXAMPLE"}});
    assert_eq!((&patched.body["credential"], &shown.body["credential"]), (&id, &id));
    let events = site.send("GET", "/admin/v1/events?last=5", None);
    for reply in [&patched, &shown, &events] {
        assert!(!reply.body.to_string().contains(SECRET), "{}", reply.body);
    }
    let kept = |snapshot: &xks_lifecycle::Snapshot| {
        let account = snapshot
            .cloud_accounts()
            .find(|account| account.name.as_str() == "main");
        matches!(&account.unwrap().credential,
            xks_lifecycle::CloudCredential::AccessKey(key) if key.secret.expose() == SECRET)
    };
    assert!(site.commands.read(kept));

    let cloud_key = site.send("GET", "/admin/v1/cloud-keys/{cloud-key}", None);
    assert_eq!(cloud_key.text("key"), site.fill("{key}"));
    assert_eq!(cloud_key.text("cloud_key_store"), site.fill("{cloud-key-store}"));
    assert_eq!(
        (cloud_key.text("wanted"), cloud_key.text("region")),
        ("enabled".to_owned(), "us-east-1".to_owned())
    );
    let policy = serde_json::json!({"people": {"administrators": [], "users": []}});
    assert_eq!(cloud_key.body["policy"], policy);

    let moved = serde_json::json!({"region": "us-west-2"});
    assert_eq!(
        site.send("PATCH", "/admin/v1/cloud-accounts/{account}", Some(moved))
            .status,
        200
    );
    let policy = site.send("GET", "/admin/v1/cloud-accounts/{account}/iam-policy", None);
    let statements = policy.body["Statement"].as_array().unwrap();
    assert_eq!(statements.len(), 1, "{}", policy.body);
    let regions = &statements[0]["Condition"]["StringEquals"]["aws:RequestedRegion"];
    assert_eq!(*regions, serde_json::json!(["us-east-1", "us-west-2"]));
}

/// A KMS key that others have made comes under management as it is, and its first rotation fills it.
#[test]
fn a_kms_key_of_others_is_adopted_as_it_is() {
    let site = Site::new();
    let client = block_on(site.aws.kms(&AwsCredentials::Chain, REGION)).unwrap();
    let mut request = CreateKeyRequest::external();
    request.description = Some("theirs".to_owned());
    request.tags = vec![Tag::new("team", "pay")];
    let theirs = block_on(client.create_key(request)).unwrap();
    block_on(client.create_alias("alias/theirs", &theirs.key_id)).unwrap();
    let adopt = |kms_key: &str| {
        let body = serde_json::json!({"account": "{account}", "key_set": "{vault}", "kms_key": kms_key,
            "import": {"style": "new-key", "keep_days": 30}});
        site.send("POST", "/admin/v1/cloud-keys/adopt", Some(body))
    };
    let before = site.last_event();
    let adopted = adopt("alias/theirs");
    assert_eq!(adopted.status, 201, "{}", adopted.body);
    assert_eq!(adopted.body["confirmation"]["confirmed"], true);
    let id = adopted.text("id");
    assert_eq!(site.events_after(before), [format!("create cloud-keys/{id} done")]);
    let path = adopted.headers["location"].to_str().unwrap().to_owned();
    let shown = site.send("GET", &path, None).body;
    for (field, expected) in [
        ("alias", "alias/theirs".into()),
        ("description", "theirs".into()),
        ("kms_key", theirs.arn.as_str().into()),
        ("is_adopted", true.into()),
        ("wanted", "enabled".into()),
        ("region", REGION.into()),
        ("tags", serde_json::json!({"team": "pay"})),
        ("keep_days", 30.into()),
    ] {
        assert_eq!(shown[field], expected, "{field}: {shown}");
    }
    assert!(
        shown["policy"]["json"].as_str().unwrap().contains("Statement"),
        "{shown}"
    );
    // It is listed as managed, and not adopted twice, by whichever name.
    let listed = site
        .send("GET", "/admin/v1/cloud-accounts/{account}/kms-keys", None)
        .body;
    assert_eq!(listed["items"][0]["cloud_key"], id.as_str(), "{listed}");
    let again = adopt("alias/theirs");
    assert_eq!(
        (again.status.as_u16(), again.text("field")),
        (422, "kms_key".to_owned())
    );
    assert!(again.text("detail").contains(&id), "{}", again.body);
    // Nothing of it changes, until it is rotated.
    let plan = || {
        let body = serde_json::json!({"cloud_key": id});
        site.send("POST", "/admin/v1/jobs/plan", Some(body)).body
    };
    assert_eq!(plan()["steps"], serde_json::json!([]), "{}", plan());
    let materials = site.send("GET", &format!("{path}/materials"), None).body;
    assert_eq!(materials["items"], serde_json::json!([]));
    assert_eq!(site.send("POST", &format!("{path}/rotate"), None).status, 200);
    let steps = plan()["steps"].to_string();
    assert!(
        steps.contains("wrap material 1 and import it") && !steps.contains("create"),
        "{steps}"
    );
}

/// What a job is going to do is shown before it begins, and it begins only if that still holds.
#[test]
fn a_job_begins_as_its_plan_was_shown_and_ends_when_it_is_cancelled() {
    let site = Site::new();
    let about = || serde_json::json!({"cloud_key_store": "{unused-cloud-key-store}"});
    let plan = site.send("POST", "/admin/v1/jobs/plan", Some(about()));
    let steps = plan.body["steps"].as_array().unwrap();
    assert!(
        steps[0]["step"].as_str().unwrap().contains("key store"),
        "{}",
        plan.body
    );
    assert_eq!(steps[0]["is_done"], false);
    let mut body = about();
    body["observed"] = plan.body["observed"].clone();
    let started = site.send("POST", "/admin/v1/jobs", Some(body));
    assert_eq!(
        (started.status.as_u16(), started.text("state")),
        (201, "planned".to_owned())
    );
    assert_eq!(started.body["steps"], plan.body["steps"]);
    let listed = site.send("GET", "/admin/v1/jobs", None);
    let items = listed.body["items"].as_array().unwrap();
    let ids: Vec<_> = items.iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect();
    assert!(
        ids.contains(&started.text("id")) && ids.contains(&site.fill("{job}")),
        "{ids:?}"
    );
    let cancelled = site.send("POST", &format!("/admin/v1/jobs/{}/cancel", started.text("id")), None);
    assert_eq!(cancelled.text("state"), "cancelled");
    let again = site.send("POST", &format!("/admin/v1/jobs/{}/retry", started.text("id")), None);
    assert_eq!(
        (again.status.as_u16(), again.text("code")),
        (409, "job-ended".to_owned())
    );
}

#[test]
fn a_server_that_calls_no_aws_has_no_jobs() {
    let mut site = Site::new();
    site.admin = Admin::new(std::sync::Arc::clone(&site.commands));
    let asked = site.send("GET", "/admin/v1/jobs", None);
    assert_eq!(
        (asked.status.as_u16(), asked.text("code")),
        (409, "no-cloud".to_owned())
    );
}
