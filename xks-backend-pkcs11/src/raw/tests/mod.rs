//! The `unsafe` code with answers of every kind: right ones, wrong ones, and wrong lengths. Miri, the address
//! sanitizer and valgrind run these tests and watch the memory.

mod ciphers;
mod loading;
mod objects;
mod signatures;
mod tokens;

use std::{cell::Cell, rc::Rc};

use cryptoki_sys as ck;

use xks_pkcs11_fixture::fake::{self, Answering, Call, Direction};

use super::*;
use crate::fuzz;

fn linked() -> LinkedModule {
    // SAFETY: the fake does as the standard says, and stays as long as the process.
    unsafe { LinkedModule::new("fake", fake::get_function_list) }
}

/// A module that answers so for as long as the guard lives.
fn module(answer: impl FnMut(Call<'_>) -> ck::CK_RV + 'static) -> (Cryptoki, Answering) {
    let (cryptoki, _) = Cryptoki::link(&linked()).unwrap();
    (cryptoki, fake::answer_by(answer))
}

#[track_caller]
fn assert_fails<T>(outcome: Result<T, CallError>, function: &str, code: ck::CK_RV) {
    let error = outcome.map(|_| ()).unwrap_err();
    assert_eq!((error.function(), error.code().0), (function, code));
}

fn gcm(iv: &mut [u8]) -> Gcm<'_> {
    Gcm {
        iv,
        iv_bits: 96,
        aad: b"aad",
    }
}

/// Counts calls.
#[derive(Clone, Default)]
struct Count(Rc<Cell<usize>>);

impl Count {
    fn next(&self) -> usize {
        let number = self.0.get();
        self.0.set(number + 1);
        number
    }

    fn get(&self) -> usize {
        self.0.get()
    }
}

/// A thousand modules, each of which answers differently.
#[test]
fn nothing_that_a_module_says_leads_astray() {
    let check = |part, answers: &[u8]| {
        let (_answering, told) = fake::wild(answers);
        fuzz::check_answers(&linked(), part, |attribute| told.is_true(attribute));
    };
    for part in [0, 252] {
        check(part, &[]);
    }
    let mut state = 1_u64;
    let mut byte = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    for round in 0..if cfg!(miri) { 40 } else { 1000 } {
        let part = byte();
        let mut bytes: Vec<u8> = (0..round % 512).map(|_| byte()).collect();
        if round % 2 == 0 {
            // Mostly the right answers, so that it gets far.
            bytes.iter_mut().for_each(|byte| *byte = byte.saturating_sub(120));
        }
        check(part, &bytes);
    }
}
