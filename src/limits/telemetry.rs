//! Limits of traces.

use std::time::Duration;

/// Spans that may wait to be sent, unless `OTEL_BSP_MAX_QUEUE_SIZE` says otherwise: some megabytes.
pub const TRACES_QUEUE: usize = 2_048;
/// The largest `OTEL_BSP_MAX_QUEUE_SIZE`: some hundred megabytes.
pub const MAX_TRACES_QUEUE: usize = 100_000;
/// The most spans of one request to the receiver, unless `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` says otherwise.
pub const TRACES_BATCH: usize = 512;
/// How long spans wait for others before they are sent, unless `OTEL_BSP_SCHEDULE_DELAY` says otherwise.
pub const TRACES_DELAY: Duration = Duration::from_secs(5);
/// Time limit of a request to the receiver, unless `OTEL_EXPORTER_OTLP_TIMEOUT` says otherwise.
pub const TRACES_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a process that ends goes on sending the spans that wait.
pub const TRACES_FLUSH: Duration = Duration::from_secs(2);
