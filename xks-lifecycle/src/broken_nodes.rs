//! Rules of [nodes](crate::nodes) that a test breaks, to see that it finds what comes of that. Without the
//! feature `broken-nodes` no rule can be broken.

/// A rule. Its name is the value of the environment variable `XKS_BROKEN_NODES` that breaks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// `lease-check`: a request checks the lease.
    LeaseCheck,
    /// `row-fence`: a node is dead only if its row was deleted as it was seen.
    RowFence,
    /// `join-order`: the snapshot is read after the row was committed.
    JoinOrder,
}

/// Whether this process breaks a rule.
#[cfg(not(feature = "broken-nodes"))]
pub(crate) const fn breaks(_: Rule) -> bool {
    false
}

/// Whether this process breaks a rule.
#[cfg(feature = "broken-nodes")]
pub(crate) fn breaks(rule: Rule) -> bool {
    use std::sync::LazyLock;

    static BROKEN: LazyLock<Option<Rule>> = LazyLock::new(|| {
        let value = std::env::var("XKS_BROKEN_NODES").ok()?;
        match &*value {
            "lease-check" => Some(Rule::LeaseCheck),
            "row-fence" => Some(Rule::RowFence),
            "join-order" => Some(Rule::JoinOrder),
            _ => None,
        }
    });
    *BROKEN == Some(rule)
}
