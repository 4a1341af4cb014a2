//! Long lists in parts.

use std::sync::Arc;

use super::{
    access_keys::PartRequest,
    api::{
        DescribeCustomKeyStoresRequest, ListAliasesRequest, ListKeyRotationsRequest, ListKeysRequest, ListOfKeyRequest,
    },
    exception::{Exception, ExceptionName},
    sorted::{Named, Sorted},
};

/// A request for a part of a list.
pub(crate) trait InParts {
    /// The greatest number of items.
    fn limit(&self) -> Option<usize>;

    /// A former answer's marker.
    fn marker(&self) -> Option<&str>;
}

macro_rules! in_parts {
    ($($request:ty: $limit:ident;)+) => {
        $(impl InParts for $request {
            fn limit(&self) -> Option<usize> {
                self.$limit
            }

            fn marker(&self) -> Option<&str> {
                self.marker.as_deref()
            }
        })+
    };
}

in_parts! {
    DescribeCustomKeyStoresRequest: limit;
    ListAliasesRequest: limit;
    ListKeyRotationsRequest: limit;
    ListKeysRequest: limit;
    ListOfKeyRequest: limit;
    PartRequest: max_items;
}

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

impl Limits {
    fn of(self, request: &impl InParts) -> Result<usize, Exception> {
        let limit = request.limit().unwrap_or(self.default);
        let is_legal = (1..=self.most).contains(&limit);
        is_legal
            .then_some(limit)
            .ok_or_else(|| Exception::validation(format!("{} has to be 1 to {}", self.name, self.most)))
    }
}

/// A part of a list, and the marker of the next.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next_marker: Option<String>,
}

impl<T> Page<T> {
    pub(crate) fn is_truncated(&self) -> bool {
        self.next_marker.is_some()
    }

    fn first_of(mut items: impl Iterator<Item = T>, limit: usize, id: impl Fn(&T) -> &str) -> Self {
        let part: Vec<_> = items.by_ref().take(limit).collect();
        let next_marker = match items.next() {
            Some(_) => part.last().map(|last| id(last).to_owned()),
            None => None,
        };
        Self {
            items: part,
            next_marker,
        }
    }
}

/// The part that begins after the marker, which is the id of the last item before it.
pub(crate) fn page<T>(
    items: impl IntoIterator<Item = T>,
    id: impl Fn(&T) -> &str,
    limits: Limits,
    request: &impl InParts,
) -> Result<Page<T>, Exception> {
    let limit = limits.of(request)?;
    let mut rest = items.into_iter();
    if let Some(marker) = request.marker() {
        rest.find(|item| id(item) == marker).ok_or_else(invalid_marker)?;
    }
    Ok(Page::first_of(rest, limit, id))
}

/// The part of a long list that begins after the marker: the name of the last item before it, which may be
/// gone by now.
pub(crate) fn page_of<'a, T: Named>(
    items: &'a Sorted<T>,
    limits: Limits,
    request: &impl InParts,
) -> Result<Page<&'a Arc<T>>, Exception> {
    let limit = limits.of(request)?;
    let marker = request.marker().unwrap_or_default();
    if !marker.is_empty() && !T::is_name(marker) {
        return Err(invalid_marker());
    }
    let rest = items.from(marker).skip_while(|item| item.name() == marker);
    Ok(Page::first_of(rest, limit, |item| item.name()))
}

fn invalid_marker() -> Exception {
    Exception::new(ExceptionName::InvalidMarker, "the Marker does not belong to this list")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(limit: Option<usize>, marker: Option<String>) -> PartRequest {
        PartRequest::new(marker, limit)
    }

    struct Item(String);

    impl Named for Item {
        fn name(&self) -> &str {
            &self.0
        }

        fn is_name(text: &str) -> bool {
            text.len() == 1
        }
    }

    #[test]
    fn the_parts_make_the_list() {
        let list = ["a", "b", "c", "d", "e"];
        let mut seen = Vec::new();
        let mut marker = None;
        loop {
            let page = page(list, |item| item, Limits::USUAL, &request(Some(2), marker)).unwrap();
            assert!(page.items.len() <= 2);
            seen.extend(page.items);
            marker = page.next_marker;
            if marker.is_none() {
                break;
            }
        }
        assert_eq!(seen, list);
        let wrong = page(list, |item| item, Limits::USUAL, &request(None, Some("f".into())))
            .err()
            .unwrap();
        assert_eq!(wrong.name(), ExceptionName::InvalidMarker);
    }

    #[test]
    fn a_part_has_no_more_than_it_may() {
        let list = ["a"; 2000];
        for (limits, default, most) in [(Limits::USUAL, 100, 1000), (Limits::ALIASES, 50, 100)] {
            let length = |limit| page(list, |item| item, limits, &request(limit, None)).map(|page| page.items.len());
            assert_eq!(length(None).unwrap(), default);
            for good in [1, most] {
                assert_eq!(length(Some(good)).unwrap(), good);
            }
            for wrong in [0, most + 1] {
                assert_eq!(length(Some(wrong)).unwrap_err().name(), ExceptionName::Validation);
            }
        }
    }

    #[test]
    fn an_item_that_is_gone_is_a_marker_all_the_same() {
        let mut list: Sorted<_> = ["a", "b", "c"].map(|name| Item(name.into())).into_iter().collect();
        let names = |list: &Sorted<Item>, marker: &str| {
            let page = page_of(list, Limits::USUAL, &request(Some(1), Some(marker.into())));
            page.map(|page| {
                (
                    page.items.iter().map(|item| item.0.clone()).collect::<Vec<_>>(),
                    page.next_marker,
                )
            })
        };
        assert_eq!(names(&list, "a").unwrap(), (vec!["b".into()], Some("b".into())));
        list.remove("b");
        assert_eq!(names(&list, "b").unwrap(), (vec!["c".into()], None));
        assert_eq!(names(&list, "c").unwrap(), (vec![], None));
        assert_eq!(
            names(&list, "of another list").unwrap_err().name(),
            ExceptionName::InvalidMarker
        );
    }
}
