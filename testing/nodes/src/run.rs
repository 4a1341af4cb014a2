//! A run: the world is made, nodes are flipped and disturbed, and the tally is taken.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::json;
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::sleep,
};

use crate::{
    database::Database,
    faults::World,
    flipper::{Flipper, Thing},
    load::load,
    network,
    node::{self, Node, Place},
    plan::Plan,
    pooler::{Mode, Pooler},
    shared::Shared,
    site::{Maker, Operations, Subject, text},
    tally::Counts,
};

/// How many nodes there are.
pub(crate) const NODES: usize = 3;
/// How many keys are disabled and enabled.
const KEYS: usize = 8;
/// How often requests are signed again. A signature holds for five minutes.
const SIGNED_FOR: Duration = Duration::from_secs(60);
/// What the nodes may take at the beginning.
const START: Duration = Duration::from_secs(60);

/// What a run shall be.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) flips: u64,
    pub(crate) faults: u64,
    /// Requests a second to each node.
    pub(crate) rate: f64,
    /// Whether it ends with the first violation, as one that looks for violations does.
    pub(crate) ends_with_violation: bool,
}

/// Makes the database and the nodes, which serve when this returns; `last` is how the last of them is pooled.
/// Blocks.
pub(crate) fn make_world(place: &mut Place, shared: &Arc<Shared>, last: Mode) -> anyhow::Result<World> {
    network::make(NODES)?;
    let database = Database::start();
    place.database_files = database
        .files()
        .map(|file| copied(&file, &place.folder))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?
        .try_into()
        .map_err(|_| anyhow::anyhow!("two files"))?;
    let mut nodes = Vec::new();
    let mut poolers = Vec::new();
    for (number, mode) in [None, Some(Mode::Session), Some(last)].into_iter().enumerate() {
        let mut node = Node::new(place, number, mode.is_some())?;
        let mut pooler = None;
        if let Some(mode) = mode {
            let folder = place.folder.join(node::name(number));
            let mut made = Pooler::new(number, mode, &folder)?;
            made.start()?;
            pooler = Some(Arc::new(Mutex::new(made)));
        }
        if number == 0 {
            node.create_store()?;
        }
        node.start()?;
        nodes.push(Arc::new(Mutex::new(node)));
        poolers.push(pooler);
    }
    Ok(World {
        shared: Arc::clone(shared),
        nodes,
        poolers,
        database: Arc::new(Mutex::new(database)),
    })
}

/// A copy of a file that stays when its server goes.
fn copied(file: &Path, folder: &Path) -> anyhow::Result<std::path::PathBuf> {
    let copy = folder.join(file.file_name().context("a file has a name")?);
    fs::copy(file, &copy)?;
    Ok(copy)
}

/// Makes the keys and what else is closed and opened. Returns the flippers.
async fn make_site(shared: &Arc<Shared>, seed: u64) -> anyhow::Result<Vec<Flipper>> {
    let socket = node::socket(&shared.folder, 0);
    let maker = Maker { socket: &socket };
    let tenant = maker.post("tenants", &json!({"name": "nodes"})).await?;
    let tenant = text(&tenant, "id")?;
    let mut things = Vec::new();
    let mut add = |name: &str, way: &_, operations, thing| {
        let subject = shared.add_subject(|id| Subject::new(id, name, way, operations));
        things.push((subject, thing));
    };

    let store = maker.store(tenant, "keys").await?;
    let credential = maker.credential(&store).await?;
    for number in 0..KEYS {
        let name = format!("key {number}");
        let way = maker.key(&store, &credential, &name).await?;
        add(&name, &way, Operations::Both, Thing::Key(way.key.clone()));
    }

    let store = maker.store(tenant, "blocked").await?;
    let credential = maker.credential(&store).await?;
    let way = maker.key(&store, &credential, "in a store").await?;
    add("the key store", &way, Operations::Both, Thing::Store(store.id.clone()));

    // A version that decrypts, since another one has taken its place.
    let store = maker.store(tenant, "versions").await?;
    let credential = maker.credential(&store).await?;
    let way = maker.key(&store, &credential, "of two versions").await?;
    let rotated = maker.post(&format!("keys/{}/rotate", way.key), &json!({})).await?;
    let first = rotated.pointer("/versions/0").context("no version")?;
    let version = Thing::Version(way.key.clone(), text(first, "id")?.to_owned());
    add("the version", &way, Operations::Decrypt, version);

    // Of which one stays, and one at a time is made and revoked.
    let store = maker.store(tenant, "credentials").await?;
    let credential = maker.credential(&store).await?;
    let way = maker.key(&store, &credential, "of many credentials").await?;
    things.push((usize::MAX, Thing::Credentials(Box::new(way))));

    let mut seed = seed;
    let flippers = things.into_iter().map(|(subject, thing)| {
        seed = seed.wrapping_add(1);
        Flipper {
            shared: Arc::clone(shared),
            rng: fastrand::Rng::with_seed(seed),
            thing,
            subject,
        }
    });
    Ok(flippers.collect())
}

