//! Requests to one node at a fixed rate, whatever becomes of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use xks_benches::{DATA_KEY, Signed, proxy_over};
use xks_core::{KeyId, Proxy};
use xks_lifecycle::Managed;

use crate::node::Node;

/// Between two looks at what is due.
const LOOK: Duration = Duration::from_millis(1);

/// A thread that asks.
pub(crate) struct Load {
    asks: Arc<Asks>,
    ends: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

struct Asks {
    proxy: Proxy,
    signed: Signed,
}

impl Asks {
    /// Encrypts with an integrity value. Returns whether it was served; if not, the key is disabled.
    fn ask(&self) -> bool {
        // The first one waits for encryptions that are reserved in the store.
        let response = pollster::block_on(self.proxy.handle(self.signed.request()));
        let body = String::from_utf8_lossy(response.body());
        let is_served = response.status() == 200;
        assert!(is_served || body.contains("InvalidStateException"), "{body}");
        is_served
    }
}

impl Load {
    /// So many requests a second.
    pub(crate) fn start(node: &Node, key: &KeyId, rate: u32) -> Self {
        let asks = Arc::new(Asks {
            proxy: proxy_over(Managed::all(&node.commands)),
            signed: Signed::encrypt(DATA_KEY, true).to(&format!("keys/{key}/encrypt")),
        });
        let ends = Arc::new(AtomicBool::new(false));
        let (own, end) = (Arc::clone(&asks), Arc::clone(&ends));
        let run = move || {
            let (start, mut done) = (Instant::now(), 0);
            while !end.load(Ordering::Relaxed) {
                let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as u64;
                for _ in done..due {
                    own.ask();
                }
                done = due;
                thread::sleep(LOOK);
            }
        };
        let thread = thread::Builder::new().name("load-1".to_owned()).spawn(run).unwrap();
        Self { asks, ends, thread }
    }

    /// One request of the caller's. Returns whether it was served.
    pub(crate) fn ask(&self) -> bool {
        self.asks.ask()
    }

    pub(crate) fn stop(self) {
        self.ends.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .expect("all requests were answered as they should be");
    }
}
