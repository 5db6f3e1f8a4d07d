//! A bare server in this process, on a runtime of its own.

use agentbus_bench::address::Address;
use tokio::runtime::Runtime;

use crate::error::SuiteError;

/// A server on threads of its own, so that the generator's threads drive none of its I/O. On drop it ends, with every
/// connection.
pub(crate) struct BareHost {
    address: Address,
    runtime: Option<Runtime>,
}

impl BareHost {
    /// Runs `start` on a new runtime. It spawns the server and returns its port.
    pub(crate) async fn start<F>(start: F) -> Result<Self, SuiteError>
    where
        F: Future<Output = Result<u16, SuiteError>> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let port = runtime.spawn(start);
        // Owned from here on, since a runtime must not be dropped within another without `shutdown_background`.
        let mut host = Self { address: Address::local(0), runtime: Some(runtime) };
        let ended = |error| SuiteError::Failed(format!("a bare server ended: {error}"));
        host.address = Address::local(port.await.map_err(ended)??);
        Ok(host)
    }

    /// The address on which the server listens.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for BareHost {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
