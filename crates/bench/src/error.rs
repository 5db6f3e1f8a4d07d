//! Errors of the load generator.

use std::io;

/// Why a run ends without a report.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Nothing listens at the address, or something other than agentbus responds.
    #[error("cannot reach {address}: {cause}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// The error of the operating system.
        cause: io::Error,
    },
    /// The server responds but is not ready.
    #[error("{address} cannot take messages now: {why}")]
    NotReady {
        /// Host and port.
        address: String,
        /// Status and body of its response.
        why: String,
    },
    /// A subscriber could not open its stream.
    #[error("subscriber {number} of {all} got no stream: {why}")]
    Subscribe {
        /// Number of the subscriber, from 1.
        number: usize,
        /// Number of subscribers.
        all: usize,
        /// The reason.
        why: String,
    },
    /// The system allows too few open files.
    #[error(
        "{needed} open files are needed and {allowed} are allowed: raise the limit (ulimit -n, LimitNOFILE=)"
    )]
    OpenFiles {
        /// Connections and [`SPARE_OPEN_FILES`](crate::limits::SPARE_OPEN_FILES).
        needed: u64,
        /// The hard limit.
        allowed: u64,
    },
    /// A server started for the run does not become ready.
    #[error("agentbus was started, and {0}")]
    Started(String),
    /// The operating system refused an operation.
    #[error("{what}: {cause}")]
    System {
        /// What was needed.
        what: &'static str,
        /// The error of the operating system.
        cause: io::Error,
    },
}
