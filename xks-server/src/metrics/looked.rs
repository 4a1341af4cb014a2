//! Metrics that are read with each scrape: key managers and certificates as they are at that moment.

use std::{sync::Arc, time::SystemTime};

use arc_swap::ArcSwapOption;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use super::{MetricSource, samples::Samples};
use crate::reconciler::Reconciler;

/// The sources that are read with each scrape.
pub(super) struct Looked {
    pub(super) reconciler: Arc<ArcSwapOption<Reconciler>>,
    pub(super) lost_lines: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub(super) sources: Vec<Arc<MetricSource>>,
}

impl std::fmt::Debug for Looked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Looked")
    }
}

impl Collector for Looked {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let lost = ConstCounter::new((self.lost_lines)());
        let help = "Log lines that were lost";
        lost.encode(encoder.encode_descriptor("log_lines_lost", help, None, lost.metric_type())?)?;
        let Some(reconciler) = self.reconciler.load_full() else {
            return Ok(());
        };
        if let Some(expires) = reconciler.certificates.in_force().map(|tls| tls.expires).min() {
            let left = match expires.duration_since(SystemTime::now()) {
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
        let mut samples = Samples::default();
        for (name, backend) in reconciler.backends().iter() {
            backend.measure(name, &mut samples);
        }
        #[cfg(feature = "lifecycle")]
        reconciler.measure_managed(&mut samples);
        self.sources.iter().for_each(|source| source(&mut samples));
        samples.encode(&mut encoder)
    }
}
