//! Administration of keys under management: the server's Unix socket, and the commands that are its clients.
//!
//! ```text
//! xks-proxy keys disable ID ──HTTP over a Unix socket──▶ socket: who is it ──▶ xks_admin::Admin ──▶ Commands
//! ```
//!
//! Who may connect is the operating system's affair, by the mode and the group of the socket file. Who it is,
//! and that he may, is asked again for each connection, since a mode is soon changed.

mod client;
mod peer;
mod socket;
mod timely;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{sync::oneshot, task::spawn_blocking};
use xks_lifecycle::commands::Commands;

use self::socket::{AdminSocket, Serving};
pub(crate) use self::{
    client::{AdminCommand, run},
    socket::SocketError,
};
use crate::lifecycle::{self, LiveNode, Running};

/// Administration, while the server runs.
pub(crate) struct Administration {
    commands: Arc<Commands>,
    serving: Serving,
}

impl Administration {
    /// Opens the socket and starts the life cycle. Commands are taken when it has finished what an earlier
    /// process has left half done; who connects before that waits.
    /// Then the node joins the others, if there may be any.
    pub(crate) async fn start(mut managed: Running) -> anyhow::Result<(Self, Option<LiveNode>)> {
        let settings = managed.admin.clone();
        let socket = spawn_blocking(move || AdminSocket::bind(&settings)).await;
        let socket = socket.context("the thread that opens the socket has ended")??;
        let (recovered, begin) = oneshot::channel();
        let commands = Arc::clone(&managed.commands);
        tracing::info!(socket = %socket.path().display(), "administration: listening");
        let serving = socket.serve(
            Arc::clone(&commands),
            managed.jobs.clone(),
            managed.audit.clone(),
            begin,
        );
        let node = managed.join();
        tokio::spawn(managed.run(recovered));
        Ok((Self { commands, serving }, node))
    }

    /// Ends it. Commands that are under way may take so long.
    pub(crate) async fn end(self, patience: Duration) {
        self.serving.end(patience).await;
        lifecycle::close(&self.commands).await;
    }
}
