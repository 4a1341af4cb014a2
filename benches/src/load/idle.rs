//! Connections that are open and quiet.

use std::fmt;

use anyhow::ensure;
use tokio::runtime::Runtime;
use xks_test_client::Connection;

use super::{
    Target,
    operation::{Operation, Requests},
    runtime,
};

/// Connections that are kept open, with or without a request that was answered on each.
pub struct Idle {
    connections: Vec<Connection>,
    _runtime: Runtime,
}

impl Idle {
    /// Opens so many, with the handshake of TLS.
    ///
    /// # Errors
    /// When one cannot be opened, or its request is not answered with 200.
    pub fn open(target: &Target, count: usize, with_a_request: bool) -> anyhow::Result<Self> {
        let runtime = runtime()?;
        let mut connections = Vec::with_capacity(count);
        runtime.block_on(async {
            let requests = Requests::prepare(target, Operation::EncryptCdiv, crate::DATA_KEY).await?;
            for number in 0..count {
                let mut connection = target.connect().await?;
                if with_a_request {
                    let status = connection.exchange(requests.at(number)).await?;
                    ensure!(status == 200, "an idle connection got {status}");
                }
                connections.push(connection);
            }
            anyhow::Ok(())
        })?;
        Ok(Self {
            connections,
            _runtime: runtime,
        })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.connections.len()
    }
}

impl fmt::Debug for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idle")
            .field("connections", &self.count())
            .finish_non_exhaustive()
    }
}
