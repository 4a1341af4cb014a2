//! Notifications to systemd: the server is ready, reloads, stops, and is alive. Without systemd there are
//! none.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::health::Health;

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("cannot notify the service manager: {error}");
    }
}

pub(crate) fn ready() {
    notify(&[NotifyState::Ready]);
}

pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

pub(crate) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Says again and again that the process is alive, as long as it is, if the service manager wants to know.
pub(crate) async fn keep_alive(health: &Health) {
    let Some(patience) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    loop {
        if health.is_alive() {
            notify(&[NotifyState::Watchdog]);
        }
        tokio::time::sleep((patience / 3).max(Duration::from_millis(10))).await;
    }
}
