//! A request to the API, as its handlers take it.

use std::{sync::Arc, time::Duration};

use axum::extract::{FromRequest, FromRequestParts as _, RawPathParams};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use xks_byok::jobs::Jobs;
use xks_lifecycle::{
    commands::{Actor, Commands, LastCommit},
    store::Revision,
};

use crate::{Admin, problem::Problem, read, service::Served};

/// A request: who gives it, to what, and its body.
pub(crate) struct Call {
    pub(crate) commands: Arc<Commands>,
    /// None where AWS is not called.
    jobs: Option<Arc<Jobs>>,
    pub(crate) actor: Actor,
    /// What the command of this request has committed, also if it fails after that.
    pub(crate) last_commit: LastCommit,
    /// The variable parts of the path.
    params: Vec<String>,
    query: String,
    headers: HeaderMap,
    /// Is looked at within a command, so that a body which cannot be read is an event.
    body: Result<Bytes, Problem>,
}

impl FromRequest<Served> for Call {
    type Rejection = Problem;

    async fn from_request(request: Request<axum::body::Body>, served: &Served) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let actor = parts.extensions.get::<Actor>().cloned().ok_or_else(Problem::no_actor)?;
        let last_commit = LastCommit::default();
        // Only a part that is not UTF-8 is none: it names nothing.
        let params = RawPathParams::from_request_parts(&mut parts, served).await;
        let params = params.map_err(|_| Problem::no_such_path())?;
        let params = params.iter().map(|(_, value)| value.to_owned()).collect();
        let body = Limited::new(body, Admin::MAX_BODY_BYTES).collect().await;
        let body =
            body.map(http_body_util::Collected::to_bytes)
                .map_err(|error| match error.is::<LengthLimitError>() {
                    true => Problem::too_large(Admin::MAX_BODY_BYTES),
                    false => Problem::unreadable(&*error),
                });
        Ok(Self {
            commands: Arc::clone(&served.commands),
            jobs: served.jobs.clone(),
            actor: actor.noting(&last_commit),
            last_commit,
            params,
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
            body,
        })
    }
}

impl Call {
    /// Returns a variable part of the path.
    pub(crate) fn param(&self, place: usize) -> &str {
        self.params.get(place).map_or("", String::as_str)
    }

    /// Returns what calls AWS.
    pub(crate) fn jobs(&self) -> Result<&Arc<Jobs>, Problem> {
        self.jobs.as_ref().ok_or_else(Problem::no_jobs)
    }

    /// Reads the parameters behind the `?`.
    pub(crate) fn query<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        read::query(&self.query)
    }

    /// Reads the body, as an object of JSON. No body is an object without fields.
    pub(crate) fn body<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let body = self.body.as_ref().map_err(Problem::clone)?;
        if body.is_empty() {
            return read::json(b"{}");
        }
        let media_type = self.headers.get(header::CONTENT_TYPE);
        let media_type = media_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        let media_types = ["application/json", "application/merge-patch+json"];
        if !media_types.iter().any(|known| essence.eq_ignore_ascii_case(known)) {
            return Err(Problem::media_type());
        }
        read::json(body)
    }

    /// The revision at which the client has seen the object, if it says so.
    pub(crate) fn seen(&self) -> Result<Option<Revision>, Problem> {
        let mut given = self.headers.get_all(header::IF_MATCH).iter();
        let (Some(tag), None) = (given.next(), given.next()) else {
            return match self.headers.contains_key(header::IF_MATCH) {
                true => Err(Problem::if_match()),
                false => Ok(None),
            };
        };
        match tag.as_bytes().trim_ascii() {
            b"*" => Ok(None), // it must be there, as for every change
            tag => read::tag(tag).map(Some).ok_or_else(Problem::if_match),
        }
    }

    /// How long the client wants to wait for the nodes at most, if it says so.
    pub(crate) fn patience(&self) -> Option<Duration> {
        let preferences = self.headers.get_all(HeaderName::from_static("prefer")).iter();
        preferences.filter_map(|value| value.to_str().ok()).find_map(read::wait)
    }

    /// Does what a command is for. If it is refused before [`Commands`] knows of it, records that.
    pub(crate) async fn command<T>(
        &self,
        command: &str,
        object: &str,
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let problem = match work.await {
            Err(problem) if !problem.is_recorded() => problem,
            done => return done,
        };
        let recorded = self
            .commands
            .record_refusal(&self.actor, command, object, problem.detail());
        match recorded.await {
            Ok(()) => Err(problem),
            Err(error) => Err(problem.unrecorded(&error)),
        }
    }
}