/// Waits until each node serves.
async fn all_serve(maker_of: impl Fn(usize) -> std::net::SocketAddr) -> anyhow::Result<()> {
    for node in 0..NODES {
        let address = maker_of(node);
        let begun = tokio::time::Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            if begun.elapsed() > START {
                bail!("node {node} does not serve");
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

impl Run {
    /// Flips and disturbs until there was enough of both.
    pub(crate) async fn run(&self, world: &World, plan: Plan) -> anyhow::Result<()> {
        let shared = &world.shared;
        all_serve(node::address).await?;
        let flippers = make_site(shared, self.seed).await?;
        let mut tasks = JoinSet::new();
        for node in 0..NODES {
            let seed = self.seed.wrapping_add(1000 + node as u64);
            tasks.spawn(load(Arc::clone(shared), node, self.rate, seed));
        }
        for flipper in flippers {
            tasks.spawn(flipper.flip());
        }
        let signs = Arc::clone(shared);
        let signing = tokio::spawn(async move {
            loop {
                sleep(SIGNED_FOR).await;
                let signs = Arc::clone(&signs);
                let _ = spawn_blocking(move || signs.sign()).await;
            }
        });
        // Before the first fault every node has served.
        sleep(shared.lease * 2).await;
        let disturbed = self.disturb(world, plan).await;
        while disturbed.is_ok() && shared.flips() < self.flips && !self.is_over(shared) {
            sleep(Duration::from_millis(50)).await;
        }
        shared.stop();
        signing.abort();
        while let Some(ended) = tasks.join_next().await {
            ended.context("a part of the driver has failed")?;
        }
        disturbed?;
        self.look_at_nodes(world)
    }

    /// Loses the database for so long, in two ways, while nothing is closed: no request may fail.
    pub(crate) async fn fail_over(&self, world: &World, outage: Duration) -> anyhow::Result<()> {
        let shared = &world.shared;
        all_serve(node::address).await?;
        drop(make_site(shared, self.seed).await?);
        let mut tasks = JoinSet::new();
        for node in 0..NODES {
            tasks.spawn(load(
                Arc::clone(shared),
                node,
                self.rate,
                self.seed.wrapping_add(node as u64),
            ));
        }
        let calm = Duration::from_secs(3);
        sleep(calm).await;
        let failed = async {
            say("the database is stopped");
            // No fault is begun: nothing is excused.
            shared.state().name("database stopped");
            world.stop_database(outage).await?;
            sleep(calm).await;
            say("the primary is lost, and then the standby is promoted");
            shared.state().name("primary lost, standby promoted");
            world.fail_over(false, outage).await?;
            sleep(calm).await;
            anyhow::Ok(())
        };
        let failed = failed.await;
        shared.stop();
        while let Some(ended) = tasks.join_next().await {
            ended.context("a part of the driver has failed")?;
        }
        failed?;
        let mut state = shared.state();
        let refused = |counts: &Counts| {
            counts
                .requests
                .iter()
                .filter(|(what, _)| **what != "served")
                .map(|(_, number)| number)
                .sum::<u64>()
        };
        let refused: u64 = state.tally.by_fault.values().map(refused).sum();
        if refused > 0 {
            state.tally.other(format!("{refused} requests were not served"));
        }
        drop(state);
        self.look_at_nodes(world)
    }

    fn is_over(&self, shared: &Shared) -> bool {
        self.ends_with_violation && shared.state().tally.violations > 0
    }

    async fn disturb(&self, world: &World, plan: Plan) -> anyhow::Result<()> {
        let shared = &world.shared;
        for (number, fault) in (0..self.faults).zip(plan) {
            if self.is_over(shared) {
                break;
            }
            say(&format!(
                "{:>6.1} s  fault {number:>3}: {} (node {}, {:.2} leases), {} flips, {} violations",
                shared.now().as_secs_f64(),
                fault.kind.name(),
                fault.node,
                fault.hold,
                shared.flips(),
                shared.state().tally.violations,
            ));
            let done = world.disturb(&fault).await;
            done.with_context(|| format!("fault {number}, {}", fault.kind.name()))?;
        }
        Ok(())
    }

    /// What nodes have left behind: panics, an end of their own.
    fn look_at_nodes(&self, world: &World) -> anyhow::Result<()> {
        for (number, node) in world.nodes.iter().enumerate() {
            let mut node = node.lock().map_err(|_| anyhow::anyhow!("a lock is broken"))?;
            let ended = node.has_ended()?;
            let log = String::from_utf8_lossy(&fs::read(node.log())?).into_owned();
            let panics = log.lines().filter(|line| line.contains(" panicked at "));
            let ended = ended.map(|status| format!("it has ended with {status}"));
            for what in panics.map(str::to_owned).chain(ended) {
                world.shared.state().tally.other(format!("node {number}: {what}"));
            }
        }
        Ok(())
    }
}

/// A line for who waits.
#[expect(clippy::print_stderr, reason = "the program says what it does")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}
