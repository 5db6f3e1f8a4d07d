//! A receiver of traces that is away, or takes connections and never answers.

use std::time::{Duration, Instant};

use super::{message, post};
use crate::support::agentbus::Builder;
use crate::support::receiver::{Receiver, Reply};
use crate::support::{Deployment, Mode, eventually, metrics};

const LIMIT: Duration = Duration::from_secs(30);
const DROPPED: &str = r#"agentbus_trace_spans_total{outcome="dropped"}"#;
const POSTS: usize = 400;

/// Spans of a few requests fill the queue.
fn traced(builder: Builder, port: u16) -> Builder {
    builder
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("http://127.0.0.1:{port}/v1/traces"))
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "200")
        .env("OTEL_BSP_SCHEDULE_DELAY", "20")
        .env("OTEL_BSP_MAX_QUEUE_SIZE", "32")
        .env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16")
}

fn lines(deployment: &Deployment, text: &str) -> usize {
    deployment.agentbus().log().lines().filter(|line| line.contains(text)).count()
}

/// The time that 99 of 100 posts stay within.
fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

#[tokio::test]
async fn a_receiver_that_hangs_costs_nothing_and_is_told_once() {
    let receiver = Receiver::start().await;
    receiver.always(Reply::Silence);
    let traced =
        Deployment::tuned(Mode::MemorySqlite, |builder| traced(builder, receiver.port())).await;
    let plain = Deployment::start(Mode::MemorySqlite).await;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    // In turns, so that the noise of the machine is in both.
    for _ in 0..POSTS {
        for (deployment, times) in [(&traced, &mut with), (&plain, &mut without)] {
            let begun = Instant::now();
            post(deployment.http(), "/v1/messages", &[], &message("bob")).await.expect(201);
            times.push(begun.elapsed());
        }
    }
    let (with, without) = (p99(with), p99(without));
    println!("p99 of a post: {with:?} with a receiver that hangs, {without:?} without traces");
    assert!(with < 3 * without + Duration::from_millis(50), "{with:?}, {without:?}");
    // Two spans a post, of which at most 32 wait and 16 are under way.
    let dropped = metrics::value(traced.http(), DROPPED).await;
    assert!(dropped > POSTS as f64, "{dropped}");
    eventually(LIMIT, "a line", async || {
        (lines(&traced, "traces cannot be sent") > 0).then_some(())
    })
    .await;
    let failures = receiver.got().len();
    eventually(LIMIT, "further failures", async || {
        post(traced.http(), "/v1/messages", &[], &message("bob")).await.expect(201);
        (receiver.got().len() > failures + 2).then_some(())
    })
    .await;
    assert_eq!(lines(&traced, "traces cannot be sent"), 1);

    receiver.always(Reply::Status(200));
    eventually(LIMIT, "its return is told", async || {
        post(traced.http(), "/v1/messages", &[], &message("bob")).await.expect(201);
        (lines(&traced, "traces are sent again") > 0).then_some(())
    })
    .await;
    assert_eq!(
        (lines(&traced, "traces cannot be sent"), lines(&traced, "traces are sent again")),
        (1, 1)
    );
}

#[tokio::test]
async fn a_server_starts_works_and_stops_without_its_receiver() {
    let port = crate::support::ports::free();
    let deployment = Deployment::tuned(Mode::MemorySqlite, |builder| traced(builder, port)).await;
    for _ in 0..3 {
        post(deployment.http(), "/v1/messages", &[], &message("bob")).await.expect(201);
        eventually(LIMIT, "a line", async || {
            (lines(&deployment, "traces cannot be sent") == 1).then_some(())
        })
        .await;
    }
    let begun = Instant::now();
    deployment.agentbus().terminate().await;
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
}
