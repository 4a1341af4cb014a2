//! Who may do what with a KMS key, and its tags.

use std::collections::BTreeMap;

use crate::{FieldError, FieldProblem, PrincipalArn};

/// Who may do what with a KMS key.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyPolicy {
    /// As AWS's console writes it: the account, administrators, and users.
    People {
        /// Who may administer the key.
        administrators: Vec<PrincipalArn>,
        /// Who may use it.
        users: Vec<PrincipalArn>,
    },
    /// A policy as a person wrote it.
    Json(Box<str>),
}

impl KeyPolicy {
    /// A policy that gives all to the account, whose IAM policies decide: AWS's default.
    pub const ACCOUNT: Self = Self::People {
        administrators: Vec::new(),
        users: Vec::new(),
    };

    /// A policy as a person wrote it.
    ///
    /// # Errors
    /// Of the field `policy`: not a JSON object, or longer than AWS takes (32 768 bytes).
    pub fn json(text: &str) -> Result<Self, FieldError> {
        let error = |problem| FieldError::new("policy", problem);
        if text.is_empty() || text.len() > 32_768 {
            let (min, max) = (1, 32_768);
            return Err(error(FieldProblem::Length { min, max }));
        }
        match serde_json::from_str::<serde_json::Value>(text) {
            Ok(value) if value.is_object() => Ok(Self::Json(text.into())),
            Ok(_) => Err(error(FieldProblem::Illegal("a policy is a JSON object".to_owned()))),
            Err(problem) => Err(FieldError::illegal("policy", &problem)),
        }
    }
}

/// The tags of a KMS key.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tags(BTreeMap<Box<str>, Box<str>>);

impl Tags {
    /// Checks tags by AWS's rules.
    ///
    /// # Errors
    /// Of the field `tags`: more than 50, a key that is empty, longer than 128 characters, given twice or
    /// AWS's own, or a value longer than 256.
    pub fn new<'t>(tags: impl IntoIterator<Item = (&'t str, &'t str)>) -> Result<Self, FieldError> {
        let error = |problem| Err(FieldError::new("tags", problem));
        let mut kept = BTreeMap::new();
        for (key, value) in tags {
            let is_legal = (1..=128).contains(&key.chars().count())
                && value.chars().count() <= 256
                && !key.starts_with("aws:")
                && !key.chars().chain(value.chars()).any(char::is_control);
            if !is_legal {
                let rule =
                    "a tag has a key of 1 to 128 characters that does not begin with aws:, and a value of up to 256";
                return error(FieldProblem::Illegal(rule.to_owned()));
            }
            if kept.insert(key.into(), value.into()).is_some() {
                return error(FieldProblem::Repeated);
            }
        }
        if kept.len() > 50 {
            return error(FieldProblem::Illegal("a KMS key has at most 50 tags".to_owned()));
        }
        Ok(Self(kept))
    }

    /// Returns keys and values, in the order of the keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}
