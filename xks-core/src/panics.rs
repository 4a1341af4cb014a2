//! Panics of others, caught where they must not take more down than what they happened in.
//!
//! A backend or an authorizer that panics costs one `InternalException`, not the connection with its other
//! requests. With `panic = "abort"` this does not hold.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::Poll,
};

/// The code of a backend or an authorizer panicked.
pub(crate) struct Panicked;

/// Drives a future whose panic must not take the connection, and with it other requests, down. It stays where
/// the caller has pinned it: taken by value, it would have its place twice in the caller's own future.
pub(crate) async fn catch_panic<T>(mut future: Pin<&mut impl Future<Output = T>>) -> Result<T, Panicked> {
    std::future::poll_fn(|context| {
        // After a panic the future is not polled again, so nothing sees what it left half done.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}
