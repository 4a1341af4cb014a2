//! Patterns of rules that can match nothing. A rule that denies, and never applies, lets in whom it should
//! keep out.

use xks_core::KeyId;

/// Why a pattern can match no request; none if it may. `keys`: those of the key store, none for all of its
/// backend.
pub(super) fn why_never(condition: &str, pattern: &str, keys: Option<&[KeyId]>) -> Option<String> {
    if pattern.is_empty() {
        return Some("it is empty".to_owned());
    }
    // What stands before the first wildcard has to be there; without a wildcard, it is all.
    let head = pattern.split(['*', '?']).next().unwrap_or_default();
    let is_whole = head.len() == pattern.len();
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let begins = |start: &str| start.starts_with(head) || head.starts_with(start);
    let why = match condition {
        _ if pattern.trim() != pattern => "it begins or ends with a blank",
        "accounts" if !digits(head) || head.len() > 12 || (is_whole && head.len() != 12) => "an account has 12 digits",
        "kms_key_arns" if !begins("arn:") => "an ARN begins with arn:",
        "regions" if !head.bytes().all(is_of_a_region) => "a Region is written like eu-central-1",
        "vpcs" if !begins("vpc-") => "a VPC's id begins with vpc-",
        "vpc_endpoints" if !begins("vpce-") => "a VPC endpoint's id begins with vpce-",
        "kms_operations" if !head.bytes().all(|byte| byte.is_ascii_alphanumeric()) || starts_small(head) => {
            "an operation is written like Encrypt or GenerateDataKey"
        }
        "keys" => return why_no_key(head, is_whole, keys),
        _ => return None,
    };
    Some(why.to_owned())
}

fn is_of_a_region(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

fn starts_small(text: &str) -> bool {
    text.starts_with(|c: char| !c.is_ascii_uppercase())
}

fn why_no_key(head: &str, is_whole: bool, keys: Option<&[KeyId]>) -> Option<String> {
    if !head.is_empty() && head.parse::<KeyId>().is_err() && head != "." && head != ".." {
        return Some("no external key id is like that".to_owned());
    }
    let matches = |key: &KeyId| match is_whole {
        true => key.as_str() == head,
        false => key.as_str().starts_with(head),
    };
    let has_one = keys?.iter().any(matches);
    (!has_one).then(|| "none of the key store's `keys` is like that".to_owned())
}
