//! A service over software keys, a server and a client for it, and what the service recorded.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use xks_backend_soft::{SoftBackend, SoftKey};
use xks_core::{
    BackendError, Credential, KeyBackend, KeyId, KeyStore, KeyStores, Proxy, Zeroizing, async_trait,
    audit::{AuditRecord, AuditSink, OwnedAuditRecord},
    backend::{DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health, KeyMetadata},
};
use xks_http::XksService;
use xks_test_client::{ACCESS_KEY_ID, Connection, Prepared, REGION, SECRET_ACCESS_KEY, Signer, Target};

/// Remembers each record.
#[derive(Clone, Default)]
pub(crate) struct Records(Arc<Mutex<Vec<OwnedAuditRecord>>>);

impl Records {
    pub(crate) fn take(&self) -> Vec<OwnedAuditRecord> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// How each request ended.
    pub(crate) fn take_outcomes(&self) -> Vec<String> {
        let records = self.take();
        records
            .iter()
            .map(|record| format!("{:?}", record.record().outcome))
            .collect()
    }
}

impl AuditSink for Records {
    fn record(&self, record: &AuditRecord<'_>) {
        self.0.lock().unwrap().push(record.to_owned());
    }
}

pub(crate) fn service_over(backend: Arc<dyn KeyBackend>) -> (XksService, Records) {
    let key_store = KeyStore::builder("/tenant".parse().unwrap(), backend)
        .region(REGION.parse().unwrap())
        .credential(Credential::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY.to_owned()).unwrap())
        .all_keys_of_backend()
        .build()
        .unwrap();
    let outcomes = Records::default();
    let proxy = Proxy::builder(KeyStores::new([key_store]).unwrap())
        .audit(outcomes.clone())
        .build();
    (XksService::new(proxy), outcomes)
}

pub(crate) fn soft_backend() -> Arc<SoftBackend> {
    Arc::new(SoftBackend::new().with_key("key-1".parse().unwrap(), SoftKey::generate().unwrap()))
}

pub(crate) fn service() -> XksService {
    service_over(soft_backend()).0
}

/// Serves on a port of its own until the test ends.
pub(crate) async fn serve(service: XksService) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let http = auto::Builder::new(TokioExecutor::new());
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

pub(crate) fn metadata() -> Value {
    json!({
        "awsPrincipalArn": "arn:aws:iam::123456789012:user/Alice",
        "kmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/1",
        "kmsOperation": "Encrypt",
        "kmsRequestId": "r",
    })
}

pub(crate) fn health_body() -> String {
    json!({ "requestMetadata": metadata() }).to_string()
}

pub(crate) fn path(operation: &str) -> String {
    format!("/tenant/kms/xks/v1/{operation}")
}

/// A request as a client of that version makes it: HTTP/1.1 has a `host` header, HTTP/2 an authority.
pub(crate) fn signed(version: Version, host: &str, path: &str, body: &[u8]) -> Request<Full<Bytes>> {
    let headers = Signer::at(SystemTime::now()).sign("POST", host, path, &[("content-type", "application/json")], body);
    let is_http2 = version == Version::HTTP_2;
    let mut request = Request::post(if is_http2 {
        format!("http://{host}{path}")
    } else {
        path.into()
    });
    for (name, value) in headers {
        if !is_http2 || name != "host" {
            request = request.header(name, value);
        }
    }
    request.version(version).body(Full::from(body.to_vec())).unwrap()
}

pub(crate) async fn read<B: hyper::body::Body>(response: Response<B>) -> (u16, Value)
where
    B::Error: std::fmt::Debug,
{
    let (parts, body) = response.into_parts();
    assert_eq!(parts.headers["content-type"], "application/json", "TRN-1");
    let body = body.collect().await.unwrap().to_bytes();
    (
        parts.status.as_u16(),
        serde_json::from_slice(&body).expect("every answer is JSON"),
    )
}

/// A signed POST over a connection.
pub(crate) fn prepared(target: &Target, operation: &str, body: &[u8]) -> Prepared {
    Prepared::signed(target, &Signer::at(SystemTime::now()), &path(operation), body)
}

pub(crate) async fn send(connection: &mut Connection, request: &Prepared) -> (u16, Value) {
    let answer = connection.send(request).await.unwrap();
    assert_eq!(answer.headers["content-type"], "application/json", "TRN-1");
    (answer.status, answer.json)
}

/// A key manager that never answers.
pub(crate) struct Hangs;

#[async_trait]
impl KeyBackend for Hangs {
    async fn key_metadata(&self, _: &KeyId, _: &GetKeyMetadataRequest<'_>) -> Result<KeyMetadata, BackendError> {
        std::future::pending().await
    }

    async fn encrypt(&self, _: &KeyId, _: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        std::future::pending().await
    }

    async fn decrypt(&self, _: &KeyId, _: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        std::future::pending().await
    }

    async fn health(&self) -> Result<Health, BackendError> {
        std::future::pending().await
    }
}
