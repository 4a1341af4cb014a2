//! The Unix socket for commands of administration.

use std::{
    fs::{self, File},
    io,
    num::NonZeroU32,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown},
            net::UnixStream as StdStream,
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use rustix::fs::{FlockOperation, flock};
use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Semaphore, oneshot, watch},
    task::{JoinHandle, spawn_blocking},
    time::{sleep, timeout},
};
use tower_service::Service as _;
use xks_admin::{Admin, Body, problem};
use xks_byok::jobs::Jobs;
use xks_lifecycle::commands::Commands;

use super::{
    peer::{AdminGroup, Peer},
    timely::Timely,
};
use crate::{
    FAILURE, WRONG_SETTINGS, audit,
    connection::{Http, Patience, Phase, Protocol},
    settings::AdminSettings,
};

/// Connections at the same time; others wait.
const CONNECTIONS: usize = 32;
/// Connections that the system keeps until they are taken.
const BACKLOG: i32 = 64;
/// A client sends its request at once.
const PATIENCE: Patience = Patience {
    header: Duration::from_secs(5),
    stall: Duration::from_secs(30),
    idle: Duration::from_secs(30),
};
/// How long the body of a request may take to arrive.
const BODY: Duration = Duration::from_secs(10);
/// How long the system may take to say who a user is.
const WHO: Duration = Duration::from_secs(10);
/// How long another process may take to bind a socket in the same folder.
const LOCKED: Duration = Duration::from_secs(5);
/// Between two attempts while the system has no descriptors left.
const PAUSE: Duration = Duration::from_millis(50);
/// Refused connections that become events; of more the log tells.
const REFUSALS_A_MINUTE: NonZeroU32 = NonZeroU32::new(30).unwrap();

/// Why the socket cannot be opened.
#[derive(Debug, Error)]
pub(crate) enum SocketError {
    #[error("`lifecycle.admin_group` = {0}: there is no such group; make it, or name another one")]
    NoGroup(String),
    #[error("`lifecycle.admin_group` = {0}: the system does not say who is in it")]
    Group(String, #[source] io::Error),
    #[error("`lifecycle.admin_socket` = {}: there is something that is not a socket; name another path", .0.display())]
    NotASocket(PathBuf),
    #[error("`lifecycle.admin_socket` = {}: another process listens there; stop it, or name another path", .0.display())]
    InUse(PathBuf),
    #[error("`lifecycle.admin_socket` = {}: {action}", path.display())]
    Failed {
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },
}

impl SocketError {
    /// The status to end with when the start fails so.
    pub(crate) const fn exit_status(&self) -> u8 {
        match self {
            Self::NoGroup(_) | Self::NotASocket(_) => WRONG_SETTINGS,
            Self::Group(..) | Self::InUse(_) | Self::Failed { .. } => FAILURE,
        }
    }
}

/// The socket, bound. Who connects waits until it [serves](Self::serve).
pub(crate) struct AdminSocket {
    listener: UnixListener,
    file: SocketFile,
    group: Option<AdminGroup>,
}

/// The file of the socket, which goes when this is dropped.
struct SocketFile {
    path: PathBuf,
    /// Device and number: another process may have put its own socket there.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let identity = fs::symlink_metadata(&self.path).map(|file| (file.dev(), file.ino()));
        if identity.is_ok_and(|identity| identity == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!("{} is left behind: {error}", self.path.display());
        }
    }
}

impl AdminSocket {
    /// Binds the socket, in place of one that an earlier process has left. Within a runtime. Blocks, since
    /// groups may be kept on another machine.
    pub(crate) fn bind(settings: &AdminSettings) -> Result<Self, SocketError> {
        let group = settings.group.as_deref().map(find_group).transpose()?;
        let path = &settings.socket;
        let failed = |action| {
            move |source| SocketError::Failed {
                path: path.clone(),
                action,
                source,
            }
        };
        let folder = lock_folder(path).map_err(failed("cannot lock its folder"))?;
        make_room(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed("no socket"))?;
        let address = SockAddr::unix(path).map_err(failed("not a path of a socket"))?;
        socket.bind(&address).map_err(failed("cannot be made"))?;
        let file = fs::symlink_metadata(path).map_err(failed("cannot be read"))?;
        let gid = file.gid();
        let file = SocketFile {
            path: path.clone(),
            identity: (file.dev(), file.ino()),
        };
        // Who connects before it listens is refused by the system.
        if let Some(group) = group.as_ref().map(|group| group.id.as_raw()).filter(|id| *id != gid) {
            chown(path, None, Some(group)).map_err(failed("cannot be given to `lifecycle.admin_group`"))?;
        }
        let mode = if group.is_some() { 0o660 } else { 0o600 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("cannot have its mode"))?;
        socket.listen(BACKLOG).map_err(failed("cannot listen"))?;
        drop(folder);
        socket.set_nonblocking(true).map_err(failed("cannot listen"))?;
        let listener = UnixListener::from_std(OwnedFd::from(socket).into()).map_err(failed("cannot listen"))?;
        Ok(Self { listener, file, group })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.file.path
    }

