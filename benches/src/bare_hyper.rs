//! The adapter on bare hyper, and beside it a service that reads the same body and answers the same number of
//! bytes, each in a process of its own: this program, started once more.

use std::{
    convert::Infallible,
    env,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http::{Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{HttpService, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::net::TcpListener;
use xks_core::{KeyStores, Proxy};
use xks_http::XksService;

use crate::{
    KEY, PREFIX, REGION, credential, key_store,
    load::{Process, Protocol, Target, pin, server_core},
};

/// What the process is to serve; set in those that are started for it.
const SERVE: &str = "XKS_BENCH_SERVE";

/// What is served.
#[derive(Clone, Copy, Debug)]
pub enum Service {
    /// `xks-http` over software keys.
    Ours,
    /// So many bytes, whatever is asked.
    Constant(usize),
}

/// A process that serves it. It ends with this.
#[derive(Debug)]
pub struct BareHyper {
    child: Child,
    address: SocketAddr,
}

impl BareHyper {
    /// Starts it, on the first core where there are several. The program has to call [`serve_if_asked`] first
    /// in `main`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(service: Service) -> anyhow::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        let size = match service {
            Service::Ours => "ours".to_owned(),
            Service::Constant(size) => size.to_string(),
        };
        command.env(SERVE, size).stdin(Stdio::null()).stdout(Stdio::piped());
        let start = move || -> anyhow::Result<Child> {
            server_core().map_or(Ok(()), pin)?;
            Ok(command.spawn()?)
        };
        let mut child = thread::spawn(start).join().map_err(|_| anyhow!("no thread"))??;
        let mut address = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut address)?;
        let address = address.trim().parse();
        Ok(Self {
            child,
            address: address.context("the service does not say where it is")?,
        })
    }

    /// What takes requests for the key, and the process.
    ///
    /// # Errors
    /// None that can be expected.
    pub fn measured(&self) -> anyhow::Result<(Target, Process)> {
        let url = format!("http://{}{PREFIX}", self.address);
        let target = Target::new(&url, REGION, credential(), KEY, Protocol::Http1, None)?;
        Ok((target, Process::new(self.child.id())))
    }
}

impl Drop for BareHyper {
    fn drop(&mut self) {
        // It knows no other end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// To be called first in `main`: when this process was started to serve, it does, and does not return.
pub fn serve_if_asked() {
    let Ok(what) = env::var(SERVE) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        match what.parse() {
            Ok(size) => serve(constant(size)).await,
            Err(_) => {
                let key_stores = KeyStores::new([key_store()]).expect("one key store");
                let service = XksService::new(Proxy::new(key_stores)).timeout(Duration::from_millis(200));
                serve(TowerToHyperService::new(service)).await;
            }
        }
    });
}

fn constant(
    size: usize,
) -> impl HttpService<Incoming, ResBody = Full<Bytes>, Error = Infallible, Future: Send> + Clone + Send + 'static {
    let answer = Bytes::from(vec![b'a'; size]);
    service_fn(move |request: Request<Incoming>| {
        let answer = answer.clone();
        async move {
            let body = request.into_body().collect().await.expect("a whole body");
            std::hint::black_box(body.to_bytes());
            let mut answer = Response::new(Full::new(answer));
            let json = http::HeaderValue::from_static("application/json");
            answer.headers_mut().insert(CONTENT_TYPE, json);
            Ok(answer)
        }
    })
}

#[expect(clippy::print_stdout, reason = "this is how the parent learns of it")]
async fn serve<S>(service: S)
where
    S: HttpService<Incoming, Future: Send> + Clone + Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::ResBody: Send + 'static,
    <S::ResBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    <S::ResBody as http_body::Body>::Data: Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("{}", listener.local_addr().expect("an address"));
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
        // A client that goes is no matter.
        tokio::spawn(async move { drop(connection.await) });
    }
}
