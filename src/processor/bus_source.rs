//! Takes messages from a durable consumer of the bus, and follows its place.
//!
//! Invariant: no more is asked for than there is permits. The place written to the
//! store never passes a message that is not settled: it rises only while nothing
//! has been handed out twice, so what the bus gives up in silence lies above it.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::in_flight::{BusDelivery, Origin};
use super::runtime::{ConsumerRuntime, Incoming};
use crate::bus::durable::{
    AckKind, DeliveredMessage, Deliveries, DeliveryError, DurableConsumers, DurableState,
};
use crate::limits::{
    EXHAUSTED_TIMEOUT, FLOOR_POLL, LAST_FLOOR_PAUSE, LAST_FLOOR_POLLS, NATS_NAK_DELAY,
};
use crate::message::decode;
use crate::store::work::{Consumer, Position};

/// Works for one superseded of a consumer.
pub(super) struct BusSource {
    pub runtime: Arc<ConsumerRuntime>,
    pub durables: Arc<dyn DurableConsumers>,
    pub consumer: Consumer,
    pub superseded: CancellationToken,
}

impl BusSource {
    /// Takes and follows until the runtime stops, or the consumer must be placed anew.
    pub(super) async fn run(&self) -> Result<(), DeliveryError> {
        let mut deliveries = self.durables.deliveries(self.runtime.name()).await?;
        tokio::select! {
            ended = self.take(&mut *deliveries) => ended,
            () = self.follow() => Ok(()),
            () = self.runtime.stop.cancelled() => {
                self.give_back(deliveries.close().await).await;
                self.runtime.over.cancelled().await;
                self.keep_last().await;
                Ok(())
            }
        }
    }

    /// Keeps the place at the end, so that another bus begins where this one ended. The
    /// last answers may still be on their way.
    async fn keep_last(&self) {
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

    /// Gives back what came when nothing was to begin any more.
    async fn give_back(&self, delivered: Vec<DeliveredMessage>) {
        let acker = self.durables.acker();
        for one in delivered {
            acker.ack(&one.ack_handle, AckKind::Nak(NATS_NAK_DELAY)).await;
        }
        acker.flush().await;
    }

    async fn take(&self, deliveries: &mut dyn Deliveries) -> Result<(), DeliveryError> {
        let runtime = &self.runtime;
        let mut paused = runtime.paused.subscribe();
        let mut permits = None;
        loop {
            let asks = !*paused.borrow_and_update();
            if asks {
                top_up(runtime, &mut permits).await;
            }
            let places = permits.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            // What is on its way when a pause begins still comes, and goes to the store.
            let delivered = tokio::select! {
                delivered = deliveries.next(if asks { places } else { 0 }) => delivered?,
                _ = paused.changed() => continue,
            };
            for one in delivered {
                let place = match permits.as_mut().and_then(|permits| permits.split(1)) {
                    Some(place) => place,
                    None => match Arc::clone(&runtime.permits).acquire_owned().await {
                        Ok(place) => place,
                        Err(_) => return Ok(()),
                    },
                };
                runtime.take(self.given(one), place);
            }
        }
    }

    fn given(&self, delivered: DeliveredMessage) -> Incoming {
        let DeliveredMessage { raw, redelivered, ack_handle } = delivered;
        Incoming {
            message: decode(raw, self.runtime.bus.log_name()),
            attempt: 1,
            attempts: Vec::new(),
            doubtful: redelivered,
            origin: Origin::Bus(Arc::new(BusDelivery {
                ack_handle,
                acker: self.durables.acker(),
                superseded: self.superseded.clone(),
            })),
        }
    }

    /// Follows the durable consumer; returns when it must be placed anew.
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
                        tracing::debug!(%error, consumer = name, "its place could not be kept");
                    }
                }
            }
        }
    }

    /// Puts the consumer back to the last safe place, since the bus gave something up unseen.
    async fn begin_anew(&self, floor: u64) -> bool {
        let consumer = self.runtime.name();
        tracing::warn!(
            consumer,
            from = floor + 1,
            "messages were handed out as often as allowed without an answer: beginning anew"
        );
        let place = Position { floor, feed: None, handled: true };
        self.runtime.store.move_consumer(consumer, self.consumer.generation, &place).await.is_ok()
    }
}

/// Everything up to here is settled, if nothing was handed out twice.
pub(super) fn settled_through(state: &DurableState) -> u64 {
    if state.pending == 0 && state.in_flight == 0 { state.delivered } else { state.ack_floor }
}

/// Whether the bus has given a message up and nobody has noticed.
#[derive(Default)]
struct Suspicion {
    since: Option<Instant>,
    looks: u32,
}

impl Suspicion {
    /// Nothing is under way, twice in a row, and yet something was handed out twice
    /// without an answer; or that goes on for longer than any redelivery takes.
    fn is_sure(&mut self, state: &DurableState) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.looks = if state.in_flight == 0 { self.looks + 1 } else { 0 };
        self.looks >= 2 || since.elapsed() > EXHAUSTED_TIMEOUT
    }
}

/// Takes the places that are free; waits for one if there is none yet.
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
