//! The threads that serve connections: one for each processor, each with a runtime of its own.
//!
//! A connection stays on its thread. In one runtime of several threads every request that comes to an idle
//! server wakes a second thread, which finds nothing to do: that was a third of a request's cost at moderate
//! load.
//!
//! A new connection goes to the thread with the fewest connections. Listeners, health, reloads and signals
//! have a small runtime of their own, which requests cannot hold up.

use std::{
    io,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::watch,
};

/// What comes from other threads, which is what key managers answer, goes before requests that have not
/// begun.
const ANSWERS_FIRST: u32 = 1;

/// The threads. When this is dropped they end, and what is left of their connections with them.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    is_over: watch::Sender<bool>,
}

struct Worker {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
}

impl Workers {
    /// Starts as many as there are processors for this process.
    pub(crate) fn start() -> io::Result<Self> {
        let number = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let is_over = watch::Sender::new(false);
        let workers = (0..number)
            .map(|number| Worker::start(number, is_over.subscribe()))
            .collect::<io::Result<_>>()?;
        Ok(Self { workers, is_over })
    }

    /// Serves a connection on the thread that has the fewest of them.
    pub(crate) fn serve(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let open = |worker: &&Worker| worker.connections.load(Ordering::Relaxed);
        if let Some(worker) = self.workers.iter().min_by_key(open) {
            let counted = Counted::new(&worker.connections);
            worker.runtime.spawn(async move {
                connection.await;
                drop(counted);
            });
        }
    }

    /// Ends the threads, and waits until the last has dropped what it held. One that hangs in a key manager
    /// never does.
    pub(crate) async fn end(&self) {
        self.is_over.send_replace(true);
        self.is_over.closed().await;
    }
}

impl Worker {
    fn start(number: usize, mut is_over: watch::Receiver<bool>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .global_queue_interval(ANSWERS_FIRST)
            .build()?;
        let worker = Self {
            runtime: runtime.handle().clone(),
            connections: Arc::default(),
        };
        let name = format!("xks-serve-{number}");
        thread::Builder::new().name(name).spawn(move || {
            // Without a sender it is over too.
            let _ = runtime.block_on(is_over.wait_for(|is_over| *is_over));
            drop(runtime);
            drop(is_over); // says that this was all
        })?;
        Ok(worker)
    }
}

/// A connection that is open.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(connections: &Arc<AtomicUsize>) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(connections))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, time::Duration};

    use tokio::sync::oneshot;

    use super::*;

    /// Connections are spread over the threads, and the end drops those that are left.
    #[tokio::test]
    async fn connections_are_spread_and_dropped_at_the_end() {
        let workers = Workers::start().unwrap();
        let (mut threads, mut ends) = (HashSet::new(), Vec::new());
        for _ in 0..workers.workers.len() {
            let (said, thread) = oneshot::channel();
            let (held, end) = oneshot::channel::<()>();
            workers.serve(async move {
                said.send(thread::current().id()).unwrap();
                std::future::pending::<()>().await;
                drop(held);
            });
            threads.insert(thread.await.unwrap());
            ends.push(end);
        }
        assert_eq!(threads.len(), workers.workers.len(), "one each");
        tokio::time::timeout(Duration::from_secs(60), workers.end())
            .await
            .unwrap();
        for end in ends {
            end.await.unwrap_err();
        }
        assert!(
            workers
                .workers
                .iter()
                .all(|worker| worker.connections.load(Ordering::Relaxed) == 0)
        );
    }
}
