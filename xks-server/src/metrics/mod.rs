//! Metrics for Prometheus: events are counted where they happen, states are read with each scrape.
//!
//! Values that clients can invent, such as paths and key ids, are never labels; key stores, access key ids
//! and error names are.

mod format;
mod looked;
mod samples;

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::AtomicI64},
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use xks_core::audit::{AuditRecord, AuditSink, Outcome, TracingAudit};

pub(crate) use self::format::Format;
use self::looked::Looked;
pub use self::samples::Samples;
use crate::reconciler::Reconciler;

/// Seconds. KMS gives up at 0.25.
// TRN-8
const LATENCIES: [f64; 14] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5,
];

/// Adds values at the moment of a scrape.
pub(crate) type MetricSource = dyn Fn(&mut Samples) + Send + Sync;

pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<DurationLabels, Histogram>,
    credential_requests: Family<CredentialLabels, Counter>,
    credential_last_used: Family<CredentialLabels, Gauge<i64, AtomicI64>>,
    backend_up: Family<BackendLabels, Gauge>,
    /// Those that it has values for.
    backends: Mutex<Vec<String>>,
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Counter,
    handshake_failures: Family<ReasonLabels, Counter>,
    reloads: Family<ResultLabels, Counter>,
    reconciler: Arc<ArcSwapOption<Reconciler>>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    key_store: String,
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DurationLabels {
    key_store: String,
    operation: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CredentialLabels {
    key_store: String,
    access_key_id: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BackendLabels {
    backend: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

impl ResultLabels {
    const fn of(is_success: bool) -> Self {
        let result = if is_success { "success" } else { "failure" };
        Self { result }
    }
}

impl Metrics {
    /// `lost_lines` counts lines of the log that could not be written.
    pub(crate) fn new(lost_lines: Arc<dyn Fn() -> u64 + Send + Sync>, sources: Vec<Arc<MetricSource>>) -> Self {
        let mut registry = Registry::with_prefix("xks");
        let reconciler = Arc::new(ArcSwapOption::empty());
        let metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(LATENCIES)),
            credential_requests: Family::default(),
            credential_last_used: Family::default(),
            backend_up: Family::default(),
            backends: Mutex::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            handshake_failures: Family::default(),
            reloads: Family::default(),
            reconciler: Arc::clone(&reconciler),
            registry: Registry::default(),
        };
        // An alert on a rise does not see the first of what begins to be there with 1.
        for is_success in [true, false] {
            drop(metrics.reloads.get_or_create(&ResultLabels::of(is_success)));
        }
        registry.register("requests", "Requests, by outcome", metrics.requests.clone());
        registry.register_with_unit(
            "request_duration",
            "Time from a request's head to its response",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        registry.register(
            "credential_requests",
            "Requests with a valid signature, by access key id",
            metrics.credential_requests.clone(),
        );
        registry.register(
            "credential_last_used_timestamp_seconds",
            "Unix time of the last request signed by a credential",
            metrics.credential_last_used.clone(),
        );
        registry.register(
            "backend_up",
            "Whether a key manager was available at the last health check",
            metrics.backend_up.clone(),
        );
        registry.register(
            "connections",
            "Open connections to the API",
            metrics.connections.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections closed because of the connection limit",
            metrics.connections_refused.clone(),
        );
        registry.register(
            "tls_handshake_failures",
            "Failed TLS handshakes, by reason",
            metrics.handshake_failures.clone(),
        );
        registry.register("reloads", "Reloads of the settings, by result", metrics.reloads.clone());
        registry.register_collector(Box::new(Looked {
            reconciler,
            lost_lines,
            sources,
        }));
        Self { registry, ..metrics }
    }

    /// Sets the state whose key managers and certificates are read.
    pub(crate) fn look_at(&self, reconciler: &Arc<Reconciler>) {
        self.reconciler.store(Some(Arc::clone(reconciler)));
    }

    /// Of each key manager that is served now, and of no other.
    pub(crate) fn set_backends_up(&self, backends: &[(String, bool)]) {
        let label = |backend: &str| BackendLabels {
            backend: backend.to_owned(),
        };
        let mut known = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in known.extract_if(.., |known| !backends.iter().any(|(name, _)| name == known)) {
            self.backend_up.remove(&label(&gone));
        }
        for (name, is_up) in backends {
            self.backend_up.get_or_create(&label(name)).set(i64::from(*is_up));
            if !known.contains(name) {
                known.push(name.clone());
            }
        }
    }

    pub(crate) fn count_handshake_failure(&self, reason: &'static str) {
        self.handshake_failures.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Counts what was no request, beside those that were.
    pub(crate) fn count_malformed(&self) {
        let labels = RequestLabels {
            key_store: String::new(),
            operation: "",
            outcome: "Malformed",
        };
        self.requests.get_or_create(&labels).inc();
    }

    pub(crate) fn count_reload(&self, is_success: bool) {
        self.reloads.get_or_create(&ResultLabels::of(is_success)).inc();
    }

    pub(crate) fn text(&self, format: Format) -> String {
        let mut text = String::with_capacity(16 * 1024);
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        format::finished(&text, format)
    }
}

/// Counts each request and passes its record on to the log.
pub(crate) struct Records {
    metrics: Arc<Metrics>,
    sinks: Vec<Arc<dyn AuditSink>>,
}

impl Records {
    /// `sinks` get each record beside the log.
    pub(crate) fn new(metrics: Arc<Metrics>, sinks: Vec<Arc<dyn AuditSink>>) -> Self {
        Self { metrics, sinks }
    }
}

impl AuditSink for Records {
    fn record(&self, record: &AuditRecord<'_>) {
        TracingAudit.record(record);
        self.sinks.iter().for_each(|sink| sink.record(record));
        // Names that any client can make up are no labels: there would be no end of them.
        let key_store = record
            .key_store
            .map_or_else(String::new, |prefix| prefix.as_str().to_owned());
        let operation = record.operation.map_or("", |operation| operation.as_str());
        let outcome = match record.outcome {
            Outcome::Success => "Success",
            Outcome::Failure { error: Some(error), .. } => error.as_str(),
            Outcome::Failure { .. } => "MethodNotAllowed",
            _ => "Cancelled",
        };
        if let Some(id) = record.access_key_id {
            let labels = CredentialLabels {
                key_store: key_store.clone(),
                access_key_id: id.as_str().to_owned(),
            };
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |now| now.as_secs());
            self.metrics.credential_requests.get_or_create(&labels).inc();
            self.metrics
                .credential_last_used
                .get_or_create(&labels)
                .set(i64::try_from(now).unwrap_or(i64::MAX));
        }
        let duration_labels = DurationLabels {
            key_store: key_store.clone(),
            operation,
        };
        self.metrics
            .durations
            .get_or_create(&duration_labels)
            .observe(record.duration.as_secs_f64());
        let labels = RequestLabels {
            key_store,
            operation,
            outcome,
        };
        self.metrics.requests.get_or_create(&labels).inc();
    }
}
