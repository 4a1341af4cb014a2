//! What is read when somebody asks: key managers and certificates as they are at that moment.

use std::{sync::Arc, time::SystemTime};

use arc_swap::ArcSwapOption;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};
use xks_core::fleet::{BreakerState, DisagreementKind};

use crate::{app::App, backends::Backend};

/// What is read when somebody asks.
pub(super) struct Looked {
    pub(super) app: Arc<ArcSwapOption<App>>,
    pub(super) lost_lines: Arc<dyn Fn() -> u64 + Send + Sync>,
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
            let left = match tls.expires.duration_since(SystemTime::now()) {
                Ok(left) => left.as_secs_f64(),
                Err(since) => -since.duration().as_secs_f64(),
            };
            let help = "Time until the server's certificate expires";
            let (gauge, unit) = (ConstGauge::new(left), Unit::Seconds);
            gauge.encode(encoder.encode_descriptor(
                "tls_certificate_expiry",
                help,
                Some(&unit),
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
        let (mut breakers, mut in_flight, mut odd_keys) = (Vec::new(), Vec::new(), Vec::new());
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
                    let odd = fleet.disagreements();
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
                        for kind in DisagreementKind::ALL {
                            let odd = odd.iter().filter(|odd| (odd.member, odd.kind) == (member.id, kind));
                            let mut labels = labels.clone();
                            labels.push(("disagreement", kind.as_str().to_owned()));
                            odd_keys.push((labels, odd.count() as f64));
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
        write(&mut encoder, Kind::Gauge, "fleet_member_in_flight", help, in_flight)?;
        let help =
            "Keys of which a fleet's member has another one, has none, or says that it is disabled, unlike the others";
        write(&mut encoder, Kind::Gauge, "fleet_member_odd_keys", help, odd_keys)
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
