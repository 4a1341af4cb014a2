//! Lists, a page at a time.

use clap::Args;

use super::connection::encoded;

/// Which part of a list is shown.
#[derive(Debug, Args)]
pub(crate) struct Page {
    /// Only those after this id
    #[arg(long, value_name = "ID")]
    pub(super) after: Option<String>,
    /// How many at most, up to 1000
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(super) limit: u16,
}

impl Page {
    /// The path of a page of a list, with its filters.
    pub(super) fn path(&self, noun: &str, filters: &[(&str, Option<&str>)]) -> String {
        let mut path = format!("{noun}?limit={}", self.limit);
        let after = ("after", self.after.as_deref());
        for (name, value) in filters.iter().chain([&after]) {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", encoded(value)));
            }
        }
        path
    }
}
