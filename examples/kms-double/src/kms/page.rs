//! Long lists in parts.

use super::exception::{Exception, ExceptionName};

/// A part of a list, and the marker of the next.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next_marker: Option<String>,
}

/// The part that begins after the marker, which is the id of the last item before it.
pub(crate) fn page<T>(
    items: impl IntoIterator<Item = T>,
    id: impl Fn(&T) -> &str,
    limit: Option<usize>,
    marker: Option<&str>,
) -> Result<Page<T>, Exception> {
    let limit = limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        return Err(Exception::validation("Limit has to be 1 to 1000"));
    }
    let mut rest = items.into_iter();
    if let Some(marker) = marker {
        let last = rest.find(|item| id(item) == marker);
        last.ok_or_else(|| Exception::new(ExceptionName::InvalidMarker, "the Marker is none of this list's"))?;
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
            let page = page(list, |item| item, Some(2), marker.as_deref()).unwrap();
            assert!(page.items.len() <= 2);
            seen.extend(page.items);
            marker = page.next_marker;
            if marker.is_none() {
                break;
            }
        }
        assert_eq!(seen, list);
        let wrong = page(list, |item| item, None, Some("f")).err().unwrap();
        assert_eq!(wrong.name(), ExceptionName::InvalidMarker);
        for limit in [0, 1001] {
            assert!(page(list, |item| item, Some(limit), None).is_err());
        }
    }
}
