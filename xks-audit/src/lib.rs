//! An audit log that shows tampering: records in a chain, signed heads, and their verification.
//!
//! # The log
//! A log belongs to one writer: a node, and one incarnation of it. It is a row of files of lines of JSON,
//! whose first two members are the record's number and the SHA-256 of the line before it:
//! ```text
//! {"seq":0,"prev":"0000…0000","audit":"opened","origin":"example/node-a/1","version":1}
//! {"seq":1,"prev":"9b1c…55a0","timestamp":"2026-11-30T12:00:00Z","operation":"Encrypt"}
//! ```
//! The chain goes on from file to file. The hash of one line stands for all lines before it: a line that is
//! changed, lost, moved or added no longer fits those after it. `sha256sum` and a few lines of any language
//! verify it.
//!
//! The log says of itself, in records of its own, that a file begins, that records could not be written
//! (`lost`), that old ones were deleted as its writer was told to (`deleted`), and whose place it takes
//! (`follows`): after a restart, or where the former log could not be written any more. It names the last
//! record that is known of that one, so that logs of one writer are a chain too.
//!
//! # Heads
//! The end of a chain can be cut off, or written again from some line on. So the writer signs how many
//! records there are, and the hash of the last one, now and then, also while nothing happens: a [`Head`]. It
//! is kept where the log is not. The text is that of
//! [signed notes](https://github.com/C2SP/C2SP/blob/main/signed-note.md), and the signature ECDSA P-256 with
//! SHA-256, which hardware security modules make.
//!
//! # Verifying
//! [`Verifier`] reads the lines and the heads, and its [`Report`] says what is wrong, where, and how many
//! records lie behind the last head: nothing vouches for those but the chain.
//!
//! ```
//! use xks_audit::{Chain, Origin, Verifier};
//!
//! let mut chain = Chain::new(Origin::new("example/node-a/1")?);
//! let mut file = Vec::new();
//! chain.begin_file(&mut file);
//! chain.append(r#"{"operation":"Encrypt"}"#, &mut file)?;
//! chain.append(r#"{"operation":"Decrypt"}"#, &mut file)?;
//!
//! let mut verifier = Verifier::new();
//! verifier.file("node-a.log", &*file)?;
//! let report = verifier.finish();
//! assert!(report.is_whole() && report.unanchored == 3, "{report:?}"); // the first one names the log
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod chain;
mod head;
mod key;
mod line;
mod lines;
mod origin;
mod verify;

pub use self::{
    chain::{Chain, Position, RecordError},
    head::{Head, HeadError, SignedHead},
    key::{KeyError, SigningKey, VerifyingKey},
    line::LineHash,
    lines::{Line, Lines},
    origin::{Origin, OriginError},
    verify::{Fault, FaultKind, Opening, Place, Report, Verifier},
};
