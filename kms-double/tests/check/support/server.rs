//! A server on loopback, over HTTP/1.1 and HTTP/2, around our proxy, with a way to break it; and bare
//! sockets.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use xks_backend_soft::{SoftBackend, SoftKey};
use xks_core::{
    Credential, KeyBackend, KeyStore, KeyStores, Proxy,
    backend::{KeyStatus, KeyUsage},
};
use xks_http::XksService;

use super::{ACCESS_KEY_ID, Answered, Asked, Broken, KEY, PREFIX, REGION, SECRET, runtime};

pub(crate) struct Server {
    pub(crate) url: String,
    _runtime: Runtime,
}

impl Server {
    /// Our proxy as it is.
    pub(crate) fn right() -> Self {
        Self::start(Broken::default())
    }

    /// Our proxy, broken.
    pub(crate) fn start(broken: Broken) -> Self {
        Self::serve(Arc::new(software_keys()), broken)
    }

    /// Our proxy over another backend, which has the same keys.
    pub(crate) fn over(backend: Arc<dyn KeyBackend>) -> Self {
        Self::serve(backend, Broken::default())
    }

    fn serve(backend: Arc<dyn KeyBackend>, broken: Broken) -> Self {
        let (proxy, broken) = (XksService::new(proxy(backend)), Arc::new(broken));
        Tcp::start(move |stream| {
            let (proxy, broken) = (proxy.clone(), broken.clone());
            async move {
                let service = service_fn(move |request| {
                    let (proxy, broken) = (proxy.clone(), broken.clone());
                    async move { Ok::<_, Infallible>(answer(&proxy, &broken, request).await) }
                });
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        })
        .0
    }
}

async fn answer(proxy: &XksService, broken: &Broken, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (mut parts, body) = request.into_parts();
    let body = match Limited::new(body, 1 << 20).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            let status = if error.is::<LengthLimitError>() { 413 } else { 400 };
            return Response::builder().status(status).body(Full::default()).unwrap();
        }
    };
    // As HTTP/1.1 has it.
    if let Some(authority) = parts.uri.authority() {
        let host = authority.as_str().parse().unwrap();
        parts.headers.entry("host").or_insert(host);
        parts.uri = parts.uri.path_and_query().unwrap().as_str().parse().unwrap();
    }
    let mut asked = Asked { parts, body };
    if let Some(answered) = (broken.request)(&mut asked) {
        return answered.into_response();
    }
    let mut request = Request::new(Full::new(asked.body.clone()));
    *request.method_mut() = asked.parts.method.clone();
    *request.uri_mut() = asked.parts.uri.clone();
    *request.headers_mut() = asked.parts.headers.clone();
    let (parts, body) = proxy.handle(request).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut answered = Answered {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    };
    (broken.answer)(&asked, &mut answered);
    answered.into_response()
}

/// All keys that [`setup`](super::setup) names.
pub(crate) fn software_keys() -> SoftBackend {
    let both = [KeyUsage::Encrypt, KeyUsage::Decrypt];
    let keys: [(&str, &[KeyUsage], KeyStatus); 5] = [
        (KEY, &both, KeyStatus::Enabled),
        ("second", &both, KeyStatus::Enabled),
        ("encrypt-only", &[KeyUsage::Encrypt], KeyStatus::Enabled),
        ("decrypt-only", &[KeyUsage::Decrypt], KeyStatus::Enabled),
        ("disabled", &both, KeyStatus::Disabled),
    ];
    let backend = SoftBackend::new();
    for (name, usages, status) in keys {
        let key = SoftKey::generate()
            .unwrap()
            .with_usages(usages.iter().copied())
            .with_status(status);
        backend.insert(name.parse().unwrap(), key);
    }
    backend
}

fn proxy(backend: Arc<dyn KeyBackend>) -> Proxy {
    let key_store = KeyStore::builder(PREFIX.parse().unwrap(), backend)
        .region(REGION.parse().unwrap())
        .credential(Credential::new(ACCESS_KEY_ID, SECRET.to_owned()).unwrap())
        .all_keys_of_backend()
        .build()
        .unwrap();
    Proxy::new(KeyStores::new([key_store]).unwrap())
}

/// Bare sockets.
pub(crate) struct Tcp(pub(crate) Server);

impl Tcp {
    pub(crate) fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = runtime();
        let listener = runtime
            .block_on(TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))))
            .unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                tokio::spawn(serve(stream));
            }
        });
        Self(Server { url, _runtime: runtime })
    }
}
