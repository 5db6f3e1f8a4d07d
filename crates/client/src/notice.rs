//! Reports about outages.

use std::fmt;

use crate::error::Error;

/// A report about an outage, for a log or a terminal: [`Client::on_notice`](crate::Client::on_notice).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// A request failed for the first time and is being retried.
    Retrying(&'a Error),
    /// The connection of a stream was lost, for this reason; it is being resumed.
    Disconnected(&'a str),
    /// The connection of the stream is back.
    Reconnected,
    /// A worker has lost the lease of this job, by its id: its handler was dropped, and another worker may have the
    /// job.
    LeaseLost(&'a str),
    /// The handler of this job, by its id, has failed, for this reason.
    JobFailed(&'a str, &'a str),
    /// The server has this version, and its first number is not that of the client's version.
    OtherVersion(&'a str),
}

impl fmt::Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retrying(error) => write!(f, "{error}; retrying"),
            Self::Disconnected(reason) => write!(f, "{reason}; reconnecting"),
            Self::Reconnected => f.write_str("reconnected"),
            Self::LeaseLost(job) => write!(f, "job {job}: the lease was lost"),
            Self::JobFailed(job, reason) => write!(f, "job {job}: {reason}"),
            Self::OtherVersion(server) => {
                let own = env!("CARGO_PKG_VERSION");
                write!(f, "the server has version {server}, this client {own}")
            }
        }
    }
}

/// What becomes of notices unless the program sets something else: warnings of `tracing` with that feature, else
/// nothing.
pub(crate) fn by_default(notice: &Notice<'_>) {
    #[cfg(feature = "tracing")]
    tracing::warn!("agentbus: {notice}");
    #[cfg(not(feature = "tracing"))]
    let _ = notice;
}
