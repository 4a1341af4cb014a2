//! What is promised of a server, each promise with what was measured of it.

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
