//! `[store]`, `[lifecycle]` and `[cloud]` in a build that does not have them.

use xks_core::KeyId;

use crate::settings::table::Table;

pub(super) const fn has_store(_: &Table<'_, '_>) -> bool {
    false
}

/// Refuses the tables. Returns the conflicts of external keys with keys under management, of which there are
/// none.
pub(super) fn refuse(root: &mut Table<'_, '_>) -> impl Fn(&str, &KeyId) -> Option<String> + use<> {
    let tables = [root.table("store"), root.table("lifecycle"), root.table("cloud")];
    for mut table in tables.into_iter().flatten() {
        table.error("this build has no keys under management: build it with `--features lifecycle`");
        table.forget();
    }
    |_, _| None
}
