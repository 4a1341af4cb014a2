//! What the server does, for Prometheus: counted where it happens, read where it is known.

use std::{
    sync::{Arc, atomic::AtomicI64},
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, text::encode},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};
use xks_core::{AuditRecord, AuditSink, BreakerState, Outcome, TracingAudit};

use crate::{app::App, backends::Backend};

/// Seconds. KMS gives up at 0.25 (TRN-8).
const LATENCIES: [f64; 14] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5,
];

pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<DurationLabels, Histogram>,
    credential_requests: Family<CredentialLabels, Counter>,
    credential_last_used: Family<CredentialLabels, Gauge<i64, AtomicI64>>,
    backend_up: Family<BackendLabels, Gauge>,
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Counter,
    handshake_failures: Family<ReasonLabels, Counter>,
    reloads: Family<ResultLabels, Counter>,
    app: Arc<ArcSwapOption<App>>,
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

impl Metrics {
    /// `lost_lines` counts lines of the log that could not be written.
    pub(crate) fn new(lost_lines: Arc<dyn Fn() -> u64 + Send + Sync>) -> Self {
        let mut registry = Registry::with_prefix("xks");
        let app = Arc::new(ArcSwapOption::empty());
        let metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(LATENCIES)),
            credential_requests: Family::default(),
            credential_last_used: Family::default(),
            backend_up: Family::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            handshake_failures: Family::default(),
            reloads: Family::default(),
            app: Arc::clone(&app),
            registry: Registry::default(),
        };
        registry.register("requests", "Requests, by their end", metrics.requests.clone());
        registry.register_with_unit(
            "request_duration",
            "From a request's head to its answer",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        registry.register(
            "credential_requests",
            "Requests with a valid signature, by the credential that signed",
            metrics.credential_requests.clone(),
        );
        registry.register(
            "credential_last_used_timestamp_seconds",
            "When a credential last signed a request, in seconds since 1970",
            metrics.credential_last_used.clone(),
        );
        registry.register(
            "backend_up",
            "Whether a key manager worked at the last look",
            metrics.backend_up.clone(),
        );
        registry.register(
            "connections",
            "Open connections to the API",
            metrics.connections.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections that were closed at once, because there were too many",
            metrics.connections_refused.clone(),
        );
        registry.register(
            "tls_handshake_failures",
            "TLS handshakes that failed, by reason",
            metrics.handshake_failures.clone(),
        );
        registry.register(
            "reloads",
            "Settings that were read again, by result",
            metrics.reloads.clone(),
        );
        registry.register_collector(Box::new(Looked { app, lost_lines }));
        Self { registry, ..metrics }
    }

    /// Whose key managers and certificates are looked at from now on.
    pub(crate) fn look_at(&self, app: &Arc<App>) {
        self.app.store(Some(Arc::clone(app)));
    }

    pub(crate) fn set_backend_up(&self, backend: &str, is_up: bool) {
        let labels = BackendLabels {
            backend: backend.to_owned(),
        };
        self.backend_up.get_or_create(&labels).set(i64::from(is_up));
    }

    pub(crate) fn count_handshake_failure(&self, reason: &'static str) {
        self.handshake_failures.get_or_create(&ReasonLabels { reason }).inc();
    }

    pub(crate) fn count_reload(&self, is_success: bool) {
        let result = if is_success { "success" } else { "failure" };
        self.reloads.get_or_create(&ResultLabels { result }).inc();
    }

    /// In OpenMetrics' text format, which Prometheus reads.
    pub(crate) fn text(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Counts each request and passes its record on to the log.
pub(crate) struct Records {
    metrics: Arc<Metrics>,
    log: TracingAudit,
}

impl Records {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            log: TracingAudit::default(),
        }
    }
}

