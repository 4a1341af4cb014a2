//! An executor that begins a request of HTTP/2 before the next one is taken.
//!
//! A connection takes all streams that have come before one of their tasks runs. Those that are answered at
//! once, such as those that are refused for want of memory, would take all the memory of a request until
//! then, a hundred times for each connection.

use std::{
    pin::Pin,
    task::{Context, Waker},
};

use hyper::rt::Executor;

#[derive(Clone, Copy, Debug)]
pub(super) struct AtOnce;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for AtOnce {
    /// Within a tokio runtime.
    fn execute(&self, request: F) {
        let mut request: Pin<Box<F>> = Box::pin(request);
        // A task asks again, and has a waker.
        if request
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
        {
            tokio::spawn(request);
        }
    }
}
