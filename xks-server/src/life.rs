//! A server's life: from its settings to its end.
//!
//! Signals are caught before a module is loaded, and wait for a module that is opening: ending it in the
//! middle of a login may destroy its token.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::Path,
    process::ExitCode,
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{runtime, task::spawn_blocking};
use xks_core::text::ErrorChain;

use crate::{
    FAILURE, WRONG_SETTINGS,
    audit::{self, Audit},
    backends::{BackendError, Backends},
    certificates::{Certificates, Prepared},
    comparing,
    demo::{self, Demo},
    expiry,
    health::Health,
    log::Log,
    metrics::Metrics,
    ports::{Ports, Stop},
    print,
    process::{self, Connections},
    reconciler::Reconciler,
    reload::{Files, Hangup, Reload},
    server::{Server, report},
    service_manager,
    settings::{LogOutput, Settings, Severity},
    source::KeyStoreSource,
    summary::{self, Origin},
};
#[cfg(feature = "lifecycle")]
use crate::{
    admin::{Administration, SocketError},
    lifecycle,
};

/// How long tasks that outlived the server's own patience may take to be dropped.
const LAST_TASKS: Duration = Duration::from_secs(1);

/// How long a token that is being opened is waited for after a signal to stop. In the middle of a
/// login some modules must not be ended.
const LAST_OPENING: Duration = Duration::from_secs(10);

/// A settings file, and how all files that were read were then.
struct File<'a> {
    path: &'a Path,
    seen: Files,
}

/// What says what is served.
enum Started<'a> {
    By(File<'a>),
    AsDemo(Demo),
}

/// Serves the key stores of a settings file, or the demo, until a signal to stop.
pub(crate) fn serve(server: &Server, path: Option<&Path>, listen: Option<SocketAddr>) -> anyhow::Result<ExitCode> {
    let (settings, problems, started) = match path {
        Some(path) => {
            // What changes from here on is a change.
            let before = Files::look_at(path);
            let mut loaded = server.load(path)?;
            if loaded.errors() > 0 {
                report(&loaded)?;
                return Ok(WRONG_SETTINGS.into());
            }
            let settings = loaded.settings.take().context("no settings")?;
            let seen = before.and(Files::look(&loaded.files));
            (settings, loaded.problems, Started::By(File { path, seen }))
        }
        None => {
            let demo = server.make_demo()?;
            let listen = listen.unwrap_or_else(demo::free_address);
            (demo.settings(listen)?, Vec::new(), Started::AsDemo(demo))
        }
    };
    process::put_into_environment(&settings.environment)?;
    let audit = settings.audit.as_ref().map(Audit::start).transpose()?;
    let queue = audit.as_ref().map(Audit::queue);
    let log = Log::start(&settings.log, queue.clone())?;
    for problem in &problems {
        match problem.severity {
            Severity::Error => tracing::error!("{problem}"),
            Severity::Warning => tracing::warn!("{problem}"),
        }
    }
    // For all but connections, which have threads of their own. Two, since one may be kept by a token's
    // search.
    let mut runtime = runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let mut backends = None;
    let result = runtime.block_on(live(server, &settings, listen, started, &log, queue, &mut backends));
    // With the runtime goes everything that may still hold a backend.
    runtime.shutdown_timeout(LAST_TASKS);
    if let Some(backends) = backends {
        backends.close_all_but(None);
    }
    // While the log can still say that it was not written.
    drop(audit);
    let Err(error) = result else {
        tracing::info!("stopped");
        return Ok(ExitCode::SUCCESS);
    };
    // On standard error, in one line, wherever the log goes.
    if settings.log.output != LogOutput::Stderr {
        let _ = writeln!(io::stderr(), "{}: {}", server.program.name, ErrorChain(&*error));
    }
    tracing::error!("{}", ErrorChain(&*error));
    Ok(exit_status(&error).into())
}

/// The status to end with when a start fails so.
pub(crate) fn exit_status(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<BackendError>() {
        return error.exit_status();
    }
    #[cfg(feature = "lifecycle")]
    if let Some(error) = error.downcast_ref::<lifecycle::StartError>() {
        return error.exit_status();
    }
    #[cfg(feature = "lifecycle")]
    if let Some(error) = error.downcast_ref::<SocketError>() {
        return error.exit_status();
    }
    FAILURE
}