impl AuditSink for Records {
    fn record(&self, record: &AuditRecord<'_>) {
        self.log.record(record);
        // Names that anybody can make up are no labels: there would be no end of them.
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

/// What is read when somebody asks.
struct Looked {
    app: Arc<ArcSwapOption<App>>,
    lost_lines: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl std::fmt::Debug for Looked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Looked")
    }
}

/// Labels, value.
type Sample = (Vec<(&'static str, String)>, f64);

impl Collector for Looked {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let lost = ConstCounter::new((self.lost_lines)());
        let help = "Lines of the log that could not be written";
        lost.encode(encoder.encode_descriptor("log_lines_lost", help, None, lost.metric_type())?)?;
        let Some(app) = self.app.load_full() else {
            return Ok(());
        };
        if let Some(tls) = &*app.tls.load() {
            let days = match tls.expires.duration_since(SystemTime::now()) {
                Ok(left) => left.as_secs_f64(),
                Err(since) => -since.duration().as_secs_f64(),
            } / (24.0 * 3600.0);
            let help = "Days until the server's certificate expires";
            let gauge = ConstGauge::new(days);
            gauge.encode(encoder.encode_descriptor(
                "tls_certificate_expiry_days",
                help,
                None,
                gauge.metric_type(),
            )?)?;
        }
        let mut tokens: [(Kind, &str, &str, Vec<Sample>); 6] = [
            (
                Kind::Gauge,
                "pkcs11_queued",
                "Requests that wait for a session",
                Vec::new(),
            ),
            (Kind::Gauge, "pkcs11_running", "Requests in the module", Vec::new()),
            (
                Kind::Gauge,
                "pkcs11_written_off",
                "Calls that did not return in time and have not returned since",
                Vec::new(),
            ),
            (Kind::Gauge, "pkcs11_sessions", "Sessions that can serve", Vec::new()),
            (
                Kind::Counter,
                "pkcs11_timed_out",
                "Requests that were answered at their deadline",
                Vec::new(),
            ),
            (
                Kind::Counter,
                "pkcs11_refused",
                "Requests that found the queue full",
                Vec::new(),
            ),
        ];
        let (mut breakers, mut in_flight) = (Vec::new(), Vec::new());
        for (name, backend) in app.backends().iter() {
            match backend {
                Backend::Pkcs11(token) => {
                    let status = token.status();
                    let values = [
                        status.queued as f64,
                        status.running as f64,
                        status.written_off as f64,
                        status.sessions as f64,
                        status.timed_out as f64,
                        status.refused as f64,
                    ];
                    for ((.., samples), value) in tokens.iter_mut().zip(values) {
                        samples.push((vec![("backend", name.to_owned())], value));
                    }
                }
                Backend::Fleet(fleet) => {
                    for member in fleet.members() {
                        let labels = vec![("backend", name.to_owned()), ("member", member.id.to_owned())];
                        in_flight.push((labels.clone(), member.in_flight as f64));
                        for (state, breaker) in [
                            ("closed", BreakerState::Closed),
                            ("half_open", BreakerState::HalfOpen),
                            ("open", BreakerState::Open),
                        ] {
                            let mut labels = labels.clone();
                            labels.push(("state", state.to_owned()));
                            breakers.push((labels, f64::from(u8::from(member.breaker == breaker))));
                        }
                    }
                }
                Backend::Soft(_) => {}
            }
        }
        for (kind, name, help, samples) in tokens {
            write(&mut encoder, kind, name, help, samples)?;
        }
        let help = "The state of a fleet member's breaker: 1 for the one that it is in";
        write(&mut encoder, Kind::Gauge, "fleet_member_breaker", help, breakers)?;
        let help = "Requests that are with a fleet's member";
        write(&mut encoder, Kind::Gauge, "fleet_member_in_flight", help, in_flight)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

/// A metric with a value for each set of labels; nothing without a value.
fn write(
    encoder: &mut DescriptorEncoder<'_>,
    kind: Kind,
    name: &str,
    help: &str,
    samples: Vec<Sample>,
) -> Result<(), std::fmt::Error> {
    if samples.is_empty() {
        return Ok(());
    }
    let metric_type = match kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
    };
    let mut metric = encoder.encode_descriptor(name, help, None, metric_type)?;
    for (labels, value) in samples {
        let family = metric.encode_family(&labels)?;
        match kind {
            Kind::Counter => ConstCounter::new(value).encode(family)?,
            Kind::Gauge => ConstGauge::new(value).encode(family)?,
        }
    }
    Ok(())
}
