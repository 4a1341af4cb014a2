//! A run: tokens, two lives of the proxy, clients, and the disturber.

use std::os::unix::process::CommandExt as _;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use kms_double::wire::Http;
use tokio::{task::JoinSet, task::spawn_blocking, time::sleep};
use xks_pkcs11_fixture::{KeyTemplate, Profile, Shim, SoftHsm, shim_path};

use crate::{
    client::Client,
    disturber::Disturber,
    leftovers::{LifeReport, Moment},
    plan::{Life, Plan},
    process::Process,
    report::Report,
    rules::{CALM, Rules},
    settings::{KEYS, PIN, Settings, TOKEN},
    shared::{Served, Shared, Versions},
};

/// How long sessions, threads and descriptors may take to be given back.
const SETTLE: Duration = Duration::from_secs(20);

pub(crate) struct Run {
    pub(crate) total: Duration,
    pub(crate) clients: usize,
    pub(crate) seed: u64,
    pub(crate) proxy: PathBuf,
    pub(crate) versions: Versions,
    pub(crate) lives: [Life; 2],
}

impl Run {
    /// Until its time is over, or until it is interrupted.
    pub(crate) async fn run(&self, hsm: &Arc<SoftHsm>) -> anyhow::Result<(Arc<Shared>, Report)> {
        let start = Instant::now();
        let mut rng = fastrand::Rng::with_seed(self.seed);
        let mut settings = Settings::new(hsm.folder(), &shim_path(), &mut rng)?;
        let values = make_keys(hsm, &mut rng).await?;
        let [life, _] = &self.lives;
        let (shim, process) = self.start(hsm, &mut settings, 0, life)?;
        let shared = Arc::new(Shared::new(self.clients, Served::new(0, &process, &settings)?));
        for (key, value) in values {
            shared.add_value(key, value);
        }
        let first = self.moment(&process, &settings, &shared)?;
        let mut disturber = Disturber::new(&shared, settings, hsm, (shim, process), rng);
        let mut clients = self.clients(&shared);
        let progress = tokio::spawn(progress(Arc::clone(&shared), start));
        let mut report = Report {
            seed: self.seed,
            took: Duration::ZERO,
            was_interrupted: false,
            phases: BTreeMap::new(),
            lives: Vec::new(),
        };
        let ended = tokio::select! {
            ended = self.lives(&mut disturber, first, &mut report, &mut clients) => ended,
            _ = tokio::signal::ctrl_c() => {
                report.was_interrupted = true;
                Ok(())
            }
        };
        shared.has_to_stop.store(true, Ordering::SeqCst);
        progress.abort();
        while clients.join_next().await.is_some() {}
        if let Err(error) = &ended {
            shared.tally().fault(format!("the run cannot go on: {error:#}"));
        }
        if report.was_interrupted || ended.is_err() {
            let status = disturber.process.end().await?;
            if !status.success() {
                shared
                    .tally()
                    .fault(format!("after SIGTERM the proxy ends with {status}"));
            }
        }
        report.took = start.elapsed();
        Ok((shared, report))
    }

    async fn lives(
        &self,
        disturber: &mut Disturber,
        first: Moment,
        report: &mut Report,
        clients: &mut JoinSet<()>,
    ) -> anyhow::Result<()> {
        let mut plans = Plan::of(&self.lives, self.seed, self.total).into_iter();
        let mut start = first;
        for (number, life) in self.lives.iter().enumerate() {
            let plan = plans.next().context("a plan for each life")?;
            let mut of_life = LifeReport {
                name: life.name,
                clients: self.clients as u64,
                start,
                ..LifeReport::default()
            };
            self.live(disturber, life, plan, &mut of_life, report).await?;
            let is_last = number + 1 == self.lives.len();
            if is_last {
                disturber.shared.has_to_stop.store(true, Ordering::SeqCst);
                while let Some(ended) = clients.join_next().await {
                    ended.context("a client")?;
                }
            }
            disturber.shared.phases.begin("restart", Rules::RESTART);
            let next = if is_last { None } else { self.lives.get(number + 1) };
            let next_start = self.end(disturber, next, number, of_life, report).await?;
            start = next_start.unwrap_or(start);
        }
        Ok(())
    }

