//! Long lists in parts.

use super::exception::{Exception, ExceptionName};

/// The greatest number of items in a part.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// The parameter.
    name: &'static str,
    default: usize,
    most: usize,
}

impl Limits {
    pub(crate) const USUAL: Self = Self {
        name: "Limit",
        default: 100,
        most: 1000,
    };
    pub(crate) const IAM: Self = Self {
        name: "MaxItems",
        ..Self::USUAL
    };
    pub(crate) const TAGS: Self = Self {
        name: "Limit",
        default: 50,
        most: 50,
    };
    pub(crate) const ALIASES: Self = Self {
        name: "Limit",
        default: 50,
        most: 100,
    };
}

/// A part of a list, and the marker of the next.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next_marker: Option<String>,
}

/// The part that begins after the marker, which is the id of the last item before it.
pub(crate) fn page<T>(
    items: impl IntoIterator<Item = T>,
    id: impl Fn(&T) -> &str,
    limits: Limits,
    limit: Option<usize>,
    marker: Option<&str>,
) -> Result<Page<T>, Exception> {
    let limit = limit.unwrap_or(limits.default);
    if !(1..=limits.most).contains(&limit) {
        return Err(Exception::validation(format!(
            "{} has to be 1 to {}",
            limits.name, limits.most
        )));
    }
    let mut rest = items.into_iter();
    if let Some(marker) = marker {
        let last = rest.find(|item| id(item) == marker);
        last.ok_or_else(|| Exception::new(ExceptionName::InvalidMarker, "the Marker does not belong to this list"))?;
    }
    let items: Vec<_> = rest.by_ref().take(limit).collect();
    let next_marker = match rest.next() {
        Some(_) => items.last().map(|last| id(last).to_owned()),
        None => None,
    };
    Ok(Page { items, next_marker })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_make_the_list() {
        let list = ["a", "b", "c", "d", "e"];
        let mut seen = Vec::new();
        let mut marker = None;
        loop {
            let page = page(list, |item| item, Limits::USUAL, Some(2), marker.as_deref()).unwrap();
            assert!(page.items.len() <= 2);
            seen.extend(page.items);
            marker = page.next_marker;
            if marker.is_none() {
                break;
            }
        }
        assert_eq!(seen, list);
        let wrong = page(list, |item| item, Limits::USUAL, None, Some("f")).err().unwrap();
        assert_eq!(wrong.name(), ExceptionName::InvalidMarker);
    }

    #[test]
    fn a_part_has_no_more_than_it_may() {
        let list = ["a"; 2000];
        for (limits, default, most) in [(Limits::USUAL, 100, 1000), (Limits::ALIASES, 50, 100)] {
            let length = |limit| page(list, |item| item, limits, limit, None).map(|page| page.items.len());
            assert_eq!(length(None).unwrap(), default);
            for good in [1, most] {
                assert_eq!(length(Some(good)).unwrap(), good);
            }
            for wrong in [0, most + 1] {
                assert_eq!(length(Some(wrong)).unwrap_err().name(), ExceptionName::Validation);
            }
        }
    }
}
