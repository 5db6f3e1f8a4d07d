//! Runs one consumer in this process, from its start to its end.
//!
//! Invariant: sources work for one generation of the consumer at a time (each move to another position begins
//! a new generation). When its position is changed, or must be, the next generation begins from there. At the
//! end, attempts that have begun have the drain time to finish. Those that do not are cancelled, and their
//! messages are set aside.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::bus_source::BusSource;
use super::engine::Processor;
use super::interruption::Interruption;
use super::position::{DeliverySource, required_position};
use super::runtime::ConsumerRuntime;
use super::spec::{ConsumerSpec, Start};
use super::status::ControlError;
use super::store_source::StoreSource;
use super::{durable, retries, settle};
use crate::bus::BusError;
use crate::bus::durable::DurableConsumers;
use crate::limits::{CONSUMER_PROGRESS_PARTS, FAULT_PAUSE, TOTALS_FLUSH};
use crate::shutdown::Lifecycle;
use crate::store::work::{Consumer, Feed, FeedClaim, Position, Totals};

impl Processor {
    /// Runs a consumer until `stop`, and then until the attempts that it began have ended.
    pub async fn consume(&self, spec: ConsumerSpec, stop: CancellationToken) {
        let _running = self.running.token();
        if stop.run_until_cancelled(self.create(&spec)).await.is_none() {
            return;
        }
        let (bus, store) = (Arc::clone(&self.bus), Arc::clone(&self.store));
        let counters = self.metrics.begin(&spec.name);
        let erased = Arc::clone(&self.erased);
        let (clock, lifecycle) = (self.clock.clone(), Lifecycle::stopped_by(stop));
        let (runtime, settlements) =
            ConsumerRuntime::new(spec, bus, store, erased, clock, lifecycle, counters);
        let runtime = Arc::new(runtime);
        let settling = tokio::spawn(settle::run(Arc::clone(&runtime), settlements));
        let settling = AbortOnDropHandle::new(settling);
        let settled = async {
            let _ = settling.await;
        };
        let work = async {
            let drained = runtime.drain(self.drain, settled);
            tokio::join!(self.serve(&runtime), retries::run(&runtime), drained);
        };
        // The other futures never complete.
        tokio::select! {
            () = work => {}
            () = keep_alive(&runtime) => {}
            () = flush_totals(&runtime) => {}
            () = self.follow_pause(&runtime) => {}
        }
        flush(&runtime).await;
        self.metrics.end(runtime.name());
        self.policies.lock().remove(runtime.name());
    }

    /// Creates a consumer, and its durable consumer if the bus has those, so that both exist before its first
    /// handler does. Then waits until cancelled.
    pub async fn announce(&self, spec: ConsumerSpec, cancel: CancellationToken) {
        let announcing = async {
            self.create(&spec).await;
            while let Err(error) = self.ensure_any_durable(&spec).await {
                tracing::debug!(%error, consumer = spec.name, "its durable consumer waits");
                tokio::time::sleep(FAULT_PAUSE).await;
            }
        };
        if cancel.run_until_cancelled(announcing).await.is_some() {
            cancel.cancelled().await;
        }
    }

    /// Creates the consumer in the store, unless it exists. From then on it is listed, and can be paused,
    /// resumed and reset.
    ///
    /// # Errors
    /// Store or bus do not answer.
    pub async fn declare(&self, spec: &ConsumerSpec) -> Result<(), ControlError> {
        if self.store.consumer(&spec.name).await?.is_some() {
            return Ok(());
        }
        let position = match spec.start {
            Start::Earliest => Position { floor: 0, feed: None, handled: false },
            Start::Latest => {
                let floor = self.bus.identity().await?.bounds.last;
                let feed = Feed { floor, top: floor, ..Feed::default() };
                let is_fed = self.bus.durable_consumers().is_none();
                Position { floor, feed: is_fed.then_some(feed), handled: true }
            }
        };
        self.store.create_consumer(&spec.name, spec.filter.as_str(), &position).await?;
        Ok(())
    }

