//! Problem details (RFC 9457): what a request that was not served is answered with.

use std::time::Duration;

use axum::response::IntoResponse;
use http::{Response, StatusCode};
use serde::Serialize;
use xks_byok::{aws::AwsErrorKind, jobs::JobError};
use xks_core::{backend::BackendErrorKind, manage::ManageErrorKind};
use xks_lifecycle::{
    ChangeError, CommandError, FieldError, Object, RandomError, RepositoryError,
    commands::{Commands, CredentialRefused},
    key_state::Refused,
    store::{Revision, StoreError},
};

use crate::{
    answer::headers,
    confirmation::{ShownConfirmation, confirm},
    service::Body,
};

/// Makes the answer to a request that a server does not let through to [`Admin`](crate::Admin), in the form
/// of the API's own problem details. `code` is what programs decide by, `detail` what people read.
#[must_use]
pub fn problem(status: StatusCode, code: &'static str, detail: &str) -> Response<Body> {
    Problem::new(status, code, detail).into_response().map(Body)
}

/// Why a request was not served.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Problem {
    /// The words of the status.
    title: &'static str,
    #[serde(serialize_with = "number")]
    status: StatusCode,
    /// What programs decide by. It stays the same from version to version.
    code: &'static str,
    /// What people read.
    detail: String,
    /// The field or parameter that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// What the object has become meanwhile.
    #[serde(flatten)]
    changed: Option<Box<Changed>>,
    /// Which nodes serve what the command has committed before it failed, or which keep it from its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmation: Option<Box<serde_json::Value>>,
    /// Whether an event says it.
    #[serde(skip)]
    is_recorded: bool,
}

/// An object that was changed since the client saw it.
#[derive(Clone, Debug, Serialize)]
struct Changed {
    object: String,
    /// The revision at which the client saw it.
    seen: Revision,
    /// Its revision now.
    found: Revision,
    /// The fields that are other now, where they are known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<String>,
}

fn number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            title: status.canonical_reason().unwrap_or_default(),
            status,
            code,
            detail: detail.into(),
            field: None,
            changed: None,
            confirmation: None,
            is_recorded: false,
        }
    }

    pub(crate) const fn is_recorded(&self) -> bool {
        self.is_recorded
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The same where no event could be recorded.
    pub(crate) fn unrecorded(mut self, error: &CommandError) -> Self {
        self.detail
            .push_str(&format!("; and no event of that could be recorded: {error}"));
        self
    }

    /// The same where some of what was to be made was made before.
    pub(crate) fn partly(mut self, made: usize, all: usize) -> Self {
        self.detail = format!("{made} of {all} keys were made, and then: {}", self.detail);
        self
    }

    /// Waits for the nodes to serve what the command has committed before it failed, if it has, and says
    /// which do.
    pub(crate) async fn confirmed(
        mut self,
        commands: &Commands,
        committed: Option<Revision>,
        patience: Option<Duration>,
    ) -> Self {
        if let Some(revision) = committed.filter(|_| self.confirmation.is_none()) {
            let confirmation = confirm(commands, revision, patience).await;
            let shown = ShownConfirmation::new(&confirmation, commands.node().is_none());
            self.confirmation = serde_json::to_value(shown).ok().map(Box::new);
        }
        self
    }

    pub(crate) fn no_actor() -> Self {
        let detail = "the server that this API is part of did not say who gives the command";
        Self::new(StatusCode::UNAUTHORIZED, "not-authenticated", detail)
    }

    /// For a server that calls no AWS.
    pub(crate) fn no_jobs() -> Self {
        let detail = "this server does not call AWS: give its settings a [cloud], in a build with `--features cloud`";
        Self::new(StatusCode::CONFLICT, "no-cloud", detail)
    }

    pub(crate) fn no_such_path() -> Self {
        let detail = "there is no such path; /admin/v1/tenants is one";
        Self::new(StatusCode::NOT_FOUND, "no-such-path", detail)
    }

    pub(crate) fn no_such_method() -> Self {
        let detail = "the path has other methods: see the header Allow";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "no-such-method", detail)
    }

    /// For what a path names and is not there, whether it could be there or not.
    pub(crate) fn unknown(path: &str, id: &str) -> Self {
        let id: String = id.chars().take(64).collect();
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("there is no {path}/{id}"))
    }

    pub(crate) fn too_large(most: usize) -> Self {
        let detail = format!("the body has more than {most} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
    }

    pub(crate) fn unreadable(error: &dyn std::error::Error) -> Self {
        let detail = format!("the body did not arrive: {error}");
        Self::new(StatusCode::BAD_REQUEST, "incomplete", detail)
    }

    pub(crate) fn media_type() -> Self {
        let detail = "the body must be JSON: send it with the header Content-Type: application/json";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", detail)
    }

    pub(crate) fn if_match() -> Self {
        let detail = "If-Match must be the ETag of one answer, such as \"12\"";
        Self::new(StatusCode::BAD_REQUEST, "invalid-if-match", detail)
    }

    pub(crate) fn json(message: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid-json",
            format!("the body is not JSON: {message}"),
        )
    }

    pub(crate) fn field(field: &str, detail: String) -> Self {
        Self {
            field: Some(field.to_owned()).filter(|field| !field.is_empty()),
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-field", detail)
        }
    }

    pub(crate) fn parameter(field: &str, detail: String) -> Self {
        Self {
            field: Some(field.to_owned()).filter(|field| !field.is_empty()),
            ..Self::new(StatusCode::BAD_REQUEST, "invalid-parameter", detail)
        }
    }

    pub(crate) fn internal(error: &dyn std::fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
    }

    /// Says that the client's `If-Match` is why it was refused, where it gave one.
    pub(crate) fn precondition(mut self, seen: Option<Revision>) -> Self {
        if self.changed.is_some() && seen.is_some() {
            self.status = StatusCode::PRECONDITION_FAILED;
            self.title = self.status.canonical_reason().unwrap_or_default();
        }
        self
    }
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        Self::field(error.field(), error.to_string())
    }
}

