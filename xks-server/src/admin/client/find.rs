//! Objects by their id, or by their name where only one has it; and what is done with whole objects.

use http::Method;
use serde_json::Value;

use super::{
    Fields,
    connection::{Client, Reply, encoded},
    failure::Failure,
    show::{Output, field},
};

/// An object, as the server showed it.
pub(super) struct Found {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) etag: Option<String>,
    pub(super) body: Value,
}

impl Found {
    fn of(reply: Reply) -> Self {
        let text = |name: &str| field(&reply.body, name).as_str().unwrap_or_default().to_owned();
        Self {
            id: text("id"),
            // The name of a KMS key is its alias.
            name: text(if reply.body.get("alias").is_some() {
                "alias"
            } else {
                "name"
            }),
            etag: reply.etag,
            body: reply.body,
        }
    }

    /// The path of the object.
    pub(super) fn path(&self, noun: &str) -> String {
        format!("{noun}/{}", encoded(&self.id))
    }
}

impl Client {
    /// Finds an object by its id, or else by its name.
    pub(super) fn find(&self, noun: &str, text: &str) -> Result<Found, Failure> {
        match self.get(&format!("{noun}/{}", encoded(text))) {
            Err(Failure::Problem(problem)) if field(&problem, "code") == "not-found" => {}
            found => return found.map(Found::of),
        }
        let named = self.get(&format!("{noun}?name={}&limit=10", encoded(text)))?;
        let ids: Vec<_> = field(&named.body, "items")
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|item| field(item, "id").as_str())
            .collect();
        match ids[..] {
            [] => Err(Failure::NotFound(format!("no id and no name of {noun} is {text:?}"))),
            [id] => self.get(&format!("{noun}/{}", encoded(id))).map(Found::of),
            _ => Err(Failure::NotFound(format!(
                "several of {noun} have the name {text:?}: give the id of one, such as {}",
                ids.join(", ")
            ))),
        }
    }

    /// The id of what a field of a body refers to.
    pub(super) fn id(&self, noun: &str, text: &str) -> Result<String, Failure> {
        self.find(noun, text).map(|found| found.id)
    }

    /// The id of what a field refers to, if it is given; `none` stays.
    pub(super) fn id_or_none(&self, noun: &str, text: Option<String>) -> Result<Option<String>, Failure> {
        match text {
            Some(text) if text != "none" => self.id(noun, &text).map(Some),
            text => Ok(text),
        }
    }

    /// Finds a version of a key by its id or its number.
    pub(super) fn version(&self, key: &Found, text: &str) -> Result<String, Failure> {
        let versions = field(&key.body, "versions").as_array().into_iter().flatten();
        let number = text.parse::<u64>().ok();
        let is_it = |version: &&Value| {
            let is_numbered = number.is_some() && field(version, "number").as_u64() == number;
            field(version, "id") == text || is_numbered
        };
        let found = versions
            .into_iter()
            .find(is_it)
            .and_then(|version| field(version, "id").as_str());
        let unknown = || Failure::NotFound(format!("the key {} has no version {text:?}", key.name));
        found.map(str::to_owned).ok_or_else(unknown)
    }

    /// Changes an object, unless somebody else has changed it since it was found.
    pub(super) fn update(
        &self,
        noun: &str,
        object: &str,
        fields: Fields,
        first: &'static [&'static str],
    ) -> Result<Output, Failure> {
        let found = self.find(noun, object)?;
        let seen = found.etag.as_deref();
        let updated = self.send(Method::PATCH, &found.path(noun), seen, Some(fields.body()))?;
        Ok(Output::fields(updated.body, first))
    }

    /// Removes an object, unless somebody else has changed it since it was found.
    pub(super) fn remove(&self, noun: &str, object: &str) -> Result<Output, Failure> {
        let found = self.find(noun, object)?;
        let removed = self.send(Method::DELETE, &found.path(noun), found.etag.as_deref(), None)?;
        let line = format!("removed {noun}/{} ({})", found.id, found.name);
        Ok(Output::line(removed.body, line))
    }
}
