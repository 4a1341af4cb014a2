//! What a key policy allows a caller, where [key policies decide](super::Builder::key_policies_decide).
//!
//! A Deny that applies wins; then an Allow is needed. A statement that names the account lets the account's
//! own policies decide ("Enable IAM User Permissions"), of which the double has none: it lets all of the
//! account's users and roles in, but for [what is denied on purpose](super::Faults). Statements with a
//! Condition are left out of account.

use serde_json::Value;

use super::{
    caller::Caller,
    exception::{Exception, ExceptionName},
    key::Key,
};

/// What a policy decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Allowed,
    /// No statement allows it.
    NotAllowed,
    /// A statement denies it.
    Denied,
}

/// What a caller wants to do, and with which key.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) principal_arn: &'a str,
    /// With `kms:` in front.
    pub(crate) action: &'a str,
    /// The key's ARN; none for a key that has none yet.
    pub(crate) resource: Option<&'a str>,
}

/// Refuses what the key policy does not allow the caller.
pub(crate) fn check(key: &Key, caller: &Caller, action: &str) -> Result<(), Exception> {
    let question = Question {
        principal_arn: &caller.principal_arn,
        action,
        resource: Some(&key.arn),
    };
    let why = match question.decide(&key.policy) {
        Decision::Allowed => return Ok(()),
        Decision::NotAllowed => format!("because no resource-based policy allows the {action} action"),
        Decision::Denied => "with an explicit deny in a resource-based policy".to_owned(),
    };
    let message = format!(
        "User: {} is not authorized to perform: {action} on resource: {} {why}",
        caller.principal_arn, key.arn
    );
    Err(Exception::new(ExceptionName::AccessDenied, message))
}

impl Question<'_> {
    /// The decision of a policy.
    pub(crate) fn decide(self, policy: &str) -> Decision {
        let policy: Value = serde_json::from_str(policy).unwrap_or_default();
        let statements = statements(&policy);
        let applying = statements.into_iter().filter(|statement| self.applies(statement));
        let mut decision = Decision::NotAllowed;
        for statement in applying {
            match text(statement, "Effect") {
                Some("Deny") => return Decision::Denied,
                Some("Allow") => decision = Decision::Allowed,
                _ => (),
            }
        }
        decision
    }

    /// Whether a statement is about this caller, action and key.
    pub(crate) fn applies(self, statement: &Value) -> bool {
        let named = |name: &str, is_meant: &dyn Fn(&Value) -> bool| match statement.get(name) {
            Some(names) => is_meant(names),
            None => statement
                .get(format!("Not{name}"))
                .is_some_and(|names| !is_meant(names)),
        };
        let action = self.action.to_ascii_lowercase();
        let is_action = |pattern: &str| matches(pattern.to_ascii_lowercase().as_bytes(), action.as_bytes());
        let is_resource = |pattern: &str| {
            let is_meant = |arn: &str| matches(pattern.as_bytes(), arn.as_bytes());
            self.resource.is_none_or(is_meant)
        };
        statement.get("Condition").is_none()
            && named("Principal", &|names| {
                texts_of(names, "AWS").into_iter().any(|name| self.is_principal(name))
            })
            && named("Action", &|names| texts(names).into_iter().any(is_action))
            && named("Resource", &|names| texts(names).into_iter().any(is_resource))
    }

    /// Whether a principal of a policy is this caller, its role, or its account.
    fn is_principal(self, principal: &str) -> bool {
        let account = self.principal_arn.split(':').nth(4).unwrap_or_default();
        let is_account = principal == account
            || principal
                .strip_suffix(":root")
                .is_some_and(|start| start.starts_with("arn:") && start.ends_with(&format!(":iam::{account}")));
        principal == "*" || principal == self.principal_arn || is_account || Some(principal) == self.role().as_deref()
    }

    /// The role of `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`.
    fn role(self) -> Option<String> {
        let (before, assumed) = self.principal_arn.split_once(":assumed-role/")?;
        let (role, _) = assumed.rsplit_once('/')?;
        Some(format!("{}:role/{role}", before.replace(":sts:", ":iam:")))
    }
}

/// Whether a text is as a pattern says: `*` is any characters, `?` one.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    // The last star, and the start of what comes after the text that it stands for.
    let mut star = None;
    while let Some(found) = text.get(seen) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted == found => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((of_star, start)) = star else { return false };
                star = Some((of_star, start + 1));
                (at, seen) = (of_star + 1, start + 1);
            }
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == b'*')
}

/// The statements of a policy, one or a list.
pub(crate) fn statements(policy: &Value) -> Vec<&Value> {
    match policy.get("Statement") {
        Some(Value::Array(statements)) => statements.iter().collect(),
        Some(statement @ Value::Object(_)) => vec![statement],
        _ => Vec::new(),
    }
}

