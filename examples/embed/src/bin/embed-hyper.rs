//! An external key store on hyper alone, over HTTP/1.1 and HTTP/2.
//!
//! `cargo run -p xks-embed-examples --bin embed-hyper`, then call `http://127.0.0.1:8002`.

#![forbid(unsafe_code)]

use std::{error::Error, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use xks_backend_soft::{SoftBackend, SoftKey};
use xks_core::{Credential, KeyStore, KeyStores, Proxy};
use xks_http::XksService;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().init(); // the audit log: one event for each request

    let backend = Arc::new(SoftBackend::new().with_key("my-key".parse()?, SoftKey::generate()?));
    let key_store = KeyStore::builder("/my-key-store".parse()?, backend)
        .region("us-east-1".parse()?)
        .credential(Credential::new(
            "BETWEEN2TENAND3TENCHARACTERS",
            std::env::var("XKS_SECRET").map_err(|_| "put 43 to 64 characters of A-Z a-z 0-9 + / = into XKS_SECRET")?,
        )?)
        .keys(["my-key".parse()?])
        .build()?;
    let xks = TowerToHyperService::new(
        XksService::new(Proxy::new(KeyStores::new([key_store])?)).timeout(Duration::from_millis(200)),
    );

    let listener = TcpListener::bind("127.0.0.1:8002").await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let xks = xks.clone();
        tokio::spawn(async move {
            let http = auto::Builder::new(TokioExecutor::new());
            let connection = http.serve_connection(TokioIo::new(stream), xks);
            if let Err(error) = connection.await {
                tracing::debug!("a connection ended with: {error}");
            }
        });
    }
}
