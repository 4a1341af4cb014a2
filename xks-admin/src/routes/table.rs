//! Paths, their methods, and what answers them.

use std::{pin::Pin, sync::Arc};

use axum::{
    Router,
    routing::{MethodFilter, on},
};
use http::Method;

use crate::{answer::Answer, call::Call, confirmation::Done, problem::Problem, service::Served};

/// Paths with what they do. What changes something is [`Done`], which has no answer before the nodes were
/// asked: so no path can forget that.
pub(super) struct Routes {
    router: Router<Served>,
    paths: Vec<(Method, String)>,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self {
            router: Router::new(),
            paths: Vec::new(),
        }
    }

    pub(super) fn get<F, W>(self, path: &str, show: F) -> Self
    where
        F: FnOnce(Call) -> W + Clone + Send + Sync + 'static,
        W: Future<Output = Result<Answer, Problem>> + Send + 'static,
    {
        self.route(Method::GET, MethodFilter::GET, path, show)
    }

    /// A command that commits nothing.
    pub(super) fn ask<F, W>(self, path: &str, command: F) -> Self
    where
        F: FnOnce(Call) -> W + Clone + Send + Sync + 'static,
        W: Future<Output = Result<Answer, Problem>> + Send + 'static,
    {
        self.route(Method::POST, MethodFilter::POST, path, command)
    }

    pub(super) fn post<F, W>(self, path: &str, command: F) -> Self
    where
        F: FnOnce(Call) -> W + Clone + Send + Sync + 'static,
        W: Future<Output = Result<Done, Problem>> + Send + 'static,
    {
        self.route(Method::POST, MethodFilter::POST, path, confirmed(command))
    }

    pub(super) fn patch<F, W>(self, path: &str, command: F) -> Self
    where
        F: FnOnce(Call) -> W + Clone + Send + Sync + 'static,
        W: Future<Output = Result<Done, Problem>> + Send + 'static,
    {
        self.route(Method::PATCH, MethodFilter::PATCH, path, confirmed(command))
    }

    pub(super) fn delete<F, W>(self, path: &str, command: F) -> Self
    where
        F: FnOnce(Call) -> W + Clone + Send + Sync + 'static,
        W: Future<Output = Result<Done, Problem>> + Send + 'static,
    {
        self.route(Method::DELETE, MethodFilter::DELETE, path, confirmed(command))
    }

    fn route<F, W>(mut self, method: Method, filter: MethodFilter, path: &str, handler: F) -> Self
    where
        F: FnOnce(Call) -> W + Clone + Send + Sync + 'static,
        W: Future<Output = Result<Answer, Problem>> + Send + 'static,
    {
        self.paths.push((method, path.to_owned()));
        let router = self.router.route(path, on(filter, handler));
        Self { router, ..self }
    }

    pub(super) fn paths(self) -> impl Iterator<Item = (Method, String)> {
        self.paths.into_iter()
    }

    pub(super) fn into_router(self) -> Router<Served> {
        self.router
    }

    pub(super) fn merge(mut self, other: Self) -> Self {
        self.paths.extend(other.paths);
        let router = self.router.merge(other.router);
        Self { router, ..self }
    }
}

/// Waits for the nodes before a command is answered.
fn confirmed<F, W>(
    command: F,
) -> impl FnOnce(Call) -> Pin<Box<dyn Future<Output = Result<Answer, Problem>> + Send>> + Clone + Send + Sync + 'static
where
    F: FnOnce(Call) -> W + Clone + Send + Sync + 'static,
    W: Future<Output = Result<Done, Problem>> + Send + 'static,
{
    move |call| {
        let (commands, patience) = (Arc::clone(&call.commands), call.patience());
        let (last_commit, done) = (call.last_commit.clone(), command(call));
        Box::pin(async move {
            match done.await {
                Ok(done) => done.confirmed(&commands, patience).await,
                Err(problem) => Err(problem.confirmed(&commands, last_commit.revision(), patience).await),
            }
        })
    }
}
