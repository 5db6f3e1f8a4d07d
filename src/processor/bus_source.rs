//! First deliveries from a durable consumer of the bus. Its position is followed and written to the store.
//!
//! Invariant: a pull asks for no more messages than there are permits. The position written to the store
//! never passes a message that is not settled. It rises only while nothing has been delivered twice, so a
//! message that the bus gives up after too many deliveries lies above it.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::in_flight::{BusDelivery, Incoming, Origin};
use super::runtime::ConsumerRuntime;
use crate::bus::durable::{
    AckKind, DeliveredMessage, Deliveries, DeliveryError, DurableConsumers, DurableState,
};
use crate::limits::{
    EXHAUSTED_TIMEOUT, FLOOR_POLL, LAST_FLOOR_PAUSE, LAST_FLOOR_POLLS, NATS_NAK_DELAY,
};
use crate::message::decode;
use crate::store::work::{Consumer, Position};

/// Delivers the messages of one generation of a consumer.
pub(super) struct BusSource {
    pub runtime: Arc<ConsumerRuntime>,
    pub durables: Arc<dyn DurableConsumers>,
    pub consumer: Consumer,
    pub superseded: CancellationToken,
}

impl BusSource {
    /// Delivers until the consumer drains or must be moved.
    pub(super) async fn run(&self) -> Result<(), DeliveryError> {
        let mut deliveries = self.durables.deliveries(self.runtime.name()).await?;
        tokio::select! {
            ended = self.pull(&mut *deliveries) => ended,
            () = self.follow() => Ok(()),
            () = self.runtime.lifecycle.draining().cancelled() => {
                self.nack(deliveries.close().await).await;
                self.runtime.lifecycle.over().cancelled().await;
                self.store_last_position().await;
                Ok(())
            }
        }
    }

    /// Stores the position at the end, so that another bus can begin there. The last acks may still be on
    /// their way to the bus.
    async fn store_last_position(&self) {
        for _ in 0..LAST_FLOOR_POLLS {
            let Ok(Some(state)) = self.durables.state(self.runtime.name()).await else { return };
            if state.generation != Some(self.consumer.generation) || state.redelivered > 0 {
                return;
            }
            let (name, generation) = (self.runtime.name(), self.consumer.generation);
            let kept =
                self.runtime.store.raise_floor(name, generation, settled_through(&state)).await;
            if kept.is_err() || state.in_flight == 0 {
                return;
            }
            tokio::time::sleep(LAST_FLOOR_PAUSE).await;
        }
    }

    /// Returns messages that arrived after the stop to the bus.
    async fn nack(&self, delivered: Vec<DeliveredMessage>) {
        let acker = self.durables.acker();
        for one in delivered {
            acker.ack(&one.ack_handle, AckKind::Nak(NATS_NAK_DELAY)).await;
        }
        acker.flush().await;
    }

    async fn pull(&self, deliveries: &mut dyn Deliveries) -> Result<(), DeliveryError> {
        let runtime = &self.runtime;
        let mut paused = runtime.paused.subscribe();
        let mut permits = None;
        loop {
            let is_open = !*paused.borrow_and_update();
            if is_open {
                top_up(runtime, &mut permits).await;
            }
            let free = permits.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            // Messages that are on their way when a pause begins still arrive here, and are set aside in the
            // store.
            let delivered = tokio::select! {
                delivered = deliveries.next(if is_open { free } else { 0 }) => delivered?,
                _ = paused.changed() => continue,
            };
            for one in delivered {
                let permit = match permits.as_mut().and_then(|permits| permits.split(1)) {
                    Some(permit) => permit,
                    None => match Arc::clone(&runtime.permits).acquire_owned().await {
                        Ok(permit) => permit,
                        Err(_) => return Ok(()),
                    },
                };
                runtime.dispatch(self.incoming(one), permit);
            }
        }
    }

    fn incoming(&self, delivered: DeliveredMessage) -> Incoming {
        let DeliveredMessage { raw, redelivered, ack_handle } = delivered;
        Incoming {
            record: decode(raw, self.runtime.bus.log_name()),
            attempt: 1,
            attempts: Vec::new(),
            is_doubtful: redelivered,
            origin: Origin::Bus(Arc::new(BusDelivery {
                ack_handle,
                acker: self.durables.acker(),
                superseded: self.superseded.clone(),
            })),
        }
    }