/// Within the runtime. What is left open in `backends` is the caller's to close, when no request can use it
/// any more.
async fn live(
    server: &Server,
    settings: &Settings,
    listen: Option<SocketAddr>,
    started: Started<'_>,
    log: &Log,
    audit: Option<audit::Queue>,
    backends: &mut Option<Arc<Backends>>,
) -> anyhow::Result<()> {
    // Before anything that a signal must not end half done.
    let mut stop = Stop::catch().context("cannot catch signals")?;
    let hangup = Hangup::catch().context("cannot catch signals")?;
    log.reopen_files_at_hangup().context("cannot catch signals")?;
    let health = Arc::new(Health::new(settings.health.clone()));
    let mut sources = server.metric_sources.clone();
    if let Some(audit) = audit.clone() {
        sources.push(Arc::new(move |samples| {
            let help = "Records of the audit log that were lost";
            samples.counter("audit_records_lost", help, &[], audit.lost() as f64);
        }));
    }
    let metrics = Arc::new(Metrics::new(log.lost_lines(), sources));
    let most = Connections::within_descriptors(settings.server.max_connections);
    let listen = listen.unwrap_or(settings.server.listen);
    let certificates = Certificates::new(Prepared::new(&settings.tls)?);
    let ports = Ports::bind(settings, listen, most, &certificates, &health, &metrics)?;
    let Some(opened) = open(settings, &mut stop).await? else {
        return Ok(());
    };
    #[cfg(feature = "lifecycle")]
    let managed = match &settings.lifecycle {
        Some(settings) => Some(lifecycle::Opened::open(settings, &opened, server.program, audit).await?),
        None => None,
    };
    #[cfg(feature = "lifecycle")]
    let guard = managed.as_ref().map(lifecycle::Opened::guard);
    #[cfg(not(feature = "lifecycle"))]
    let guard = None;
    let reconciler = Arc::new(Reconciler::new(
        settings,
        opened,
        certificates,
        Arc::clone(&metrics),
        server,
        guard,
    )?);
    #[cfg(feature = "lifecycle")]
    let managed = match managed {
        Some(managed) => Some(lifecycle::Running::start(managed, &reconciler)?),
        None => None,
    };
    for (name, run) in &server.key_store_sources {
        let (run, source) = (
            Arc::clone(run),
            KeyStoreSource {
                name,
                reconciler: Arc::clone(&reconciler),
            },
        );
        let thread = thread::Builder::new().name(format!("xks-{name}"));
        thread
            .spawn(move || run(source))
            .with_context(|| format!("cannot start a thread for {name}"))?;
    }
    *backends = Some(reconciler.backends());
    metrics.look_at(&reconciler);
    comparing::at_start(&reconciler).await;
    health.look(&reconciler).await;
    let origin = match &started {
        Started::By(file) => Origin::File(file.path),
        Started::AsDemo(demo) => Origin::Demo(demo),
    };
    #[cfg(feature = "lifecycle")]
    let told = managed.as_ref().map(lifecycle::Running::summary).unwrap_or_default();
    #[cfg(not(feature = "lifecycle"))]
    let told = String::new();
    let is_demo = matches!(started, Started::AsDemo(_));
    let text = summary::summary(
        server.program,
        settings,
        origin,
        ports.addresses(),
        &reconciler.backends(),
        &told,
    )
    .await;
    if let Started::By(File { path, seen }) = started {
        let reload = Reload::new(path, server.formats.clone(), seen, settings, hangup);
        let reconciler = Arc::clone(&reconciler);
        tokio::spawn(async move { reload.run(&reconciler).await });
    }
    let (watching, watched) = (Arc::clone(&health), Arc::clone(&reconciler));
    tokio::spawn(async move { watching.watch(&watched).await });
    let expiring = Arc::clone(&reconciler);
    tokio::spawn(async move { expiry::watch(&expiring).await });
    let (watching, watched) = (Arc::clone(&health), Arc::clone(&reconciler));
    tokio::spawn(async move { watching.watch_liveness(&watched).await });
    let alive = Arc::clone(&health);
    tokio::spawn(async move { service_manager::keep_alive(&alive).await });
    let compared = Arc::clone(&reconciler);
    tokio::spawn(async move { comparing::watch(&compared).await });
    #[cfg(feature = "lifecycle")]
    let (administration, node) = match managed {
        Some(managed) => {
            let serves_keys = managed.serves_keys();
            let (administration, node) = Administration::start(managed).await?;
            if let Some(node) = &node {
                let has_lease = node.has_lease();
                health.require(move || has_lease() || !serves_keys());
                node.tell(&reconciler, server.program.version, ports.addresses().api);
            }
            (Some(administration), node)
        }
        None => (None, None),
    };
    #[cfg(feature = "lifecycle")]
    let joined = node.as_ref().map(lifecycle::LiveNode::joined);
    let ready = async {
        #[cfg(feature = "lifecycle")]
        if let Some(joined) = joined {
            joined.await;
        }
        service_manager::ready();
        let end = if is_demo {
            "Press Ctrl-C to stop.\n"
        } else {
            "\nReady.\n"
        };
        // Where the log has standard output for itself, a reader of it gets nothing else.
        if settings.log.output == LogOutput::Stdout {
            text.lines()
                .filter(|line| !line.is_empty())
                .for_each(|line| tracing::info!("{line}"));
            tracing::info!("ready");
            return;
        }
        // Nobody waits for a reader who does not read.
        let printing = thread::Builder::new().spawn(move || {
            if let Err(error) = print(&text).and_then(|()| print(end)) {
                tracing::warn!("{}", ErrorChain(&*error));
            }
        });
        if let Err(error) = printing {
            tracing::warn!("ready, but the summary cannot be printed: cannot start a thread: {error}");
        }
    };
    let served = ports.run(&reconciler, &health, &mut stop, ready).await;
    #[cfg(feature = "lifecycle")]
    if let Some(administration) = administration {
        administration.end(settings.server.drain_timeout).await;
    }
    #[cfg(feature = "lifecycle")]
    if let Some(node) = node {
        node.leave().await;
    }
    *backends = Some(reconciler.backends());
    served
}

/// Opens the key managers; none after a signal to stop.
async fn open(settings: &Settings, stop: &mut Stop) -> anyhow::Result<Option<Backends>> {
    let kinds = settings.backends.clone();
    let mut opening = spawn_blocking(move || Backends::open(&kinds, None));
    tokio::select! {
        opened = &mut opening => return Ok(Some(opened.context("the start")??)),
        () = stop.signalled() => {}
    }
    tracing::info!("stopping: waiting for key managers that are opening");
    service_manager::stopping();
    let opened = tokio::select! {
        opened = tokio::time::timeout(LAST_OPENING, opening) => opened,
        () = stop.signalled() => return Ok(None),
    };
    match opened {
        // What was opened is closed; what is still being opened is abandoned.
        Ok(Ok(Ok(backends))) => spawn_blocking(move || backends.close_all_but(None))
            .await
            .context("the end")?,
        Ok(_) => {}
        Err(_) => tracing::warn!("a key manager does not return: it is not closed"),
    }
    Ok(None)
}
