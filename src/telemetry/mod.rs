//! Logs, metrics and traces of the process.

mod logs;
mod metrics;
mod otlp;
pub mod process;
pub mod text;
pub mod traces;

pub use logs::logs;
pub use metrics::metrics;
pub use otlp::Exporter;
