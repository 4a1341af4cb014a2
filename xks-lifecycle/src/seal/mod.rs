//! The data key: what seals secrets, and what authenticates rows.
//!
//! One random key of 256 bits for each store, wrapped under every [root](Root). From it two keys are derived
//! (HMAC-SHA-256 over a label, which is HKDF-Expand of one block), so that neither use touches the other:
//!
//! * **sealing**: AES-256-GCM with a random IV of 96 bits. Table, row and column are the additional
//!   authenticated data, so that a sealed cell opens in its place and nowhere else;
//! * **codes**: HMAC-SHA-256 over table, id, revision and every cell of a row. The first half is the row's
//!   code, and stands beside it. The second half is never written: the exclusive or of it over all rows goes
//!   into the code of the head, with the revision. Who can write the database, but has no root, knows no
//!   second half, and so can find no other set of rows that has the same sum: neither a row that is put back
//!   from an older copy of itself nor one that is taken away goes unseen.
//!
//! | who | can | cannot |
//! |---|---|---|
//! | reads the database | see names, ids, states and times | see secrets or key material |
//! | writes the database | refuse service; change counts and events; put the row of a [job](crate::jobs) back, or take it away | enable a key, admit a credential, move or put back a row |
//! | puts an older file in its place | go back to an earlier revision | hide that from a process that has seen a later one |
//! | restores a [backup](crate::backup) | go back to its revision | do so without a root, or hide it |
//! | has a root too | do all of it | |

mod gcm;
mod root;

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use xks_core::Zeroizing;

pub use self::root::{Root, RootError, RootKind};
pub(crate) use self::root::{RootId, Wrapped};
use crate::{
    id::{RandomError, fill_random},
    store::{Cell, Head, Revision, Row, RowCode, Table},
};

/// Where a sealed cell stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'p> {
    pub(crate) table: Table,
    pub(crate) id: &'p str,
    pub(crate) column: &'static str,
}

impl Place<'_> {
    fn aad(self) -> Vec<u8> {
        let mut aad = b"xks-lifecycle cell".to_vec();
        for part in [self.table.as_str(), self.id, self.column] {
            aad.extend_from_slice(&(part.len() as u64).to_be_bytes());
            aad.extend_from_slice(part.as_bytes());
        }
        aad
    }
}

/// Why a secret cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SealError {
    /// There are no random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// More than AES-GCM takes.
    #[error("the secret is too long to be sealed")]
    TooLong,
}

/// The second half of a row's code, or the exclusive or of it over rows.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum([u8; 16]);

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sum")
    }
}

impl Sum {
    /// Puts a row in that is not in, and takes one out that is.
    pub(crate) fn toggle(&mut self, row: Self) {
        for (byte, other) in self.0.iter_mut().zip(row.0) {
            *byte ^= other;
        }
    }
}

/// The data key and what is derived from it. All of it is wiped when it is dropped.
pub(crate) struct DataKey {
    key: Zeroizing<[u8; 32]>,
    sealing: Zeroizing<[u8; 32]>,
    /// Keyed with the key of the codes.
    codes: Hmac<Sha256>,
}

impl DataKey {
    /// A new data key.
    pub(crate) fn generate() -> Result<Self, RandomError> {
        let mut key = Zeroizing::new([0; 32]);
        fill_random(&mut *key)?;
        Ok(Self::new(key))
    }

    pub(crate) fn new(key: Zeroizing<[u8; 32]>) -> Self {
        let derive = |label: &[u8]| {
            Zeroizing::new(<[u8; 32]>::from(
                keyed(&key).chain_update(label).finalize().into_bytes(),
            ))
        };
        let (sealing, codes) = (derive(b"xks-lifecycle seal\x01"), derive(b"xks-lifecycle code\x01"));
        Self {
            sealing,
            codes: keyed(&codes),
            key,
        }
    }

    /// The key itself, to be wrapped.
    pub(crate) const fn expose(&self) -> &Zeroizing<[u8; 32]> {
        &self.key
    }

