//! The memory of a call's arguments: reads every byte that a module may read, and writes every byte that a
//! module may write, with its own value.

use std::{hint, ptr, slice};

use cryptoki_sys as ck;

use super::call::Given;

pub(super) unsafe fn given_template<'a>(template: *mut ck::CK_ATTRIBUTE, count: ck::CK_ULONG) -> Vec<Given<'a>> {
    // SAFETY: the template has so many entries, and each value is as long as it says.
    unsafe {
        let entries = slice::from_raw_parts(template, size(count)).iter();
        let given = entries.map(|entry| Given {
            kind: entry.type_,
            value: given(entry.pValue.cast(), entry.ulValueLen),
        });
        given.collect()
    }
}

/// Bytes to be read, each of which is read.
pub(super) unsafe fn given<'a>(at: *const u8, length: ck::CK_ULONG) -> &'a [u8] {
    // SAFETY: the caller has said how many there are.
    let bytes = unsafe { slice::from_raw_parts(at, size(length)) };
    look_at(bytes);
    bytes
}

/// Room to be written to, each place of which is read and written: bytes or numbers.
pub(super) unsafe fn room<'a, T: Copy>(at: *mut T, length: ck::CK_ULONG) -> &'a mut [T] {
    // SAFETY: the caller has said how much there is, and that all of it holds something already.
    let room = unsafe {
        look_at(slice::from_raw_parts(at.cast(), size(length) * size_of::<T>()));
        slice::from_raw_parts_mut(at, size(length))
    };
    for place in &mut *room {
        // SAFETY: it is a place like any other.
        unsafe { ptr::write_volatile(place, ptr::read_volatile(place)) };
    }
    room
}

/// Branches on the value of each byte: only then does valgrind report one that was never written.
fn look_at(bytes: &[u8]) {
    if bytes.iter().fold(0_u8, |sum, byte| sum.rotate_left(1) ^ byte) == hint::black_box(0x5a) {
        be_elsewhere();
    }
}

#[cold]
#[inline(never)]
fn be_elsewhere() {
    hint::black_box(());
}

/// A place to be written to.
pub(super) unsafe fn place<'a, T: Copy>(at: *mut T) -> &'a mut T {
    // SAFETY: the caller has said that there is one.
    let place = unsafe { &mut *at };
    // SAFETY: as above.
    unsafe { ptr::write_volatile(place, ptr::read_volatile(place)) };
    place
}

pub(super) fn size(length: ck::CK_ULONG) -> usize {
    // What the caller says it has; it can have no more.
    usize::try_from(length).unwrap_or(0).min(isize::MAX.unsigned_abs())
}