    /// One life: phase after phase, until its time is over and all that is needed has been.
    async fn live(
        &self,
        disturber: &mut Disturber,
        life: &Life,
        plan: Plan,
        of_life: &mut LifeReport,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let (begin, time) = (Instant::now(), self.total.mul_f64(life.part));
        sleep(Duration::from_secs(1)).await;
        for step in plan {
            if begin.elapsed() >= time && !step.is_needed {
                break;
            }
            disturber.disturb(&step).await?;
            *report.phases.entry(step.kind.name()).or_default() += 1;
            sleep(step.calm).await;
            if of_life.warm.requests == 0 && begin.elapsed() >= time / 4 {
                of_life.warm = self.moment(&disturber.process, &disturber.settings, &disturber.shared)?;
            }
        }
        self.settle(disturber, of_life).await
    }

    /// Waits until what is not needed any more has been given back, and notes what has not.
    async fn settle(&self, disturber: &Disturber, of_life: &mut LifeReport) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            of_life.end = self.moment(&disturber.process, &disturber.settings, &disturber.shared)?;
            let counters = spawn_blocking({
                let shim = disturber.shim.clone();
                move || shim.counters()
            });
            let counters = counters.await?;
            of_life.open_sessions = counters.open_sessions;
            of_life.initialized = counters.initialized + disturber.forgotten.0;
            of_life.injected = counters.injected + disturber.forgotten.1;
            of_life.left_open_before = counters.leaked_sessions;
            let resources = of_life.end.resources;
            let is_settled = counters.open_sessions <= of_life.most_sessions()
                && resources.threads <= of_life.most_threads()
                && resources.descriptors <= of_life.most_descriptors();
            if is_settled || start.elapsed() > SETTLE {
                break;
            }
            sleep(Duration::from_millis(200)).await;
        }
        let violations = disturber.ask("violations")?;
        of_life.violations = violations.lines().map(str::to_owned).collect();
        of_life.lines_lost = lines_lost(disturber).await?;
        Ok(())
    }

    /// Ends a life, and begins the next one; returns its first moment.
    async fn end(
        &self,
        disturber: &mut Disturber,
        next: Option<&Life>,
        number: usize,
        mut of_life: LifeReport,
        report: &mut Report,
    ) -> anyhow::Result<Option<Moment>> {
        let shared = Arc::clone(&disturber.shared);
        let said = Arc::clone(&disturber.process.said);
        let status = disturber.process.end().await?;
        of_life.exit_code = status.code();
        let last_words = disturber.shim.last_words();
        if let Some((counters, violations)) = last_words {
            of_life.left_open = counters.leaked_sessions.saturating_sub(of_life.left_open_before);
            for violation in violations {
                if !of_life.violations.contains(&violation) {
                    of_life.violations.push(violation);
                }
            }
        } else {
            shared
                .tally()
                .fault(format!("{}: the module was not finalized", of_life.name));
        }
        of_life.panics = said.panics.load(Ordering::SeqCst);
        of_life.reloads = [&said.reloaded, &said.not_reloaded].map(|counter| counter.load(Ordering::SeqCst));
        for fault in of_life.faults() {
            shared.tally().fault(fault);
        }
        report.lives.push(of_life);
        let Some(life) = next else {
            return Ok(None);
        };
        let hsm = Arc::clone(&disturber.hsm);
        (disturber.shim, disturber.process) = self.start(&hsm, &mut disturber.settings, number + 1, life)?;
        disturber.life = number + 1;
        disturber.forgotten = (0, 0);
        let moment = self.moment(&disturber.process, &disturber.settings, &shared)?;
        shared.serve(Served::new(number + 1, &disturber.process, &disturber.settings)?);
        shared.quiesce().await?;
        shared.phases.begin(CALM, Rules::CALM);
        Ok(Some(moment))
    }

    /// Starts the proxy for a life, in front of a shim that is steered from here.
    fn start(
        &self,
        hsm: &SoftHsm,
        settings: &mut Settings,
        number: usize,
        life: &Life,
    ) -> anyhow::Result<(Shim, Process)> {
        settings.has_tls = life.has_tls;
        let profile = match life.writes_ivs_back {
            true => Profile::Nshield,
            false => Profile::SoftHsm,
        };
        settings.vendor = profile.name();
        settings.write()?;
        let mut command = Command::new(&self.proxy);
        // Ctrl-C is for this program alone.
        command.process_group(0);
        command
            .arg("--config")
            .arg(settings.path())
            .env("SOFTHSM2_CONF", hsm.config());
        let socket = hsm.folder().join(format!("shim-{number}"));
        let shim = Shim::elsewhere(&mut command, &socket, profile);
        let process = Process::start(&mut command, &log(hsm.folder(), number))?;
        Ok((shim, process))
    }

    fn clients(&self, shared: &Arc<Shared>) -> JoinSet<()> {
        let clients = (0..self.clients).map(|number| {
            let http = match self.versions {
                Versions::One => Http::One,
                Versions::Two => Http::Two,
                Versions::Both if number % 2 == 0 => Http::One,
                Versions::Both => Http::Two,
            };
            let seed = self.seed.wrapping_add(number as u64 + 1);
            Client::new(shared, number, seed, http).work()
        });
        clients.collect()
    }

    fn moment(&self, process: &Process, settings: &Settings, shared: &Shared) -> anyhow::Result<Moment> {
        Ok(Moment {
            resources: process.resources()?,
            requests: shared.tally().total(),
            sessions: settings.sessions,
        })
    }
}

