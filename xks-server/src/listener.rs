//! Listeners: they take connections, as many as there may be, and let them go when the server ends.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use governor::{Quota, RateLimiter};
use socket2::{SockRef, TcpKeepalive as Keepalive};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

use crate::{connection::Phase, settings::TcpKeepalive};

/// Connections that the system keeps until they are taken.
const BACKLOG: u32 = 4096;

/// Between two attempts while the system has no descriptors or memory left.
const PAUSE: Duration = Duration::from_millis(50);

/// A bound port.
pub(crate) struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    slots: Arc<Semaphore>,
    most: u32,
    keepalive: Option<TcpKeepalive>,
}

impl Listener {
    /// It takes no connections yet; those that come wait.
    pub(crate) fn bind(address: SocketAddr, most: usize, keepalive: Option<TcpKeepalive>) -> anyhow::Result<Self> {
        let bind = || {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            }?;
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        };
        let listener = bind().with_context(|| {
            let hint = match address.port() {
                1..1024 => "a port below 1024 requires CAP_NET_BIND_SERVICE",
                _ => "choose another address with --listen or in the settings",
            };
            format!("cannot listen on {address} ({hint})")
        })?;
        let address = listener.local_addr().context("cannot read the listener's address")?;
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        Ok(Self {
            listener,
            address,
            slots: Arc::new(Semaphore::new(most as usize)),
            most,
            keepalive,
        })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the phase is [`Phase::Stopping`]. The connections go on then, and [`Connections`] waits
    /// for them.
    ///
    /// `serve` puts a connection, which does not block, where it is served; its place is kept for as long as
    /// it is open.
    pub(crate) async fn serve(
        self,
        mut phase: watch::Receiver<Phase>,
        serve: impl Fn(TcpStream, Place),
        refused: impl Fn(),
    ) -> Connections {
        let Self {
            listener,
            slots,
            most,
            keepalive,
            ..
        } = self;
        let serve = |stream: TcpStream| {
            let Ok(place) = Arc::clone(&slots).try_acquire_owned() else {
                // Closed at once: a client that is kept waiting learns nothing.
                refused();
                return;
            };
            if let Err(error) = prepare(&stream, keepalive) {
                tracing::debug!("cannot set the socket options of a connection: {error}");
            }
            serve(stream, Place(place));
        };
        let complaints = RateLimiter::direct(Quota::per_minute(NonZeroU32::MIN));
        let mut stopping = std::pin::pin!(Phase::Stopping.reached(&mut phase));
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted.and_then(|(stream, _)| stream.into_std()) {
                    Ok(stream) => serve(stream),
                    Err(error) => {
                        match complaints.check() {
                            Ok(()) => tracing::warn!("cannot accept connections: {error}"),
                            Err(_) => tracing::debug!("cannot accept a connection: {error}"),
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                () = &mut stopping => break,
            }
        }
        // Those that have come already are still served; from here to the listener's end is the only gap.
        if let Ok(listener) = listener.into_std() {
            for (stream, _) in (0..BACKLOG).map_while(|_| listener.accept().ok()) {
                match stream.set_nonblocking(true) {
                    Ok(()) => serve(stream),
                    Err(error) => tracing::debug!("connection failed: {error}"),
                }
            }
        }
        Connections { slots, most }
    }
}

/// Small answers go out at once, and a peer that is gone is found out.
fn prepare(stream: &TcpStream, keepalive: Option<TcpKeepalive>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Some(keepalive) = keepalive else { return Ok(()) };
    let mut options = Keepalive::new().with_time(keepalive.idle);
    if let Some(interval) = keepalive.interval {
        options = options.with_interval(interval);
    }
    if let Some(retries) = keepalive.retries {
        options = options.with_retries(retries);
    }
    SockRef::from(stream).set_tcp_keepalive(&options)
}

/// One of the connections that there may be.
pub(crate) struct Place(#[expect(dead_code, reason = "it is dropped, and that is all")] OwnedSemaphorePermit);

/// The remains of a listener that has ended.
pub(crate) struct Connections {
    slots: Arc<Semaphore>,
    most: u32,
}

impl Connections {
    /// Until the last has ended.
    pub(crate) async fn ended(&self) {
        let _ = self.slots.acquire_many(self.most).await; // never closed
    }
}
