//! Answers: one object with its revision, or a page of them.

use axum::response::IntoResponse;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use xks_core::Zeroizing;
use xks_lifecycle::store::Revision;

use crate::{confirmation::Done, problem::Problem};

/// The answer to a request that was served.
pub(crate) struct Answer {
    status: StatusCode,
    revision: Option<Revision>,
    location: Option<String>,
    body: Zeroizing<Vec<u8>>,
}

impl Answer {
    pub(crate) fn json(body: &impl Serialize) -> Result<Self, Problem> {
        // An answer with a secret never grows beyond this, so no copy is left behind.
        let mut json = Zeroizing::new(Vec::with_capacity(2048));
        serde_json::to_writer(&mut *json, body).map_err(|error| Problem::internal(&error))?;
        Ok(Self {
            status: StatusCode::OK,
            revision: None,
            location: None,
            body: json,
        })
    }

    /// Says which revision of the object it shows.
    pub(crate) fn at(self, revision: Revision) -> Self {
        let revision = Some(revision);
        Self { revision, ..self }
    }

    /// Adds a field to the object of JSON that it is.
    pub(crate) fn with(mut self, field: &'static str, value: &impl Serialize) -> Result<Self, Problem> {
        let not_an_object = || Problem::internal(&"the answer is not an object of JSON");
        let head = self.body.strip_suffix(b"}").ok_or_else(not_an_object)?;
        let value = serde_json::to_vec(value).map_err(|error| Problem::internal(&error))?;
        let comma = if head == b"{" { "" } else { "," };
        let name = format!("{comma}\"{field}\":");
        // What is there may be a secret: it is copied once, to where there is room for all.
        let parts = [head, name.as_bytes(), &value, b"}"];
        let mut joined = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
        parts.iter().for_each(|part| joined.extend_from_slice(part));
        self.body = joined;
        Ok(self)
    }

    /// What a command answers, once the nodes serve the revision that it has committed.
    pub(crate) const fn done(self, revision: Revision) -> Done {
        Done::new(self, revision)
    }

    /// Says that an object was made, and where it is.
    pub(crate) fn created(self, object: impl std::fmt::Display) -> Self {
        Self {
            status: StatusCode::CREATED,
            location: Some(format!("/admin/v1/{object}")),
            ..self
        }
    }
}

/// What is JSON, and what comes with every answer: nothing keeps a copy of it.
pub(crate) fn headers(content_type: &'static str) -> [(header::HeaderName, HeaderValue); 3] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ]
}

impl IntoResponse for Answer {
    fn into_response(self) -> axum::response::Response {
        let body = Bytes::from_owner(self.body);
        let mut response = (self.status, headers("application/json"), body).into_response();
        let headers = response.headers_mut();
        // Digits and paths of generated ids are legal in headers.
        if let Some(tag) = self
            .revision
            .and_then(|it| HeaderValue::try_from(format!("\"{it}\"")).ok())
        {
            headers.insert(header::ETAG, tag);
        }
        if let Some(location) = self.location.and_then(|it| HeaderValue::try_from(it).ok()) {
            headers.insert(header::LOCATION, location);
        }
        response
    }
}

/// One object with the revision that has changed it last.
#[derive(Serialize)]
pub(crate) struct Revised<T> {
    #[serde(flatten)]
    pub(crate) record: T,
    pub(crate) revision: Revision,
}

/// A part of a list.
#[derive(Serialize)]
pub(crate) struct Page<T> {
    items: Vec<T>,
    /// What to give as `after` for the next page; missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl<T> Page<T> {
    /// A page of `limit` items at most. There are more if there are more of `found`.
    pub(crate) fn of(found: impl IntoIterator<Item = T>, limit: usize, id: impl Fn(&T) -> String) -> Self {
        let mut found = found.into_iter();
        let items: Vec<_> = found.by_ref().take(limit).collect();
        let next = found.next().and_then(|_| items.last().map(id));
        Self { items, next }
    }

    /// A list that has no other pages.
    pub(crate) const fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}
