//! The findings on broken proxies: exactly what each breaks, and no more.

use crate::support::{Broken, Server, checked, missed, setup};

/// Checks a broken proxy: each of `expected` has to be missed, and nothing else. One that ends in `*` stands
/// for all that begin so.
#[track_caller]
pub(crate) fn breaks(broken: Broken, expected: &[&str]) {
    let server = Server::start(broken);
    let report = checked(&setup(&server.url));
    let missed = missed(&report);
    let fits = |name: &str, pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    let unseen: Vec<_> = expected
        .iter()
        .filter(|pattern| !missed.iter().any(|name| fits(name, pattern)))
        .collect();
    let unexpected: Vec<_> = missed
        .iter()
        .filter(|name| !expected.iter().any(|pattern| fits(name, pattern)))
        .collect();
    assert!(
        unseen.is_empty() && unexpected.is_empty(),
        "not seen: {unseen:?}\nseen beside: {unexpected:#?}\n"
    );
    // Nothing of what only the two sides know is in the report.
    assert!(!format!("{report:?}").contains(crate::support::SECRET));
}

/// A row: a test of its own.
macro_rules! broken {
    ($($name:ident: $broken:expr => [$($expected:literal),* $(,)?];)*) => {
        $(
            #[test]
            fn $name() {
                $crate::table::breaks($broken, &[$($expected),*]);
            }
        )*
    };
}
pub(crate) use broken;
