//! The two text formats of Prometheus, and which one a client of `/metrics` takes.

use http::{HeaderMap, HeaderValue, header};

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus' own, version 0.0.4, which everything reads.
    Classic,
    /// OpenMetrics 1.0.0, which Prometheus asks for.
    OpenMetrics,
}

impl Format {
    /// The format that is wanted most by `Accept` (RFC 9110, section 12.5.1). OpenMetrics has to be asked for
    /// by name.
    pub(crate) fn wanted(headers: &HeaderMap) -> Self {
        let (mut classic, mut open_metrics) = (Quality::default(), Quality::default());
        let accept = headers.get_all(header::ACCEPT).iter();
        let ranges = accept
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        for range in ranges {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut version, mut quality) = (String::new(), 1.0);
            for (name, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
                let value = value.trim().trim_matches('"');
                match &*name.trim().to_ascii_lowercase() {
                    "version" => value.clone_into(&mut version),
                    "q" => quality = value.parse().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0),
                    _ => {}
                }
            }
            match (&*kind, &*version) {
                ("application/openmetrics-text", "" | "0.0.1" | "1.0.0") => open_metrics.name(quality),
                ("text/plain", "" | "0.0.4") => classic.name(quality),
                ("text/*", _) => classic.cover(quality, 1),
                ("*/*", _) => classic.cover(quality, 0),
                _ => {}
            }
        }
        match open_metrics.value > 0.0 && open_metrics.value >= classic.value {
            true => Self::OpenMetrics,
            false => Self::Classic,
        }
    }

    pub(crate) const fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        })
    }
}

/// The weight of a format for a client: by the most exact range that covers it.
#[derive(Default)]
struct Quality {
    value: f32,
    exactness: u8,
}

impl Quality {
    fn name(&mut self, quality: f32) {
        self.cover(quality, 2);
    }

    fn cover(&mut self, quality: f32, exactness: u8) {
        match exactness.cmp(&self.exactness) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => self.value = self.value.max(quality),
            std::cmp::Ordering::Greater => self.value = quality,
        }
        self.exactness = self.exactness.max(exactness);
    }
}

/// The text as it is sent, from what the registry writes. Help texts are without a full stop: the registry
/// puts one behind some of them.
pub(super) fn finished(open_metrics: &str, format: Format) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.strip_suffix('.').unwrap_or(described);
            if format == Format::OpenMetrics {
                text += &format!("# HELP {help}\n");
            }
        } else if format == Format::OpenMetrics {
            text += &format!("{line}\n");
        } else {
            add_classic(&mut text, line, help);
        }
    }
    text
}

/// A line in the classic format, which has no units and no end, and names a counter as its only sample.
fn add_classic(text: &mut String, line: &str, help: &str) {
    if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' ')) {
        let suffix = if kind == "counter" { "_total" } else { "" };
        let help = help.strip_prefix(name).unwrap_or_default();
        *text += &format!("# HELP {name}{suffix}{help}\n# TYPE {name}{suffix} {kind}\n");
    } else if !line.starts_with('#') {
        *text += line;
        text.push('\n');
    }
}
