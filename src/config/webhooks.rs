//! Settings of webhooks.

use super::source::Source;
use crate::limits::MAX_WEBHOOK_ATTEMPTS;
use crate::webhooks::{Backoff, Guard};

/// How webhooks are delivered.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// The addresses that webhooks may reach.
    pub guard: Guard,
    /// The waits between attempts.
    pub backoff: Backoff,
}

impl WebhookConfig {
    pub(super) fn from_source(source: &Source, errors: &mut Vec<String>) -> Self {
        let rule = format!(
            "up to {} whole numbers of seconds, each at most a week, such as 5,30,120",
            MAX_WEBHOOK_ATTEMPTS - 1
        );
        Self {
            guard: Guard {
                allow_private: source.parse(
                    "WEBHOOK_ALLOW_PRIVATE",
                    false,
                    "true or false",
                    errors,
                ),
            },
            backoff: source.parse("WEBHOOK_BACKOFF_S", Backoff::default(), &rule, errors),
        }
    }
}
