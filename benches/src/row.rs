//! A line of the table that compares what was measured with its target.

use std::fmt;

/// What was measured, and the bar for it.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// What it has to be.
    pub bar: String,
    /// What it is.
    pub measured: String,
    /// Whether that keeps the bar.
    pub held: bool,
}

impl Row {
    /// A number that must not be smaller than its bar.
    #[must_use]
    pub fn at_least(what: &str, bar: f64, measured: f64) -> Self {
        Self {
            what: what.to_owned(),
            bar: format!("≥ {bar}"),
            measured: format!("{measured:.2}"),
            held: measured >= bar,
        }
    }

    /// A number that must not be larger than its bar.
    #[must_use]
    pub fn at_most(what: &str, bar: f64, measured: f64) -> Self {
        Self {
            bar: format!("≤ {bar}"),
            held: measured <= bar,
            ..Self::at_least(what, bar, measured)
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = if self.held { "" } else { ": NOT KEPT" };
        write!(f, "{}: {} (bar: {}){kept}", self.what, self.measured, self.bar)
    }
}
