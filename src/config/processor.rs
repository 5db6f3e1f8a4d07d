//! Background processing: what runs for each message, and how much runs at once.

use std::time::Duration;

use super::source::Source;
use crate::limits::{DEFAULT_CONCURRENCY, MAX_CONCURRENCY};
use crate::processor::WEBHOOK_PREFIX;

/// Settings of the processor.
#[derive(Clone, Debug)]
pub struct ProcessorConfig {
    /// The consumer's name in NATS and in the store.
    pub consumer: String,
    /// The command that processes each message, if there is one.
    pub exec: Option<String>,
    /// The time limit of a command; `None` for no limit.
    pub exec_timeout: Option<Duration>,
    /// Whether the API shows a failed command's last standard error among the attempts.
    pub exec_show_stderr: bool,
    /// How many messages are processed at once.
    pub concurrency: usize,
}

impl ProcessorConfig {
    pub(super) fn from_source(source: &Source, errors: &mut Vec<String>) -> Self {
        let consumer = source.get("NATS_CONSUMER_NAME").unwrap_or("agent-processor");
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if consumer.len() > 64 || !consumer.chars().all(plain) {
            errors.push(
                "NATS_CONSUMER_NAME must be 1 to 64 characters of A-Z a-z 0-9 _ -".to_owned(),
            );
        }
        if consumer.starts_with(WEBHOOK_PREFIX) {
            errors.push(format!("NATS_CONSUMER_NAME must not begin with {WEBHOOK_PREFIX}"));
        }
        let rule = format!("a number from 1 to {MAX_CONCURRENCY}");
        let concurrency = source.parse("PROCESSOR_CONCURRENCY", DEFAULT_CONCURRENCY, &rule, errors);
        if !(1..=MAX_CONCURRENCY).contains(&concurrency) {
            errors.push(format!("PROCESSOR_CONCURRENCY must be {rule}"));
        }
        let limit: u64 = source.parse("PROCESSOR_EXEC_TIMEOUT_S", 0, "a number of seconds", errors);
        Self {
            consumer: consumer.to_owned(),
            exec: source.get("PROCESSOR_EXEC").map(str::to_owned),
            exec_show_stderr: source.parse(
                "PROCESSOR_EXEC_SHOW_STDERR",
                false,
                "true or false",
                errors,
            ),
            exec_timeout: (limit > 0).then(|| Duration::from_secs(limit)),
            concurrency,
        }
    }
}
