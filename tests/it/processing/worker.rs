//! Processing on NATS: workers that share the load and are killed, a durable consumer that is deleted, and
//! messages that the stream no longer has.

use std::time::Duration;

use crate::support::exec::{
    COMMAND, LIMIT, REDELIVERY, consumer, consumer_is, dead_letters, post, post_many, processed,
    ran, ran_at, ran_seqs,
};
use crate::support::nats::publish_raw;
use crate::support::worker::Worker;
use crate::support::{Agentbus, Deployment, Mode, Nats, Postgres, eventually};
use serde_json::json;

/// A server without a handler, on NATS.
async fn deployed() -> Deployment {
    Deployment::tuned(Mode::Nats, |builder| builder.env("DRAIN_S", "1")).await
}

fn worker(deployment: &Deployment, args: &[&str]) -> Worker {
    let nats = deployment.nats().expect("on NATS").url();
    let env = [
        ("MESSAGE_BUS", "nats"),
        ("NATS_URL", &nats),
        ("DATABASE_URL", deployment.pg_url().expect("on PostgreSQL")),
        ("DRAIN_S", "1"),
    ];
    Worker::start(&env, args)
}

fn all(through: u64) -> Vec<u64> {
    (1..=through).collect()
}

#[tokio::test]
async fn the_first_worker_begins_with_the_whole_log_and_others_share_the_rest() {
    let deployment = deployed().await;
    let http = deployment.http();
    let last = post_many(http, "good", 30).await;
    let now = consumer_is(http, "it is announced", |now| now["state"] == "unhandled").await;
    assert_eq!((&now["pending"], &now["lag"]["messages"]), (&json!(0), &json!(0)), "{now}");
    let stream = deployment.nats().expect("on NATS").jetstream().await;
    let stream = stream.get_stream("agent-messages").await.expect("the stream");
    eventually(LIMIT, "the durable is there before any worker", async || {
        stream.consumer_info("agent-processor").await.ok()
    })
    .await;

    let workers = [0, 1].map(|_| worker(&deployment, &["--concurrency", "2", "--exec", COMMAND]));
    processed(http, last).await;
    let info = stream.consumer_info("agent-processor").await.expect("the durable");
    assert_eq!(info.config.max_deliver, 3);
    assert_eq!(info.config.ack_wait, Duration::from_secs(30));
    assert_eq!(info.config.filter_subject, "agent.>");
    assert_eq!(info.config.ack_policy, async_nats::jetstream::consumer::AckPolicy::Explicit);
    let last = post_many(http, "good", 200).await;
    processed(http, last).await;
    let shares = workers.each_ref().map(|worker| ran(&worker.ran_at()).len());
    assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
    assert_eq!(shares.iter().sum::<usize>(), 230, "each once");
    for worker in workers {
        assert!(worker.terminate().await.success());
    }
}

#[tokio::test]
async fn messages_in_flight_at_a_killed_worker_go_to_another() {
    let deployment = deployed().await;
    let http = deployment.http();
    let args = ["--concurrency", "2", "--exec", COMMAND];
    let first = worker(&deployment, &args);
    post(http, "slow").await;
    eventually(LIMIT, "it runs", async || (ran(&first.ran_at()).len() == 1).then_some(())).await;
    first.kill9();
    let second = worker(&deployment, &args);
    eventually(REDELIVERY, "it runs again", async || {
        (ran(&second.ran_at()) == [(1, 2)]).then_some(())
    })
    .await;
    // The worker returns its messages when it is stopped; those attempts do not count.
    second.terminate().await;
    let third = worker(&deployment, &args);
    eventually(LIMIT, "and again", async || (ran(&third.ran_at()) == [(1, 2)]).then_some(())).await;
    assert!(dead_letters(http).await.is_empty());
}

#[tokio::test]
async fn a_worker_reports_missing_settings() {
    let database = ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none");
    for (env, args, error) in [
        (vec![], vec!["--exec", "true"], "MESSAGE_BUS=nats"),
        (vec![("MESSAGE_BUS", "nats")], vec!["--exec", "true"], "DATABASE_URL"),
        (vec![("MESSAGE_BUS", "nats"), database], vec![], "--exec"),
        (vec![], vec!["--concurrency", "0"], "PROCESSOR_CONCURRENCY"),
    ] {
        let worker = Worker::start(&env, &args);
        assert!(!worker.exit().await.success());
        assert!(worker.log().contains(error), "{}", worker.log());
    }
}

