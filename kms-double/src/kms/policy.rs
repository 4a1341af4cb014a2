//! Key policies: their form, their principals, and the lockout safety check. What they allow is in
//! [`permissions`](super::permissions).

use serde_json::Value;

use super::{
    caller::Caller,
    exception::{Exception, ExceptionName},
    permissions::{Question, statements, text, texts_of},
    state::State,
};

/// The name of the policy that its owner puts.
pub(crate) const DEFAULT: &str = "default";

/// The name of the policy that Resource Access Manager puts.
pub(crate) const AWS_RAM: &str = "AWS_RAM";

/// The quota of AWS, in bytes.
const MAX_POLICY: usize = 32 * 1024;

/// The length that the API's model allows.
const MAX_TEXT: usize = 131_072;

/// A policy that is put, and by whom.
pub(crate) struct Proposal<'a> {
    pub(crate) text: &'a str,
    pub(crate) bypasses_lockout_check: bool,
    pub(crate) caller: &'a Caller,
    pub(crate) account: &'a str,
    pub(crate) now: f64,
}

/// What a key has when nothing else is said: the account decides by its own policies.
pub(crate) fn default_policy(account: &str) -> String {
    format!(
        "{{\n  \"Version\" : \"2012-10-17\",\n  \"Id\" : \"key-default-1\",\n  \"Statement\" : [ {{\n    \"Sid\" : \
         \"Enable IAM User Permissions\",\n    \"Effect\" : \"Allow\",\n    \"Principal\" : {{\n      \"AWS\" : \
         \"arn:aws:iam::{account}:root\"\n    }},\n    \"Action\" : \"kms:*\",\n    \"Resource\" : \"*\"\n  }} ]\n}}"
    )
}

impl Proposal<'_> {
    /// Refuses what AWS KMS refuses.
    pub(crate) fn check(&self, state: &State) -> Result<(), Exception> {
        let is_legal = |character: char| matches!(character, '\t' | '\n' | '\r' | ' '..='\u{ff}');
        if !(1..=MAX_TEXT).contains(&self.text.len()) || !self.text.chars().all(is_legal) {
            return Err(Exception::validation(
                "Policy has to have 1 to 131072 characters of Latin-1",
            ));
        }
        if self.text.len() > MAX_POLICY {
            let message = "A key policy has at most 32 KB";
            return Err(Exception::new(ExceptionName::LimitExceeded, message));
        }
        let policy: Value = serde_json::from_str(self.text).map_err(|_| malformed("The policy is not JSON"))?;
        let statements = statements(&policy);
        if statements.is_empty() {
            return Err(malformed("The policy has no Statement"));
        }
        for statement in &statements {
            self.check_statement(statement, state)?;
        }
        let to_put_another = Question {
            principal_arn: &self.caller.principal_arn,
            action: "kms:PutKeyPolicy",
            resource: None,
        };
        let lets_in =
            |statement: &&Value| text(statement, "Effect") == Some("Allow") && to_put_another.applies(statement);
        if !self.bypasses_lockout_check && !statements.iter().any(lets_in) {
            return Err(malformed(
                "The new key policy will not allow you to update the key policy in the future.",
            ));
        }
        Ok(())
    }

    fn check_statement(&self, statement: &Value, state: &State) -> Result<(), Exception> {
        let has_one_of = |names: [&str; 2]| names.iter().filter(|name| statement.get(**name).is_some()).count() == 1;
        if !["Allow", "Deny"].map(Some).contains(&text(statement, "Effect")) {
            return Err(malformed("A statement of the policy has no Effect, Allow or Deny"));
        }
        for names in [
            ["Action", "NotAction"],
            ["Resource", "NotResource"],
            ["Principal", "NotPrincipal"],
        ] {
            if !has_one_of(names) {
                return Err(malformed(&format!(
                    "A statement of the policy has to have either {} or {}",
                    names[0], names[1]
                )));
            }
        }
        let Some(principals) = statement.get("Principal").or_else(|| statement.get("NotPrincipal")) else {
            return Ok(());
        };
        for principal in texts_of(principals, "AWS") {
            if !self.is_known(principal, state) {
                return Err(malformed(
                    "Policy contains a statement with one or more invalid principals.",
                ));
            }
        }
        let is_service = |service: &str| service == "*" || service.ends_with(".amazonaws.com");
        if !texts_of(principals, "Service").into_iter().all(is_service) {
            return Err(malformed(
                "Policy contains a statement with one or more invalid principals.",
            ));
        }
        Ok(())
    }

    /// Whether there is such a user or role; of other accounts that cannot be seen.
    fn is_known(&self, principal: &str, state: &State) -> bool {
        if principal == "*" || is_account(principal) {
            return true;
        }
        let mut parts = principal.splitn(6, ':');
        let head = (parts.next(), parts.next(), parts.next(), parts.next());
        let (Some("arn"), Some("aws" | "aws-us-gov" | "aws-cn" | "aws-eusc"), Some("iam" | "sts"), Some("")) = head
        else {
            return false;
        };
        match (parts.next(), parts.next()) {
            (Some(account), Some(_)) if account != self.account => is_account(account),
            (Some(_), Some("root")) => true,
            (Some(_), Some(_)) => state.knows_principal(principal, self.now),
            _ => false,
        }
    }
}

fn malformed(message: &str) -> Exception {
    Exception::new(ExceptionName::MalformedPolicyDocument, message)
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}
