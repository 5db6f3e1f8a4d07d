//! Makes sure that the durable consumer of a generation exists on the bus.
//!
//! Invariant: no process removes the durable consumer that another process created for the same generation.
//! NATS removes by name, whatever has that name. So a process locks the consumer's row in the store, and then
//! reads, removes and creates. Otherwise a process that had read an older state could remove the consumer
//! that another had just created, and the messages in flight there would run twice.

use futures_util::future::BoxFuture;

use super::interruption::Interruption;
use super::spec::ConsumerSpec;
use crate::bus::BusError;
use crate::bus::durable::{DurableConfig, DurableConsumers, DurableState};
use crate::store::work::{Consumer, WorkStore};

/// A function that reads the last sequence of the stream.
pub(super) type Last<'a> = dyn Fn() -> BoxFuture<'a, Result<u64, BusError>> + Send + Sync + 'a;

/// Creates the durable consumer of this generation, unless it exists at a position between the consumer's
/// floor (everything up to it is settled) and `last`, the end of the stream.
pub(super) async fn ensure<S: WorkStore + ?Sized>(
    store: &S,
    durables: &dyn DurableConsumers,
    spec: &ConsumerSpec,
    consumer: &Consumer,
    last: &Last<'_>,
) -> Result<(), Interruption> {
    if found(durables, consumer, last).await? == Found::Current {
        return Ok(());
    }
    let held = store.lock_consumer(&spec.name, consumer.generation).await?;
    let _hold = held.ok_or(Interruption::Superseded)?;
    match found(durables, consumer, last).await? {
        Found::Current => return Ok(()),
        Found::None => {}
        Found::Other => durables.delete(&spec.name).await?,
    }
    let from = consumer.floor + 1;
    tracing::info!(consumer = spec.name, from, "creating its durable consumer");
    let durable = DurableConfig {
        name: spec.name.clone(),
        filter: spec.filter.clone(),
        from,
        generation: consumer.generation,
        ack_wait: spec.policy.ack_wait,
        max_deliver: spec.policy.max_deliver,
    };
    Ok(durables.create(&durable).await?)
}

/// The durable consumer that exists under the name.
#[derive(PartialEq, Eq)]
enum Found {
    None,
    /// The one of this generation.
    Current,
    /// One of another generation, or at a wrong position.
    Other,
}

async fn found(
    durables: &dyn DurableConsumers,
    consumer: &Consumer,
    last: &Last<'_>,
) -> Result<Found, BusError> {
    let Some(state) = durables.state(&consumer.name).await? else { return Ok(Found::None) };
    // `last` is read after the state, so the state's position cannot be beyond it.
    let is_current = is_of(state, consumer, last().await?);
    Ok(if is_current { Found::Current } else { Found::Other })
}

fn is_of(state: DurableState, consumer: &Consumer, last: u64) -> bool {
    state.generation == Some(consumer.generation)
        && (consumer.floor..=last.max(consumer.floor)).contains(&state.delivered)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;

    use super::*;
    use crate::bus::durable::{Acker, Deliveries};
    use crate::processor::{Policy, Start};
    use crate::store::Store;
    use crate::store::contract_tests::on_postgres;
    use crate::store::work::Position;

    const NAME: &str = "c";
    const SERVERS: usize = 4;
    const ROUNDS: i64 = 250;

    /// A bus that removes by name alone, as NATS does, and lets other tasks run before each answer.
    #[derive(Default)]
    struct ByName {
        state: Mutex<Option<DurableState>>,
        /// The generations of the durable consumers removed, in order.
        removed: Mutex<Vec<i64>>,
        made: Mutex<Vec<i64>>,
    }

    #[async_trait]
    impl DurableConsumers for ByName {
        async fn state(&self, _: &str) -> Result<Option<DurableState>, BusError> {
            let state = *self.state.lock().expect("a state");
            tokio::task::yield_now().await;
            Ok(state)
        }

        async fn create(&self, durable: &DurableConfig) -> Result<(), BusError> {
            tokio::task::yield_now().await;
            let mut state = self.state.lock().expect("a state");
            assert_eq!(*state, None, "made over another");
            *state = Some(DurableState {
                generation: Some(durable.generation),
                ack_floor: 0,
                delivered: 0,
                pending: 0,
                in_flight: 0,
                redelivered: 0,
            });
            self.made.lock().expect("a list").push(durable.generation);
            Ok(())
        }

        async fn delete(&self, _: &str) -> Result<(), BusError> {
            tokio::task::yield_now().await;
            let gone = self.state.lock().expect("a state").take();
            let generation = gone.and_then(|state| state.generation);
            self.removed.lock().expect("a list").extend(generation);
            tokio::task::yield_now().await;
            Ok(())
        }

        async fn deliveries(&self, _: &str) -> Result<Box<dyn Deliveries>, BusError> {
            Err(BusError("not asked for".to_owned()))
        }

        fn acker(&self) -> Arc<dyn Acker> {
            unreachable!("nothing is delivered")
        }
    }

    fn spec() -> ConsumerSpec {
        ConsumerSpec {
            name: NAME.to_owned(),
            filter: "agent.>".parse().expect("a pattern"),
            policy: Policy::default(),
            start: Start::Earliest,
            handlers: Vec::new(),
            concurrency: 1,
        }
    }

    /// Stands for a server: follows the consumer until generation `last`.
    async fn follow(store: Box<dyn Store>, durables: Arc<ByName>, last: i64) {
        loop {
            let consumer = store.consumer(NAME).await.expect("answers").expect("there");
            match ensure(&*store, &*durables, &spec(), &consumer, &|| Box::pin(async { Ok(0) }))
                .await
            {
                Ok(()) if consumer.generation == last => return,
                Ok(()) | Err(Interruption::Superseded) => {}
                Err(error) => panic!("{error}"),
            }
            let position = Position { floor: 0, feed: None, handled: true };
            if consumer.generation < last {
                store.move_consumer(NAME, consumer.generation, &position).await.expect("answers");
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_one_server_made_no_other_removes() {
        on_postgres(async |server| {
            let durables = Arc::new(ByName::default());
            let position = Position { floor: 0, feed: None, handled: true };
            let store = server.open().await;
            let made = store.create_consumer(NAME, "agent.>", &position).await.expect("made");
            let last = made.generation + ROUNDS;
            let mut servers = Vec::new();
            for _ in 0..SERVERS {
                let (store, durables) = (server.open().await, Arc::clone(&durables));
                servers.push(tokio::spawn(follow(store, durables, last)));
            }
            for server in servers {
                server.await.expect("none is in another's way");
            }
            let made = durables.made.lock().expect("a list").clone();
            let removed = durables.removed.lock().expect("a list").clone();
            assert!(made.is_sorted_by(|a, b| a < b), "once a generation: {made:?}");
            assert_eq!(removed, made[..made.len() - 1], "each when its generation was over");
            assert_eq!(made.last(), Some(&last));
        })
        .await;
    }
}
