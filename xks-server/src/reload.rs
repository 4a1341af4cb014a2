//! Reads the settings again, on SIGHUP or when a file has changed, and puts them in force, or leaves what is.
//!
//! A revocation waits for no token: a reload that must open a token first applies everything that needs none,
//! which stays in force whatever the token does. A later reload supersedes one that still waits, and a token
//! that did not open within a minute is given up.
//!
//! A changed file is read when it has come to rest: two looks must agree. Notifications would miss files that
//! are mounted, linked or renamed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    future::pending,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::{self, JoinError, JoinSet},
    time::Instant,
};

use crate::{
    reconciler::{NotReplaced, Reconciler},
    service_manager,
    settings::{self, Fixed, Formats, Settings, Severity},
    summary,
};

/// The time limit of a reload: longer than a token that works takes to open.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Reload {
    path: PathBuf,
    formats: Formats,
    files: Files,
    watch: Option<Duration>,
    fixed: Fixed,
    hangup: Hangup,
    /// Changes that wait for key managers. The others of them have been superseded, or given up.
    running: JoinSet<Change>,
    /// The one that counts, and when it is given up.
    latest: Option<(task::Id, Instant)>,
    /// The latest change is incomplete, and may be completed when an earlier one has come to its end.
    is_incomplete: bool,
}

/// A change that has come to its end.
struct Change {
    settings: Settings,
    /// The files that the settings name.
    named: BTreeSet<PathBuf>,
    result: Result<(), NotReplaced>,
}

/// SIGHUP, which is caught from the moment this is made: until then it would end the process.
pub(crate) struct Hangup(Signal);

impl Hangup {
    /// Within a runtime.
    pub(crate) fn catch() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }
}

impl Reload {
    /// `files` is how they were when the settings were read.
    pub(crate) fn new(path: &Path, formats: Formats, files: Files, settings: &Settings, hangup: Hangup) -> Self {
        Self {
            path: path.to_owned(),
            formats,
            files,
            watch: settings.watch,
            fixed: Fixed::of(settings),
            hangup,
            running: JoinSet::new(),
            latest: None,
            is_incomplete: false,
        }
    }

    /// Reloads whenever there is a reason, without end. A reload that waits for a key manager holds up no
    /// later one.
    pub(crate) async fn run(mut self, reconciler: &Arc<Reconciler>) {
        // A file that is just being written changes between two looks: only one that has come to rest counts.
        let mut unrest = None;
        loop {
            let look = async {
                match self.watch {
                    Some(interval) => tokio::time::sleep(interval).await,
                    None => pending().await,
                }
            };
            let given_up = async {
                match self.latest {
                    Some((_, at)) => tokio::time::sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                _ = self.hangup.0.recv() => {}
                Some(ended) = self.running.join_next_with_id() => {
                    if self.has_ended(reconciler, ended) {
                        self.reload(reconciler).await;
                    }
                    continue;
                }
                () = given_up => {
                    self.give_up(reconciler);
                    continue;
                }
                () = look => {
                    let now = self.files.look_again().await;
                    if now == self.files {
                        unrest = None;
                        continue;
                    }
                    if unrest.as_ref() != Some(&now) {
                        unrest = Some(now);
                        continue;
                    }
                }
            }
            unrest = None;
            self.reload(reconciler).await;
        }
    }

    /// Reads the settings, and begins to put them in force, which ends all changes that are under way.
    async fn reload(&mut self, reconciler: &Arc<Reconciler>) {
        service_manager::reloading();
        // What changes from here on, while it is being read or while a token hangs, is seen as changed
        // afterwards.
        let before = self.files.look_again().await;
        let (path, formats) = (self.path.clone(), self.formats.clone());
        let read = task::spawn_blocking(move || read(&path, &formats, before)).await;
        let (files, read) = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::error!("settings not reloaded, the former settings stay in force: {error}");
                (self.files.clone(), None)
            }
        };
        self.files = files;
        let Some((settings, named)) = read else {
            reconciler.metrics.count_reload(false);
            self.say_ready();
            return;
        };
        let (reconciler, turn) = (Arc::clone(reconciler), reconciler.next_turn());
        let change = self.running.spawn_blocking(move || Change {
            result: reconciler.replace(&settings, turn),
            settings,
            named,
        });
        self.latest = Some((change.id(), Instant::now() + PATIENCE));
        self.is_incomplete = false;
    }

    /// Says what came of a change, and returns whether the settings should be read again.
    fn has_ended(&mut self, reconciler: &Arc<Reconciler>, ended: Result<(task::Id, Change), JoinError>) -> bool {
        let (id, change) = match ended {
            Ok((id, change)) => (id, Ok(change)),
            Err(error) => (error.id(), Err(error)),
        };
        if self.latest.is_none_or(|(latest, _)| latest != id) {
            tracing::info!("a superseded or abandoned reload ended without effect");
            return std::mem::take(&mut self.is_incomplete);
        }
        self.latest = None;
        self.say_ready();
        reconciler
            .metrics
            .count_reload(matches!(&change, Ok(Change { result: Ok(()), .. })));
        match change {
            Ok(Change {
                settings,
                named,
                result: Ok(()),
            }) => {
                for table in self.fixed.changes(&settings) {
                    tracing::warn!("a change of [{table}] takes effect at the next start");
                }
                tracing::info!(key_stores = settings.key_stores.len(), "settings reloaded");
                self.files.keep(&named);
                self.watch = settings.watch;
                let backends = reconciler.backends();
                tokio::spawn(async move { summary::warn_of_unusable_keys(&settings, &backends).await });
            }
            Ok(Change { result: Err(error), .. }) => {
                self.is_incomplete = error.waits_for_another();
                let stays = match error.is_in_force_in_part {
                    true => "not reloaded completely, changes that need no new key manager are in force",
                    false => "not reloaded, the former settings stay in force",
                };
                let again = match self.is_incomplete {
                    true => "the reload is repeated when that attempt ends",
                    false => "send SIGHUP to reload again",
                };
                tracing::error!("settings {stays}: {error}; {again}");
            }
            Err(error) => tracing::error!("settings not reloaded: {error}"),
        }
        false
    }

    /// So that it does not take effect when it is no longer expected.
    fn give_up(&mut self, reconciler: &Reconciler) {
        self.latest = None;
        reconciler.next_turn();
        tracing::error!(
            "settings not reloaded completely, changes that need no new key manager are in force: one did not open \
             within {} s; remove it or restore its former settings, or send SIGHUP to try again",
            PATIENCE.as_secs()
        );
        reconciler.metrics.count_reload(false);
        self.say_ready();
    }

    /// Unless a change is still under way.
    fn say_ready(&self) {
        if self.latest.is_none() {
            service_manager::ready();
        }
    }
}