    /// As [`Processor::declare`], with retries until it succeeds.
    async fn create(&self, spec: &ConsumerSpec) {
        self.policies.lock().insert(spec.name.clone(), spec.policy.clone());
        while let Err(error) = self.declare(spec).await {
            tracing::debug!(%error, consumer = spec.name, "it could not be created yet");
            tokio::time::sleep(FAULT_PAUSE).await;
        }
    }

    /// Runs one generation after the other, until the consumer stops.
    async fn serve(&self, runtime: &Arc<ConsumerRuntime>) {
        let draining = runtime.lifecycle.draining();
        while !draining.is_cancelled() {
            if let Err(interruption) = self.serve_generation(runtime).await {
                tracing::debug!(consumer = runtime.name(), %interruption, "starting its sources again");
                let _ = tokio::time::timeout(FAULT_PAUSE, draining.cancelled()).await;
            }
        }
    }

    async fn serve_generation(&self, runtime: &Arc<ConsumerRuntime>) -> Result<(), Interruption> {
        let found = self.store.consumer(runtime.name()).await?;
        let consumer = found.ok_or(Interruption::Deleted)?;
        runtime.pause(consumer.paused.is_some());
        let (name, generation) = (runtime.name(), consumer.generation);
        if let Some(wanted) = required_position(&consumer, self.delivery_source().await?) {
            tracing::info!(consumer = name, floor = wanted.floor, feed = ?wanted.feed, "moving it");
            self.store.move_consumer(name, generation, &wanted).await?;
            return Ok(());
        }
        let superseded = CancellationToken::new();
        let _ends = superseded.clone().drop_guard();
        tokio::select! {
            ended = self.run_source(runtime, consumer, superseded) => ended?,
            () = self.moved(name, generation) => return Err(Interruption::Superseded),
        }
        if runtime.lifecycle.draining().is_cancelled() {
            // Until then, the messages in flight belong to this generation.
            runtime.lifecycle.over().cancelled().await;
        }
        Ok(())
    }

    /// Runs the first deliveries of a generation: those from the store first, then those from the bus.
    async fn run_source(
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
                StoreSource { runtime, claim, superseded }.run().await
            }
        }
    }

    /// Creates the durable consumer if there is none with this name.
    async fn ensure_any_durable(&self, spec: &ConsumerSpec) -> Result<(), Interruption> {
        let Some(durables) = self.bus.durable_consumers() else { return Ok(()) };
        if durables.state(&spec.name).await?.is_some() {
            return Ok(());
        }
        let consumer = self.store.consumer(&spec.name).await?.ok_or(Interruption::Deleted)?;
        self.ensure_durable(&*durables, spec, &consumer).await
    }

    /// Where the first deliveries come from on this bus.
    pub(super) async fn delivery_source(&self) -> Result<DeliverySource, BusError> {
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

    /// Returns once the consumer has a later generation than `generation`.
    async fn moved(&self, name: &str, generation: i64) {
        let mut consumers = self.directory.watch();
        let moved = consumers.wait_for(|consumers| {
            consumers.get(name).is_some_and(|consumer| consumer.generation > generation)
        });
        // Cannot fail: the sender lives as long as the processor.
        let _ = moved.await;
    }

    async fn follow_pause(&self, runtime: &ConsumerRuntime) {
        let mut consumers = self.directory.watch();
        loop {
            if let Some(consumer) = consumers.borrow_and_update().get(runtime.name()) {
                runtime.pause(consumer.paused.is_some());
            }
            if consumers.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// Prolongs the leases and deliveries of messages in flight, without end.
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

/// Adds the counts of this process to the store's totals.
async fn flush(runtime: &ConsumerRuntime) {
    let totals = runtime.totals.take();
    if totals == Totals::default() {
        return;
    }
    if let Err(error) = runtime.store.add_totals(runtime.name(), &totals).await {
        tracing::debug!(%error, consumer = runtime.name(), "totals could not be stored yet");
        runtime.totals.put_back(&totals);
    }
}
