//! The health of a fleet: that of all its members, asked at once.

use std::{pin::pin, sync::Arc, task::Poll};

use super::{Fleet, answer_or_error, call::Asking, member::Member};
use crate::{
    BackendError,
    backend::{BackendErrorKind, EkmStatus, Health, HealthStatus},
    panics::catch_panic,
};

impl Fleet {
    pub(super) async fn ask_all(&self) -> Vec<Report> {
        let asking = self
            .members
            .iter()
            .map(|member| -> Asking<'_, Health> { Box::pin(self.health_of(member)) });
        let answers = all(asking.collect()).await;
        let now = self.clock.millis();
        let members = self.members.iter().zip(answers);
        members.map(|(member, answer)| member.hear(answer, now)).collect()
    }

    pub(super) fn health_of_all(&self, reports: &[Report]) -> Result<Health, BackendError> {
        let (mut entries, mut vendors) = (Vec::new(), Vec::new());
        let odd = self.keys.odd_members();
        for (index, (member, report)) in self.members.iter().zip(reports).enumerate() {
            entries.extend(report.entries(&member.id, odd.has(index)));
            let vendor = report.health.as_ref().map(|health| health.vendor().to_owned());
            vendors.extend(vendor.filter(|vendor| !vendors.contains(vendor)));
        }
        let vendor = if vendors.is_empty() {
            "unknown".to_owned()
        } else {
            vendors.join(", ")
        };
        let mut entries = entries.into_iter();
        let first = entries.next().ok_or(BackendErrorKind::Unavailable)?;
        Ok(entries.fold(Health::new(vendor, first), Health::and))
    }

    async fn health_of(&self, member: &Member) -> Result<Health, BackendError> {
        let asking = pin!(async { member.backend.health().await });
        answer_or_error(self.in_time(self.budget, catch_panic(asking)).await, self.budget)
    }
}

/// What is known of a member's health.
pub(super) struct Report {
    /// What it said, now or the last time it said anything.
    pub(super) health: Option<Arc<Health>>,
    /// It said so just now.
    pub(super) is_answer: bool,
    pub(super) is_open: bool,
}

impl Report {
    /// An entry for each key manager of the member. The only one bears the member's own id, which the audit
    /// records have too; one of several `id/its own`.
    pub(super) fn entries(&self, id: &str, is_odd: bool) -> Vec<EkmStatus> {
        let status = |said| match said {
            _ if !self.is_answer => HealthStatus::Unavailable,
            HealthStatus::Active if self.is_open || is_odd => HealthStatus::Degraded,
            said => said,
        };
        let entry = |id, member: &EkmStatus| EkmStatus::new(id, member.model().to_owned(), status(member.status()));
        match self.health.as_deref().map(Health::members) {
            None => vec![EkmStatus::new(id.to_owned(), "unknown", HealthStatus::Unavailable)],
            Some([only]) => vec![entry(id.to_owned(), only)],
            Some(several) => several
                .iter()
                .map(|member| entry(format!("{id}/{}", member.id()), member))
                .collect(),
        }
    }
}

/// Waits for all of them at once.
async fn all<T>(asking: Vec<Asking<'_, T>>) -> Vec<Result<T, BackendError>> {
    let mut asking: Vec<_> = asking.into_iter().map(|asking| (asking, None)).collect();
    std::future::poll_fn(|context| {
        let mut are_done = true;
        for (asking, answer) in asking.iter_mut().filter(|(_, answer)| answer.is_none()) {
            match asking.as_mut().poll(context) {
                Poll::Ready(done) => *answer = Some(done),
                Poll::Pending => are_done = false,
            }
        }
        if are_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    asking.into_iter().filter_map(|(_, answer)| answer).collect()
}
