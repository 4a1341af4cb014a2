//! An external key store in AWS Lambda: behind API Gateway, an Application Load Balancer or a function URL.
//!
//! Lambda starts the program as `bootstrap` of a zip file, on an `al2023` runtime of Amazon Linux:
//! `cargo build --release -p xks-embed-lambda`, then zip `target/release/embed-lambda` under that name. What
//! to know of paths, cold starts and logs is in the documentation of `xks-http`.

#![forbid(unsafe_code)]

use std::{env, error::Error, sync::Arc, time::Duration};

use xks_backend_soft::{KeyMaterial, KeyVersion, SoftBackend, SoftKey};
use xks_core::{Credential, KeyStore, KeyStores, Proxy};
use xks_http::XksService;

#[tokio::main(flavor = "current_thread")] // an instance of a function has one request at a time
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    // The audit log, one event for each request, goes to CloudWatch, which adds the time and knows no
    // colours. The id of Lambda's own lines stands before each, by a span of `lambda_http`.
    tracing_subscriber::fmt().with_ansi(false).without_time().init();

    let needed = |name: &str| env::var(name).map_err(|_| format!("set the environment variable {name}"));
    // Each instance is a process of its own, so a key that is generated here would exist in one of them
    // alone.
    let key = SoftKey::new(KeyVersion::new(1, KeyMaterial::from_file(needed("XKS_KEY_FILE")?)?)?);
    let backend = Arc::new(SoftBackend::new().with_key("my-key".parse()?, key));
    let key_store = KeyStore::builder(needed("XKS_URI_PATH_PREFIX")?.parse()?, backend)
        .region("us-east-1".parse()?)
        .credential(Credential::new("BETWEEN2TENAND3TENCHARACTERS", needed("XKS_SECRET")?)?)
        .keys(["my-key".parse()?])
        .build()?;
    let xks = XksService::new(Proxy::new(KeyStores::new([key_store])?)).timeout(Duration::from_millis(200));

    lambda_http::run(xks).await
}