#[tokio::test]
async fn a_deleted_durable_continues_at_its_position() {
    let deployment =
        Deployment::tuned(Mode::Nats, |builder| builder.env("PROCESSOR_EXEC", COMMAND)).await;
    let (http, path) = (deployment.http(), ran_at(deployment.agentbus()));
    let stream = deployment.nats().expect("on NATS").jetstream().await;
    let stream = stream.get_stream("agent-messages").await.expect("the stream");
    let last = post_many(http, "good", 25).await;
    processed(http, last).await;
    eventually(LIMIT, "all is acknowledged", async || {
        let info = stream.consumer_info("agent-processor").await.ok()?;
        (info.ack_floor.stream_sequence >= 25).then_some(())
    })
    .await;
    stream.delete_consumer("agent-processor").await.expect("delete it");
    let last = post_many(http, "good", 25).await;
    processed(http, last).await;
    assert_eq!(ran_seqs(&path), all(50), "nothing is left out");
    // The progress of the last two seconds may not have been stored.
    assert!(ran(&path).len() <= 75);
}

#[tokio::test]
async fn messages_that_the_stream_lacks_come_from_the_store() {
    let deployment =
        Deployment::tuned(Mode::Nats, |builder| builder.env("PROCESSOR_EXEC", COMMAND)).await;
    let (http, path) = (deployment.http(), ran_at(deployment.agentbus()));
    let last = post_many(http, "good", 40).await;
    processed(http, last).await;
    let stream = deployment.nats().expect("on NATS").jetstream().await;
    let stream = stream.get_stream("agent-messages").await.expect("the stream");
    stream.purge().sequence(31).await.expect("purge");
    let body = json!({"from": 11});
    http.post_json("/v1/consumers/agent-processor/reset", &body).await.expect(200);
    eventually(LIMIT, "thirty run again", async || (ran(&path).len() == 70).then_some(())).await;
    processed(http, last).await;
    let mut again: Vec<u64> = ran(&path)[40..].iter().map(|(seq, _)| *seq).collect();
    again.sort_unstable();
    assert_eq!(again, (11..=40).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_message_that_breaks_the_nats_client_is_processed_all_the_same() {
    let deployment =
        Deployment::tuned(Mode::Nats, |builder| builder.env("PROCESSOR_EXEC", COMMAND)).await;
    let (http, path) = (deployment.http(), ran_at(deployment.agentbus()));
    let nats = deployment.nats().expect("on NATS");
    post(http, "good").await;
    let headers = b"NATS/1.0\r\nOdd: \xff\xfe\r\n\r\n";
    publish_raw(&nats.url(), "agent.task.T1.note", headers, b"odd").await;
    post(http, "good").await;
    processed(http, 3).await;
    assert_eq!(ran_seqs(&path), all(3));
}

#[tokio::test]
async fn a_switch_of_the_bus_keeps_the_position_both_ways() {
    let (nats, pg_url) = (Nats::start().await, Postgres::shared().await.database().await);
    let mut through = 0;
    let folder = crate::support::folder::Folder::new("ran");
    let path = folder.join("ran");
    let on_nats = Agentbus::builder()
        .nats(&nats.url(), &pg_url)
        .env("PROCESSOR_EXEC", COMMAND)
        .env("RAN", &path.display().to_string())
        .env("DRAIN_S", "1");
    let on_memory = on_nats.clone().env("MESSAGE_BUS", "memory");
    // Each bus, first with and then without a handler: what was published without one must be processed
    // later.
    for (builder, handled) in [
        (&on_nats, true),
        (&on_memory, true),
        (&on_memory, false),
        (&on_nats, true),
        (&on_nats, false),
        (&on_memory, true),
        (&on_nats, true),
    ] {
        let builder = builder.clone();
        let builder = if handled { builder } else { builder.env("PROCESSOR_EXEC", "") };
        let agentbus = builder.start().await;
        let http = agentbus.http();
        through = post_many(&http, "good", 20).await;
        if handled {
            processed(&http, through).await;
            assert_eq!(ran_seqs(&path), all(through), "nothing is left out");
        }
        agentbus.terminate().await;
    }
    assert_eq!(ran(&path).len() as u64, through, "and nothing runs twice");
    assert_eq!(consumer(&on_nats.start().await.http()).await["dead_letters"], 0);
}

#[tokio::test]
async fn processing_continues_after_a_restart_of_nats() {
    let deployment =
        Deployment::tuned(Mode::Nats, |builder| builder.env("PROCESSOR_EXEC", COMMAND)).await;
    let (http, path) = (deployment.http(), ran_at(deployment.agentbus()));
    processed(http, post_many(http, "good", 20).await).await;
    let nats = deployment.nats().expect("on NATS");
    nats.kill9();
    nats.restart().await;
    deployment.agentbus().wait_ready().await;
    let last = post_many(http, "good", 20).await;
    processed(http, last).await;
    assert_eq!(ran_seqs(&path), all(40));
}
