//! Descriptions of keys, and pages of them.

use super::CreationToken;
use crate::{KeyId, backend::KeyMetadata};

/// The description of a key in a key manager. It holds no key material.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyDescription {
    /// The id by which the backend serves it.
    pub id: KeyId,
    /// Kind, usages and status, as KMS gets them.
    pub metadata: KeyMetadata,
    /// Its name in the key manager's own tools; empty if it has none there.
    pub label: String,
    /// Whether its material can leave the key manager, wrapped.
    pub is_extractable: bool,
    /// Whether its material cannot be read in plain.
    pub is_sensitive: bool,
    /// The token that it was created with; none for a key that was made by other means.
    pub token: Option<CreationToken>,
}

impl KeyDescription {
    /// Describes a key that is sensitive and not extractable, was not created with a token, and whose label
    /// is its id.
    #[must_use]
    pub fn new(id: KeyId, metadata: KeyMetadata) -> Self {
        Self {
            label: id.as_str().to_owned(),
            id,
            metadata,
            is_extractable: false,
            is_sensitive: true,
            token: None,
        }
    }

    /// Sets the label.
    #[must_use]
    pub fn with_label(self, label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            ..self
        }
    }

    /// Sets whether the key is extractable.
    #[must_use]
    pub fn with_extractable(self, is_extractable: bool) -> Self {
        Self { is_extractable, ..self }
    }

    /// Sets whether the key is sensitive: its material cannot be read in plain.
    #[must_use]
    pub fn with_sensitive(self, is_sensitive: bool) -> Self {
        Self { is_sensitive, ..self }
    }

    /// Sets the token that the key was created with.
    #[must_use]
    pub fn with_token(self, token: Option<CreationToken>) -> Self {
        Self { token, ..self }
    }
}

/// A page of the list of all keys.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyPage {
    /// The keys of this page, in the byte order of their ids. Empty only if the page is the last one.
    pub keys: Vec<KeyDescription>,
    /// Whether no key comes after this page. The next page is asked for with the id of this page's last key.
    pub is_last: bool,
}

impl KeyPage {
    /// Creates a page.
    #[must_use]
    pub const fn new(keys: Vec<KeyDescription>, is_last: bool) -> Self {
        Self { keys, is_last }
    }
}
