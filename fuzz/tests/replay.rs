//! Every input of the corpora, through its target. What they come to is counted off: a corpus that no longer
//! gets to where it should has lost its use.

use std::{collections::BTreeSet, fs, path::Path};

use xks_fuzz::{AuditFile, Outcome, Verdict};

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

const OK: Verdict = Verdict(200, "");
const USE_POST: Verdict = Verdict(405, "");
const NO_PATH: Verdict = Verdict(404, "InvalidUriPathException");
const NO_KEY: Verdict = Verdict(404, "KeyNotFoundException");
const NOT_SIGNED: Verdict = Verdict(401, "AuthenticationFailedException");
const BAD: Verdict = Verdict(400, "ValidationException");
const DISABLED: Verdict = Verdict(400, "InvalidStateException");
const USAGE: Verdict = Verdict(400, "InvalidKeyUsageException");
const NO_CIPHERTEXT: Verdict = Verdict(400, "InvalidCiphertextException");
const TOO_LARGE: Verdict = Verdict(501, "UnsupportedOperationException");

#[test]
fn handle() {
    let all = [
        OK,
        USE_POST,
        NO_PATH,
        NO_KEY,
        NOT_SIGNED,
        BAD,
        DISABLED,
        USAGE,
        NO_CIPHERTEXT,
        TOO_LARGE,
    ];
    assert_eq!(replay("handle", xks_fuzz::handle), all.into());
}

#[test]
fn audit() {
    let all = [AuditFile::Whole, AuditFile::Broken, AuditFile::Heads];
    assert_eq!(replay("audit", xks_fuzz::audit), all.into());
}

#[test]
fn authorization() {
    assert_eq!(
        replay("authorization", xks_fuzz::authorization),
        [OK, BAD, NOT_SIGNED].into()
    );
}

#[test]
fn route() {
    let all = [OK, USE_POST, NO_PATH, NO_KEY, DISABLED, USAGE, NO_CIPHERTEXT];
    assert_eq!(replay("route", xks_fuzz::route), all.into());
}

#[test]
fn health_body() {
    assert_eq!(replay("health_body", xks_fuzz::health_body), [OK, BAD].into());
}

#[test]
fn metadata_body() {
    assert_eq!(replay("metadata_body", xks_fuzz::metadata_body), [OK, BAD].into());
}

#[test]
fn encrypt_body() {
    assert_eq!(
        replay("encrypt_body", xks_fuzz::encrypt_body),
        [OK, BAD, TOO_LARGE].into()
    );
}

#[test]
fn decrypt_body() {
    assert_eq!(
        replay("decrypt_body", xks_fuzz::decrypt_body),
        [OK, BAD, NO_CIPHERTEXT, TOO_LARGE].into()
    );
}

#[test]
fn base64() {
    assert_eq!(
        replay("base64", xks_fuzz::base64),
        [OK, BAD, NO_CIPHERTEXT, TOO_LARGE].into()
    );
}

#[test]
fn differential() {
    assert_eq!(
        replay("differential", xks_fuzz::differential),
        [OK, USE_POST, NO_PATH, NOT_SIGNED].into()
    );
}

#[test]
fn settings() {
    let all = [Outcome::Refused, Outcome::Ours, Outcome::Converted];
    assert_eq!(replay("settings", xks_fuzz::settings), all.into());
}

#[test]
fn pkcs11_attributes() {
    assert_eq!(replay("pkcs11_attributes", xks_fuzz::pkcs11_attributes), [()].into());
}

#[test]
fn text_types() {
    assert_eq!(replay("text_types", xks_fuzz::text_types), [()].into());
}
