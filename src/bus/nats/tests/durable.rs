//! Durable consumers: deliveries, and messages that the server gives up.

use super::*;
use crate::bus::durable::{
    AckKind, DeliveredMessage, DurableConfig, DurableConsumers, DurableState,
};
use std::sync::Arc;

const NAME: &str = "agent-processor";

async fn made(bus: &NatsBus, ack_wait: Duration) -> Arc<dyn DurableConsumers> {
    let durables = bus.durable_consumers().expect("NATS has them");
    let durable = DurableConfig {
        name: NAME.to_owned(),
        filter: crate::message::SubjectPattern::all(),
        from: 1,
        generation: 7,
        ack_wait,
        max_deliver: 3,
    };
    durables.create(&durable).await.expect("create");
    durables.create(&durable).await.expect("the same again");
    durables
}

async fn state(durables: &dyn DurableConsumers) -> DurableState {
    durables.state(NAME).await.expect("ask").expect("is there")
}

async fn next(deliveries: &mut dyn crate::bus::durable::Deliveries) -> Vec<DeliveredMessage> {
    let next = tokio::time::timeout(PATIENCE, deliveries.next(10)).await;
    next.expect("in time").expect("deliveries")
}

#[tokio::test]
async fn a_message_that_the_server_gives_up_is_delivered_again_and_can_be_acked() {
    let server = server_or_return!();
    let bus = NatsBus::connect(NatsConfig::new(&server.url())).await.expect("connect");
    let durables = made(&bus, Duration::from_millis(200)).await;
    assert_eq!(state(&*durables).await.generation, Some(7));
    server.publish_raw(b"agent.task.t.x", None, b"one");
    let mut deliveries = durables.deliveries(NAME).await.expect("deliveries");
    for redelivered in [false, true, true] {
        let given = next(&mut *deliveries).await;
        assert_eq!((given[0].raw.seq, given[0].redelivered), (1, redelivered));
    }
    // Three deliveries were not acked, and the server gives the message up. It is fetched from the stream
    // instead.
    let given = next(&mut *deliveries).await;
    assert_eq!((given[0].raw.seq, given[0].redelivered), (1, true));
    assert_eq!(&given[0].raw.payload[..], b"one");
    let before = state(&*durables).await;
    assert_eq!(
        (before.in_flight, before.redelivered),
        (0, 1),
        "given up, and visible in the state"
    );
    durables.acker().ack(&given[0].ack_handle, AckKind::Ack).await;
    tokio::time::timeout(PATIENCE, async {
        while state(&*durables).await.redelivered > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("answered");
}
