//! A PKCS#11 module within the process: a function list whose answers a test chooses.
//!
//! It runs where no library can be loaded, as under Miri, and shows a memory checker all memory that it is
//! given. [`get_function_list`] is its `C_GetFunctionList`. Its calls are answered by an honest token of one
//! key, or on the thread that said so by [`answer_by`], or by a module that answers [anything](wild).

mod call;
pub mod honest;
mod list;
mod making;
mod memory;
mod wild;

pub use self::{
    call::{Asked, Call, Direction, Gcm, Given, Wrapping},
    list::{Answering, answer_by, get_function_list, list},
    wild::{Told, wild},
};
