//! A server of the measurement's own, for who names none: nobody's log gets messages that nobody asked for.

use std::path::PathBuf;

use super::address::Address;
use super::error::BenchError;
use super::server::Server;

/// agentbus on the memory bus and SQLite, on loopback, its files in a temporary folder. Dropped, both are gone.
pub struct OwnServer(Server);

impl OwnServer {
    /// Starts this program's own `serve`.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start() -> Result<Self, BenchError> {
        let program = std::env::current_exe()
            .map_err(|cause| BenchError::System { what: "this program", cause })?;
        let server = Server::start(&program, temporary(), &[("MESSAGE_BUS", "memory")]).await?;
        Ok(Self(server))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        self.0.address()
    }

    /// Asks it to stop, waits until it has, and removes its files.
    pub async fn stop(self) {
        self.0.stop().await;
    }
}

/// A folder of a name that nobody else uses, where the system keeps temporary files.
#[must_use]
pub fn temporary() -> PathBuf {
    std::env::temp_dir().join(format!("agent-bench-{}", uuid::Uuid::new_v4().simple()))
}