    /// Seals a secret for its place.
    pub(crate) fn seal(&self, place: Place<'_>, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        gcm::seal(&self.sealing, &place.aad(), secret)
    }

    /// Opens what was sealed for this place; nothing if it was not.
    pub(crate) fn open(&self, place: Place<'_>, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        gcm::open(&self.sealing, &place.aad(), sealed)
    }

    /// The code of a row, and its part of the sum.
    pub(crate) fn row(&self, table: Table, id: &str, revision: Revision, cells: &[Cell<'_>]) -> (RowCode, Sum) {
        let mut code = self.codes.clone();
        code.update(b"row");
        part(&mut code, table.as_str().as_bytes());
        part(&mut code, id.as_bytes());
        code.update(&revision.get().to_be_bytes());
        for (column, cell) in table.columns().iter().zip(cells) {
            let (kind, number);
            let content: &[u8] = match cell {
                Cell::Null => continue, // a column of a later version is empty, and changes no code
                Cell::Integer(value) => {
                    (kind, number) = (b'i', value.to_be_bytes());
                    &number
                }
                Cell::Text(text) => {
                    kind = b't';
                    text.as_bytes()
                }
                Cell::Bytes(bytes) => {
                    kind = b'b';
                    bytes
                }
            };
            part(&mut code, column.as_bytes());
            code.update(&[kind]);
            part(&mut code, content);
        }
        let code = <[u8; 32]>::from(code.finalize().into_bytes());
        let (mut shown, mut hidden) = ([0; 16], [0; 16]);
        let (first, second) = code.split_at(16);
        shown.copy_from_slice(first);
        hidden.copy_from_slice(second);
        (shown, Sum(hidden))
    }

    /// The part of the sum of a row whose code is right; nothing if it is not.
    pub(crate) fn verify(&self, row: &Row<'_>) -> Option<Sum> {
        let (code, sum) = self.row(row.table, &row.id, row.revision, &row.cells);
        (row.cells.len() == row.table.columns().len() && bool::from(code.ct_eq(&row.code))).then_some(sum)
    }

    /// The code of a line of a backup, which binds it to all lines before it by the code of the last of them.
    pub(crate) fn line(&self, before: &RowCode, line: &[u8]) -> RowCode {
        let mut code = self.codes.clone();
        code.update(b"line");
        code.update(before);
        code.update(line);
        let code = <[u8; 32]>::from(code.finalize().into_bytes());
        code.first_chunk().copied().unwrap_or_default() // it is longer
    }

    /// Whether a line of a backup is the one that was written there.
    pub(crate) fn is_line(&self, before: &RowCode, line: &[u8], code: &RowCode) -> bool {
        self.line(before, line).ct_eq(code).into()
    }

    /// The code of a claim.
    pub(crate) fn claim(&self, kind: &str, id: &str, owner: &str, counter: u64, body: &str) -> RowCode {
        let mut code = self.codes.clone();
        code.update(b"claim");
        for text in [kind, id, owner, body] {
            part(&mut code, text.as_bytes());
        }
        code.update(&counter.to_be_bytes());
        let code = <[u8; 32]>::from(code.finalize().into_bytes());
        code.first_chunk().copied().unwrap_or_default() // it is longer
    }

    /// The code of a revision whose rows have this sum.
    pub(crate) fn head(&self, revision: Revision, sum: Sum) -> Head {
        let mut code = self.codes.clone();
        code.update(b"head");
        code.update(&revision.get().to_be_bytes());
        code.update(&sum.0);
        Head::new(revision, code.finalize().into_bytes().into())
    }

    /// Whether a head is that of its revision with rows of this sum.
    pub(crate) fn is_head(&self, head: &Head, sum: Sum) -> bool {
        self.head(head.revision, sum).code.ct_eq(&head.code).into()
    }
}

/// Whether two codes are the same, in a time that does not depend on them.
pub(crate) fn is_same_code(code: &RowCode, other: &RowCode) -> bool {
    code.ct_eq(other).into()
}

/// Never prints the key.
impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey")
    }
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    // A key that is shorter than a block is padded with zeros (RFC 2104).
    let mut block = Zeroizing::new([0; 64]);
    for (byte, of_key) in block.iter_mut().zip(key) {
        *byte = *of_key;
    }
    Hmac::new((&*block).into())
}

