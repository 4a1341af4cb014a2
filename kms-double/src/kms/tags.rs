//! The operations on tags and descriptions, and the last use of a key.

use std::collections::BTreeMap;

use super::{
    Kms,
    api::{
        Empty, GetKeyLastUsageResponse, KeyIdRequest, KeyLastUsage, ListOfKeyRequest, ListResourceTagsResponse, Tag,
        TagResourceRequest, UntagResourceRequest, UpdateKeyDescriptionRequest,
    },
    caller::Caller,
    exception::{Exception, ExceptionName},
    locked,
    operation::Operation,
    page::{Limits, page},
    uuid,
};

/// How many tags a key can have.
const MAX_TAGS: usize = 50;

pub(crate) const MAX_DESCRIPTION: usize = 8192;

impl Kms {
    /// Adds tags to a key, or changes their values.
    ///
    /// # Errors
    /// As AWS documents them for TagResource.
    pub async fn tag_resource(&self, caller: &Caller, request: TagResourceRequest) -> Result<Empty, Exception> {
        self.operate("TagResource", caller, async |operation| {
            operation.change_key(&request.key_id, |key| {
                add_tags(&mut key.tags, &request.tags)?;
                Ok(Empty {})
            })
        })
        .await
    }

    /// Takes tags from a key. Those that it does not have are no error.
    ///
    /// # Errors
    /// As AWS documents them for UntagResource.
    pub async fn untag_resource(&self, caller: &Caller, request: UntagResourceRequest) -> Result<Empty, Exception> {
        self.operate("UntagResource", caller, async |operation| {
            operation.change_key(&request.key_id, |key| {
                key.tags.retain(|name, _| !request.tag_keys.contains(name));
                Ok(Empty {})
            })
        })
        .await
    }

    /// Returns the tags of a key.
    ///
    /// # Errors
    /// As AWS documents them for ListResourceTags.
    pub async fn list_resource_tags(
        &self,
        caller: &Caller,
        request: ListOfKeyRequest,
    ) -> Result<ListResourceTagsResponse, Exception> {
        self.operate("ListResourceTags", caller, async |operation| {
            operation.read_key(&request.key_id, |key| {
                let tags = key.tags.iter().map(|(name, value)| Tag::new(name, value));
                let page = page(tags, |tag| &tag.tag_key, Limits::TAGS, &request)?;
                Ok(ListResourceTagsResponse {
                    truncated: page.is_truncated(),
                    tags: page.items,
                    next_marker: page.next_marker,
                })
            })
        })
        .await
    }

    /// Replaces the description of a key.
    ///
    /// # Errors
    /// As AWS documents them for UpdateKeyDescription.
    pub async fn update_key_description(
        &self,
        caller: &Caller,
        request: UpdateKeyDescriptionRequest,
    ) -> Result<Empty, Exception> {
        self.operate("UpdateKeyDescription", caller, async |operation| {
            check_description(&request.description)?;
            operation.change_key(&request.key_id, |key| {
                key.description.clone_from(&request.description);
                Ok(Empty {})
            })
        })
        .await
    }

    /// Returns when a key was last used with success, since this process began.
    ///
    /// # Errors
    /// As AWS documents them for GetKeyLastUsage.
    pub async fn get_key_last_usage(
        &self,
        caller: &Caller,
        request: KeyIdRequest,
    ) -> Result<GetKeyLastUsageResponse, Exception> {
        self.operate("GetKeyLastUsage", caller, async |operation| {
            operation.read(|state| {
                let key = state.key_by_id(&request.key_id)?;
                operation.check_permission(operation.name, key)?;
                let last_usage = locked(&self.0.last_usage).get(&key.arn).cloned();
                Ok(GetKeyLastUsageResponse {
                    key_id: key.arn.clone(),
                    key_last_usage: last_usage.unwrap_or_default(),
                    tracking_start_date: self.0.started.max(key.created),
                    key_creation_date: key.created,
                })
            })
        })
        .await
    }

    /// Remembers that a key was used with success.
    pub(crate) fn was_used(&self, operation: Operation<'_>, key_arn: &str) -> Result<(), Exception> {
        let usage = KeyLastUsage {
            operation: Some(operation.name.to_owned()),
            timestamp: Some(self.now()),
            cloud_trail_event_id: Some(uuid()?),
            kms_request_id: Some(operation.request_id.to_owned()),
        };
        locked(&self.0.last_usage).insert(key_arn.to_owned(), usage);
        Ok(())
    }
}

/// Adds tags as a whole, or none of them.
pub(crate) fn add_tags(to: &mut BTreeMap<String, String>, tags: &[Tag]) -> Result<(), Exception> {
    let wrong = |message: &str| Err(Exception::new(ExceptionName::Tag, message));
    let is_legal =
        |character: char| character.is_alphanumeric() || character.is_whitespace() || "_.:/=+-@".contains(character);
    for (index, tag) in tags.iter().enumerate() {
        let (name, value) = (&tag.tag_key, &tag.tag_value);
        if !(1..=128).contains(&name.chars().count()) || value.chars().count() > 256 {
            return Err(Exception::validation(
                "TagKey has to have 1 to 128 characters, TagValue at most 256",
            ));
        }
        if !name.chars().chain(value.chars()).all(is_legal) {
            return wrong("a tag may have letters, numbers, spaces and _ . : / = + - @");
        }
        if name.to_ascii_lowercase().starts_with("aws:") {
            return wrong("tags that begin with aws: are for AWS");
        }
        if tags.iter().take(index).any(|other| other.tag_key == *name) {
            return wrong("a TagKey occurs twice in the request");
        }
        to.insert(name.clone(), value.clone());
    }
    if to.len() > MAX_TAGS {
        let message = format!("A KMS key has at most {MAX_TAGS} tags");
        return Err(Exception::new(ExceptionName::LimitExceeded, message));
    }
    Ok(())
}

pub(crate) fn check_description(description: &str) -> Result<(), Exception> {
    if description.chars().count() > MAX_DESCRIPTION {
        return Err(Exception::validation(format!(
            "Description has at most {MAX_DESCRIPTION} characters"
        )));
    }
    Ok(())
}
