//! The server with a PKCS#11 module that misbehaves.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use xks_pkcs11_fixture::{Functions, Shim, When, shim_path};

use crate::support::{
    PREFIX, Server, Settings, Token, body, check, fetch, key_store, plaintext, quoted, usual_credential, wait_until,
};

/// Keys of `[server]`: so short a time that what hangs is distinguished from what is slow, and no more
/// patience than a test has.
const SHORT: &str = "budget_ms = 400\ndrain_delay_secs = 0\ndrain_timeout_secs = 1";

/// A backend on the shim, or on another module.
fn backend(token: &Token, name: &str, module: &Path, more: &str) -> String {
    let pin = quoted(&token.pin);
    Token::backend_of(
        module,
        name,
        &format!("vendor = \"softhsm\"\npin_file = {pin}\nsessions = 4\n{more}"),
    )
}

fn settings(backends: &str, backend: &str, health: &str) -> Settings {
    let store = format!("backend = \"{backend}\"\nkeys = [\"known\"]");
    Settings::new()
        .server(SHORT)
        .backends(backends)
        .key_stores(&key_store(PREFIX, &store, &[usual_credential()]))
        .tables(&format!(
            "[health]\nlisten = \"127.0.0.1:0\"\ninterval_secs = 1\n{health}"
        ))
}

/// Counts the sockets of shims.
static SHIMS: AtomicU32 = AtomicU32::new(0);

/// The server, and the shim in it, which begins with these commands.
fn serve(token: &Token, settings: &Settings, setup: &str) -> (Server, Shim) {
    let mut command = token.program();
    command.arg("--config").arg(settings.write());
    let socket = settings
        .folder
        .path()
        .join(format!("shim-{}", SHIMS.fetch_add(1, Ordering::Relaxed)));
    let shim = Shim::elsewhere_with(&mut command, &socket, setup);
    (Server::start_by(&mut command), shim)
}

fn liveness(server: &Server) -> (u16, String) {
    fetch(&server.health_url().replace("/ping", "/livez"), &[])
}

/// One call, whatever comes of it.
fn encrypt(server: &Server) -> (u16, Value) {
    let output = server
        .curl()
        .process("keys/known/encrypt", &plaintext(b"plaintext"))
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let (answer, status) = output.rsplit_once('\n').unwrap();
    (
        status.parse().unwrap(),
        serde_json::from_str(answer).unwrap_or_default(),
    )
}

/// TRN-7, HLT-1: from one moment on no call of the module returns. It is not ready, then not alive, and the
/// log says why and what helps; requests are answered all the while. When calls return, it is as it was.
#[test]
fn a_module_that_hangs_ends_liveness() {
    for inline in ["", "inline = true"] {
        let token = Token::new();
        let backends = backend(&token, "token", &shim_path(), inline);
        let settings = settings(&backends, "token", "hang_timeout_secs = 3");
        let (server, shim) = serve(&token, &settings, "");
        assert_eq!(encrypt(&server).0, 200);
        assert_eq!((server.readiness(), liveness(&server).0), (200, 200));
        shim.hang(Functions::ALL, When::always());
        wait_until("readiness ends", || {
            assert!(encrypt(&server).0 != 0, "it answers");
            server.readiness() == 503
        });
        wait_until("liveness ends", || liveness(&server).0 == 503);
        let (_, reason) = liveness(&server);
        assert!(reason.contains("restart this process"), "{reason}");
        let log = server.process.log.wait_for("liveness failed");
        let line = log.lines().find(|line| line.contains("restart this process"));
        let line = line.unwrap_or_else(|| panic!("{log}"));
        assert!(
            line.contains("ERROR") && line.contains("token") && line.contains("hang_timeout_secs = 3"),
            "{line}"
        );
        assert!(encrypt(&server).0 >= 400, "it answers still");
        shim.release();
        wait_until("it is alive and ready", || {
            liveness(&server).0 == 200 && server.readiness() == 200
        });
        wait_until("it serves", || encrypt(&server).0 == 200);
        let (status, log) = server.stop();
        assert!(status.success(), "{log}");
    }
}

/// The same with a backend of several: as long as another one serves, a restart would do more harm than good,
/// and the log alone says what is to be done.
#[test]
fn one_module_of_two_that_hangs() {
    let token = Token::new();
    token.add("second");
    let backends = backend(
        &token,
        "first",
        &shim_path(),
        &format!("token_label = \"{}\"", Token::LABEL),
    ) + &backend(
        &token,
        "second",
        &xks_pkcs11_fixture::softhsm_path(),
        "token_label = \"second\"",
    ) + "[backends.both]\nkind = \"fleet\"\nmembers = [\"first\", \"second\"]\nattempt_ms = 150\nbudget_ms = 350\n";
    let settings = settings(&backends, "both", "hang_timeout_secs = 2");
    let (server, shim) = serve(&token, &settings, "");
    shim.hang(Functions::ALL, When::always());
    server.process.log.wait_for("other key managers are available");
    let log = server.process.log.text();
    assert!(log.contains("restart this process"), "{log}");
    assert_eq!((server.readiness(), liveness(&server).0), (200, 200));
    wait_until("the other serves", || encrypt(&server).0 == 200);
    shim.release();
    server.process.log.wait_for("calls of the PKCS#11 module return again");
}