/// A part of a message whose end is known.
fn part(code: &mut Hmac<Sha256>, bytes: &[u8]) {
    code.update(&(bytes.len() as u64).to_be_bytes());
    code.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn key() -> DataKey {
        DataKey::new(Zeroizing::new(KEY))
    }

    fn cells() -> Vec<Cell<'static>> {
        vec![Cell::Text("payroll".into()), Cell::Text("".into())]
    }

    #[test]
    fn a_cell_opens_in_its_place_alone() {
        let place = |table, id, column| Place { table, id, column };
        let here = place(Table::Credentials, "ab", "secret");
        let sealed = key().seal(here, b"the secret").unwrap();
        assert_eq!(**key().open(here, &sealed).unwrap(), *b"the secret");
        assert!(!sealed.windows(10).any(|window| window == b"the secret"));
        assert_ne!(key().seal(here, b"the secret").unwrap(), sealed);
        for there in [
            place(Table::Versions, "ab", "secret"),
            place(Table::Credentials, "a", "bsecret"),
            place(Table::Credentials, "abs", "ecret"),
            place(Table::Credentials, "ab", "material"),
        ] {
            assert_eq!(key().open(there, &sealed), None, "{there:?}");
        }
        for bit in 0..sealed.len() * 8 {
            let mut edited = sealed.clone();
            edited[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key().open(here, &edited), None, "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(key().open(here, &sealed[..length]), None, "{length} bytes");
        }
        assert_eq!(DataKey::new(Zeroizing::new([8; 32])).open(here, &sealed), None);
    }

    #[test]
    fn the_code_of_a_row_covers_all_of_it() {
        let code = |table, id: &str, revision, cells: &[Cell<'_>]| key().row(table, id, Revision::new(revision), cells);
        let (shown, hidden) = code(Table::Tenants, "ab", 1, &cells());
        assert_ne!(shown, hidden.0);
        let with = |first, second| vec![first, second];
        let name = || Cell::Text("payroll".into());
        let others = [
            code(Table::KeyStores, "ab", 1, &cells()),
            code(Table::Tenants, "aB", 1, &cells()),
            code(Table::Tenants, "ab", 2, &cells()),
            code(Table::Tenants, "ab", 1, &with(name(), Cell::Null)),
            code(Table::Tenants, "ab", 1, &with(name(), Cell::Bytes((&b""[..]).into()))),
            code(Table::Tenants, "ab", 1, &with(Cell::Text("".into()), name())),
            code(Table::Tenants, "ab", 1, &with(name(), Cell::Integer(0))),
            DataKey::new(Zeroizing::new([8; 32])).row(Table::Tenants, "ab", Revision::new(1), &cells()),
        ];
        for (other_shown, other_hidden) in others {
            assert_ne!(shown, other_shown);
            assert!(hidden != other_hidden);
        }
    }

    #[test]
    fn an_empty_column_changes_no_code() {
        let longer = [cells(), vec![Cell::Null]].concat();
        let code = |cells: &[Cell<'_>]| key().row(Table::KeyStores, "a", Revision::new(1), cells).0;
        assert_eq!(code(&cells()), code(&longer));
    }

    #[test]
    fn the_code_of_a_head_covers_revision_and_rows() {
        let row = |id| key().row(Table::Tenants, id, Revision::new(1), &cells()).1;
        let mut sum = Sum::default();
        sum.toggle(row("a"));
        sum.toggle(row("b"));
        let head = key().head(Revision::new(3), sum);
        assert!(key().is_head(&head, sum));
        assert!(!key().is_head(&Head::new(Revision::new(2), head.code), sum));
        sum.toggle(row("b"));
        assert!(!key().is_head(&head, sum));
        sum.toggle(row("c"));
        assert!(!key().is_head(&head, sum));
    }

    #[test]
    fn a_data_key_is_not_printed() {
        assert_eq!(format!("{:?}", key()), "DataKey");
    }
}
