//! A case: what is sent, what is expected, and what it means for KMS when something else comes.

use std::{borrow::Cow, fmt, future::Future, pin::Pin};

use serde::Serialize;

use super::{errors, subject::Subject};
use crate::wire::{Answer, CallError, Http, Raw, SignError};

/// The weight of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Level {
    /// The specification demands it: KMS relies on it.
    Must,
    /// The specification recommends it, or safety does.
    Should,
    /// Worth knowing.
    Note,
}

/// What became of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It came as expected.
    Pass,
    /// A MUST was missed.
    Fail,
    /// A SHOULD was missed.
    Warn,
    /// Worth knowing.
    Note,
    /// Not tried; the report has the reason.
    NotTried,
}

/// Why a case did not pass.
#[derive(Debug)]
pub(super) enum Stop {
    /// Something else came: what, with what it means for KMS as the case says.
    Failed(String),
    /// It was refused otherwise than expected, not answered, or not even tried for want of a good ciphertext:
    /// what came, and what that means whatever the case is about.
    Otherwise(String, &'static str),
    /// It could not be tried.
    NotTried(String),
}

/// What was found out by the way, if anything.
pub(super) type Passed = Result<Option<String>, Stop>;
type Probing = Pin<Box<dyn Future<Output = Passed> + Send>>;
type Probe = Box<dyn Fn(Subject) -> Probing + Send + Sync>;

pub(super) struct Case {
    pub(super) name: Cow<'static, str>,
    pub(super) ids: &'static [&'static str],
    pub(super) level: Level,
    pub(super) sent: Cow<'static, str>,
    pub(super) expected: Cow<'static, str>,
    /// What it means for KMS when something else comes.
    pub(super) means: &'static str,
    /// The version of HTTP that it is about, where it is about one.
    pub(super) only: Option<Http>,
    /// Whether it may end a weak proxy.
    pub(super) is_destructive: bool,
    pub(super) probe: Probe,
}

impl Case {
    pub(super) fn must(name: impl Into<Cow<'static, str>>, ids: &'static [&'static str]) -> Self {
        Self::new(Level::Must, name.into(), ids)
    }

    pub(super) fn should(name: impl Into<Cow<'static, str>>, ids: &'static [&'static str]) -> Self {
        Self::new(Level::Should, name.into(), ids)
    }

    pub(super) fn note(name: impl Into<Cow<'static, str>>, ids: &'static [&'static str]) -> Self {
        Self::new(Level::Note, name.into(), ids)
    }

    fn new(level: Level, name: Cow<'static, str>, ids: &'static [&'static str]) -> Self {
        Self {
            name,
            ids,
            level,
            sent: Cow::Borrowed(""),
            expected: Cow::Borrowed(""),
            means: "",
            only: None,
            is_destructive: false,
            probe: Box::new(|_| Box::pin(async { Err(Stop::NotTried("it has no steps".into())) })),
        }
    }

    pub(super) fn sends(mut self, sent: impl Into<Cow<'static, str>>) -> Self {
        self.sent = sent.into();
        self
    }

    pub(super) fn expects(mut self, expected: impl Into<Cow<'static, str>>) -> Self {
        self.expected = expected.into();
        self
    }

    pub(super) fn means(mut self, means: &'static str) -> Self {
        self.means = means;
        self
    }

    pub(super) fn only_over(mut self, http: Http) -> Self {
        self.only = Some(http);
        self
    }

    pub(super) fn destructive(mut self) -> Self {
        self.is_destructive = true;
        self
    }

    /// What is done.
    pub(super) fn steps<F, S>(mut self, steps: S) -> Self
    where
        F: Future<Output = Passed> + Send + 'static,
        S: Fn(Subject) -> F + Send + Sync + 'static,
    {
        self.probe = Box::new(move |subject| Box::pin(steps(subject)));
        self
    }

    /// One request, which is answered with one of these errors.
    pub(super) fn refused(
        self,
        names: &'static [&'static str],
        request: impl Fn(&Subject) -> Result<Raw, Stop> + Send + Sync + 'static,
    ) -> Self {
        let expected = errors::expectation(names);
        self.expects(expected).steps(move |subject| {
            let request = request(&subject);
            async move { subject.send(&request?).await?.is_error(&subject, names) }
        })
    }

    /// One request, which is answered 200.
    pub(super) fn served(self, request: impl Fn(&Subject) -> Result<Raw, Stop> + Send + Sync + 'static) -> Self {
        self.expects("200").steps(move |subject| {
            let request = request(&subject);
            async move { subject.send(&request?).await?.is_served(&subject) }
        })
    }

    /// What it is when it does not pass.
    pub(super) fn missed(&self) -> Outcome {
        match self.level {
            Level::Must => Outcome::Fail,
            Level::Should => Outcome::Warn,
            Level::Note => Outcome::Note,
        }
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Case")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Stop {
    pub(super) fn failed(came: impl Into<String>) -> Self {
        Self::Failed(came.into())
    }

    /// An answer that is not the error which was expected. Where it is an error too, nothing went unnoticed.
    fn misnamed(came: String, status: u16) -> Self {
        match status {
            ..400 => Self::Failed(came),
            429 | 500.. => Self::Otherwise(
                came,
                "rejected with the wrong error: KMS treats it as an outage of the proxy, and its caller may retry \
                 needlessly",
            ),
            _ => Self::Otherwise(
                came,
                "rejected with the wrong error: KMS reports another cause to its caller",
            ),
        }
    }

    pub(super) fn not_tried(reason: impl Into<String>) -> Self {
        Self::NotTried(reason.into())
    }
}

impl From<CallError> for Stop {
    fn from(error: CallError) -> Self {
        Self::Otherwise(error.to_string(), "KMS receives no response, and its caller a failure")
    }
}

impl From<SignError> for Stop {
    fn from(error: SignError) -> Self {
        Self::NotTried(error.to_string())
    }
}

/// What a case says about an answer.
pub(super) trait Judged {
    /// Passes when it is one of these errors, with the status that belongs to it.
    fn is_error(&self, subject: &Subject, names: &[&str]) -> Passed;
    /// Passes when it is 200.
    fn is_served(&self, subject: &Subject) -> Passed;
}

impl Judged for Answer {
    fn is_error(&self, subject: &Subject, names: &[&str]) -> Passed {
        match self.error_name() {
            Some(name) if names.contains(&&*name) && errors::status(&name) == Some(self.status) => {
                Ok((names.len() > 1).then_some(name))
            }
            _ => Err(Stop::misnamed(subject.describe(self), self.status)),
        }
    }

    fn is_served(&self, subject: &Subject) -> Passed {
        match self.status {
            200 => Ok(None),
            403 if self.error_name().as_deref() == Some("AccessDeniedException") => Err(Stop::not_tried(
                "the proxy's secondary authorization denies it: set --principal and --kms-key-arn to values that it \
                 allows",
            )),
            _ => Err(Stop::Failed(subject.describe(self))),
        }
    }
}
