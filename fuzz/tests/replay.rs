//! Every input of the corpora, through its target.

use std::{collections::BTreeSet, fs, path::Path};

/// What the inputs of a target end in.
fn replay<T: Ord>(target: &str, run: fn(&[u8]) -> T) -> BTreeSet<T> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let replay_one = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        println!("{}", path.display()); // the last one is the one that failed
        run(&fs::read(path).unwrap())
    };
    fs::read_dir(folder).unwrap().map(replay_one).collect()
}

#[test]
fn handle() {
    assert_eq!(replay("handle", xks_fuzz::handle), [200, 400, 401, 404, 405].into());
}

#[test]
fn signed() {
    assert_eq!(replay("signed", xks_fuzz::signed), [200, 400, 501].into());
}

#[test]
fn text_types() {
    assert_eq!(replay("text_types", xks_fuzz::text_types), [()].into());
}
