//! The answers of a PKCS#11 module: lengths, numbers, texts, lists and return codes from the input.

use xks_backend_pkcs11::{LinkedModule, fuzz};
use xks_pkcs11_fixture::fake;

/// The first byte selects the calls, the others are the answers.
pub fn pkcs11_attributes(input: &[u8]) {
    let (part, answers) = input.split_first().unwrap_or((&0, &[]));
    let (_answering, told) = fake::wild(answers);
    fuzz::check_answers(&module(), *part, |attribute| told.is_true(attribute));
}

#[expect(unsafe_code, reason = "a linked module vouches for its functions")]
fn module() -> LinkedModule {
    // SAFETY: the fake does as the standard says, and stays as long as the process.
    unsafe { LinkedModule::new("fake", fake::get_function_list) }
}
