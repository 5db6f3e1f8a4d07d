//! How fast messages go through a handler that does nothing, on NATS. Run by hand, in a release build:
//!
//!     cargo test --release --test throughput -- --ignored --nocapture

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use agentbus::app;
use agentbus::config::{Config, Source};
use agentbus::message::SubjectPattern;
use agentbus::processor::handler::{Delivery, Handler, Outcome};
use async_trait::async_trait;
use common::{Deployment, Mode, eventually};
use tokio_util::sync::CancellationToken;

const MESSAGES: usize = 500_000;

struct Count {
    subjects: SubjectPattern,
    seen: Arc<AtomicUsize>,
}

#[async_trait]
impl Handler for Count {
    fn name(&self) -> &'static str {
        "count"
    }

    fn subjects(&self) -> &SubjectPattern {
        &self.subjects
    }

    async fn handle(&self, _: Delivery<'_>) -> Outcome {
        self.seen.fetch_add(1, Ordering::Relaxed);
        Outcome::Done
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: it takes the whole machine"]
async fn a_handler_that_does_nothing() {
    let deployment = Deployment::start(Mode::Nats).await;
    let nats = deployment.nats().expect("on NATS");
    let jetstream = nats.jetstream().await;
    let body = format!(
        r#"{{"id":"00000000-0000-0000-0000-000000000001","kind":"task","type":"note","sender_id":"ann","task_id":"t1","content":"{}"}}"#,
        "x".repeat(230)
    );
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Agentbus", "1");
    let mut acks = Vec::new();
    for n in 0..MESSAGES {
        let sent = jetstream.publish_with_headers(
            "agent.task.t1.note",
            headers.clone(),
            body.clone().into(),
        );
        acks.push(sent.await.expect("publish"));
        if n % 2_000 == 1_999 {
            for ack in acks.drain(..) {
                ack.await.expect("stored");
            }
        }
    }
    for ack in acks {
        ack.await.expect("stored");
    }
    eventually(Duration::from_secs(300), "the projector is done with them", async || {
        let stats = deployment.http().get("/v1/stats").await.expect(200).json();
        (stats["projector"]["committed_through"].as_u64() >= Some(MESSAGES as u64)).then_some(())
    })
    .await;
    let concurrency = std::env::var("CONCURRENCY").unwrap_or_else(|_| "512".to_owned());
    let url = nats.url();
    let source = Source::of(&[
        ("MESSAGE_BUS", "nats"),
        ("NATS_URL", &url),
        ("DATABASE_URL", deployment.pg_url().expect("on PostgreSQL")),
        ("PROCESSOR_CONCURRENCY", &concurrency),
    ]);
    let config = Config::from_source(&source).expect("valid");
    let seen = Arc::new(AtomicUsize::new(0));
    let subjects = "agent.>".parse().expect("a pattern");
    let handler = Arc::new(Count { subjects, seen: Arc::clone(&seen) });
    let stop = CancellationToken::new();
    let measured = async {
        eventually(Duration::from_secs(60), "it begins", async || {
            (seen.load(Ordering::Relaxed) > 0).then_some(())
        })
        .await;
        let (begun, first) = (Instant::now(), seen.load(Ordering::Relaxed));
        eventually(Duration::from_secs(300), "all are processed", async || {
            (seen.load(Ordering::Relaxed) >= MESSAGES).then_some(())
        })
        .await;
        let taken = begun.elapsed();
        let rate = (seen.load(Ordering::Relaxed) - first) as f64 / taken.as_secs_f64();
        println!("{rate:.0} messages/s with concurrency {concurrency}, {MESSAGES} in {taken:?}");
        stop.cancel();
    };
    let (worked, ()) = tokio::join!(app::work(config, vec![handler], stop.clone()), measured);
    worked.expect("it ends well");
}
