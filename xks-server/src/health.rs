//! Health for load balancers. Readiness says whether this instance can take traffic: it follows the
//! key managers' own deep checks, and ends first when the server is to stop. Liveness says whether a
//! restart is of no use: it fails when no key manager works, and a call of one hangs in its module, which
//! nothing in this process repairs.
//!
//! The key managers' tests run in the background: a balancer's check calls none.

use std::{
    collections::BTreeSet,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tokio::task::JoinSet;

use crate::{
    reconciler::Reconciler,
    settings::{HealthSettings, ReadyWhen},
};

/// The state of health, which can be read at any moment.
pub(crate) struct Health {
    settings: HealthSettings,
    works: AtomicBool,
    is_stopping: AtomicBool,
    is_alive: AtomicBool,
    /// What else there must be, asked at each check.
    condition: OnceLock<Condition>,
}

/// Whether something is so at this moment.
type Condition = Box<dyn Fn() -> bool + Send + Sync>;

/// The interval of the check whether a module hangs.
const LIVENESS: Duration = Duration::from_secs(1);

impl Health {
    pub(crate) fn new(settings: HealthSettings) -> Self {
        Self {
            settings,
            works: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            is_alive: AtomicBool::new(true),
            condition: OnceLock::new(),
        }
    }

    /// From now on it is ready only while this is so too.
    #[cfg(feature = "lifecycle")]
    pub(crate) fn require(&self, condition: impl Fn() -> bool + Send + Sync + 'static) {
        drop(self.condition.set(Box::new(condition))); // once
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.works.load(Ordering::Relaxed)
            && !self.is_stopping.load(Ordering::Relaxed)
            && self.condition.get().is_none_or(|condition| condition())
    }

    /// Whether this process can do what it is there for, now or when its key managers are well again.
    pub(crate) fn is_alive(&self) -> bool {
        self.is_alive.load(Ordering::Relaxed)
    }

    /// Not ready from now on.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Returns the answer, if the path is one of health.
    pub(crate) fn answer_on_own<B>(&self, request: &Request<B>) -> Option<Response<Full<Bytes>>> {
        let path = request.uri().path();
        if path == self.settings.readiness_path {
            Some(to_get(request, || self.readiness()))
        } else if path == self.settings.liveness_path {
            Some(to_get(request, || self.liveness()))
        } else {
            None
        }
    }

    /// Returns the answer on the API's own port, if the request is none of the API: the paths of health are
    /// there unless health has a listener of its own, and `/` and `/ping` follow readiness in any case. A
    /// balancer asks for these unless it is configured otherwise, and so does who is used to the sample
    /// proxy.
    pub(crate) fn answer_on_api<B>(&self, request: &Request<B>) -> Option<Response<Full<Bytes>>> {
        let of_listener = match self.settings.listen {
            None => self.answer_on_own(request),
            Some(_) => None,
        };
        of_listener.or_else(|| {
            let is_check = is_check(request.method()) && !request.headers().contains_key(header::AUTHORIZATION);
            (is_check && matches!(request.uri().path(), "/" | "/ping")).then(|| self.readiness())
        })
    }

    fn readiness(&self) -> Response<Full<Bytes>> {
        match self.is_ready() {
            true => plain(StatusCode::OK, "ready\n"),
            false => plain(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        }
    }

    fn liveness(&self) -> Response<Full<Bytes>> {
        match self.is_alive() {
            true => plain(StatusCode::OK, "alive\n"),
            false => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "calls of a PKCS#11 module do not return, and no key manager is available: restart this process\n",
            ),
        }
    }

    /// Looks again and again whether a module hangs for longer than `hang_timeout_secs`.
    pub(crate) async fn watch_liveness(&self, reconciler: &Reconciler) {
        let Some(bound) = self.settings.hang_timeout else {
            return;
        };
        let mut known = BTreeSet::new();
        loop {
            tokio::time::sleep(LIVENESS).await;
            let stuck = reconciler.backends().stuck_for(bound);
            if stuck.is_empty() && known.is_empty() {
                continue;
            }
            // Readiness may be of before.
            self.look(reconciler).await;
            let is_alive = stuck.is_empty() || self.works.load(Ordering::Relaxed);
            for (backend, time) in &stuck {
                if known.insert(backend.clone()) {
                    tracing::error!(
                        backend,
                        "no call of the PKCS#11 module has returned for {} s (hang_timeout_secs = {}): the module \
                         cannot be reinitialized while calls are in it; restart this process",
                        time.as_secs(),
                        bound.as_secs()
                    );
                    if is_alive {
                        tracing::error!(
                            backend,
                            "other key managers are available, so liveness does not fail: restart at a convenient \
                             time"
                        );
                    }
                }
            }
            known.retain(|backend| {
                let is_stuck = stuck.iter().any(|(name, _)| name == backend);
                if !is_stuck {
                    tracing::info!(backend, "calls of the PKCS#11 module return again");
                }
                is_stuck
            });
            if self.is_alive.swap(is_alive, Ordering::Relaxed) != is_alive {
                match is_alive {
                    true => tracing::info!("liveness restored"),
                    false => tracing::error!(
                        "liveness failed, the watchdog is no longer fed: a PKCS#11 module hangs, and no key manager \
                         is available; restart this process"
                    ),
                }
            }
        }
    }

    /// Looks at the key managers again and again.
    pub(crate) async fn watch(&self, reconciler: &Reconciler) {
        loop {
            self.look(reconciler).await;
            tokio::time::sleep(self.settings.interval).await;
        }
    }

    /// Asks all key managers at once.
    pub(crate) async fn look(&self, reconciler: &Reconciler) {
        let mut asked = JoinSet::new();
        let backends = reconciler.served_backends();
        let count = backends.len();
        for (name, backend) in backends {
            let patience = self.settings.interval.min(Duration::from_secs(2));
            asked.spawn(async move {
                let works = match tokio::time::timeout(patience, backend.health()).await {
                    Ok(Ok(health)) => health.is_usable(),
                    Ok(Err(_)) | Err(_) => false,
                };
                (name, works)
            });
        }
        let mut answers = Vec::new();
        while let Some(answer) = asked.join_next().await {
            answers.extend(answer.ok());
        }
        // One that panicked has not answered, and does not work.
        let all_answered = answers.len() == count;
        reconciler.metrics.set_backends_up(&answers);
        let works = match self.settings.ready_when {
            ReadyWhen::Any if count == 0 => reconciler.serves_sealed_keys(),
            ReadyWhen::Any => answers.iter().any(|(_, works)| *works),
            ReadyWhen::All => all_answered && answers.iter().all(|(_, works)| *works),
        };
        if self.works.swap(works, Ordering::Relaxed) != works {
            match works {
                true => tracing::info!("ready: key managers available"),
                false => tracing::error!("not ready: key managers unavailable; balancers stop sending traffic"),
            }
        }
    }
}

fn is_check(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Returns the answer to GET and HEAD, and 405 to every other method.
pub(crate) fn to_get<B>(request: &Request<B>, answer: impl FnOnce() -> Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    if is_check(request.method()) {
        return answer();
    }
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
    let allowed = HeaderValue::from_static("GET, HEAD");
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}

/// At every path that a listener does not serve.
pub(crate) fn not_found() -> Response<Full<Bytes>> {
    plain(StatusCode::NOT_FOUND, "not found\n")
}

pub(crate) fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
