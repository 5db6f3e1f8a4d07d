//! Why a run did not come to figures.

use std::io;

/// Why a run ends without a report.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Nobody listens there, or a proxy that is no server of ours.
    #[error("cannot reach {address}: {cause}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// The system's words.
        cause: io::Error,
    },
    /// It answers, and cannot be measured now.
    #[error("{address} cannot take messages now: {why}")]
    NotReady {
        /// Host and port.
        address: String,
        /// What it said.
        why: String,
    },
    /// A subscriber got no stream.
    #[error("subscriber {number} of {all} got no stream: {why}")]
    Subscribe {
        /// Which, from 1.
        number: usize,
        /// Of how many.
        all: usize,
        /// What happened.
        why: String,
    },
    /// The system allows too few open files.
    #[error(
        "{needed} open files are needed and {allowed} are allowed: raise the limit (ulimit -n, LimitNOFILE=)"
    )]
    OpenFiles {
        /// Connections, and what else is open.
        needed: u64,
        /// The hard limit.
        allowed: u64,
    },
    /// A server that was to be measured does not serve.
    #[error("agentbus was started, and {0}")]
    Started(String),
    /// The system refused something else.
    #[error("{what}: {cause}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's words.
        cause: io::Error,
    },
}
