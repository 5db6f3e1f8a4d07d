//! agentbus's own spans, as a receiver gets them.

use std::time::Duration;

use super::{SPAN, TRACE, caller, message, post, webhook};
use crate::support::agentbus::Builder;
use crate::support::otlp::{self, CLIENT, CONSUMER, PRODUCER, SERVER, Span};
use crate::support::receiver::Receiver;
use crate::support::{Deployment, Mode, jobs, metrics};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(30);
const PUBLISH: &str = "publish agent.message.{sender_role}.{type}";
const PROCESS: &str = "process agent.message.{sender_role}.{type}";
const MESSAGES: &str = "POST /v1/messages";

/// The settings that send spans to this receiver.
fn traced(builder: Builder, receiver: &Receiver) -> Builder {
    builder
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://127.0.0.1:{}", receiver.port()))
        .env("OTEL_BSP_SCHEDULE_DELAY", "20")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a%20b")
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        .env("WEBHOOK_ALLOW_PRIVATE", "true")
        .env("ACCESS_LOG", "true")
}

fn one<'a>(spans: &'a [Span], name: &str, parent: &str) -> &'a Span {
    let is_it = |span: &&Span| span.name == name && span.parent == parent;
    spans.iter().find(is_it).unwrap_or_else(|| panic!("no {name} under {parent}: {spans:#?}"))
}

/// The id of the span that a context names; its trace must be the test's.
fn span_of(context: &str) -> &str {
    let fields: Vec<&str> = context.split('-').collect();
    assert_eq!((fields[0], fields[1], fields[3]), ("00", TRACE, "01"), "{context}");
    fields[2]
}

/// An agent asks; a webhook gets the question and makes a job of it; a worker of the queue replies to the agent.
async fn one_trace_goes_there_and_back(mode: Mode) {
    let (receiver, hook) = (Receiver::start().await, Receiver::start().await);
    let deployment = Deployment::tuned(mode, |builder| traced(builder, &receiver)).await;
    let http = deployment.http();
    webhook(http, &hook.url(), "agent.message.agent.ask").await;
    let (parent, asked) = (caller(), message("bob"));
    let headers = [("traceparent", parent.as_str())];
    let asking = post(http, "/v1/messages?reply_within=30", &headers, &asked);
    let answering = async {
        let delivery = hook.take(1, LIMIT).await.remove(0);
        let delivered = delivery.header("traceparent").to_owned();
        let headers = [("traceparent", delivered.as_str())];
        let job = json!({"type": "answer", "payload": delivery.json()["id"]});
        post(http, "/v1/queues/answers/jobs", &headers, &job).await.expect(201);
        let leased = jobs::one(http, "answers").await;
        let enqueued = leased["traceparent"].as_str().expect("a context").to_owned();
        let headers = [("traceparent", enqueued.as_str())];
        let reply = json!({"kind": "message", "type": "answer", "sender_id": "bob", "recipient_id": "ann",
            "in_reply_to": leased["payload"], "content": "y"});
        post(http, "/v1/messages", &headers, &reply).await.expect(201);
        (delivered, enqueued)
    };
    let (asked, (delivered, enqueued)) = tokio::join!(asking, answering);
    assert_eq!(asked.expect(200).json()["reply"]["content"], "y");

    let names = [
        (MESSAGES, SERVER),
        (PUBLISH, PRODUCER),
        (PROCESS, CONSUMER),
        ("POST", CLIENT),
        ("POST /v1/queues/{queue}/jobs", SERVER),
        ("enqueue answers", PRODUCER),
        (MESSAGES, SERVER),
        (PUBLISH, PRODUCER),
    ];
    let spans = otlp::whole(&receiver, TRACE, &names).await;
    let request = one(&spans, MESSAGES, SPAN);
    let publish = one(&spans, PUBLISH, &request.id);
    let process = one(&spans, PROCESS, &publish.id);
    let delivery = one(&spans, "POST", &process.id);
    assert_eq!(span_of(&delivered), delivery.id);
    let enqueue_request = one(&spans, "POST /v1/queues/{queue}/jobs", &delivery.id);
    let enqueue = one(&spans, "enqueue answers", &enqueue_request.id);
    assert_eq!(span_of(&enqueued), enqueue.id);
    let reply_request = one(&spans, MESSAGES, &enqueue.id);
    let reply = one(&spans, PUBLISH, &reply_request.id);

    assert_eq!(request.attribute("http.response.status_code"), "200");
    assert_eq!(request.attribute("http.route"), "/v1/messages");
    assert_eq!(request.attribute("http.request.method"), "POST");
    assert_eq!(publish.attribute("messaging.operation.type"), "send");
    assert_eq!(publish.attribute("messaging.destination.name"), "agent.message.agent.ask");
    assert_eq!(process.attribute("messaging.operation.type"), "process");
    assert_eq!(process.attribute("agentbus.seq"), publish.attribute("agentbus.seq"));
    assert_eq!(
        process.attribute("messaging.message.id"),
        publish.attribute("messaging.message.id")
    );
    assert_eq!(delivery.attribute("server.address"), "127.0.0.1");
    assert_eq!(enqueue.attribute("messaging.destination.name"), "answers");
    assert_eq!(reply.attribute("messaging.destination.name"), "agent.message.agent.answer");
    for span in &spans {
        assert_eq!(
            (span.status, span.conventions.as_str()),
            (0, "https://opentelemetry.io/schemas/1.45.0")
        );
        assert!(span.times.0 > 0 && span.times.0 <= span.times.1, "{span:?}");
        assert_eq!(span.resource["service.name"], "agentbus");
        assert_eq!(span.resource["deployment.environment.name"], "test");
        assert!(
            !format!("{span:?}").contains("a=b"),
            "the address of a webhook stays secret: {span:?}"
        );
    }
    assert!(receiver.got().iter().all(|got| got.header("x-tenant") == "a b"));
    let log = deployment.agentbus().log();
    let line = log.lines().find(|line| line.contains("route=\"/v1/messages\""));
    let line = line.unwrap_or_else(|| panic!("no line of the access log: {log}"));
    assert!(line.contains(&format!("trace_id=\"{TRACE}\"")), "{line}");
    let id = request.attribute("agentbus.request_id");
    assert!(log.contains(&format!("request_id={id}")), "{log}");
}

