//! The server's ports: they are bound, serve, and end without losing a request.
//!
//! After SIGTERM the server is not ready and still serves, until balancers have noticed: then a closing
//! listener turns no client away. HTTP/2 clients get a GOAWAY at once, HTTP/1.1 clients a `connection: close`
//! with their next response; their connections are closed only when quiet, since a request in transit would
//! be lost. Health has a listener that stays to the end.

use std::{future::pending, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use xks_http::XksService;

use crate::{
    api::Api,
    auxiliary,
    certificates::Certificates,
    connection::{Http, Patience, Phase},
    health::Health,
    listener::Listener,
    metrics::Metrics,
    port::Port,
    process::Connections,
    reconciler::Reconciler,
    service_manager,
    settings::{ServerSettings, Settings},
    workers::Workers,
};

/// How long the threads of connections may take to drop them.
const LAST_TASKS: Duration = Duration::from_secs(1);

/// All ports, bound. The API's waits.
pub(crate) struct Ports {
    settings: ServerSettings,
    api: Listener,
    addresses: Addresses,
    phase: watch::Sender<Phase>,
}

/// Where it listens.
#[derive(Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) api: SocketAddr,
    pub(crate) health: Option<SocketAddr>,
    pub(crate) metrics: Option<SocketAddr>,
}

impl Ports {
    /// Within a runtime. `listen` is where the API is. Health and metrics are served at once.
    pub(crate) fn bind(
        settings: &Settings,
        listen: SocketAddr,
        most: Connections,
        certificates: &Certificates,
        health: &Arc<Health>,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let server = settings.server.clone();
        let auxiliary = |address: Option<SocketAddr>| {
            let bind = |address| Listener::bind(address, most.auxiliary, None);
            address.map(bind).transpose()
        };
        let api = Listener::bind(listen, most.api, server.tcp_keepalive)?;
        let (for_health, for_metrics) = (auxiliary(settings.health.listen)?, auxiliary(settings.metrics)?);
        let addresses = Addresses {
            api: api.address(),
            health: for_health.as_ref().map(Listener::address),
            metrics: for_metrics.as_ref().map(Listener::address),
        };
        let tls = certificates.greetings();
        if let Some(listener) = for_health {
            auxiliary::serve(listener, Arc::clone(&tls.health), health, metrics);
        }
        if let Some(listener) = for_metrics {
            auxiliary::serve(listener, Arc::clone(&tls.metrics), metrics, metrics);
        }
        Ok(Self {
            settings: server,
            api,
            addresses,
            phase: watch::Sender::new(Phase::Serving),
        })
    }

    pub(crate) const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves until a signal to stop, and then until requests in flight have ended. `ready` is run when it
    /// serves.
    pub(crate) async fn run(
        self,
        reconciler: &Arc<Reconciler>,
        health: &Arc<Health>,
        stop: &mut Stop,
        ready: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let Self { settings, phase, .. } = self;
        let patience = Patience {
            header: settings.header_timeout,
            stall: settings.stall_timeout,
            idle: settings.idle_timeout,
        };
        let service = XksService::new(Arc::clone(&reconciler.proxy))
            .timeout(settings.timeout)
            .max_body_bytes(settings.max_body_bytes)
            .max_unfinished_bytes(XksService::DEFAULT_MAX_UNFINISHED_BYTES.max(4 * settings.max_body_bytes));
        let metrics = Arc::clone(&reconciler.metrics);
        let api = Arc::new(Api {
            service,
            health: Arc::clone(health),
            metrics: Arc::clone(&metrics),
        });
        let http = Http::new(patience, phase.subscribe());
        let port = Arc::new(Port::new(
            http,
            Arc::clone(&reconciler.certificates.greetings().api),
            api,
            Arc::clone(&metrics),
        ));
        let counting = Arc::clone(&metrics);
        let refused = move || {
            counting.connections_refused.inc();
        };
        let workers = Arc::new(Workers::start().context("cannot start the threads for connections")?);
        let serve = {
            let workers = Arc::clone(&workers);
            move |stream, place| {
                let (open, port) = (Open::new(&metrics), Arc::clone(&port));
                workers.serve(async move {
                    port.serve(stream, place).await;
                    drop(open);
                });
            }
        };
        let serving = tokio::spawn(self.api.serve(phase.subscribe(), serve, refused));

        let ready_and_on = async {
            ready.await;
            pending::<()>().await;
        };
        tokio::select! {
            () = ready_and_on => {}
            () = stop.signalled() => {}
        }
        tracing::info!("stopping: not ready, still serving");
        service_manager::stopping();
        health.stop();
        phase.send_replace(Phase::Leaving);
        // Whoever is in a hurry says it twice.
        tokio::select! {
            () = tokio::time::sleep(settings.drain_delay) => {}
            () = stop.signalled() => {}
        }
        phase.send_replace(Phase::Stopping);
        tracing::info!("stopping: waiting for requests in flight");
        let connections = serving.await.context("the listener")?;
        if tokio::time::timeout(settings.drain_timeout, connections.ended())
            .await
            .is_err()
        {
            tracing::warn!("stopped with open connections");
        }
        // With their runtimes goes everything that may still hold a backend.
        if tokio::time::timeout(LAST_TASKS, workers.end()).await.is_err() {
            tracing::warn!("stopped with a request pending in a key manager");
        }
        Ok(())
    }
}

/// Counts an open connection to the API.
struct Open(Arc<Metrics>);

impl Open {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.connections.inc();
        Self(Arc::clone(metrics))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

/// The signals that end the server.
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// From now on.
    pub(crate) fn catch() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    pub(crate) async fn signalled(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