    /// Serves these commands, and jobs where AWS is called, until [`Serving::end`], from when `begin` says
    /// so. Who reads what is in this audit log; commands are events, which are there already.
    pub(crate) fn serve(
        self,
        commands: Arc<Commands>,
        jobs: Option<Arc<Jobs>>,
        audit: Option<audit::Queue>,
        begin: oneshot::Receiver<()>,
    ) -> Serving {
        let phase = watch::Sender::new(Phase::Serving);
        let door = Arc::new(Door {
            http: Http::new(PATIENCE, phase.subscribe()),
            admin: match jobs {
                Some(jobs) => Admin::with_jobs(Arc::clone(&commands), jobs),
                None => Admin::new(Arc::clone(&commands)),
            },
            commands,
            audit,
            group: self.group,
            refusals: RateLimiter::direct(Quota::per_minute(REFUSALS_A_MINUTE)),
        });
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut stopping = phase.subscribe();
        let taken = Arc::clone(&places);
        let listener = self.listener;
        let accepting = tokio::spawn(async move {
            let mut stopping = std::pin::pin!(Phase::Stopping.reached(&mut stopping));
            tokio::select! {
                _ = begin => {}
                () = &mut stopping => return,
            }
            loop {
                let Ok(place) = Arc::clone(&taken).acquire_owned().await else {
                    break; // never closed
                };
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = &mut stopping => break,
                };
                match stream {
                    Ok((stream, _)) => {
                        let door = Arc::clone(&door);
                        tokio::spawn(async move {
                            door.serve(stream).await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::debug!("cannot accept a connection to the socket of administration: {error}");
                        sleep(PAUSE).await;
                    }
                }
            }
        });
        Serving {
            phase,
            accepting,
            places,
            file: self.file,
        }
    }
}

/// The socket while it is served.
pub(crate) struct Serving {
    phase: watch::Sender<Phase>,
    accepting: JoinHandle<()>,
    places: Arc<Semaphore>,
    file: SocketFile,
}

impl Serving {
    /// Ends: no new connection is taken, and commands that are under way may take so long.
    pub(crate) async fn end(self, patience: Duration) {
        self.phase.send_replace(Phase::Stopping);
        drop(self.file);
        let ended = async {
            let _ = self.accepting.await; // it does not panic
            let all = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
            let _ = self.places.acquire_many(all).await; // never closed
        };
        if timeout(patience, ended).await.is_err() {
            tracing::warn!("stopped with a command of administration under way; the next start finishes it");
        }
    }
}

fn find_group(name: &str) -> Result<AdminGroup, SocketError> {
    match AdminGroup::find(name) {
        Ok(Some(group)) => Ok(group),
        Ok(None) => Err(SocketError::NoGroup(name.to_owned())),
        Err(error) => Err(SocketError::Group(name.to_owned(), error.into())),
    }
}

/// Locks the folder of a path, so that of two processes which find the same old socket only one replaces it.
fn lock_folder(path: &Path) -> io::Result<File> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = File::open(folder)?;
    let start = Instant::now();
    loop {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(folder),
            Err(error) if start.elapsed() > LOCKED => return Err(error.into()),
            Err(rustix::io::Errno::WOULDBLOCK) => thread::sleep(PAUSE),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Removes a socket without a listener.
fn make_room(path: &Path) -> Result<(), SocketError> {
    let failed = |action, source| SocketError::Failed {
        path: path.to_owned(),
        action,
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("cannot be read", error)),
        Ok(file) if !file.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match StdStream::connect(path) {
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| failed("cannot be replaced", error))
        }
        Err(error) => Err(failed("there is a socket already", error)),
    }
}

/// What every connection needs.
struct Door {
    http: Http,
    admin: Admin,
    commands: Arc<Commands>,
    audit: Option<audit::Queue>,
    group: Option<AdminGroup>,
    refusals: DefaultDirectRateLimiter,
}

impl Door {
    async fn serve(self: Arc<Self>, stream: UnixStream) {
        let credentials = match stream.peer_cred() {
            Ok(credentials) => credentials,
            Err(error) => return tracing::debug!("a connection to the socket of administration failed: {error}"),
        };
        let asking = Arc::clone(&self);
        let asked = spawn_blocking(move || Peer::of(credentials, asking.group.as_ref()));
        let Ok(Ok(Some(peer))) = timeout(WHO, asked).await else {
            return tracing::warn!(
                uid = credentials.uid(),
                "a connection to the socket of administration was closed: the system did not say who the user is"
            );
        };
        let door = Arc::clone(&self);
        let answer = move |request| Arc::clone(&door).answer(request, peer.clone());
        self.http.serve(stream, Some(Protocol::Http1), answer).await;
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        if !peer.may_command {
            return self.refuse(&request, &peer).await;
        }
        let audit = self.audit.as_ref().filter(|_| request.method().is_safe());
        let read = audit.map(|audit| (audit, peer.actor.to_string(), request.uri().to_string()));
        let mut request = request.map(|body| Timely::new(body, BODY));
        request.extensions_mut().insert(peer.actor);
        let mut admin = self.admin.clone();
        // In a task of its own, so that a command goes on whose client has gone.
        let response = match tokio::spawn(async move { admin.call(request).await }).await {
            Ok(Ok(response)) => response,
            Err(error) => {
                tracing::error!("a command of administration has ended unexpectedly: {error}");
                let detail = "the command has ended unexpectedly; look at its object before you give it again";
                problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
            }
        };
        if let Some((audit, actor, path)) = read {
            audit.record_read(&actor, &path, response.status());
        }
        response
    }

    /// Answers who may not, and records it.
    async fn refuse(&self, request: &Request<Incoming>, peer: &Peer) -> Response<Body> {
        let who = match &self.group {
            Some(group) => format!("root, the server's user and members of the group {}", group.name),
            None => "root and the server's user".to_owned(),
        };
        let reason = format!("{} may not give commands: only {who} may", peer.actor);
        tracing::warn!("administration: {reason}");
        if self.refusals.check().is_ok() {
            let path: String = request.uri().path().chars().take(200).collect();
            let object = format!("{} {path}", request.method());
            let recorded = self.commands.record_refusal(&peer.actor, "connect", &object, &reason);
            if let Err(error) = recorded.await {
                tracing::error!("no event says that {reason}: {error}");
            }
        }
        problem(StatusCode::FORBIDDEN, "not-allowed", &reason)
    }
}
