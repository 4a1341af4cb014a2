//! Notifications to a service manager (`sd_notify`).

use std::{os::unix::net::UnixDatagram, time::Instant};

use rustix::process::Signal;

use crate::support::{PATIENCE, Process, Settings, program};

/// Waits for a message with this line.
fn wait_for(socket: &UnixDatagram, wanted: &str) -> String {
    let start = Instant::now();
    let mut buffer = [0; 4096];
    while start.elapsed() < PATIENCE {
        if let Ok(length) = socket.recv(&mut buffer) {
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if message.lines().any(|line| line == wanted) {
                return message;
            }
        }
    }
    panic!("no {wanted}");
}

/// The server, and the socket on which a service manager hears of it.
fn notified(settings: &Settings) -> (Process, UnixDatagram) {
    let path = settings.file("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = program();
    command
        .arg("--config")
        .arg(settings.write())
        .env("NOTIFY_SOCKET", &path);
    (Process::start(&mut command), socket)
}

/// It says when it is ready, when it reads its settings again and is ready again, and when it stops.
#[test]
fn a_service_manager_is_told() {
    let settings = Settings::new();
    let (process, socket) = notified(&settings);
    wait_for(&socket, "READY=1");
    process.signal(Signal::HUP);
    let message = wait_for(&socket, "RELOADING=1");
    // `Type=notify-reload` wants to know when.
    assert!(
        message.lines().any(|line| line.starts_with("MONOTONIC_USEC=")),
        "{message}"
    );
    wait_for(&socket, "READY=1");
    process.signal(Signal::TERM);
    wait_for(&socket, "STOPPING=1");
    let (status, log) = process.wait();
    assert!(status.success(), "{status}: {log}");
}

/// A bad file is not put in force, and the server is ready as before.
#[test]
fn a_failed_reload_ends_ready() {
    let settings = Settings::new();
    let (process, socket) = notified(&settings);
    wait_for(&socket, "READY=1");
    settings.folder.replace("settings.toml", "no TOML");
    process.signal(Signal::HUP);
    wait_for(&socket, "RELOADING=1");
    wait_for(&socket, "READY=1");
    process.log.wait_for("settings not reloaded");
}
