//! An external key store beside the routes of an axum application.
//!
//! `cargo run -p xks-embed-examples --bin embed-axum`, then call `http://127.0.0.1:8001`.

#![forbid(unsafe_code)]

use std::{error::Error, sync::Arc, time::Duration};

use axum::{Router, routing::get};
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
    let xks = XksService::new(Proxy::new(KeyStores::new([key_store])?)).timeout(Duration::from_millis(200));

    // As the fallback, so that axum leaves the path as the client signed it.
    let app = Router::new()
        .route("/ping", get(|| async { "pong" }))
        .fallback_service(xks);
    axum::serve(tokio::net::TcpListener::bind("127.0.0.1:8001").await?, app).await?;
    Ok(())
}