impl From<RandomError> for Problem {
    fn from(error: RandomError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no-random-bytes", error.to_string())
    }
}

/// A command that [`Commands`](xks_lifecycle::commands::Commands) has refused, or that has failed. It has
/// recorded that.
impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let (status, code) = table(&error);
        Self {
            field: field(&error).map(str::to_owned),
            changed: changed(&error).map(Box::new),
            confirmation: unconfirmed(&error).map(Box::new),
            is_recorded: true,
            ..Self::new(status, code, error.to_string())
        }
    }
}

/// A job that cannot be started, read or changed. No event says that yet.
impl From<JobError> for Problem {
    fn from(error: JobError) -> Self {
        let (status, code) = match &error {
            JobError::Command(_) | JobError::Field(_) | JobError::Random(_) => {
                return match error {
                    JobError::Command(error) => Self {
                        is_recorded: false,
                        ..Self::from(error)
                    },
                    JobError::Field(error) => error.into(),
                    JobError::Random(error) => error.into(),
                    error => Self::internal(&error),
                };
            }
            JobError::Unknown(_) | JobError::Undesirable(_) => (StatusCode::NOT_FOUND, "not-found"),
            JobError::UnderWay(_) => (StatusCode::CONFLICT, "job-under-way"),
            JobError::Outdated => (StatusCode::CONFLICT, "plan-outdated"),
            JobError::Ended(_) => (StatusCode::CONFLICT, "job-ended"),
            JobError::Changed(_) => (StatusCode::CONFLICT, "conflict"),
            JobError::Unreadable { .. } => (StatusCode::CONFLICT, "job-unreadable"),
            JobError::File { .. } | JobError::Csv(_) => (StatusCode::CONFLICT, "no-credentials"),
            JobError::Aws(error) => of_aws(&error.kind),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self::new(status, code, error.to_string())
    }
}

const fn of_aws(kind: &AwsErrorKind) -> (StatusCode, &'static str) {
    match kind {
        AwsErrorKind::Denied => (StatusCode::BAD_GATEWAY, "aws-denied"),
        AwsErrorKind::Throttled => (StatusCode::SERVICE_UNAVAILABLE, "aws-throttled"),
        AwsErrorKind::Unreachable => (StatusCode::SERVICE_UNAVAILABLE, "aws-unreachable"),
        AwsErrorKind::AnswerLost => (StatusCode::GATEWAY_TIMEOUT, "aws-no-answer"),
        AwsErrorKind::NoCredentials => (StatusCode::CONFLICT, "no-credentials"),
        _ => (StatusCode::BAD_GATEWAY, "aws-failed"),
    }
}

fn changed(error: &CommandError) -> Option<Changed> {
    match error {
        CommandError::Changed {
            object: Object(table, id),
            seen,
            found,
            fields,
        } => Some(Changed {
            object: format!("{}/{id}", table.as_str().replace('_', "-")),
            seen: *seen,
            found: *found,
            fields: fields.clone(),
        }),
        CommandError::NotRecorded { error, .. } => changed(error),
        _ => None,
    }
}

fn unconfirmed(error: &CommandError) -> Option<serde_json::Value> {
    match error {
        CommandError::NotConfirmed { confirmation } => {
            serde_json::to_value(ShownConfirmation::new(confirmation, false)).ok()
        }
        CommandError::NotRecorded { error, .. } => unconfirmed(error),
        _ => None,
    }
}

fn field(error: &CommandError) -> Option<&str> {
    match error {
        CommandError::Field(error) | CommandError::Refused(Refused::Field(error)) => Some(error.field()),
        CommandError::Repository(RepositoryError::Change(
            ChangeError::Dangling { field, .. }
            | ChangeError::OtherTenant { field, .. }
            | ChangeError::Taken { field, .. }
            | ChangeError::Final { field, .. },
        )) => Some(field),
        CommandError::Refused(Refused::Needed(_) | Refused::TypedName) => Some("typed_name"),
        CommandError::NotRecorded { error, .. } => field(error),
        _ => None,
    }
}

/// The status and the code of each error.
fn table(error: &CommandError) -> (StatusCode, &'static str) {
    match error {
        CommandError::Unknown(_) => (StatusCode::NOT_FOUND, "not-found"),
        CommandError::Changed { .. } => (StatusCode::CONFLICT, "changed"),
        CommandError::Refused(refused) => of_refused(refused),
        CommandError::Credential(CredentialRefused::TwoLive { .. }) => (StatusCode::CONFLICT, "two-live-credentials"),
        CommandError::Credential(CredentialRefused::NoneLive(_)) => (StatusCode::CONFLICT, "no-live-credential"),
        CommandError::Credential(CredentialRefused::Taken(_)) => (StatusCode::CONFLICT, "secret-taken"),
        CommandError::Credential(CredentialRefused::Ended(_)) => (StatusCode::CONFLICT, "credential-ended"),
        CommandError::Credential(CredentialRefused::Unused(_)) => (StatusCode::CONFLICT, "credential-unused"),
        CommandError::Credential(_) => (StatusCode::CONFLICT, "refused"),
        CommandError::Field(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-field"),
        CommandError::Unfit { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "unfit-key"),
        CommandError::Manager { source, .. } => of_manager(source.kind()),
        CommandError::Backend { source, .. } => of_backend(source.kind()),
        CommandError::Repository(error) => of_repository(error),
        CommandError::UnknownNode(_) => (StatusCode::NOT_FOUND, "not-found"),
        CommandError::NodeLives(_) => (StatusCode::CONFLICT, "node-lives"),
        CommandError::UnderWay { .. } => (StatusCode::CONFLICT, "under-way"),
        CommandError::NotConfirmed { .. } => (StatusCode::SERVICE_UNAVAILABLE, "not-confirmed"),
        CommandError::Random(_) => (StatusCode::SERVICE_UNAVAILABLE, "no-random-bytes"),
        CommandError::NotRecorded { error, .. } => table(error),
        CommandError::DoneUnrecorded(_) => (StatusCode::INTERNAL_SERVER_ERROR, "done-unrecorded"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

fn of_refused(refused: &Refused) -> (StatusCode, &'static str) {
    match refused {
        Refused::Field(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-field"),
        Refused::UnknownVersion(_) => (StatusCode::NOT_FOUND, "not-found"),
        Refused::TwoPeople(_) => (StatusCode::FORBIDDEN, "two-people"),
        Refused::State { .. } => (StatusCode::CONFLICT, "key-state"),
        Refused::Expired(_) => (StatusCode::CONFLICT, "expired"),
        Refused::Version { .. } => (StatusCode::CONFLICT, "version-state"),
        Refused::NotMade(_) => (StatusCode::CONFLICT, "not-made"),
        Refused::CurrentVersion(_) => (StatusCode::CONFLICT, "current-version"),
        Refused::Unfinished(_) => (StatusCode::CONFLICT, "unfinished-version"),
        Refused::BelowMinimum { .. } => (StatusCode::CONFLICT, "below-minimum"),
        Refused::Kept { .. } => (StatusCode::CONFLICT, "version-kept"),
        Refused::NoVersion => (StatusCode::CONFLICT, "no-version"),
        Refused::Waiting(_) => (StatusCode::CONFLICT, "waiting"),
        Refused::Needed(_) => (StatusCode::CONFLICT, "needed"),
        Refused::TypedName => (StatusCode::CONFLICT, "typed-name"),
        _ => (StatusCode::CONFLICT, "refused"),
    }
}

const fn of_manager(kind: ManageErrorKind) -> (StatusCode, &'static str) {
    match kind {
        ManageErrorKind::KeyNotFound => (StatusCode::UNPROCESSABLE_ENTITY, "backend-key-not-found"),
        ManageErrorKind::Unsupported => (StatusCode::UNPROCESSABLE_ENTITY, "key-manager-unsupported"),
        ManageErrorKind::AccessDenied => (StatusCode::BAD_GATEWAY, "key-manager-denied"),
        ManageErrorKind::Full => (StatusCode::INSUFFICIENT_STORAGE, "key-manager-full"),
        ManageErrorKind::Throttled => (StatusCode::SERVICE_UNAVAILABLE, "key-manager-busy"),
        ManageErrorKind::Timeout => (StatusCode::GATEWAY_TIMEOUT, "key-manager-timeout"),
        ManageErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "key-manager-unavailable"),
        _ => (StatusCode::BAD_GATEWAY, "key-manager-failed"),
    }
}

const fn of_backend(kind: BackendErrorKind) -> (StatusCode, &'static str) {
    match kind {
        BackendErrorKind::Throttled => (StatusCode::SERVICE_UNAVAILABLE, "backend-busy"),
        BackendErrorKind::Timeout => (StatusCode::GATEWAY_TIMEOUT, "backend-timeout"),
        BackendErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "backend-unavailable"),
        _ => (StatusCode::BAD_GATEWAY, "backend-failed"),
    }
}

fn of_repository(error: &RepositoryError) -> (StatusCode, &'static str) {
    match error {
        RepositoryError::Store(error) => of_store(error),
        RepositoryError::Change(error) => of_change(error),
        RepositoryError::Exhausted { .. } => (StatusCode::CONFLICT, "exhausted"),
        RepositoryError::WentBack { .. } | RepositoryError::Forked { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "store-restored")
        }
        RepositoryError::Rows(_) | RepositoryError::Head(_) => (StatusCode::SERVICE_UNAVAILABLE, "store-not-trusted"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

const fn of_store(error: &StoreError) -> (StatusCode, &'static str) {
    match error {
        StoreError::Conflict { .. } => (StatusCode::CONFLICT, "conflict"),
        StoreError::Full(_) => (StatusCode::INSUFFICIENT_STORAGE, "store-full"),
        StoreError::ReadOnly(_) => (StatusCode::SERVICE_UNAVAILABLE, "store-read-only"),
        StoreError::Damaged(_) => (StatusCode::SERVICE_UNAVAILABLE, "store-damaged"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "store-unavailable"),
    }
}

const fn of_change(error: &ChangeError) -> (StatusCode, &'static str) {
    match error {
        ChangeError::Exists(_) => (StatusCode::CONFLICT, "exists"),
        ChangeError::Unknown(_) => (StatusCode::NOT_FOUND, "not-found"),
        ChangeError::Dangling { .. } | ChangeError::OtherTenant { .. } => {
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid-field")
        }
        ChangeError::Taken { .. } => (StatusCode::CONFLICT, "taken"),
        ChangeError::Final { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "final-field"),
        ChangeError::InUse { .. } => (StatusCode::CONFLICT, "in-use"),
        ChangeError::BackendKeyTaken { .. } => (StatusCode::CONFLICT, "backend-key-taken"),
        _ => (StatusCode::CONFLICT, "refused"),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        let body = serde_json::to_vec(&self).unwrap_or_default(); // texts and numbers always have a JSON
        (self.status, headers("application/problem+json"), body).into_response()
    }
}
