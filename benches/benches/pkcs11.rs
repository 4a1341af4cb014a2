//! The PKCS#11 backend beside the bare calls on SoftHSM2; and before an HSM that takes 2 ms for an operation,
//! at its limit and beyond. Ratios are taken in the same run.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark may panic and print"
)]

mod hsm;

use xks_pkcs11_fixture::SoftHsm;

fn main() {
    for row in hsm::rows(&SoftHsm::reexec()) {
        println!("{row}");
    }
}
