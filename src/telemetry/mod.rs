//! Logs and metrics of the process.

mod logs;
mod metrics;
pub mod process;
pub mod text;

pub use logs::logs;
pub use metrics::metrics;
