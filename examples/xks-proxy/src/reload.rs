//! Reads the settings again, on SIGHUP or when a file has changed, and puts them in force, or leaves what is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    app::App,
    service_manager,
    settings::{self, Loaded, Settings, Severity},
    summary, with_causes,
};

/// How long a reload may take: longer than a token that works takes to open.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Reload {
    path: PathBuf,
    files: Files,
    watch: Option<Duration>,
    fixed: Fixed,
    hangup: Hangup,
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
    pub(crate) fn new(path: &Path, files: Files, settings: &Settings, hangup: Hangup) -> Self {
        Self {
            path: path.to_owned(),
            files,
            watch: settings.watch,
            fixed: Fixed::of(settings),
            hangup,
        }
    }

    /// Reloads whenever there is a reason, for ever.
    pub(crate) async fn run(mut self, app: &Arc<App>) {
        // A file that is just being written changes between two looks: only one that has come to rest counts.
        let mut unrest = None;
        loop {
            let look = async {
                match self.watch {
                    Some(interval) => tokio::time::sleep(interval).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = self.hangup.0.recv() => {}
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
            self.reload(Arc::clone(app)).await;
        }
    }

    async fn reload(&mut self, app: Arc<App>) {
        service_manager::reloading();
        // What changes from here on, while it is being read or while a token hangs, is seen as changed afterwards.
        self.files = self.files.look_again().await;
        let (path, files, fixed) = (self.path.clone(), self.files.clone(), self.fixed.clone());
        let metrics = Arc::clone(&app.metrics);
        let (reloaded, turn) = (Arc::clone(&app), app.next_turn());
        let reloading = tokio::task::spawn_blocking(move || reload(&path, files, &fixed, &app, turn));
        match tokio::time::timeout(PATIENCE, reloading).await {
            Ok(Ok(Outcome { files, settings })) => {
                self.files = files;
                metrics.count_reload(settings.is_some());
                if let Some(settings) = settings {
                    self.watch = settings.watch;
                    let backends = reloaded.backends();
                    tokio::spawn(async move { summary::warn_of_unusable_keys(&settings, &backends).await });
                }
            }
            Ok(Err(error)) => {
                tracing::error!("settings not reloaded, the former ones stay in force: {error}");
                metrics.count_reload(false);
            }
            Err(_) => {
                reloaded.next_turn(); // so that it does not take effect when nobody expects it any more
                tracing::error!(
                    "settings not reloaded, the former ones stay in force: a key manager does not open within {} s; \
                     leave it out or as it was, or try again with SIGHUP",
                    PATIENCE.as_secs()
                );
                metrics.count_reload(false);
            }
        }
        service_manager::ready();
    }
}

struct Outcome {
    files: Files,
    /// Those that are in force now; none when the former ones stay.
    settings: Option<Settings>,
}

/// `before` is how the files were before any of them is read.
fn reload(path: &Path, before: Files, fixed: &Fixed, app: &App, turn: u64) -> Outcome {
    let unchanged = |files| Outcome { files, settings: None };
    let failed = |files, reason: String| {
        tracing::error!("settings not reloaded, the former ones stay in force: {reason}");
        unchanged(files)
    };
    let Loaded {
        settings,
        problems,
        files: named,
        ..
    } = match settings::load(path) {
        Ok(loaded) => loaded,
        Err(error) => return failed(before, format!("cannot read {}: {error}", path.display())),
    };
    let looked = before.and(Files::look(&named));
    for problem in &problems {
        match problem.severity {
            Severity::Error => tracing::error!("settings not reloaded, the former ones stay in force: {problem}"),
            Severity::Warning => tracing::warn!("{problem}"),
        }
    }
    let Some(settings) = settings else {
        return unchanged(looked);
    };
    if let Err(error) = app.replace(&settings, turn) {
        if app.is_late(turn) {
            tracing::info!("a reload that had been given up has come to its end, and changed nothing");
            return unchanged(looked);
        }
        let why = with_causes(&*error);
        return failed(looked, format!("{why}; SIGHUP tries again"));
    }
    for table in fixed.changes(&Fixed::of(&settings)) {
        tracing::warn!("a change of [{table}] takes effect with the next start");
    }
    tracing::info!(key_stores = settings.key_stores.len(), "settings reloaded");
    Outcome {
        files: looked.of(&named),
        settings: Some(settings),
    }
}

/// What stays as it was at the start.
#[derive(Clone, PartialEq)]
struct Fixed(Vec<(&'static str, String)>);

impl Fixed {
    fn of(settings: &Settings) -> Self {
        Self(vec![
            ("environment", format!("{:?}", settings.environment)),
            ("server", format!("{:?}", settings.server)),
            ("tls", settings.tls.is_some().to_string()),
            ("health", format!("{:?}", settings.health)),
            ("metrics", format!("{:?}", settings.metrics)),
            ("log", format!("{:?}", settings.log)),
        ])
    }

    fn changes<'o>(&self, other: &'o Self) -> impl Iterator<Item = &'static str> + use<'_, 'o> {
        self.0
            .iter()
            .zip(&other.0)
            .filter(|(one, other)| one != other)
            .map(|((table, _), _)| *table)
    }
}

/// How each file was at a look: none where there is no such file. Symbolic links are followed, so that one that is
/// pointed elsewhere has changed.
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
        let look = tokio::task::spawn_blocking(move || Self::look(&names));
        look.await.unwrap_or_else(|_| self.clone()) // it does not panic
    }

    /// Both; of what is in both, as it is here.
    pub(crate) fn and(self, other: Self) -> Self {
        let mut all = other.0;
        all.extend(self.0);
        Self(all)
    }

    fn of(mut self, names: &BTreeSet<PathBuf>) -> Self {
        self.0.retain(|name, _| names.contains(name));
        self
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
