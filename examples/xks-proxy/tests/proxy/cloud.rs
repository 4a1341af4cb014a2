//! Jobs: the server makes key stores and KMS keys in AWS, in whose place there is the simulator.

use std::process::Command;

use serde_json::{Value, json};
use xks_test_aws::Simulator;

use crate::{
    administration::Site,
    support::{REGION, run},
};

const SECRET: &str = "tests/proxy/administration/example.secret";

/// A server that calls the simulator, with a managed key in an external key store, and what is wanted in AWS.
struct Cloud {
    simulator: Simulator,
    site: Site,
}

impl Cloud {
    fn start() -> Self {
        let simulator = Simulator::start(&["--region", REGION]);
        let site = Site::start(&format!("[cloud]\nendpoint_url = {:?}\n", simulator.url()));
        let proxy = site.server.url().to_owned();
        for command in [
            "tenants create --name payroll".to_owned(),
            format!("key-stores create --tenant payroll --name eu --prefix /eu --region {REGION}"),
            "key-stores create-credential eu".to_owned(),
            "key-sets create --tenant payroll --name salaries --source vault --key-store eu".to_owned(),
            "keys create --key-set salaries --name 2027".to_owned(),
            format!(
                "cloud-accounts create --tenant payroll --name main --region {REGION} --access-key-id \
                 AKIAIOSFODNN7EXAMPLE --secret-file {SECRET}"
            ),
            format!("cloud-key-stores create --account main --name payroll --key-store eu --endpoint {proxy}"),
            "cloud-keys create --key-set salaries --alias alias/salaries --cloud-key-store payroll --key 2027 --tag \
             team=pay"
                .to_owned(),
        ] {
            site.done(&command.split_whitespace().collect::<Vec<_>>());
        }
        Self { simulator, site }
    }

    fn json(&self, command: &str) -> Value {
        let mut arguments: Vec<_> = command.split_whitespace().collect();
        arguments.push("--json");
        serde_json::from_str(&self.site.done(&arguments)).unwrap()
    }

    /// An operation of AWS KMS.
    fn kms(&self, operation: &str, body: &Value) -> Value {
        let answer = run(Command::new("curl")
            .args([
                "-sS",
                "--max-time",
                "60",
                "-H",
                "Content-Type: application/x-amz-json-1.1",
            ])
            .args([
                "--aws-sigv4",
                &format!("aws:amz:{REGION}:kms"),
                "--user",
                "AKIAIOSFODNN7EXAMPLE:a-secret",
            ])
            .args(["-H", &format!("X-Amz-Target: TrentService.{operation}")])
            .args(["--data-binary", &body.to_string(), self.simulator.url()]));
        serde_json::from_str(&answer).expect(&answer)
    }
}

#[test]
fn jobs_make_in_aws_what_is_wanted() {
    let cloud = Cloud::start();
    let plan = cloud.json("jobs start --cloud-key-store payroll --dry-run");
    assert!(plan["steps"].as_array().unwrap().len() >= 2, "{plan}");
    assert_eq!(cloud.simulator.calls("CreateCustomKeyStore"), 0, "it is only shown");

    let observed = plan["observed"].as_str().unwrap();
    let job = cloud.json(&format!(
        "jobs start --cloud-key-store payroll --observed {observed} --follow"
    ));
    assert_eq!(job["state"], "done", "{job}");
    let store = cloud.json("cloud-key-stores show payroll")["custom_key_store_id"].clone();
    let there = cloud.kms("DescribeCustomKeyStores", &json!({ "CustomKeyStoreId": store }));
    assert_eq!(there["CustomKeyStores"][0]["ConnectionState"], "CONNECTED", "{there}");

    let job = cloud.json("jobs start --cloud-key alias/salaries --follow");
    assert_eq!(job["state"], "done", "{job}");
    let arn = cloud.json("cloud-keys show alias/salaries")["kms_key"].clone();
    let encrypted = cloud.kms(
        "Encrypt",
        &json!({"KeyId": "alias/salaries", "Plaintext": "YSBzZWNyZXQ="}),
    );
    assert_eq!(encrypted["KeyId"], arn, "{encrypted}");
    let decrypted = cloud.kms("Decrypt", &json!({ "CiphertextBlob": encrypted["CiphertextBlob"] }));
    assert_eq!(decrypted["Plaintext"], "YSBzZWNyZXQ=", "{decrypted}");

    // What is wanted changes, and a job makes it so.
    cloud.json("cloud-keys disable alias/salaries --yes alias/salaries");
    cloud.json("jobs start --cloud-key alias/salaries --follow");
    let key = cloud.kms("DescribeKey", &json!({ "KeyId": arn }));
    assert_eq!(key["KeyMetadata"]["KeyState"], "Disabled", "{key}");
    let jobs = cloud.json("jobs list");
    let states: Vec<_> = jobs["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["state"])
        .collect();
    assert_eq!(states, ["done"; 3], "{jobs}");
}

#[test]
fn what_aws_refuses_is_a_question_and_a_job_that_is_cancelled_ends() {
    let cloud = Cloud::start();
    cloud.simulator.control(&json!({"Deny": ["CreateCustomKeyStore"]}));
    let (code, _, log) = cloud
        .site
        .give(&["jobs", "start", "--cloud-key-store", "payroll", "--follow"]);
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("is blocked") && log.contains("kms:CreateCustomKeyStore"),
        "{log}"
    );
    let jobs = cloud.json("jobs list");
    let id = jobs["items"][0]["id"].as_str().unwrap().to_owned();
    let cancelled = cloud.json(&format!("jobs cancel {id}"));
    assert_eq!(cancelled["state"], "cancelled", "{cancelled}");
    assert_eq!(cloud.json(&format!("jobs show {id}"))["state"], "cancelled");
}
