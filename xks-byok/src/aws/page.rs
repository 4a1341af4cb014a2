//! Lists, one page for each call.

/// Which page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageRequest {
    /// The largest number of items. AWS chooses where it is missing, and refuses more than it allows.
    pub limit: Option<u32>,
    /// The `next_marker` of the page before; missing for the first page.
    pub marker: Option<String>,
}

impl PageRequest {
    /// The first page, of as many items as AWS chooses.
    #[must_use]
    pub fn first() -> Self {
        Self::default()
    }

    /// The page that begins at a [`Page::next_marker`].
    pub fn after(marker: impl Into<String>) -> Self {
        Self {
            limit: None,
            marker: Some(marker.into()),
        }
    }

    /// Sets the largest number of items.
    #[must_use]
    pub const fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }
}

/// One page of a list. It may be empty although there are more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins; missing on the last page.
    pub next_marker: Option<String>,
}

impl<T> Page<T> {
    /// Creates a page.
    #[must_use]
    pub const fn new(items: Vec<T>, next_marker: Option<String>) -> Self {
        Self { items, next_marker }
    }
}
