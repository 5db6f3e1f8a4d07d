//! One consumer from its start to its end in this process.
//!
//! Invariant: sources work for one placing of the consumer at a time. When that
//! changes, or ends, the consumer is placed anew and they begin again from there.
//! At the end, what was begun has the drain time to finish, then is cut off and
//! given back.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::feeder::{FeedError, Feeder};
use super::line::Line;
use super::place::{Ground, place};
use super::puller::Puller;
use super::{ConsumerSpec, ControlError, Processor, Start, durable, retries, settle};
use crate::bus::BusError;
use crate::bus::durable::{DeliveryError, Durables};
use crate::limits::{CONSUMER_PROGRESS_PARTS, FAULT_PAUSE, SETTLE_STOP, TOTALS_FLUSH};
use crate::store::StoreError;
use crate::store::work::{Consumer, Feed, FeedClaim, Place, Totals};

/// Why a placing ended.
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
    Moved,
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
        let counts = self.series.begin(&spec.name);
        let (line, cases) = Line::new(spec, bus, store, stop, counts);
        let line = Arc::new(line);
        let settling = AbortOnDropHandle::new(tokio::spawn(settle::run(Arc::clone(&line), cases)));
        let work = async {
            tokio::join!(self.serve(&line), retries::run(&line), self.end(&line, settling));
        };
        // The others never end by themselves.
        tokio::select! {
            () = work => {}
            () = keep_alive(&line) => {}
            () = flush_totals(&line) => {}
            () = self.follow_pause(&line) => {}
        }
        flush(&line).await;
        self.series.end(line.name());
        self.policies().remove(line.name());
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
            Start::Kept => Place { floor: 0, feed: None, handled: false },
            Start::New => {
                let floor = self.bus.identity().await?.bounds.last;
                let feed = Feed { floor, top: floor, ..Feed::default() };
                let fed = self.bus.durables().is_none();
                Place { floor, feed: fed.then_some(feed), handled: true }
            }
        };
        self.store.create_consumer(&spec.name, spec.filter.as_str(), &place).await?;
        Ok(())
    }

    /// One placing after the other, until the line stops.
    async fn serve(&self, line: &Arc<Line>) {
        while !line.stop.is_cancelled() {
            if let Err(interruption) = self.serve_placing(line).await {
                tracing::debug!(consumer = line.name(), %interruption, "placing it anew");
                let _ = tokio::time::timeout(FAULT_PAUSE, line.stop.cancelled()).await;
            }
        }
    }

    async fn serve_placing(&self, line: &Arc<Line>) -> Result<(), Interruption> {
        let found = self.store.consumer(line.name()).await?;
        let consumer = found.ok_or(Interruption::Forgotten)?;
        line.pause(consumer.paused.is_some());
        if let Some(wanted) = place(&consumer, self.ground().await?) {
            let (name, generation) = (line.name(), consumer.generation);
            tracing::info!(consumer = name, floor = wanted.floor, feed = ?wanted.feed, "placing it");
            self.store.place_consumer(name, generation, &wanted).await?;
            return Ok(());
        }
        let generation = consumer.generation;
        let placing = CancellationToken::new();
        let _ends = placing.clone().drop_guard();
        tokio::select! {
            ended = self.source(line, consumer, placing) => ended?,
            () = self.moved(line, generation) => return Err(Interruption::Moved),
        }
        if line.stop.is_cancelled() {
            // Until then, what is in hand belongs to this placing.
            line.over.cancelled().await;
        }
        Ok(())
    }

    /// First deliveries: what is fed comes before what the bus hands out.
    async fn source(
        &self,
        line: &Arc<Line>,
        consumer: Consumer,
        placing: CancellationToken,
    ) -> Result<(), Interruption> {
        let line = Arc::clone(line);
        match (&consumer.feed, self.bus.durables()) {
            (None, Some(durables)) => {
                self.ensure_durable(&*durables, &line.spec, &consumer).await?;
                Ok(Puller { line, durables, consumer, placing }.run().await?)
            }
            _ => {
                let claim = FeedClaim { generation: consumer.generation, owner: self.owner };
                Ok(Feeder { line, claim, placing }.run().await?)
            }
        }
    }

    /// Makes the durable consumer if there is none at all.
    pub(super) async fn prepare(&self, spec: &ConsumerSpec) -> Result<(), Interruption> {
        let Some(durables) = self.bus.durables() else { return Ok(()) };
        if durables.state(&spec.name).await?.is_some() {
            return Ok(());
        }
        let consumer = self.store.consumer(&spec.name).await?.ok_or(Interruption::Forgotten)?;
        self.ensure_durable(&*durables, spec, &consumer).await
    }

    /// What the bus holds.
    pub(super) async fn ground(&self) -> Result<Ground, BusError> {
        match self.bus.durables() {
            None => Ok(Ground::Fed),
            Some(_) => Ok(Ground::Durable(self.bus.identity().await?.bounds)),
        }
    }

    async fn ensure_durable(
        &self,
        durables: &dyn Durables,
        spec: &ConsumerSpec,
        consumer: &Consumer,
    ) -> Result<(), Interruption> {
        let last: &durable::Last<'_> =
            &|| Box::pin(async { Ok(self.bus.identity().await?.bounds.last) });
        durable::ensure(&*self.store, durables, spec, consumer, last).await
    }

    /// Returns when the consumer was put elsewhere.
    async fn moved(&self, line: &Line, generation: i64) {
        let mut known = self.directory.watch();
        let moved = known.wait_for(|known| {
            known.get(line.name()).is_some_and(|consumer| consumer.generation > generation)
        });
        // The sender lives as long as the processor.
        let _ = moved.await;
    }

    async fn follow_pause(&self, line: &Line) {
        let mut known = self.directory.watch();
        loop {
            if let Some(consumer) = known.borrow_and_update().get(line.name()) {
                line.pause(consumer.paused.is_some());
            }
            if known.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// After the stop: lets end what was begun, cuts off what does not, and settles it.
    async fn end(&self, line: &Line, settling: AbortOnDropHandle<()>) {
        line.stop.cancelled().await;
        line.tasks.close();
        if tokio::time::timeout(self.drain, line.tasks.wait()).await.is_err() {
            tracing::warn!(consumer = line.name(), "handlers did not end within the drain window");
            line.abort.cancel();
            line.tasks.wait().await;
        }
        line.ended.cancel();
        if tokio::time::timeout(SETTLE_STOP, settling).await.is_err() {
            tracing::warn!(consumer = line.name(), "some messages will be handed out again");
        }
        if let Some(durables) = self.bus.durables() {
            durables.answers().flush().await;
        }
        line.over.cancel();
    }
}

/// Prolongs what is in hand.
async fn keep_alive(line: &Line) {
    let ack_wait = line.spec.policy.ack_wait;
    let part = ack_wait / CONSUMER_PROGRESS_PARTS;
    loop {
        tokio::time::sleep(part / 2).await;
        line.hand.prolong(&*line.store, line.name(), part / 2, ack_wait).await;
    }
}

async fn flush_totals(line: &Line) {
    loop {
        tokio::time::sleep(TOTALS_FLUSH).await;
        flush(line).await;
    }
}

/// Adds what was counted to the store's totals.
async fn flush(line: &Line) {
    let totals = line.tally.take();
    if totals == Totals::default() {
        return;
    }
    if let Err(error) = line.store.add_totals(line.name(), &totals).await {
        tracing::debug!(%error, consumer = line.name(), "totals could not be kept");
        line.tally.put_back(&totals);
    }
}
