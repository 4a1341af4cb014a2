//! Key policies: as they are written for people, and whether two say the same.

use serde_json::{Value, json};
use xks_lifecycle::{AwsAccountId, KeyPolicy, PrincipalArn, Region};

use crate::accounts::partition;

/// What administrators may do: all but use the key.
const ADMINISTRATION: &[&str] = &[
    "kms:Create*",
    "kms:Describe*",
    "kms:Enable*",
    "kms:List*",
    "kms:Put*",
    "kms:Update*",
    "kms:Revoke*",
    "kms:Disable*",
    "kms:Get*",
    "kms:Delete*",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:ScheduleKeyDeletion",
    "kms:CancelKeyDeletion",
];
/// What users may do with the key itself.
const USE: &[&str] = &[
    "kms:Encrypt",
    "kms:Decrypt",
    "kms:ReEncrypt*",
    "kms:GenerateDataKey*",
    "kms:DescribeKey",
];
/// What users may do so that services of AWS use the key for them.
const GRANTS: &[&str] = &["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"];

/// Returns a policy as AWS takes it; nothing if it names the account, whose number is not known.
#[must_use]
pub fn policy_json(policy: &KeyPolicy, account: Option<&AwsAccountId>, region: &Region) -> Option<String> {
    match policy {
        KeyPolicy::Json(text) => Some(text.to_string()),
        KeyPolicy::People { administrators, users } => {
            let root = format!("arn:{}:iam::{}:root", partition(region), account?);
            Some(written(&root, administrators, users).to_string())
        }
        _ => None,
    }
}

fn written(root: &str, administrators: &[PrincipalArn], users: &[PrincipalArn]) -> Value {
    let arns = |arns: &[PrincipalArn]| Value::from_iter(arns.iter().map(PrincipalArn::as_str));
    let mut statements = vec![json!({
        "Sid": "Enable IAM User Permissions",
        "Effect": "Allow",
        "Principal": {"AWS": root},
        "Action": "kms:*",
        "Resource": "*",
    })];
    if !administrators.is_empty() {
        statements.push(json!({
            "Sid": "Allow access for Key Administrators",
            "Effect": "Allow",
            "Principal": {"AWS": arns(administrators)},
            "Action": ADMINISTRATION,
            "Resource": "*",
        }));
    }
    if !users.is_empty() {
        statements.push(json!({
            "Sid": "Allow use of the key",
            "Effect": "Allow",
            "Principal": {"AWS": arns(users)},
            "Action": USE,
            "Resource": "*",
        }));
        statements.push(json!({
            "Sid": "Allow attachment of persistent resources",
            "Effect": "Allow",
            "Principal": {"AWS": arns(users)},
            "Action": GRANTS,
            "Resource": "*",
            "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
        }));
    }
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// Returns whether two policies say the same: AWS orders what has no order, and writes a list of one as its
/// element.
#[must_use]
pub fn is_same_policy(one: &str, other: &str) -> bool {
    match (serde_json::from_str(one), serde_json::from_str(other)) {
        (Ok(one), Ok(other)) => plain(one) == plain(other),
        _ => one == other,
    }
}

/// A policy in the one form that all ways to write it have. Lists are sorted as texts; a list of one is its
/// element; fields of an object have no order.
fn plain(value: Value) -> Value {
    match value {
        Value::Array(values) => {
            let mut values: Vec<_> = values.into_iter().map(plain).collect();
            values.sort_by_cached_key(sorted);
            match values.as_slice() {
                [one] => one.clone(),
                _ => Value::Array(values),
            }
        }
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (name, plain(value)));
            Value::Object(fields.collect())
        }
        other => other,
    }
}

/// A text that is the same for equal values, whatever the order of their fields.
fn sorted(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().map(|(name, value)| (name, sorted(value))).collect();
            fields.sort();
            format!("{fields:?}")
        }
        Value::Array(values) => format!("{:?}", values.iter().map(sorted).collect::<Vec<_>>()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_compared_by_what_they_say() {
        let one =
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["a","b"],"Principal":{"AWS":"x"}}]}"#;
        let same =
            r#"{"Statement":{"Principal":{"AWS":["x"]},"Action":["b","a"],"Effect":"Allow"},"Version":"2012-10-17"}"#;
        assert!(is_same_policy(one, same));
        for (from, to) in [
            ("Allow", "Deny"),
            ("\"x\"", "\"y\""),
            ("\"a\",", ""),
            ("[\"a\",\"b\"]", "\"*\""),
        ] {
            assert!(
                !is_same_policy(one, &same.replace(from, to)) || !same.contains(from),
                "{from}"
            );
            assert!(!is_same_policy(&one.replace(from, to), same), "{from}");
        }
        assert!(is_same_policy("no JSON", "no JSON") && !is_same_policy("no JSON", "{}"));
    }

    #[test]
    fn a_policy_names_administrators_and_users_apart() {
        let arn = |name: &str| format!("arn:aws:iam::111122223333:role/{name}").parse().unwrap();
        let policy = KeyPolicy::People {
            administrators: vec![arn("admin")],
            users: vec![arn("app"), arn("batch")],
        };
        let account = "111122223333".parse().unwrap();
        let text = policy_json(&policy, Some(&account), &"eusc-de-east-1".parse().unwrap()).unwrap();
        let policy: Value = serde_json::from_str(&text).unwrap();
        let statements = policy["Statement"].as_array().unwrap();
        assert_eq!(statements[0]["Principal"]["AWS"], "arn:aws-eusc:iam::111122223333:root");
        assert_eq!(
            statements[1]["Principal"]["AWS"],
            json!(["arn:aws:iam::111122223333:role/admin"])
        );
        let may = |place: usize| statements[place]["Action"].to_string();
        assert!(!may(1).contains("crypt") && may(2).contains("kms:Decrypt"));
        assert_eq!(statements.len(), 4);
        assert_eq!(
            policy_json(&KeyPolicy::ACCOUNT, None, &"eu-central-1".parse().unwrap()),
            None
        );
    }
}
