//! The targets of a server, each with what was measured.

mod cost;
mod http;
mod memory;
mod overload;

pub use self::{
    cost::{cost, many_keys, quota},
    http::http,
    memory::{Memory, memory},
    overload::{Overload, overload},
};
