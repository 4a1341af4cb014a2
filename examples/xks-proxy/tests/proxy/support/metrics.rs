//! The metrics as Prometheus reads them.

use std::collections::BTreeMap;

pub(crate) struct Metrics {
    series: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Metrics {
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let series = lines.map(|line| {
            let (series, value) = line.rsplit_once(' ').expect(line);
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').expect(line);
            let labels = labels.split_terminator("\",").map(|label| {
                let (name, value) = label.split_once("=\"").expect(line);
                (name.to_owned(), value.trim_end_matches('"').to_owned())
            });
            (name.to_owned(), labels.collect(), value.parse().expect(line))
        });
        Self {
            series: series.collect(),
        }
    }

    fn of<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = f64> + 'a {
        let series = self.series.iter().filter(move |(other, all, _)| {
            other == name
                && labels
                    .iter()
                    .all(|(name, value)| all.get(*name).map(String::as_str) == Some(value))
        });
        series.map(|(_, _, value)| *value)
    }

    /// The sum of all series of this name that have these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).sum()
    }

    /// The value of the one series of this name that has these labels.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let values: Vec<_> = self.of(name, labels).collect();
        assert_eq!(values.len(), 1, "{name} {labels:?}: {:?}", self.series);
        values[0]
    }

    /// Whether there is a series of this name that has these labels.
    pub(crate) fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.of(name, labels).next().is_some()
    }
}
