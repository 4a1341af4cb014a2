//! `[store]` and `[lifecycle]` in a build that does not have them.

use crate::settings::table::Table;

pub(super) const fn has_store(_: &Table<'_, '_>) -> bool {
    false
}

pub(super) fn refuse(root: &mut Table<'_, '_>) {
    for mut table in [root.table("store"), root.table("lifecycle")].into_iter().flatten() {
        table.error("this build has no keys under management: build it with `--features lifecycle`");
        table.forget();
    }
}
