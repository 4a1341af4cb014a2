//! Time that passes when all wait for it, tasks that can be stopped and killed, and a store that is far away.

use std::{
    future::{pending, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, SystemTime},
};

use xks_core::{
    async_trait,
    timer::{Sleep, Timer},
};
use xks_lifecycle::{
    Event,
    store::{
        ChangeSet, Claim, ClaimKind, Head, MemoryStore, Revision, RowSink, Scope, Store, StoreError, Swap, Swapped,
    },
};

pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The time, random numbers, and what has yet to be begun.
pub(crate) struct Clock {
    now: Mutex<Duration>,
    ends: Mutex<Vec<Duration>>,
    random: AtomicU64,
    begun: Mutex<Vec<Task>>,
}

impl Clock {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            now: Mutex::new(Duration::from_secs(1_000)),
            ends: Mutex::default(),
            random: AtomicU64::new(seed),
            begun: Mutex::default(),
        })
    }

    pub(crate) fn now(&self) -> Duration {
        *self.now.lock().unwrap()
    }

    /// A number below this one (SplitMix64).
    pub(crate) fn below(&self, bound: u64) -> u64 {
        let state = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }

    pub(crate) fn sleep(self: &Arc<Self>, duration: Duration) -> Sleep {
        let clock = Arc::clone(self);
        let end = clock.now() + duration;
        Box::pin(poll_fn(move |_| {
            if clock.now() >= end {
                return Poll::Ready(());
            }
            clock.ends.lock().unwrap().push(end);
            Poll::Pending
        }))
    }

    pub(crate) fn begin(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.begun.lock().unwrap().push(Box::pin(task));
    }
}

/// The clock of one process, which runs apart.
pub(crate) struct Apart {
    pub(crate) clock: Arc<Clock>,
    /// How many thousandths of time it shows.
    pub(crate) thousandths: u32,
}

impl Timer for Apart {
    fn lease_clock(&self) -> Option<Duration> {
        Some(self.clock.now() * self.thousandths / 1000)
    }

    fn system_time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.clock.now()
    }

    fn sleep(&self, duration: Duration) -> Option<Sleep> {
        // Not shorter than this clock shows.
        let rounded = Duration::from_micros(1);
        Some(self.clock.sleep(duration * 1000 / self.thousandths + rounded))
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A task in a place, which can be stopped and replaced.
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) task: Mutex<Option<Task>>,
    pub(crate) is_stopped: AtomicBool,
}

/// Runs all tasks until the first one ends. `look` is called whenever something may have happened.
pub(crate) fn run(clock: &Arc<Clock>, first: impl Future<Output = ()>, slots: &[Arc<Slot>], mut look: impl FnMut()) {
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&flag));
    let mut context = Context::from_waker(&waker);
    let mut first = std::pin::pin!(first);
    let mut others: Vec<Task> = Vec::new();
    loop {
        flag.0.store(false, Ordering::Relaxed);
        clock.ends.lock().unwrap().clear();
        if first.as_mut().poll(&mut context).is_ready() {
            return;
        }
        for slot in slots.iter().filter(|slot| !slot.is_stopped.load(Ordering::Relaxed)) {
            let task = slot.task.lock().unwrap().take();
            if let Some(mut task) = task
                && task.as_mut().poll(&mut context).is_pending()
            {
                *slot.task.lock().unwrap() = Some(task);
            }
        }
        others.append(&mut clock.begun.lock().unwrap());
        others.retain_mut(|task| task.as_mut().poll(&mut context).is_pending());
        look();
        if !flag.0.load(Ordering::Relaxed) {
            let next = clock.ends.lock().unwrap().iter().min().copied();
            *clock.now.lock().unwrap() = next.unwrap();
        }
    }
}

/// The store as one process sees it: calls take time, are lost, doubled or late, or have no answer.
pub(crate) struct Far {
    pub(crate) inner: Arc<MemoryStore>,
    pub(crate) clock: Arc<Clock>,
    /// Whether nothing is wrong with it: before the test begins.
    pub(crate) is_near: AtomicBool,
    pub(crate) is_cut_off: AtomicBool,
}

impl Far {
    fn lost() -> StoreError {
        StoreError::unavailable("the test", "the connection was lost")
    }

    async fn pass(&self) {
        while self.is_cut_off.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
        let millis = match self.clock.below(20) {
            0 => self.clock.below(400),
            _ => self.clock.below(10),
        };
        self.clock.sleep(Duration::from_millis(millis)).await;
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        if self.is_near.load(Ordering::Relaxed) {
            return call.await;
        }
        self.pass().await;
        let fate = self.clock.below(40);
        if fate == 0 {
            return Err(Self::lost());
        }
        let outcome = call.await;
        self.pass().await;
        if fate == 1 { Err(Self::lost()) } else { outcome }
    }

    /// Makes a change once more, or only later.
    fn is_late(&self, swap: &Swap) -> bool {
        let fate = self.clock.below(20);
        if fate < 2 && !self.is_near.load(Ordering::Relaxed) {
            let (inner, swap) = (Arc::clone(&self.inner), swap.clone());
            let sleep = self.clock.sleep(Duration::from_millis(self.clock.below(3_000)));
            self.clock.begin(async move {
                sleep.await;
                inner.swap(swap).await.unwrap();
            });
        }
        fate == 0 && !self.is_near.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Store for Far {
    async fn load(&self, scope: Scope, sink: RowSink) -> Result<Head, StoreError> {
        self.call(self.inner.load(scope, sink)).await
    }

    async fn commit(&self, changes: ChangeSet) -> Result<(), StoreError> {
        self.call(self.inner.commit(changes)).await
    }

    /// Half of the news does not arrive.
    async fn follow(&self, after: Revision) -> Result<Revision, StoreError> {
        let head = self.inner.follow(after).await?;
        if self.clock.below(2) == 0 {
            pending::<()>().await;
        }
        self.pass().await;
        Ok(head)
    }

    async fn swap(&self, swap: Swap) -> Result<Swapped, StoreError> {
        if self.is_late(&swap) {
            return Err(Self::lost());
        }
        self.call(self.inner.swap(swap)).await
    }

    async fn swap_and_list(&self, swap: Swap) -> Result<(Swapped, Vec<Claim>), StoreError> {
        if self.is_late(&swap) {
            return Err(Self::lost());
        }
        self.call(self.inner.swap_and_list(swap)).await
    }

    async fn claims(&self, kind: ClaimKind) -> Result<(Vec<Claim>, Revision), StoreError> {
        self.call(self.inner.claims(kind)).await
    }

    async fn record(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.call(self.inner.record(events)).await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<(u64, Event)>, StoreError> {
        self.call(self.inner.events(after, limit)).await
    }
}
