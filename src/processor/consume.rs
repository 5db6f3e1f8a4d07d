//! One consumer from its start to its end in this process.
//!
//! Invariant: sources work for one superseded of the consumer at a time. When that
//! changes, or ends, the consumer is placed anew and they begin again from there.
//! At the end, what was begun has the drain time to finish, then is cut off and
//! given back.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::bus_source::BusSource;
use super::position::{DeliverySource, place};
use super::runtime::ConsumerRuntime;
use super::store_source::{FeedError, StoreSource};
use super::{ConsumerSpec, ControlError, Processor, Start, durable, retries, settle};
use crate::bus::BusError;
use crate::bus::durable::{DeliveryError, DurableConsumers};
use crate::limits::{CONSUMER_PROGRESS_PARTS, FAULT_PAUSE, SETTLE_STOP, TOTALS_FLUSH};
use crate::store::StoreError;
use crate::store::work::{Consumer, Feed, FeedClaim, Position, Totals};

/// Why a superseded ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Interruption {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    #[error("there is no such consumer any more")]
    Forgotten,
    #[error("the consumer was put elsewhere")]
    Superseded,
}

impl From<FeedError> for Interruption {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Store(error) => Self::Store(error),
            FeedError::Bus(error) => Self::Bus(error),
        }
    }
}

impl Processor {
    /// Runs a consumer until `stop`, and then until what it began has ended.
    pub async fn consume(&self, spec: ConsumerSpec, stop: CancellationToken) {
        let _running = self.running.token();
        if stop.run_until_cancelled(self.make(&spec)).await.is_none() {
            return;
        }
        let (bus, store) = (Arc::clone(&self.bus), Arc::clone(&self.store));
        let counts = self.metrics.begin(&spec.name);
        let (runtime, settlements) = ConsumerRuntime::new(spec, bus, store, stop, counts);
        let runtime = Arc::new(runtime);
        let settling =
            AbortOnDropHandle::new(tokio::spawn(settle::run(Arc::clone(&runtime), settlements)));
        let work = async {
            tokio::join!(
                self.serve(&runtime),
                retries::run(&runtime),
                self.end(&runtime, settling)
            );
        };
        // The others never end by themselves.
        tokio::select! {
            () = work => {}
            () = keep_alive(&runtime) => {}
            () = flush_totals(&runtime) => {}
            () = self.follow_pause(&runtime) => {}
        }
        flush(&runtime).await;
        self.metrics.end(runtime.name());
        self.policies().remove(runtime.name());
    }

