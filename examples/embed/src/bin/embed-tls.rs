//! An external key store over TLS, on hyper: with what `xks-http` leaves to the server.
//!
//! `XKS_SECRET=... XKS_CHAIN=chain.pem XKS_KEY=key.pem cargo run -p xks-embed-examples --bin embed-tls`, then
//! call `https://127.0.0.1:8004`, or the address of `XKS_LISTEN`.

#![forbid(unsafe_code)]

use std::{env, error::Error, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tower::{ServiceBuilder, util::MapRequestLayer};
use xks_backend_soft::{SoftBackend, SoftKey};
use xks_core::{Credential, KeyStore, KeyStores, Proxy};
use xks_http::{PeerAddr, XksService};

/// For a handshake, and for the head of a request. An idle connection ends after it too, and KMS opens
/// another.
const PATIENCE: Duration = Duration::from_secs(5);
const MAX_CONNECTIONS: usize = 1000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().init(); // the audit log: one event for each request

    let needed = |name: &str| env::var(name).map_err(|_| format!("set the environment variable {name}"));
    let backend = Arc::new(SoftBackend::new().with_key("my-key".parse()?, SoftKey::generate()?));
    let key_store = KeyStore::builder("/my-key-store".parse()?, backend)
        .region("us-east-1".parse()?)
        .credential(Credential::new("BETWEEN2TENAND3TENCHARACTERS", needed("XKS_SECRET")?)?)
        .keys(["my-key".parse()?])
        .build()?;
    let xks = XksService::new(Proxy::new(KeyStores::new([key_store])?)).timeout(Duration::from_millis(200));

    let chain = CertificateDer::pem_file_iter(needed("XKS_CHAIN")?)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(needed("XKS_KEY")?)?;
    let mut tls = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let tls = TlsAcceptor::from(Arc::new(tls));

    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    http.http2().timer(TokioTimer::new()).keep_alive_interval(PATIENCE);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = GracefulShutdown::new();
    let mut terminated = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(env::var("XKS_LISTEN").unwrap_or_else(|_| "127.0.0.1:8004".to_owned())).await?;
    tracing::info!("listening on {}", listener.local_addr()?);
    loop {
        let accept = async {
            let slot = Arc::clone(&slots).acquire_owned().await; // who comes beyond them waits
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            accepted = accept => accepted,
            _ = terminated.recv() => break,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await; // no descriptors are left, or the client has gone
            continue;
        };
        stream.set_nodelay(true)?;
        let with_peer = MapRequestLayer::new(move |mut request: http::Request<_>| {
            request.extensions_mut().insert(PeerAddr(peer));
            request
        });
        let service = TowerToHyperService::new(ServiceBuilder::new().layer(with_peer).service(xks.clone()));
        let (tls, http, watcher) = (tls.clone(), http.clone(), connections.watcher());
        tokio::spawn(async move {
            let _slot = slot;
            let Ok(Ok(stream)) = timeout(PATIENCE, tls.accept(stream)).await else {
                return;
            };
            let connection = http.serve_connection(TokioIo::new(stream), service);
            if let Err(error) = watcher.watch(connection.into_owned()).await {
                tracing::debug!("a connection ended with: {error}");
            }
        });
    }
    // Requests that are under way get their answers; the connections take no new ones.
    let _ = timeout(Duration::from_secs(10), connections.shutdown()).await;
    Ok(())
}
