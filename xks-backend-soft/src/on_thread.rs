//! Work that blocks, on a thread of its own, for a future that waits for it on any runtime.

use std::{
    future::poll_fn,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    thread,
};

/// Starts `work`, and returns a future of what it returns: nothing if it panics. Work whose future is dropped
/// goes on to its end.
///
/// # Errors
/// Those of the operating system when it starts no thread.
pub(crate) fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<impl Future<Output = Option<T>> + Send> {
    let slot = Arc::new(Slot(Mutex::new(State {
        answer: None,
        has_ended: false,
        waker: None,
    })));
    let end = End(Arc::clone(&slot));
    thread::Builder::new()
        .name("xks-soft-manager".to_owned())
        .spawn(move || {
            // What `work` holds is dropped before its answer is seen.
            let answer = work();
            end.0.lock().answer = Some(answer);
        })?;
    Ok(poll_fn(move |context| {
        let mut state = slot.lock();
        if state.has_ended {
            return Poll::Ready(state.answer.take());
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }))
}

struct Slot<T>(Mutex<State<T>>);

struct State<T> {
    answer: Option<T>,
    has_ended: bool,
    waker: Option<Waker>,
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the work when it is dropped, also by a panic.
struct End<T>(Arc<Slot<T>>);

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.0.lock();
            state.has_ended = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn answers_come_early_and_late_and_not_after_a_panic() {
        let early = on_thread(|| 1).unwrap();
        thread::sleep(std::time::Duration::from_millis(5));
        let (go, wait) = mpsc::channel();
        let late = on_thread(move || wait.recv().unwrap()).unwrap();
        let late = tokio::spawn(late);
        tokio::task::yield_now().await;
        go.send(2).unwrap();
        let panics = on_thread(|| -> u8 { panic!("as the test wants it") }).unwrap();
        assert_eq!(
            (early.await, late.await.unwrap(), panics.await),
            (Some(1), Some(2), None)
        );
    }

    #[tokio::test]
    async fn work_goes_on_without_its_future() {
        let (sender, receiver) = mpsc::channel();
        drop(on_thread(move || sender.send(()).unwrap()).unwrap());
        receiver.recv().unwrap();
    }
}