    /// Makes the consumer in the store, unless it is there.
    pub(super) async fn make(&self, spec: &ConsumerSpec) {
        self.policies().insert(spec.name.clone(), spec.policy.clone());
        loop {
            match self.declare(spec).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::debug!(%error, consumer = spec.name, "it could not be made yet");
                }
            }
            tokio::time::sleep(FAULT_PAUSE).await;
        }
    }

    /// Puts the consumer into the store, unless it is there: from then on it is listed, and
    /// can be paused, resumed and reset.
    ///
    /// # Errors
    /// That store or bus cannot be asked.
    pub async fn declare(&self, spec: &ConsumerSpec) -> Result<(), ControlError> {
        if self.store.consumer(&spec.name).await?.is_some() {
            return Ok(());
        }
        let place = match spec.start {
            Start::Earliest => Position { floor: 0, feed: None, handled: false },
            Start::Latest => {
                let floor = self.bus.identity().await?.bounds.last;
                let feed = Feed { floor, top: floor, ..Feed::default() };
                let fed = self.bus.durable_consumers().is_none();
                Position { floor, feed: fed.then_some(feed), handled: true }
            }
        };
        self.store.create_consumer(&spec.name, spec.filter.as_str(), &place).await?;
        Ok(())
    }

    /// One superseded after the other, until the runtime stops.
    async fn serve(&self, runtime: &Arc<ConsumerRuntime>) {
        while !runtime.stop.is_cancelled() {
            if let Err(interruption) = self.serve_placing(runtime).await {
                tracing::debug!(consumer = runtime.name(), %interruption, "superseded it anew");
                let _ = tokio::time::timeout(FAULT_PAUSE, runtime.stop.cancelled()).await;
            }
        }
    }

    async fn serve_placing(&self, runtime: &Arc<ConsumerRuntime>) -> Result<(), Interruption> {
        let found = self.store.consumer(runtime.name()).await?;
        let consumer = found.ok_or(Interruption::Forgotten)?;
        runtime.pause(consumer.paused.is_some());
        if let Some(wanted) = place(&consumer, self.ground().await?) {
            let (name, generation) = (runtime.name(), consumer.generation);
            tracing::info!(consumer = name, floor = wanted.floor, feed = ?wanted.feed, "superseded it");
            self.store.move_consumer(name, generation, &wanted).await?;
            return Ok(());
        }
        let generation = consumer.generation;
        let superseded = CancellationToken::new();
        let _ends = superseded.clone().drop_guard();
        tokio::select! {
            ended = self.source(runtime, consumer, superseded) => ended?,
            () = self.moved(runtime, generation) => return Err(Interruption::Superseded),
        }
        if runtime.stop.is_cancelled() {
            // Until then, what is in in_flight belongs to this superseded.
            runtime.over.cancelled().await;
        }
        Ok(())
    }

    /// First deliveries: what is fed comes before what the bus hands out.
    async fn source(
        &self,
        runtime: &Arc<ConsumerRuntime>,
        consumer: Consumer,
        superseded: CancellationToken,
    ) -> Result<(), Interruption> {
        let runtime = Arc::clone(runtime);
        match (&consumer.feed, self.bus.durable_consumers()) {
            (None, Some(durables)) => {
                self.ensure_durable(&*durables, &runtime.spec, &consumer).await?;
                Ok(BusSource { runtime, durables, consumer, superseded }.run().await?)
            }
            _ => {
                let claim = FeedClaim { generation: consumer.generation, owner: self.owner };
                Ok(StoreSource { runtime, claim, superseded }.run().await?)
            }
        }
    }

    /// Makes the durable consumer if there is none at all.
    pub(super) async fn prepare(&self, spec: &ConsumerSpec) -> Result<(), Interruption> {
        let Some(durables) = self.bus.durable_consumers() else { return Ok(()) };
        if durables.state(&spec.name).await?.is_some() {
            return Ok(());
        }
        let consumer = self.store.consumer(&spec.name).await?.ok_or(Interruption::Forgotten)?;
        self.ensure_durable(&*durables, spec, &consumer).await
    }

    /// What the bus holds.
    pub(super) async fn ground(&self) -> Result<DeliverySource, BusError> {
        match self.bus.durable_consumers() {
            None => Ok(DeliverySource::Store),
            Some(_) => Ok(DeliverySource::Stream(self.bus.identity().await?.bounds)),
        }
    }

    async fn ensure_durable(
        &self,
        durables: &dyn DurableConsumers,
        spec: &ConsumerSpec,
        consumer: &Consumer,
    ) -> Result<(), Interruption> {
        let last: &durable::Last<'_> =
            &|| Box::pin(async { Ok(self.bus.identity().await?.bounds.last) });
        durable::ensure(&*self.store, durables, spec, consumer, last).await
    }

    /// Returns when the consumer was put elsewhere.
    async fn moved(&self, runtime: &ConsumerRuntime, generation: i64) {
        let mut known = self.directory.watch();
        let moved = known.wait_for(|known| {
            known.get(runtime.name()).is_some_and(|consumer| consumer.generation > generation)
        });
        // The sender lives as long as the processor.
        let _ = moved.await;
    }

    async fn follow_pause(&self, runtime: &ConsumerRuntime) {
        let mut known = self.directory.watch();
        loop {
            if let Some(consumer) = known.borrow_and_update().get(runtime.name()) {
                runtime.pause(consumer.paused.is_some());
            }
            if known.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// After the stop: lets end what was begun, cuts off what does not, and settles it.
    async fn end(&self, runtime: &ConsumerRuntime, settling: AbortOnDropHandle<()>) {
        runtime.stop.cancelled().await;
        runtime.tasks.close();
        if tokio::time::timeout(self.drain, runtime.tasks.wait()).await.is_err() {
            tracing::warn!(
                consumer = runtime.name(),
                "handlers did not end within the drain progress"
            );
            runtime.abort.cancel();
            runtime.tasks.wait().await;
        }
        runtime.ended.cancel();
        if tokio::time::timeout(SETTLE_STOP, settling).await.is_err() {
            tracing::warn!(consumer = runtime.name(), "some messages will be handed out again");
        }
        if let Some(durables) = self.bus.durable_consumers() {
            durables.acker().flush().await;
        }
        runtime.over.cancel();
    }
}

/// Prolongs what is in in_flight.
async fn keep_alive(runtime: &ConsumerRuntime) {
    let ack_wait = runtime.spec.policy.ack_wait;
    let part = ack_wait / CONSUMER_PROGRESS_PARTS;
    loop {
        tokio::time::sleep(part / 2).await;
        runtime.in_flight.prolong(&*runtime.store, runtime.name(), part / 2, ack_wait).await;
    }
}

async fn flush_totals(runtime: &ConsumerRuntime) {
    loop {
        tokio::time::sleep(TOTALS_FLUSH).await;
        flush(runtime).await;
    }
}

/// Adds what was counted to the store's totals.
async fn flush(runtime: &ConsumerRuntime) {
    let totals = runtime.totals.take();
    if totals == Totals::default() {
        return;
    }
    if let Err(error) = runtime.store.add_totals(runtime.name(), &totals).await {
        tracing::debug!(%error, consumer = runtime.name(), "totals could not be kept");
        runtime.totals.put_back(&totals);
    }
}
