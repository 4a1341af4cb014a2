//! Jobs: the server makes key stores and KMS keys in AWS, in whose place there is the simulator.

use std::{
    fs::{self, File},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use xks_test_aws::Simulator;

use crate::{
    administration::Site,
    support::{Clock, Folder, PATIENCE, REGION, program, run, wait_until},
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
        let site = Site::start(&format!(
            "[cloud]\nendpoint_url = {:?}\n[metrics]\nlisten = \"127.0.0.1:0\"\n",
            simulator.url()
        ));
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
    let used = cloud.json("cloud-keys last-use alias/salaries");
    assert_eq!(used["aws"]["operation"], "Encrypt", "{used}");
    let request = used["aws"]["kms_request_id"].as_str().unwrap();
    assert!(cloud.site.server.process.log.holds(request, 1), "{request}");
    let decrypted = cloud.kms("Decrypt", &json!({ "CiphertextBlob": encrypted["CiphertextBlob"] }));
    assert_eq!(decrypted["Plaintext"], "YSBzZWNyZXQ=", "{decrypted}");

    // What is wanted changes, and a job makes it so.
    cloud.json("cloud-keys disable alias/salaries --yes alias/salaries");
    cloud.json("jobs start --cloud-key alias/salaries --follow");
    let key = cloud.kms("DescribeKey", &json!({ "KeyId": arn }));
    assert_eq!(key["KeyMetadata"]["KeyState"], "Disabled", "{key}");
    let jobs = cloud.json("jobs list");
    let watched = cloud.json(&format!("jobs watch {}", jobs["items"][0]["id"].as_str().unwrap()));
    assert_eq!(watched["state"], "done", "{watched}");
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
    let since = "xks_jobs_blocked_since_timestamp_seconds";
    let metrics = || cloud.site.server.metrics();
    let blocked = || metrics().value("xks_jobs", &[("state", "blocked")]);
    wait_until("it is counted", || blocked() == 1.0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let waits = now - metrics().value(since, &[]);
    assert!((0.0..600.0).contains(&waits), "{waits}");
    let jobs = cloud.json("jobs list");
    let id = jobs["items"][0]["id"].as_str().unwrap().to_owned();
    let cancelled = cloud.json(&format!("jobs cancel {id}"));
    assert_eq!(cancelled["state"], "cancelled", "{cancelled}");
    assert_eq!(cloud.json(&format!("jobs show {id}"))["state"], "cancelled");
    wait_until("nothing waits for a person", || {
        blocked() == 0.0 && !metrics().has(since, &[])
    });
}

/// The account calls AWS by its own access key, which AWS verifies; another one takes its place.
#[test]
fn the_access_key_of_an_account_is_replaced_and_goes_on() {
    let folder = Folder::new();
    let secret = fs::read_to_string(SECRET).unwrap();
    let keys = folder.write("access-keys", &format!("xks,AKIAIOSFODNN7EXAMPLE,{secret}"));
    let simulator = Simulator::start(&[
        "--region",
        REGION,
        "--role",
        "Admins",
        "--verify-callers",
        keys.to_str().unwrap(),
    ]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let now = i64::try_from(now).unwrap();
    let clock = Clock::new(now);
    let mut command = program();
    clock.rule(&mut command);
    let site = Site::start_by(
        &format!("[cloud]\nendpoint_url = {:?}\n", simulator.url()),
        &mut command,
    );
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let done = |text: &str| -> Value {
        let arguments = words(&format!("{text} --json"));
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        serde_json::from_str(&site.done(&arguments)).unwrap()
    };
    done("tenants create --name payroll");
    let arguments = words(&format!(
        "cloud-accounts create --tenant payroll --name main --region {REGION} --access-key-id AKIAIOSFODNN7EXAMPLE \
         --secret-file -"
    ));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    run(site.command(&arguments).stdin(Stdio::from(File::open(SECRET).unwrap())));
    let principals = done("cloud-accounts principals main");
    let names: Vec<_> = principals["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["name"])
        .collect();
    assert_eq!(names, ["xks", "Admins"], "{principals}");

    let plan = done("jobs start --cloud-account main --dry-run");
    assert_eq!(plan["steps"].as_array().unwrap().len(), 1, "{plan}");
    assert_eq!(simulator.calls("CreateAccessKey"), 0, "it is only shown");
    let job = done("jobs start --cloud-account main")["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let start = Instant::now();
    while done("cloud-accounts show main")["credential"]["access_key"]["id"] == "AKIAIOSFODNN7EXAMPLE" {
        assert!(start.elapsed() < PATIENCE, "{}", done(&format!("jobs show {job}")));
        thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(
        simulator.calls("DeleteAccessKey"),
        0,
        "calls of other nodes may use the old one"
    );
    clock.set(now + 120);
    let job = done(&format!("jobs watch {job}"));
    assert_eq!(
        (&job["state"], simulator.calls("DeleteAccessKey")),
        (&json!("done"), 1),
        "{job}"
    );
    assert_eq!(done("cloud-accounts principals main"), principals, "by the new one");
}
