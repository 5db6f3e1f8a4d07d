//! Logs and metrics of the process.

mod logs;
mod metrics;

pub use logs::logs;
pub use metrics::metrics;
