//! The context of a caller while agentbus makes no spans: it arrives as it was sent, or not at all if it is not valid.

use std::time::Duration;

use super::{SPAN, TRACE, caller, message, post, webhook};
use crate::support::receiver::{Receiver, Reply};
use crate::support::{Deployment, Mode, eventually, for_each_mode, jobs};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);
/// Writes what it is given of a trace, after the id of the message.
const COMMAND: &str =
    r#"cat > /dev/null; echo "$AGENTBUS_ID ${TRACEPARENT-none} ${TRACESTATE-none}" >> ran"#;

for_each_mode! {
    |builder| {
        builder
            .env("WEBHOOK_ALLOW_PRIVATE", "true")
            .env("WEBHOOK_BACKOFF_S", "1,1")
            .env("PROCESSOR_EXEC", super::COMMAND)
            // Of the server's own caller, not of the message.
            .env("TRACEPARENT", "00-11111111111111111111111111111111-2222222222222222-01")
    };

    async fn the_callers_context_arrives_as_it_was_sent(deployment: &Deployment) {
        let (http, hook) = (deployment.http(), Receiver::start().await);
        webhook(http, &hook.url(), "agent.message.>").await;
        // Its second attempt comes from what was set aside.
        hook.next([Reply::Status(500)]);
        let (parent, state) = (caller(), "a=1,b@c=x y");
        let headers = [("traceparent", parent.as_str()), ("tracestate", state)];
        let posted = post(http, "/v1/messages", &headers, &message("bob")).await.expect(201).json();
        for got in hook.take(2, LIMIT).await {
            assert_eq!((got.header("traceparent"), got.header("tracestate")), (&*parent, state));
            // The message itself is the same, with or without a trace.
            assert!(got.json().get("traceparent").is_none());
        }
        let none = post(http, "/v1/messages", &[], &message("bob")).await.expect(201).json();
        assert_eq!(hook.take(3, LIMIT).await[2].headers.get("traceparent"), None);
        let ran = deployment.agentbus().data_dir().with_file_name("ran");
        for line in [
            format!("{} {parent} {state}", posted["id"].as_str().expect("an id")),
            format!("{} none none", none["id"].as_str().expect("an id")),
        ] {
            eventually(LIMIT, &line, async || {
                std::fs::read_to_string(&ran).ok().filter(|ran| ran.lines().any(|known| known == line))
            })
            .await;
        }
        if let Some(nats) = deployment.nats() {
            let seq = posted["seq"].as_u64().expect("seq");
            let headers = header_block(&nats.url(), seq).await;
            assert!(headers.contains(&format!("traceparent: {parent}\r\n")), "{headers}");
            assert!(headers.contains(&format!("tracestate: {state}\r\n")), "{headers}");
        }
    }

    async fn a_job_has_the_context_of_who_enqueued_it(deployment: &Deployment) {
        let (http, parent) = (deployment.http(), caller());
        let headers = [("traceparent", parent.as_str()), ("tracestate", "a=\"b\\")];
        let job = |n: usize, delay_s: u64| json!({"type": "build", "payload": n, "delay_s": delay_s});
        // The second one goes through the schedule of the bus.
        post(http, "/v1/queues/q/jobs", &headers, &job(1, 0)).await.expect(201);
        post(http, "/v1/queues/q/jobs", &headers, &job(2, 1)).await.expect(201);
        post(http, "/v1/queues/q/jobs/batch", &headers, &json!([job(3, 0)])).await.expect(200);
        post(http, "/v1/queues/q/jobs", &[], &job(4, 0)).await.expect(201);
        let mut seen = Vec::new();
        while seen.len() < 4 {
            let leased = jobs::one(http, "q").await;
            let is_traced = leased["payload"] != 4;
            let expected = is_traced.then_some((parent.as_str(), "a=\"b\\"));
            let found = leased["traceparent"].as_str().zip(leased["tracestate"].as_str());
            assert_eq!(found, expected, "{leased}");
            seen.push(leased["payload"].clone());
        }
        seen.sort_by_key(Value::as_u64);
        assert_eq!(seen, [1, 2, 3, 4]);
        // A further attempt has it too.
        post(http, "/v1/queues/again/jobs", &headers, &job(5, 0)).await.expect(201);
        let first = jobs::one(http, "again").await;
        jobs::end(http, &first, "nack", json!({"delay_s": 0})).await.expect(200);
        let second = jobs::one(http, "again").await;
        assert_eq!((&second["attempt"], &second["traceparent"]), (&json!(2), &json!(parent)));
    }
}

/// The headers of an entry of the stream, as the broker has them.
async fn header_block(nats_url: &str, seq: u64) -> String {
    use base64::Engine as _;
    let client = async_nats::connect(nats_url).await.expect("connected");
    let request = format!("{{\"seq\":{seq}}}");
    let subject = "$JS.API.STREAM.MSG.GET.agent-messages";
    let reply = client.request(subject, request.into()).await.expect("a reply");
    let reply: Value = serde_json::from_slice(&reply.payload).expect("JSON");
    let headers = reply["message"]["hdrs"].as_str().unwrap_or_else(|| panic!("{reply}"));
    let headers = base64::engine::general_purpose::STANDARD.decode(headers).expect("Base64");
    String::from_utf8(headers).expect("UTF-8")
}

#[tokio::test]
async fn a_context_that_is_not_valid_is_ignored() {
    let tune =
        |builder: crate::support::agentbus::Builder| builder.env("WEBHOOK_ALLOW_PRIVATE", "true");
    let deployment = Deployment::tuned(Mode::MemorySqlite, tune).await;
    let (http, hook) = (deployment.http(), Receiver::start().await);
    webhook(http, &hook.url(), "agent.message.>").await;
    let good = caller();
    let long = format!("a={}", "v".repeat(10_000));
    let bad: Vec<String> = vec![
        format!("00-{TRACE}-{SPAN}"),
        format!("{good}-"),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!("00-{}-{SPAN}-01", "0".repeat(32)),
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        "x".repeat(10_000),
        "\u{e9}".to_owned(),
    ];
    for (at, parent) in bad.iter().enumerate() {
        let headers = [("traceparent", parent.as_str()), ("tracestate", "a=1")];
        post(http, "/v1/messages", &headers, &message("bob")).await.expect(201);
        let got = hook.take(at + 1, LIMIT).await;
        assert_eq!(got[at].headers.get("traceparent"), None, "{parent}");
        assert_eq!(got[at].headers.get("tracestate"), None, "{parent}");
    }
    // Two of them are none, and a state that is not valid goes alone.
    let twice = [("traceparent", good.as_str()), ("traceparent", good.as_str())];
    post(http, "/v1/messages", &twice, &message("bob")).await.expect(201);
    let mut count = bad.len() + 1;
    assert_eq!(hook.take(count, LIMIT).await[count - 1].headers.get("traceparent"), None);
    for state in [long.as_str(), "a b=1"] {
        let headers = [("traceparent", good.as_str()), ("tracestate", state)];
        post(http, "/v1/messages", &headers, &message("bob")).await.expect(201);
        count += 1;
        let got = hook.take(count, LIMIT).await;
        assert_eq!(got[count - 1].header("traceparent"), good);
        assert_eq!(got[count - 1].headers.get("tracestate"), None);
    }
}
