//! Texts that AWS has rules for: Regions, account ids, aliases and the like.

use std::{fmt, str::FromStr};

use xks_core::Zeroizing;

use crate::{CloudAccountId, FieldError, FieldProblem};

/// Defines a text with a rule of AWS.
macro_rules! aws_text {
    ($($(#[$meta:meta])* $name:ident, $field:literal, $rule:literal, $is_legal:expr;)+) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $name(Box<str>);

            impl $name {
                /// Returns the text.
                #[must_use]
                pub fn as_str(&self) -> &str {
                    &self.0
                }
            }

            impl FromStr for $name {
                type Err = FieldError;

                fn from_str(text: &str) -> Result<Self, FieldError> {
                    let is_legal: fn(&str) -> bool = $is_legal;
                    if is_legal(text) {
                        return Ok(Self(text.into()));
                    }
                    Err(FieldError::new($field, FieldProblem::Illegal($rule.to_owned())))
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(&self.0)
                }
            }

            impl serde::Serialize for $name {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.serialize_str(&self.0)
                }
            }
        )+
    };
}

fn all(text: &str, min: usize, max: usize, is_legal: fn(u8) -> bool) -> bool {
    (min..=max).contains(&text.len()) && text.bytes().all(is_legal)
}

aws_text! {
    /// An AWS Region.
    Region, "region", "an AWS Region is named like eu-central-1", |text| {
        all(text, 1, 64, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    /// The number of an AWS account.
    AwsAccountId, "account", "an AWS account has 12 digits", |text| all(text, 12, 12, |byte| byte.is_ascii_digit());
    /// The id of an access key of IAM.
    AwsAccessKeyId, "access_key", "an access key id has 16 to 128 letters, digits and `_`", |text| {
        all(text, 16, 128, |byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    /// The name of a custom key store in AWS.
    CustomKeyStoreName, "name", "a custom key store's name has 1 to 256 printable characters, none of them a space", |text| {
        (1..=256).contains(&text.chars().count()) && !text.chars().any(|c| c.is_control() || c.is_whitespace())
    };
    /// The id that AWS has given to a custom key store.
    CustomKeyStoreId, "custom_key_store_id", "a custom key store's id is like cks-1234567890abcdef0", |text| {
        all(text, 1, 64, |byte| byte.is_ascii_graphic())
    };
    /// The alias of a KMS key, with `alias/` in front.
    AliasName, "alias", "an alias is like alias/payroll, of letters, digits and `/`, `_`, `-`; alias/aws/ is AWS's own", |text| {
        let name = text.strip_prefix("alias/").filter(|name| !name.is_empty() && !name.starts_with("aws/"));
        name.is_some() && all(text, 7, 256, |byte| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte))
    };
    /// Who a key policy names: a user, a role, or an account.
    PrincipalArn, "principal", "a principal is like arn:aws:iam::111122223333:role/admin", |text| {
        text.starts_with("arn:") && text.contains(":iam::") && all(text, 20, 2048, |byte| byte.is_ascii_graphic())
            && !text.contains(['"', '\\'])
    };
}

/// The secret of an access key of IAM: 16 to 128 printable characters. It is stored sealed and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct AwsSecret(Zeroizing<String>);

impl AwsSecret {
    /// Checks the secret and keeps it.
    ///
    /// # Errors
    /// Of the field `secret`, which shows nothing of it.
    pub fn new(secret: Zeroizing<String>) -> Result<Self, FieldError> {
        if !all(&secret, 16, 128, |byte| byte.is_ascii_graphic()) {
            let rule = "a secret access key has 16 to 128 printable characters".to_owned();
            return Err(FieldError::new("secret", FieldProblem::Illegal(rule)));
        }
        Ok(Self(secret))
    }

    /// Returns the secret.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AwsSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwsSecret")
    }
}

/// A name of which there is one in an account and Region.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CloudName<'n> {
    pub(crate) field: &'static str,
    pub(crate) account: CloudAccountId,
    pub(crate) region: &'n Region,
    pub(crate) name: &'n str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_aws_takes_is_legal() {
        fn must<T: FromStr<Err = FieldError> + fmt::Display>(good: &[&str], bad: &[&str]) {
            for text in good {
                assert_eq!(
                    text.parse::<T>().ok().map(|value| value.to_string()).as_deref(),
                    Some(*text)
                );
            }
            for text in bad {
                assert!(text.parse::<T>().is_err(), "{text:?}");
            }
        }
        must::<Region>(&["eu-central-1", "eusc-de-east-1"], &["", "EU", "a b"]);
        must::<AwsAccountId>(&["111122223333"], &["", "11112222333", "11112222333a"]);
        must::<AwsAccessKeyId>(&["AKIAIOSFODNN7EXAMPLE"], &["AKIA", "AKIAIOSFODNN7-EXAMPLE"]);
        must::<CustomKeyStoreName>(&["payroll"], &["", "a b", "a\n"]);
        must::<AliasName>(
            &["alias/a", "alias/team/a_b-1"],
            &["a", "alias/", "alias/aws/s3", "alias/a b", "alias/ü"],
        );
        must::<PrincipalArn>(
            &[
                "arn:aws:iam::111122223333:role/admin",
                "arn:aws-eusc:iam::111122223333:root",
            ],
            &[
                "*",
                "admin",
                "arn:aws:s3:::bucket-with-a-name",
                "arn:aws:iam::111122223333:role/\"admin",
            ],
        );
        let secret = |text: &str| AwsSecret::new(Zeroizing::new(text.to_owned()));
        assert_eq!(format!("{:?}", secret("wJalrXUtnFEMI/K7MDENG").unwrap()), "AwsSecret");
        assert!(!secret("short and bad").unwrap_err().to_string().contains("short"));
    }
}