/// Reads the settings, and says what is wrong with them. `before` is how the files were before; what is
/// returned is how they were when they were read.
fn read(path: &Path, formats: &Formats, before: Files) -> (Files, Option<(Settings, BTreeSet<PathBuf>)>) {
    let loaded = match settings::load(path, formats) {
        Ok(loaded) => loaded,
        Err(error) => {
            tracing::error!(
                "settings not reloaded, the former settings stay in force: cannot read {}: {error}",
                path.display()
            );
            return (before, None);
        }
    };
    let files = before.and(Files::look(&loaded.files));
    for problem in &loaded.problems {
        match problem.severity {
            Severity::Error => tracing::error!("settings not reloaded, the former settings stay in force: {problem}"),
            Severity::Warning => tracing::warn!("{problem}"),
        }
    }
    let named = loaded.files;
    (files, loaded.settings.map(|settings| (settings, named)))
}

/// The state of each file when it was read: none where there is no such file. Symbolic links are followed, so
/// that one that is pointed elsewhere has changed.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Files(BTreeMap<PathBuf, Option<[i64; 6]>>);

impl Files {
    pub(crate) fn look_at(path: &Path) -> Self {
        Self::look(&std::path::absolute(path).into_iter().collect())
    }

    pub(crate) fn look(names: &BTreeSet<PathBuf>) -> Self {
        Self(names.iter().map(|name| (name.clone(), state(name))).collect())
    }

    /// The same files, as they are now.
    async fn look_again(&self) -> Self {
        let names = self.0.keys().cloned().collect();
        let look = task::spawn_blocking(move || Self::look(&names));
        look.await.unwrap_or_else(|_| self.clone()) // it does not panic
    }

    /// Both; of what is in both, as it is here.
    pub(crate) fn and(self, other: Self) -> Self {
        let mut all = other.0;
        all.extend(self.0);
        Self(all)
    }

    /// Forgets the others.
    fn keep(&mut self, names: &BTreeSet<PathBuf>) {
        self.0.retain(|name, _| names.contains(name));
    }
}

fn state(path: &Path) -> Option<[i64; 6]> {
    let found = fs::metadata(path).ok()?;
    Some([
        found.dev().cast_signed(),
        found.ino().cast_signed(),
        found.len().cast_signed(),
        found.mtime(),
        found.mtime_nsec(),
        found.ctime_nsec() ^ found.ctime(),
    ])
}
