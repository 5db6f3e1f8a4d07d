//! Runs a consumer for each active webhook, on every server.
//!
//! Invariant: what runs here follows the store within [`WEBHOOK_POLL`], through
//! whichever server a webhook was made, paused or removed; and one process never
//! runs two consumers for one webhook, not even while the first is ending.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::DateTime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::registry::{WebhookSnapshot, snapshot, sweep};
use super::{DeliveryContext, WebhookHandler, WebhookStatus, consumer_name};
use crate::bus::Bus;
use crate::limits::{WEBHOOK_CONCURRENCY, WEBHOOK_ORPHAN_AGE, WEBHOOK_POLL};
use crate::processor::handler::Handler as _;
use crate::processor::{ConsumerSpec, Start};
use crate::store::work::Webhook;

/// Runs the consumers of webhooks.
pub struct Supervisor {
    /// What deliveries need.
    pub context: DeliveryContext,
    /// Where the bus's part of a removed one is.
    pub bus: Arc<dyn Bus>,
    /// LastRecorded when something was changed through this server.
    pub changed: Arc<Notify>,
}

/// One consumer at work, or ending.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Supervisor {
    /// Follows the store until cancelled, then waits for every consumer to end.
    pub async fn run(self, cancel: CancellationToken) {
        let mut running = HashMap::new();
        let mut told = false;
        while !cancel.is_cancelled() {
            match snapshot(&*self.context.store).await {
                Ok(WebhookSnapshot { known, orphans }) => {
                    told = false;
                    self.follow(&mut running, &known).await;
                    self.sweep(&running, &orphans).await;
                }
                // What runs goes on: each consumer waits for the store by itself.
                Err(error) if !told => {
                    told = true;
                    tracing::warn!(%error, "webhooks cannot be looked up");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = cancel.cancelled() => {}
                () = self.changed.notified() => {}
                () = tokio::time::sleep(WEBHOOK_POLL) => {}
            }
        }
        for consumer in running.values() {
            consumer.stop.cancel();
        }
        for (_, consumer) in running {
            // A panic was told where it happened.
            let _ = consumer.task.await;
        }
    }

    /// Starts what is new and stops what is gone. One that ended by itself is started again.
    async fn follow(&self, running: &mut HashMap<Uuid, Running>, known: &[WebhookStatus]) {
        running.retain(|_, consumer| !consumer.task.is_finished());
        for (id, consumer) in &*running {
            if !known.iter().any(|known| known.webhook.id == *id) {
                consumer.stop.cancel();
            }
        }
        for WebhookStatus { webhook, consumer } in known {
            if consumer.is_some() && !running.contains_key(&webhook.id) {
                match self.start(webhook) {
                    Ok(consumer) => {
                        running.insert(webhook.id, consumer);
                    }
                    Err(error) => {
                        tracing::error!(webhook = %webhook.id, error, "a webhook cannot be served");
                    }
                }
            }
        }
    }

    fn start(&self, webhook: &Webhook) -> Result<Running, String> {
        let receiver = WebhookHandler::new(webhook, self.context.clone())?;
        let spec = ConsumerSpec {
            name: consumer_name(webhook.id),
            filter: receiver.subjects().clone(),
            policy: self.context.policy.clone(),
            start: Start::Latest,
            handlers: vec![Arc::new(receiver)],
            concurrency: WEBHOOK_CONCURRENCY,
        };
        let stop = CancellationToken::new();
        let (processor, told) = (Arc::clone(&self.context.processor), stop.clone());
        let task = tokio::spawn(async move { processor.consume(spec, told).await });
        Ok(Running { stop, task })
    }

    /// Removes the consumers of webhooks that are gone and not at work here any more.
    /// One that is being made has its consumer first: a young one is left alone.
    async fn sweep(&self, running: &HashMap<Uuid, Running>, orphans: &[Uuid]) {
        let now = self.context.clock.now();
        for id in orphans {
            let made = id.get_timestamp().and_then(|made| {
                let (seconds, nanos) = made.to_unix();
                DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)
            });
            let old = made.is_none_or(|made| now - made > WEBHOOK_ORPHAN_AGE);
            if !old || running.contains_key(id) {
                continue;
            }
            let swept = sweep(&*self.context.store, &*self.bus, &consumer_name(*id)).await;
            if let Err(error) = swept {
                tracing::debug!(webhook = %id, %error, "its consumer could not be removed");
            }
        }
    }
}