/// Where a life's log is.
fn log(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("xks-proxy-{number}.log"))
}

async fn make_keys(hsm: &Arc<SoftHsm>, rng: &mut fastrand::Rng) -> anyhow::Result<Vec<(&'static str, [u8; 32])>> {
    let keys = KEYS.map(|(key, _)| {
        let mut value = [0; 32];
        rng.fill(&mut value);
        (key, value)
    });
    let hsm = Arc::clone(hsm);
    spawn_blocking(move || {
        hsm.token(TOKEN, PIN);
        for (key, value) in keys {
            hsm.key(TOKEN, &KeyTemplate::aes256(key).value(value));
        }
    })
    .await
    .context("no token could be made")?;
    Ok(keys.to_vec())
}

/// The lines of its log that the proxy says that it has lost.
async fn lines_lost(disturber: &Disturber) -> anyhow::Result<f64> {
    let metrics = disturber.shared.served().metrics.clone();
    let mut request = kms_double::wire::Raw::unsigned(&metrics, http::Method::GET, "", b"")?;
    "/metrics".clone_into(&mut request.target);
    let answer = metrics.connect().await?.send(&request).await?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("xks_log_lines_lost_total "));
    Ok(value.context("no xks_log_lines_lost_total")?.trim().parse()?)
}

/// A line every few seconds.
#[expect(clippy::print_stderr, reason = "for whoever waits")]
async fn progress(shared: Arc<Shared>, start: Instant) {
    let last = AtomicU64::new(0);
    loop {
        sleep(Duration::from_secs(5)).await;
        let (total, wrong, not_allowed, faults) = {
            let tally = shared.tally();
            (tally.total(), tally.wrong, tally.number_not_allowed(), tally.faults)
        };
        let before = last.swap(total, Ordering::Relaxed);
        eprintln!(
            "{:>5} s  {:<18} {total:>9} requests, {:>5}/s  wrong {wrong}, not allowed {not_allowed}, faults {faults}",
            start.elapsed().as_secs(),
            shared.phases.name(),
            total.saturating_sub(before) / 5,
        );
    }
}
