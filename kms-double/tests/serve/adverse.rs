//! As bad as AWS, over HTTP: lost answers, denied operations, throttling, replicas that are behind, and the
//! clock.

use std::process::Command;

use serde_json::{Value, json};

use crate::{aws::Aws, serve};

/// Changes what goes wrong. Returns how often each operation was called.
fn control(url: &str, change: &Value) -> Value {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--data"]);
    let output = curl
        .arg(change.to_string())
        .arg(format!("{url}/kms-double/control"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_answer_that_is_lost_closes_the_connection() {
    let (_program, url) = serve(&[]);
    let aws = Aws::new(&url);
    let create = ["create-key", "--origin", "EXTERNAL"];
    let inject = |trouble: &str| {
        let inject = json!({ "Operation": "CreateKey", "Occurrence": 1, "Trouble": trouble });
        control(&url, &json!({ "Inject": [inject] }))
    };
    let keys = || aws.kms(&["list-keys"])["Keys"].as_array().unwrap().len();
    for (trouble, made) in [("LostBefore", 0), ("LostAfter", 1)] {
        inject(trouble);
        let (succeeded, out, err) = aws.run(&create);
        assert!(!succeeded, "{out}");
        assert!(err.contains("Connection was closed"), "{err}");
        assert_eq!(keys(), made, "{trouble}");
    }
    inject("Throttled");
    assert_eq!(aws.refused(&create).0, "ThrottlingException");
    control(&url, &json!({ "Deny": ["CreateKey"] }));
    assert_eq!(aws.refused(&create).0, "AccessDeniedException");
    control(&url, &json!({ "Allow": ["CreateKey"] }));
    aws.kms(&create);
    let calls = control(&url, &json!({}))["Calls"]["CreateKey"].clone();
    assert_eq!(calls, json!({ "Made": 5, "Throttled": 1 }));
}

#[test]
fn changes_take_turns_with_what_was_before_until_they_have_settled() {
    let (_program, url) = serve(&["--settle-secs", "3600", "--quotas", "0.001"]);
    let aws = Aws::new(&url);
    let create = ["create-key", "--origin", "EXTERNAL"];
    let key = aws.kms(&create)["KeyMetadata"]["KeyId"].clone();
    assert_eq!(aws.refused(&create).0, "ThrottlingException");
    let describe = ["describe-key", "--key-id", key.as_str().unwrap()];
    control(&url, &json!({ "AdvanceSecs": 1000 }));
    let mut found = [aws.run(&describe).0, false];
    control(&url, &json!({ "AdvanceSecs": 1000 }));
    found[1] = aws.run(&describe).0;
    found.sort_unstable();
    assert_eq!(found, [false, true], "one replica has it");
    for _ in 0..2 {
        control(&url, &json!({ "AdvanceSecs": 3600 }));
        aws.kms(&describe);
    }
}