/// A module is slow, and no request is served: that is no reason to restart, which would not make it faster.
#[test]
fn a_slow_module_does_not_end_liveness() {
    let token = Token::new();
    let settings = settings(
        &backend(&token, "token", &shim_path(), ""),
        "token",
        "hang_timeout_secs = 8",
    );
    let (server, shim) = serve(&token, &settings, "");
    shim.latency_of_operations(Duration::from_millis(900));
    wait_until("readiness ends", || {
        assert_ne!(encrypt(&server).0, 500);
        server.readiness() == 503
    });
    for _ in 0..30 {
        encrypt(&server);
        assert_eq!(liveness(&server).0, 200);
    }
    assert!(
        !server.process.log.text().contains("restart"),
        "{}",
        server.process.log.text()
    );
    shim.clear();
    wait_until("it is ready", || server.readiness() == 200);
}

/// The watchdog of a service manager is fed only while the process is alive.
#[test]
fn the_watchdog_hears_nothing_more() {
    let token = Token::new();
    let settings = settings(
        &backend(&token, "token", &shim_path(), ""),
        "token",
        "hang_timeout_secs = 2",
    );
    let path = settings.file("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut command = token.program();
    command
        .arg("--config")
        .arg(settings.write())
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "300000");
    let shim = Shim::elsewhere_with(&mut command, &settings.file("shim"), "");
    let server = Server::start_by(&mut command);
    socket.set_nonblocking(true).unwrap();
    let fed = move || {
        let (mut buffer, mut count) = ([0; 4096], 0);
        while let Ok(length) = socket.recv(&mut buffer) {
            count += usize::from(buffer[..length].starts_with(b"WATCHDOG=1"));
        }
        count
    };
    wait_until("it is fed", || fed() > 0);
    shim.hang(Functions::ALL, When::always());
    wait_until("liveness ends", || {
        fed(); // the server blocks when its messages are not read
        liveness(&server).0 == 503
    });
    fed();
    std::thread::sleep(Duration::from_secs(1)); // ten times as long as from one message to the next
    let late = fed();
    assert!(
        late <= 1,
        "{late} messages after liveness ended; one may have been on its way"
    );
    shim.release();
    wait_until("it is fed again", || fed() > 0);
}

/// HLT-1: a token that does not generate session keys is served, also after it has failed, and the log says
/// what is not tested.
#[test]
fn a_token_without_session_keys_is_served() {
    let token = Token::new();
    let settings = settings(&backend(&token, "token", &shim_path(), ""), "token", "");
    let (server, shim) = serve(&token, &settings, "fail C_GenerateKey 0x70");
    let log = server.process.log.wait_for("the token does not generate session keys");
    let line = log
        .lines()
        .find(|line| line.contains("does not generate session keys"))
        .unwrap();
    assert!(
        line.contains("WARN") && line.contains("CKR_MECHANISM_INVALID"),
        "{line}"
    );
    wait_until("it serves", || encrypt(&server).0 == 200);
    shim.sticky(0x30);
    shim.wait_until("the module is initialized again", |counters| {
        encrypt(&server);
        counters.finalized > 0
    });
    wait_until("it serves again", || encrypt(&server).0 == 200);
    let (_, health) = server.curl().call("health", &body(&json!({})), &[]);
    assert_eq!(health["ekmFleetDetails"][0]["healthStatus"], "ACTIVE", "{health}");
    let log = server.process.log.text();
    assert_eq!(log.matches("does not generate session keys").count(), 1, "{log}");
}

/// HLT-1: where session objects stay, a process that is killed leaves its test key behind. The next one
/// cleans up.
#[test]
fn the_key_of_a_killed_process_goes() {
    let token = Token::new();
    let objects = || {
        let folders = fs::read_dir(token.folder.path().join("tokens")).unwrap();
        let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.ends_with(".object") && name != "token.object")
            .count()
    };
    let before = objects();
    let settings = settings(&backend(&token, "token", &shim_path(), ""), "token", "");
    let kept = "objects kept";
    for _ in 0..3 {
        let (server, _) = serve(&token, &settings, kept);
        assert_eq!(objects(), before + 1);
        drop(server); // which kills it
    }
    assert_eq!(objects(), before + 1, "it was left behind");
    // Two that live leave each other's alone.
    let (first, _) = serve(&token, &settings, kept);
    let (second, _) = serve(&token, &settings, kept);
    assert_eq!(objects(), before + 2);
    second.stop();
    assert_eq!(objects(), before + 1);
    assert_eq!(encrypt(&first).0, 200);
    first.stop();
    assert_eq!(objects(), before);
}

/// A setting of the past that has no effect any more gets a warning.
#[test]
fn inline_is_not_heeded() {
    let token = Token::new();
    let (code, printed) = check(&settings(
        &backend(&token, "token", &shim_path(), "inline = true"),
        "token",
        "",
    ));
    assert!(
        code == Some(0) && printed.contains("`inline = true` is ignored"),
        "{printed}"
    );
}

/// When the server stops, no thread of its process that called the module is left as the module is finalized:
/// openCryptoki would end the process.
#[test]
fn no_thread_that_called_the_module_is_left_at_the_end() {
    let token = Token::new();
    let settings = settings(&backend(&token, "token", &shim_path(), ""), "token", "");
    let (server, shim) = serve(&token, &settings, "");
    for _ in 0..10 {
        assert_eq!(encrypt(&server).0, 200);
    }
    assert!(shim.counters().callers > 0);
    let (status, text) = server.stop();
    assert!(status.success(), "{text}");
    let (counters, violations) = shim.last_words().unwrap();
    assert_eq!((counters.finalized, counters.callers_left), (1, 0), "{counters:?}");
    assert_eq!(violations, [""; 0]);
}
