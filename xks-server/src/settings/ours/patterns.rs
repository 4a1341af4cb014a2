//! Patterns of rules that can match nothing. A rule that denies, and never applies, lets in whom it should
//! keep out.

use xks_core::{KeyId, key_store::Region};

/// The requests that a key store's rules decide about.
pub(super) struct Scope<'s> {
    /// None for all keys of its backend.
    pub(super) keys: Option<&'s [KeyId]>,
    /// Empty where what is listed is not understood.
    pub(super) regions: &'s [Region],
}

/// Returns why a pattern can match no request; none if it may.
pub(super) fn why_never(condition: &str, pattern: &str, scope: &Scope<'_>) -> Option<String> {
    if pattern.is_empty() {
        return Some("it is empty".to_owned());
    }
    // What stands before the first wildcard has to be there; without a wildcard, it is all.
    let head = pattern.split(['*', '?']).next().unwrap_or_default();
    let head = Head {
        text: head,
        is_whole: head.len() == pattern.len(),
    };
    let why = match condition {
        _ if pattern.trim() != pattern => "it begins or ends with white space",
        "principals" if head.goes_with("AWS Internal") || head.may_be_a_service() => return None,
        "principals" if !head.goes_with("arn:") => {
            "a principal is an ARN, a service such as ec2.amazonaws.com, or AWS Internal"
        }
        "principals" => return head.why_no_arn(),
        "accounts" if !head.may_be_an_account() => "an account has 12 digits",
        "kms_key_arns" if !head.goes_with("arn:") => "an ARN begins with arn:",
        "kms_key_arns" if head.part(2).is_some_and(|service| service != "kms") => "it is not the ARN of a KMS key",
        "kms_key_arns" if head.text.contains(":alias/") => "AWS KMS sends key ARNs, never aliases",
        "kms_key_arns" => return head.why_no_arn(),
        "regions" if !head.text.bytes().all(is_of_a_region) => "a Region looks like eu-central-1",
        "regions" if !scope.regions.is_empty() && !head.matches_one(scope.regions) => {
            "none of the key store's `regions` matches"
        }
        "vpcs" if !head.goes_with("vpc-") => "a VPC's id begins with vpc-",
        "vpc_endpoints" if !head.goes_with("vpce-") => "a VPC endpoint's id begins with vpce-",
        "kms_operations" if !head.may_be_an_operation() => "an operation looks like Encrypt or GenerateDataKey",
        "kms_operations" => return head.why_no_operation(),
        "keys" => return head.why_no_key(scope.keys),
        _ => return None,
    };
    Some(why.to_owned())
}

/// Operations of AWS KMS that use an external key.
const OPERATIONS: [&str; 8] = [
    "CreateKey",
    "Decrypt",
    "DescribeKey",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncrypt",
];

/// The beginning of a pattern, as far as its first wildcard.
#[derive(Clone, Copy)]
struct Head<'p> {
    text: &'p str,
    /// There is no wildcard.
    is_whole: bool,
}

impl<'p> Head<'p> {
    fn matches(self, value: &str) -> bool {
        match self.is_whole {
            true => value == self.text,
            false => value.starts_with(self.text),
        }
    }

    fn matches_one(self, regions: &[Region]) -> bool {
        regions.iter().any(|region| self.matches(region.as_str()))
    }

    /// Whether a text that begins so may match.
    fn goes_with(self, start: &str) -> bool {
        start.starts_with(self.text) || self.text.starts_with(start)
    }

    fn may_be_an_account(self) -> bool {
        let length = self.text.len();
        is_digits(self.text) && length <= 12 && (!self.is_whole || length == 12)
    }

    fn may_be_a_service(self) -> bool {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        self.text.bytes().all(legal) && (!self.is_whole || self.text.contains(".amazonaws.com"))
    }

    fn may_be_an_operation(self) -> bool {
        self.text.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && !self.text.starts_with(|c: char| !c.is_ascii_uppercase())
    }

    /// A part of an ARN, which no wildcard changes.
    fn part(self, index: usize) -> Option<&'p str> {
        let mut parts = self.text.split(':').skip(index);
        let part = parts.next()?;
        (self.is_whole || parts.next().is_some()).then_some(part)
    }

    fn why_no_arn(self) -> Option<String> {
        let is_cut = self.is_whole && self.part(5).is_none();
        let account = self.text.split(':').nth(4).unwrap_or_default();
        let is_account = |part: &str| part == "aws" || (part.len() == 12 && is_digits(part));
        let may_become_one = "aws".starts_with(account) || (account.len() <= 12 && is_digits(account));
        if is_cut {
            Some("an ARN has six parts, such as arn:aws:iam::111122223333:role/Backup".to_owned())
        } else if !may_become_one || self.part(4).is_some_and(|account| !is_account(account)) {
            Some("the fifth part of an ARN is an account, of 12 digits".to_owned())
        } else {
            None
        }
    }

    /// AWS may have more operations than are known here, but none that differs in capitals alone.
    fn why_no_operation(self) -> Option<String> {
        let known = OPERATIONS.iter().find(|known| known.eq_ignore_ascii_case(self.text));
        let known = known.filter(|known| self.is_whole && **known != self.text)?;
        Some(format!("write {known}"))
    }

    fn why_no_key(self, keys: Option<&[KeyId]>) -> Option<String> {
        let head = self.text;
        if !head.is_empty() && head.parse::<KeyId>().is_err() && head != "." && head != ".." {
            return Some("no external key id can match".to_owned());
        }
        let has_one = keys?.iter().any(|key| self.matches(key.as_str()));
        (!has_one).then(|| "none of the key store's `keys` matches".to_owned())
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_of_a_region(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}
