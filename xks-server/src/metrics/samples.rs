//! Values that are read at the moment of a scrape.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

/// Gathers values, each under the name of its metric and with its labels.
///
/// Names are without the prefix `xks_` that all of them get; each metric has one help text, that of its first
/// value, without a full stop.
///
/// ```
/// use xks_server::Samples;
///
/// // In `impl OpenBackend for AcmeVault`, whose method `measure` is called with each scrape:
/// fn measure(name: &str, samples: &mut Samples) {
///     let labels = [("backend", name)];
///     // Read as `xks_acme_sessions{backend="vault"} 3`.
///     samples.gauge("acme_sessions", "Open sessions", &labels, 3.0);
///     // Read as `xks_acme_logins_total{backend="vault"} 7`.
///     samples.counter("acme_logins", "Logins since the start", &labels, 7.0);
/// }
/// ```
#[derive(Debug, Default)]
pub struct Samples(Vec<Metric>);

#[derive(Debug)]
struct Metric {
    kind: Kind,
    name: &'static str,
    help: &'static str,
    values: Vec<(Vec<(&'static str, String)>, f64)>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Counter,
    Gauge,
}

impl Samples {
    /// Adds a value that can rise and fall.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)], value: f64) {
        self.add(Kind::Gauge, name, help, labels, value);
    }

    /// Adds a value that only rises while the process lives. Its name ends in `_total` where it is read.
    pub fn counter(&mut self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)], value: f64) {
        self.add(Kind::Counter, name, help, labels, value);
    }

    fn add(&mut self, kind: Kind, name: &'static str, help: &'static str, labels: &[(&'static str, &str)], value: f64) {
        let labels = labels
            .iter()
            .map(|(label, text)| (*label, (*text).to_owned()))
            .collect();
        match self.0.iter_mut().find(|metric| metric.name == name) {
            Some(metric) => metric.values.push((labels, value)),
            None => self.0.push(Metric {
                kind,
                name,
                help,
                values: vec![(labels, value)],
            }),
        }
    }

    pub(super) fn encode(self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for Metric {
            kind,
            name,
            help,
            values,
        } in self.0
        {
            let metric_type = match kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut metric = encoder.encode_descriptor(name, help, None, metric_type)?;
            for (labels, value) in values {
                let family = metric.encode_family(&labels)?;
                match kind {
                    Kind::Counter => ConstCounter::new(value).encode(family)?,
                    Kind::Gauge => ConstGauge::new(value).encode(family)?,
                }
            }
        }
        Ok(())
    }
}
