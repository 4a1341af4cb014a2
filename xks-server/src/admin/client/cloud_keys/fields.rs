//! The fields of KMS keys, as options of commands.

use std::{fs, path::PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::admin::client::{Fields, connection::Client, failure::Failure};

/// What can be changed later, too.
#[derive(Debug, Args)]
pub(crate) struct Policy {
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// A tag, KEY=VALUE; may be given several times, and replaces all that were given; `none` for no tags
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    tags: Vec<String>,
    /// Who may administer the key: the ARN of a user, role or account; may be given several times, and
    /// replaces the policy
    #[arg(long = "administrator", value_name = "ARN", conflicts_with = "policy_file")]
    administrators: Vec<String>,
    /// Who may use the key: the ARN of a user, role or account; may be given several times, and replaces the
    /// policy
    #[arg(long = "user", value_name = "ARN", conflicts_with = "policy_file")]
    users: Vec<String>,
    /// The key policy, as JSON
    #[arg(long, value_name = "FILE")]
    policy_file: Option<PathBuf>,
}

impl Policy {
    pub(super) fn fields(self) -> Result<Fields, Failure> {
        let policy = match self.policy_file {
            Some(file) => {
                let text = fs::read_to_string(&file)
                    .map_err(|error| Failure::Usage(format!("--policy-file {}: {error}", file.display())))?;
                Some(json!({ "json": text }))
            }
            None if self.administrators.is_empty() && self.users.is_empty() => None,
            None => Some(json!({"people": {"administrators": self.administrators, "users": self.users}})),
        };
        Ok(Fields::default()
            .with("description", self.description)
            .with("tags", tags(&self.tags)?)
            .with("policy", policy))
    }
}

/// Tags, if there are any; `none` alone is no tags.
fn tags(given: &[String]) -> Result<Option<Map<String, Value>>, Failure> {
    let mut tags = Map::new();
    match given {
        [] => return Ok(None),
        [none] if none == "none" => {}
        given => {
            for text in given {
                let wrong = |why: &str| Failure::Usage(format!("--tag {text:?}: {why}"));
                let (key, value) = text.split_once('=').ok_or_else(|| wrong("it is KEY=VALUE"))?;
                if tags.insert(key.to_owned(), value.into()).is_some() {
                    return Err(wrong("this key is given twice"));
                }
            }
        }
    }
    Ok(Some(tags))
}

/// How a KMS key with imported material rotates.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Style {
    /// Another KMS key for each material, to which the alias moves
    NewKey,
    /// One KMS key for all materials, which AWS rotates: 25 times at most
    InPlace,
}

impl Style {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::NewKey => "new-key",
            Self::InPlace => "in-place",
        }
    }
}

/// How material is imported, but for the style.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// When its material ends in AWS: RFC 3339, or `none`. Beyond a year it is imported again before each end
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Whether a rotation disables the former KMS key
    #[arg(long, value_name = "YES", num_args = 0..=1, default_missing_value = "true")]
    disable_former: Option<bool>,
    /// For how many days after a rotation the former KMS key stays enabled and is then disabled by itself, or
    /// `none`
    #[arg(long, value_name = "DAYS")]
    keep_days: Option<String>,
    /// When it rotates by itself: `inherited` from its key set, `never`, or a schedule's id or name
    #[arg(long)]
    rotation: Option<String>,
    /// Rotate by itself only while its material ends in AWS within so many days, or `none` for always
    #[arg(long, value_name = "DAYS")]
    ending_within_days: Option<String>,
}

/// A number of days, or `none`, if it is given.
fn days(option: &str, given: Option<&str>) -> Result<Option<Value>, Failure> {
    let wrong = |text: &str| Failure::Usage(format!("{option} {text:?}: it is a number of days, or `none`"));
    Ok(match given {
        None => None,
        Some("none") => Some(Value::Null),
        Some(text) => Some(text.parse::<u64>().map_err(|_| wrong(text))?.into()),
    })
}

impl Import {
    /// The fields, with the style of a new one; none if none is given.
    pub(super) fn value(self, client: &Client, style: Option<Style>) -> Result<Option<Value>, Failure> {
        let rotation = match self.rotation {
            Some(text) if text != "inherited" && text != "never" => Some(client.id("schedules", &text)?),
            text => text,
        };
        let fields = Fields::default()
            .with("style", style.map(Style::name))
            .with_or_none("expires", self.expires)
            .with("disable_former", self.disable_former)
            .with("keep_days", days("--keep-days", self.keep_days.as_deref())?)
            .with("rotation", rotation)
            .with(
                "ending_within_days",
                days("--ending-within-days", self.ending_within_days.as_deref())?,
            )
            .body();
        let is_empty = fields.as_object().is_none_or(Map::is_empty);
        Ok((!is_empty).then_some(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_keys_and_values() {
        let read = |given: &[&str]| tags(&given.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let object = |value: Value| Some(value.as_object().cloned().unwrap());
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&["none"]).unwrap(), object(json!({})));
        assert_eq!(read(&["a=b=c", "d="]).unwrap(), object(json!({"a": "b=c", "d": ""})));
        for wrong in [&["a"][..], &["a=b", "none"], &["a=b", "a=c"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