    /// Watches the state of the durable consumer. Returns when the consumer must be moved.
    async fn follow(&self) {
        let (runtime, mut floor) = (&self.runtime, self.consumer.floor);
        let mut suspicion = Suspicion::default();
        loop {
            tokio::time::sleep(FLOOR_POLL).await;
            let Ok(identity) = runtime.bus.identity().await else { continue };
            let state = match self.durables.state(runtime.name()).await {
                Err(_) => continue,
                Ok(state) => state,
            };
            let Some(state) = state else { return };
            if state.generation != Some(self.consumer.generation)
                || identity.bounds.first > floor + 1
                || state.delivered < floor
            {
                return;
            }
            if state.redelivered > 0 {
                if suspicion.is_sure(&state)
                    && !*runtime.paused.borrow()
                    && self.begin_anew(floor).await
                {
                    return;
                }
                continue;
            }
            suspicion = Suspicion::default();
            let reached = settled_through(&state);
            if reached > floor {
                let (name, generation) = (runtime.name(), self.consumer.generation);
                match runtime.store.raise_floor(name, generation, reached).await {
                    Ok(()) => floor = reached,
                    Err(error) => {
                        tracing::debug!(%error, consumer = name, "its position could not be stored yet");
                    }
                }
            }
        }
    }

    /// Moves the consumer back to the last safe position, because the bus gave a message up. Returns whether
    /// that succeeded.
    async fn begin_anew(&self, floor: u64) -> bool {
        let consumer = self.runtime.name();
        tracing::warn!(
            consumer,
            from = floor + 1,
            "messages were delivered as often as allowed without an ack: starting again from the last safe position"
        );
        let position = Position { floor, feed: None, handled: true };
        self.runtime
            .store
            .move_consumer(consumer, self.consumer.generation, &position)
            .await
            .is_ok()
    }
}

/// Every message up to this sequence is settled, if nothing was delivered twice.
pub(super) fn settled_through(state: &DurableState) -> u64 {
    if state.pending == 0 && state.in_flight == 0 { state.delivered } else { state.ack_floor }
}

/// Detects that the bus has given a message up without a report.
#[derive(Default)]
struct Suspicion {
    since: Option<Instant>,
    idle_polls: u32,
}

impl Suspicion {
    /// Whether the bus has certainly given a message up. Call it at each poll that finds redelivered messages
    /// without an ack: `true` when two polls in a row find nothing in flight, or when this lasts longer than
    /// any redelivery takes.
    fn is_sure(&mut self, state: &DurableState) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.idle_polls = if state.in_flight == 0 { self.idle_polls + 1 } else { 0 };
        self.idle_polls >= 2 || since.elapsed() > EXHAUSTED_TIMEOUT
    }
}

/// Takes all free permits. If there are none at all, waits for one.
async fn top_up(runtime: &ConsumerRuntime, permits: &mut Option<OwnedSemaphorePermit>) {
    if permits.as_ref().is_none_or(|permits| permits.num_permits() == 0) {
        *permits = Arc::clone(&runtime.permits).acquire_owned().await.ok();
    }
    let free = u32::try_from(runtime.permits.available_permits()).unwrap_or(0);
    if let Ok(more) = Arc::clone(&runtime.permits).try_acquire_many_owned(free) {
        match permits {
            Some(permits) => permits.merge(more),
            None => *permits = Some(more),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_redelivery_under_way_is_no_reason_to_begin_anew() {
        let state = |in_flight| DurableState {
            generation: Some(1),
            ack_floor: 5,
            delivered: 9,
            pending: 0,
            in_flight,
            redelivered: 1,
        };
        let mut suspicion = Suspicion::default();
        assert!(!suspicion.is_sure(&state(1)));
        assert!(!suspicion.is_sure(&state(0)), "it may be on its way to the store");
        assert!(suspicion.is_sure(&state(0)));
        let mut suspicion = Suspicion::default();
        assert!(!suspicion.is_sure(&state(1)));
        tokio::time::advance(EXHAUSTED_TIMEOUT + Duration::from_secs(1)).await;
        assert!(suspicion.is_sure(&state(1)));
    }
}
