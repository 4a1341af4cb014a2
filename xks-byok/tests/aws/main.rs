//! What is done against AWS, on the double of AWS in this process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod imports;
mod jobs;
mod rotation;