#[tokio::test]
async fn one_trace_goes_there_and_back_on_memory() {
    one_trace_goes_there_and_back(Mode::MemorySqlite).await;
}

#[tokio::test]
async fn one_trace_goes_there_and_back_on_nats() {
    one_trace_goes_there_and_back(Mode::Nats).await;
}

#[tokio::test]
async fn the_caller_decides_whether_its_trace_is_recorded() {
    let receiver = Receiver::start().await;
    let tune =
        |builder| traced(builder, &receiver).env("OTEL_TRACES_SAMPLER", "parentbased_always_off");
    let deployment = Deployment::tuned(Mode::MemorySqlite, tune).await;
    let (http, parent) = (deployment.http(), caller());
    let hook = Receiver::start().await;
    webhook(http, &hook.url(), "agent.message.>").await;
    let unsampled = format!("00-{}-{SPAN}-00", "a".repeat(32));
    post(http, "/v1/messages", &[("traceparent", &unsampled)], &message("bob")).await.expect(201);
    assert_eq!(hook.take(1, LIMIT).await[0].header("traceparent"), unsampled);
    // Roots are not recorded here, and what comes after them learns that.
    post(http, "/v1/messages", &[], &message("bob")).await.expect(201);
    let root = hook.take(2, LIMIT).await[1].header("traceparent").to_owned();
    assert!(root.ends_with("-00") && !root.contains(TRACE), "{root}");
    let broken = post(http, "/v1/messages", &[("traceparent", &parent)], &json!({})).await;
    assert_eq!(broken.status, 422);
    let spans = otlp::whole(&receiver, TRACE, &[(MESSAGES, SERVER)]).await;
    assert_eq!(spans[0].attribute("http.response.status_code"), "422");
    assert_eq!(spans[0].status, 0, "the client's fault is no error of the server");
    assert_eq!(otlp::received(&receiver).len(), 1, "no other trace was recorded");
    let sent = metrics::value(http, r#"agentbus_trace_spans_total{outcome="sent"}"#).await;
    assert!((sent - 1.0).abs() < 0.1, "{sent}");
}

#[tokio::test]
async fn a_server_that_stops_sends_what_waits() {
    let receiver = Receiver::start().await;
    let tune = |builder| traced(builder, &receiver).env("OTEL_BSP_SCHEDULE_DELAY", "600000");
    let deployment = Deployment::tuned(Mode::MemorySqlite, tune).await;
    let parent = caller();
    let headers = [("traceparent", parent.as_str())];
    post(deployment.http(), "/v1/messages", &headers, &message("bob")).await.expect(201);
    deployment.agentbus().terminate().await;
    otlp::whole(&receiver, TRACE, &[(MESSAGES, SERVER), (PUBLISH, PRODUCER)]).await;
}
