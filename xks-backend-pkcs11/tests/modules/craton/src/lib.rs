//! For tests: craton-hsm as a PKCS#11 module. The crate exports the C functions; this links them into a
//! library.

use craton_hsm as _;
