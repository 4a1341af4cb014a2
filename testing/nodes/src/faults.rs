//! What the driver does to nodes, network and database.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use tokio::{task::spawn_blocking, time::sleep};

use crate::{
    database::{self, Database},
    network::{self, Lost},
    node::{self, Node},
    plan::{Fault, Kind},
    pooler::Pooler,
    shared::Shared,
    weather::Felt,
};

/// How long a node may take to do what a fault waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The nodes, their poolers and the database.
pub(crate) struct World {
    pub(crate) shared: Arc<Shared>,
    pub(crate) nodes: Vec<Arc<Mutex<Node>>>,
    /// By node, of those that have one.
    pub(crate) poolers: Vec<Option<Arc<Mutex<Pooler>>>>,
    pub(crate) database: Arc<Mutex<Database>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something with what is behind a lock, where it may block.
async fn blocking<T: Send + 'static, R: Send + 'static>(
    behind: &Arc<Mutex<T>>,
    work: impl FnOnce(&mut T) -> anyhow::Result<R> + Send + 'static,
) -> anyhow::Result<R> {
    let behind = Arc::clone(behind);
    spawn_blocking(move || work(&mut lock(&behind)))
        .await
        .context("a step of a fault has failed")?
}

impl World {
    /// Does a fault, and waits until its nodes serve again, or have had the time for it.
    pub(crate) async fn disturb(&self, fault: &Fault) -> anyhow::Result<()> {
        let name = fault.kind.name();
        let all: Vec<_> = (0..self.nodes.len()).collect();
        let held = fault.held(self.shared.lease);
        let (felt, nodes) = match fault.kind {
            Kind::Kill | Kind::Terminate => (Felt::Down, vec![fault.node]),
            Kind::SlowJoin if fault.is_other_way => (Felt::Down, vec![fault.node]),
            // Whichever a command is sent to.
            Kind::KillCommander => (Felt::Down, all.clone()),
            Kind::Stop | Kind::StopInRenewal | Kind::SlowJoin => (Felt::Stopped, vec![fault.node]),
            Kind::Partition | Kind::PartitionOneWay => (Felt::Alone, vec![fault.node]),
            Kind::KillPooler => (Felt::Alone, vec![self.pooled(fault.node)?]),
            Kind::PartitionAll | Kind::CrashDatabase | Kind::StopDatabase | Kind::Promote => (Felt::Alone, all.clone()),
        };
        let id = self.shared.begin(name, felt, &nodes);
        self.happen(fault, held, &all).await?;
        self.shared.end(id);
        let begun = self.shared.now();
        let patience = self.shared.state().weather.patience();
        loop {
            let recovery = self.shared.state().weather.recovery(id);
            let is_over = recovery.iter().all(|(_, took)| took.is_some());
            if is_over || self.shared.now() - begun > patience {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        self.shared.calm(id);
        sleep(self.shared.lease.mul_f64(fault.calm)).await;
        Ok(())
    }

    async fn happen(&self, fault: &Fault, held: Duration, all: &[usize]) -> anyhow::Result<()> {
        match fault.kind {
            Kind::Kill => self.kill(fault.node, held).await,
            Kind::KillCommander => {
                self.shared.commands.notified().await;
                let node = usize::try_from(self.shared.commander.load(Ordering::SeqCst))?;
                sleep(Duration::from_millis(5).mul_f64(fault.calm)).await;
                self.kill(node, held).await
            }
            Kind::Terminate => {
                self.terminate(fault.node).await?;
                sleep(held).await;
                self.start(fault.node).await
            }
            Kind::Stop => {
                self.signal(fault.node, Signal::STOP)?;
                sleep(held).await;
                self.go_on(fault.node)
            }
            Kind::StopInRenewal => self.stop_in_renewal(fault.node, held).await,
            Kind::SlowJoin => self.join_slowly(fault, held).await,
            Kind::Partition => self.part(&[fault.node], Lost::Both, held).await,
            Kind::PartitionOneWay => {
                let lost = if fault.is_other_way {
                    Lost::Incoming
                } else {
                    Lost::Outgoing
                };
                self.part(&[fault.node], lost, held).await
            }
            Kind::PartitionAll => self.part(all, Lost::Both, held).await,
            Kind::KillPooler => {
                let pooler = self.poolers.get(self.pooled(fault.node)?).and_then(Option::as_ref);
                let pooler = pooler.context("no pooler")?;
                blocking(pooler, Pooler::kill).await?;
                sleep(held).await;
                blocking(pooler, Pooler::start).await
            }
            Kind::CrashDatabase => {
                blocking(&self.database, |database| {
                    database.crash();
                    Ok(())
                })
                .await
            }
            Kind::StopDatabase => self.stop_database(held).await,
            Kind::Promote => self.fail_over(fault.is_other_way, held).await,
        }
    }

    /// Loses the primary for so long, until the standby is promoted.
    pub(crate) async fn fail_over(&self, is_hung: bool, held: Duration) -> anyhow::Result<()> {
        blocking(&self.database, move |database| database.lose(is_hung)).await?;
        sleep(held).await;
        blocking(&self.database, move |database| database.promote(is_hung)).await?;
        // Commits wait for nothing until there is a standby again, and then for that.
        blocking(&self.database, |database| {
            database.rebuild();
            Ok(())
        })
        .await
    }

    /// Stops the database where it is for so long.
    pub(crate) async fn stop_database(&self, held: Duration) -> anyhow::Result<()> {
        blocking(&self.database, |database| database.stop_processes()).await?;
        sleep(held).await;
        blocking(&self.database, |database| database.continue_processes()).await
    }

    fn node(&self, node: usize) -> anyhow::Result<&Arc<Mutex<Node>>> {
        self.nodes.get(node).context("no such node")
    }

    fn signal(&self, node: usize, signal: Signal) -> anyhow::Result<()> {
        lock(self.node(node)?).signal(signal)
    }

    /// Lets a node go on that was stopped, while many ask it.
    fn go_on(&self, node: usize) -> anyhow::Result<()> {
        // Others too: what that node takes for dead may serve.
        for node in 0..self.nodes.len() {
            self.shared.burst(node, self.shared.lease / 2);
        }
        self.signal(node, Signal::CONT)
    }

    /// A node that has a pooler, this one or the next.
    fn pooled(&self, node: usize) -> anyhow::Result<usize> {
        let mut nodes = (node..self.poolers.len()).chain(0..node);
        nodes
            .find(|node| self.poolers.get(*node).is_some_and(Option::is_some))
            .context("no node has a pooler")
    }

    async fn kill(&self, node: usize, held: Duration) -> anyhow::Result<()> {
        blocking(self.node(node)?, |node| {
            node.signal(Signal::KILL)?;
            node.end()
        })
        .await?;
        sleep(held).await;
        self.start(node).await
    }

    async fn start(&self, node: usize) -> anyhow::Result<()> {
        let behind = self.node(node)?;
        self.shared.burst(node, self.shared.lease);
        blocking(behind, Node::start).await
    }

    /// Ends a node, which says that nothing went wrong.
    async fn terminate(&self, node: usize) -> anyhow::Result<()> {
        let status = blocking(self.node(node)?, |node| {
            node.signal(Signal::TERM)?;
            node.end()
        })
        .await?;
        if !status.success() {
            let what = format!("node {node}: after SIGTERM it ends with {status}");
            self.shared.state().tally.other(what);
        }
        Ok(())
    }

    /// Stops a node in the middle of a renewal: the database has changed its row, and waits for its commit.
    async fn stop_in_renewal(&self, node: usize, held: Duration) -> anyhow::Result<()> {
        let config = lock(&self.database).superuser();
        let mut holder = database::connect(&config).await?;
        let watcher = database::connect(&config).await?;
        let pattern = format!("{}/%", node::name(node));
        let begun = self.shared.now();
        let mut stopped = false;
        while !stopped {
            if self.shared.now() - begun > PATIENCE {
                bail!("node {node} does not renew its lease");
            }
            // Its next renewal waits for the row, for so long as it takes to see that it does.
            let transaction = holder.transaction().await?;
            let row = "SELECT FROM xks.claims WHERE kind = 'node' AND id LIKE $1 FOR UPDATE";
            transaction.execute(row, &[&pattern]).await?;
            let wait = "SELECT count(*) FROM pg_stat_activity
                        WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE xks.claims%'";
            let since = self.shared.now();
            while !stopped && self.shared.now() - since < self.shared.lease / 2 {
                stopped = watcher.query_one(wait, &[]).await?.get::<_, i64>(0) > 0;
                if stopped {
                    self.signal(node, Signal::STOP)?;
                }
            }
            transaction.rollback().await?;
        }
        sleep(held).await;
        self.go_on(node)
    }

    /// Lets a node join again, or restarts it, where its row takes its time to come into the database.
    async fn join_slowly(&self, fault: &Fault, held: Duration) -> anyhow::Result<()> {
        let seconds = self.shared.lease.as_secs_f64() * 0.15;
        let slow = move |database: &mut Database| {
            database.slow_joins(seconds);
            Ok(())
        };
        if fault.is_other_way {
            self.terminate(fault.node).await?;
            blocking(&self.database, slow).await?;
            self.start(fault.node).await?;
        } else {
            // Before it is stopped, which may be in a transaction that the change of the table would wait
            // for.
            blocking(&self.database, slow).await?;
            self.shared.leave_alone(Some(fault.node));
            sleep(self.shared.lease / 4).await;
            self.signal(fault.node, Signal::STOP)?;
            sleep(held).await;
            self.go_on(fault.node)?;
        }
        sleep(self.shared.lease / 2).await;
        self.shared.leave_alone(None);
        blocking(&self.database, |database| {
            database.joins_as_usual();
            Ok(())
        })
        .await
    }

    async fn part(&self, nodes: &[usize], lost: Lost, held: Duration) -> anyhow::Result<()> {
        for node in nodes {
            network::part(*node, lost, &Database::PORTS)?;
        }
        sleep(held).await;
        for node in nodes {
            network::join(*node)?;
            self.shared.burst(*node, self.shared.lease / 4);
        }
        Ok(())
    }
}
