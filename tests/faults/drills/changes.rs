//! The stream holds what it should not, a key leaks, the bus is switched.

use async_nats::jetstream;
use serde_json::json;

use super::{ACTION, Alerts, OVER, Operator, Pace, Runbook};
use crate::load::{Load, PATIENCE};
use crate::support::keys::Secured;
use crate::support::streams::{message, publish};
use crate::support::{Agentbus, Mode, Nats, Postgres, eventually, ports, wire};
use crate::verdict;

const STREAM: &str = "agent-messages";

/// Deletes the stream and creates it again, empty.
async fn replace(context: &jetstream::Context) {
    let stream = context.get_stream(STREAM).await.expect("the stream");
    let config = stream.cached_info().config.clone();
    context.delete_stream(STREAM).await.expect("deleted");
    // nats-server removes the folder of streams with the last one, possibly when the new one needs it.
    eventually(PATIENCE, "the stream is created again", async || {
        context.create_stream(config.clone()).await.ok()
    })
    .await;
}

#[tokio::test]
async fn the_stream_is_gone() {
    let book = Runbook::read("stream-behind");
    let (nats, pg_url) = (Nats::start().await, Postgres::shared().await.database().await);
    let server = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let operator = Operator::at(&server);
    let load = Load::start(&[server.url()], 4, 2);
    load.acknowledged(50).await;
    // What is not yet committed may be lost with a stream: that is no part of this drill.
    let observed = load.end().await;
    let last = observed.acked.values().copied().max().expect("some");
    wire::committed_at_last(&server.http(), last).await;
    nats.jetstream().await.delete_stream(STREAM).await.expect("deleted");
    operator.runs(&book, "The stream is behind or gone").await;
    let load = Load::start(&[server.url()], 4, 2);
    load.acknowledged(50).await;
    verdict::check("drill: stream gone", load, &[server.url()], Some(&nats)).await;
}

#[tokio::test]
async fn the_stream_holds_other_content() {
    let book = Runbook::read("stream-behind");
    let (nats, pg_url) = (Nats::start().await, Postgres::shared().await.database().await);
    let server = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let operator = Operator::at(&server);
    let batch: Vec<_> = (0..20).map(message).collect();
    let seqs = publish(&server.http(), &batch).await;
    wire::committed(&server.http(), *seqs.last().expect("some")).await;
    server.terminate().await;
    let context = nats.jetstream().await;
    replace(&context).await;
    for number in 0..3 {
        let body = json!({"n": number}).to_string();
        let ack = context.publish("agent.task.other.note", body.into()).await.expect("sent");
        ack.await.expect("stored");
    }
    server.restart_listening().await;
    let alerts = Alerts::of(&[&server]).await;
    alerts.fire(&["AgentbusContinuityBroken"]).await;
    eventually(PATIENCE, "the log has what the runbook says", async || {
        server.log().contains("the stream holds other content than the store").then_some(())
    })
    .await;
    operator
        .walks(&book, "The stream holds other content", async |unit| match unit {
            "stop agentbus" => assert!(server.terminate().await.success()),
            "start agentbus" => server.restart_listening().await,
            other => panic!("systemctl {other}"),
        })
        .await;
    operator.runs(&book, OVER).await;
    let load = Load::start(&[server.url()], 4, 2);
    load.acknowledged(50).await;
    alerts.resolve(&["AgentbusContinuityBroken"]).await;
    verdict::check("drill: other content", load, &[server.url()], Some(&nats)).await;
}

#[tokio::test]
async fn a_key_is_leaked() {
    let book = Runbook::read("leaked-key");
    let metrics = format!("127.0.0.1:{}", ports::free());
    let secured = Secured::tuned(Mode::MemorySqlite, &[("METRICS_ADDR", &metrics)]).await;
    let alerts = Alerts::at(&[metrics], Pace::MINUTE).await;
    let grants = json!({"as": ["ann"], "publish": ["agent.>"], "read": ["agent.>"]});
    let leaked = secured.key(grants).await;
    let sent = json!({"kind": "message", "type": "note", "sender_id": "ann", "content": "leaked"});
    leaked.http.post_json("/v1/messages", &sent).await.expect(201);
    let mut stream = leaked.http.stream("", None).await;
    stream.expect_ready().await;
    let operator = Operator::at(secured.deployment.agentbus())
        .with("AGENTBUS_KEY", crate::support::keys::ROOT)
        .with("KEY_ID", &leaked.id);
    let output = operator.runs(&book, ACTION).await;
    assert!(output.contains(r#""content":"leaked""#), "what it sent is not shown: {output}");
    operator.runs(&book, OVER).await;
    eventually(PATIENCE, "the key opens nothing", async || {
        (leaked.http.get("/v1/messages").await.status == 401).then_some(())
    })
    .await;
    // Somebody goes on to try it, and is soon told to wait.
    eventually(PATIENCE, "the alert fires", async || {
        let status = leaked.http.get("/v1/messages").await.status;
        assert!([401, 429].contains(&status), "{status}");
        alerts.is_firing("AgentbusManyDenied").await.then_some(())
    })
    .await;
    alerts.resolve(&["AgentbusManyDenied"]).await;
}

#[tokio::test]
async fn a_message_must_be_forgotten() {
    let book = Runbook::read("erase");
    let (nats, pg_url) = (Nats::start().await, Postgres::shared().await.database().await);
    let server = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let sent = json!({"kind": "message", "type": "note", "sender_id": "ann", "content": "hunter2"});
    let sent = server.http().post_json("/v1/messages?ack=committed", &sent).await.expect(201);
    let id = sent.json()["id"].as_str().expect("an id").to_owned();
    let operator = Operator::at(&server).with("MESSAGE_ID", &id);
    operator.runs(&book, ACTION).await;
    let output = operator.runs(&book, OVER).await;
    assert!(output.contains("0 recorded, 1 known already, 0 not in this store"), "{output}");
    assert!(!server.http().get("/v1/messages").await.text().contains("hunter2"));
}

#[tokio::test]
async fn two_deployments_have_one_name() {
    let (nats, pg_url) = (Nats::start().await, Postgres::shared().await.database().await);
    let server = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let other = Agentbus::builder().memory_sqlite().start().await;
    let alerts = Alerts::of(&[&server, &other]).await;
    alerts.fire(&["AgentbusBusesDiffer"]).await;
    assert!(other.terminate().await.success());
    alerts.resolve(&["AgentbusBusesDiffer"]).await;
}

#[tokio::test]
async fn the_bus_is_switched_there_and_back() {
    let book = Runbook::read("switch-bus");
    let (nats, pg_url) = (Nats::start().await, Postgres::shared().await.database().await);
    let server = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let operator = Operator::at(&server);
    let load = Load::start(&[server.url()], 4, 2);
    for direction in ["From NATS to memory", "From memory to NATS"] {
        load.acknowledged(50).await;
        operator
            .walks(&book, direction, async |unit| match unit {
                "stop agentbus" => assert!(server.terminate().await.success()),
                "start agentbus" => {
                    let bus = operator.setting("MESSAGE_BUS").expect("a bus");
                    server.set_env("MESSAGE_BUS", &bus);
                    server.restart_listening().await;
                }
                other => panic!("systemctl {other}"),
            })
            .await;
        operator.runs(&book, OVER).await;
    }
    load.acknowledged(50).await;
    verdict::check("drill: switch of the bus", load, &[server.url()], Some(&nats)).await;
}
