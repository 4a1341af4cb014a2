//! An external key store proxy on loopback, over software keys.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "only tests use it")]

use std::sync::Arc;

use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{net::TcpListener, task::JoinHandle};
use xks_backend_soft::{SoftBackend, SoftKey};
use xks_byok::aws::{CreateCustomKeyStoreRequest, ProxyCredential};
use xks_core::{Credential, KeyStore, KeyStores, Proxy};
use xks_http::XksService;

const ACCESS_KEY_ID: &str = "BETWEEN2TENAND3TENCHARACTERS";
const SECRET: &str = "SecretOf43To64CharactersForTheTestsOfTraits";

/// A proxy with one external key store, for any Region. It ends when this is dropped.
#[derive(Debug)]
pub struct TestProxy {
    url: String,
    task: JoinHandle<()>,
}

impl TestProxy {
    /// The external keys that it has.
    pub const KEYS: [&'static str; 3] = ["external-key-1", "external-key-2", "external-key-3"];
    /// The path of its API.
    pub const PATH: &'static str = "/test/kms/xks/v1";

    /// Starts it on a free port, on the runtime of the caller.
    pub async fn start(region: &str) -> Self {
        let mut backend = SoftBackend::new();
        for key in Self::KEYS {
            backend = backend.with_key(key.parse().unwrap(), SoftKey::generate().unwrap());
        }
        let key_store = KeyStore::builder("/test".parse().unwrap(), Arc::new(backend))
            .region(region.parse().unwrap())
            .credential(Credential::new(ACCESS_KEY_ID, SECRET.to_owned()).unwrap())
            .keys(Self::KEYS.map(|key| key.parse().unwrap()))
            .build()
            .unwrap();
        let service = XksService::new(Proxy::new(KeyStores::new([key_store]).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = TowerToHyperService::new(service.clone());
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { url, task }
    }

    /// Returns its endpoint, which begins with `http://`: for doubles that [allow
    /// that](kms_double::kms::Builder::allow_http).
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns its credential.
    #[must_use]
    pub fn credential() -> ProxyCredential {
        ProxyCredential::new(ACCESS_KEY_ID, SECRET.to_owned())
    }

    /// Returns a request for a key store that leads to it.
    #[must_use]
    pub fn key_store(&self, name: &str) -> CreateCustomKeyStoreRequest {
        CreateCustomKeyStoreRequest::new(name, &self.url, Self::PATH, Self::credential())
    }
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