pub(crate) fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str()
}

/// A text, or all of a list.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}

/// The principals of a kind; `"*"` alone is one of AWS.
pub(crate) fn texts_of<'a>(principals: &'a Value, kind: &str) -> Vec<&'a str> {
    match principals {
        Value::Object(kinds) => kinds.get(kind).map(texts).unwrap_or_default(),
        one if kind == "AWS" => texts(one),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/k";

    fn decided(principal_arn: &str, action: &str, statements: &Value) -> Decision {
        let question = Question {
            principal_arn,
            action,
            resource: Some(KEY),
        };
        question.decide(&json!({ "Statement": statements }).to_string())
    }

    #[test]
    fn principals_are_users_roles_and_accounts() {
        let user = "arn:aws:iam::111122223333:user/Carol";
        let session = "arn:aws:sts::111122223333:assumed-role/Admins/carol";
        for (caller, principal, is_allowed) in [
            (user, json!({ "AWS": user }), true),
            (user, json!({ "AWS": [session, user] }), true),
            (user, json!({ "AWS": "arn:aws:iam::111122223333:root" }), true),
            (user, json!({ "AWS": "111122223333" }), true),
            (user, json!({ "AWS": "*" }), true),
            (user, json!("*"), true),
            (user, json!({ "AWS": "arn:aws:iam::444455556666:root" }), false),
            (user, json!({ "AWS": "arn:aws:iam::111122223333:user/Dave" }), false),
            (user, json!({ "AWS": "arn:aws:iam::111122223333:role/Carol" }), false),
            (user, json!({ "Service": "ec2.amazonaws.com" }), false),
            (session, json!({ "AWS": "arn:aws:iam::111122223333:role/Admins" }), true),
            (session, json!({ "AWS": session }), true),
            (session, json!({ "AWS": "arn:aws:iam::111122223333:role/Users" }), false),
        ] {
            let statement = json!({ "Effect": "Allow", "Principal": principal, "Action": "kms:*", "Resource": "*" });
            let expected = if is_allowed {
                Decision::Allowed
            } else {
                Decision::NotAllowed
            };
            assert_eq!(
                decided(caller, "kms:Encrypt", &json!([statement])),
                expected,
                "{caller} {principal}"
            );
        }
    }

    #[test]
    fn actions_and_resources_are_patterns() {
        let user = "arn:aws:iam::111122223333:user/Carol";
        for (name, pattern, applies) in [
            ("Action", json!("kms:Encrypt"), true),
            ("Action", json!("KMS:encrypt"), true),
            ("Action", json!(["kms:Decrypt", "kms:E*t"]), true),
            ("Action", json!("kms:Encryp?"), true),
            ("Action", json!("*"), true),
            ("Action", json!("kms:Encrypt?"), false),
            ("Action", json!("kms:Decrypt"), false),
            ("Action", json!("kms:****************************x"), false),
            ("NotAction", json!("kms:Decrypt"), true),
            ("NotAction", json!("kms:*"), false),
            ("Resource", json!(KEY), true),
            ("Resource", json!("arn:aws:kms:*:111122223333:key/*"), true),
            ("Resource", json!("arn:aws:kms:us-east-1:111122223333:key/K"), false),
            ("NotResource", json!(KEY), false),
            ("NotPrincipal", json!({ "AWS": user }), false),
            (
                "NotPrincipal",
                json!({ "AWS": "arn:aws:iam::111122223333:user/Dave" }),
                true,
            ),
            (
                "Condition",
                json!({ "Bool": { "kms:GrantIsForAWSResource": true } }),
                false,
            ),
        ] {
            let mut statement = json!({ "Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*" });
            if let Some(replaced) = name.strip_prefix("Not") {
                statement.as_object_mut().unwrap().remove(replaced);
            }
            statement[name] = pattern.clone();
            let expected = if applies {
                Decision::Allowed
            } else {
                Decision::NotAllowed
            };
            assert_eq!(decided(user, "kms:Encrypt", &statement), expected, "{name} {pattern}");
        }
    }

    #[test]
    fn a_deny_wins() {
        let user = "arn:aws:iam::111122223333:user/Carol";
        let statement = |effect: &str, action: &str| json!({ "Effect": effect, "Principal": "*", "Action": action, "Resource": "*" });
        let statements = json!([
            statement("Allow", "*"),
            statement("Deny", "kms:Enc*"),
            statement("Allow", "*")
        ]);
        assert_eq!(decided(user, "kms:Encrypt", &statements), Decision::Denied);
        assert_eq!(decided(user, "kms:Decrypt", &statements), Decision::Allowed);
        assert_eq!(decided(user, "kms:Decrypt", &json!([])), Decision::NotAllowed);
    }
}
