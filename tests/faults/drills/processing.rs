//! Consumers that make no progress, and dead letters.

use super::{ACTION, Alerts, OVER, Operator, Runbook};
use crate::support::{Agentbus, eventually, exec, jobs};

/// Fails while the file `broken` is there; hangs on one message.
const COMMAND: &str = r#"
read -r line
case "$line" in *'"content":"hang"'*) sleep 600 ;; esac
[ ! -e broken ] || { echo the backend is broken >&2; exit 3; }
"#;

async fn server() -> Agentbus {
    Agentbus::builder().memory_sqlite().arg("--exec").arg(COMMAND).start().await
}

#[tokio::test]
async fn a_consumer_is_paused() {
    let book = Runbook::read("consumer-stuck");
    let server = server().await;
    let (http, operator) = (server.http(), Operator::at(&server));
    http.post_json("/v1/consumers/agent-processor/pause", &serde_json::json!({})).await.expect(200);
    exec::post(&http, "good").await;
    let output = operator.runs(&book, ACTION).await;
    assert!(output.contains(r#""paused""#), "{output}");
    let alerts = Alerts::of(&[&server]).await;
    alerts.fire(&["AgentbusConsumerPaused"]).await;
    operator.runs(&book, "It is paused").await;
    operator.runs(&book, OVER).await;
    alerts.resolve(&["AgentbusConsumerPaused"]).await;
}

#[tokio::test]
async fn the_command_of_a_consumer_hangs() {
    let book = Runbook::read("consumer-stuck");
    let server = server().await;
    let (http, operator) = (server.http(), Operator::at(&server));
    for _ in 0..20 {
        exec::post(&http, "hang").await;
    }
    exec::post(&http, "good").await;
    let alerts = Alerts::of(&[&server]).await;
    alerts.fire(&["AgentbusConsumerStuck"]).await;
    operator.runs(&book, ACTION).await;
    operator
        .walks(&book, "Its command hangs", async |unit| {
            assert_eq!(unit, "restart agentbus");
            let seconds = operator.setting("PROCESSOR_EXEC_TIMEOUT_S").expect("a limit");
            assert_eq!(seconds, "30");
            // The drill does not wait that long for each attempt.
            server.set_env("PROCESSOR_EXEC_TIMEOUT_S", "1");
            server.restart().await;
        })
        .await;
    operator.runs(&book, OVER).await;
    alerts.resolve(&["AgentbusConsumerStuck"]).await;
}

#[tokio::test]
async fn no_worker_takes_jobs() {
    let server = server().await;
    let (http, alerts) = (server.http(), Alerts::of(&[&server]).await);
    jobs::configure(&http, "builds", 30, 3).await;
    jobs::enqueue(&http, "builds", &jobs::job(1)).await;
    alerts.fire(&["AgentbusQueueStuck"]).await;
    assert_eq!(jobs::work(&http, "builds", 1, 1).await.len(), 1);
    alerts.resolve(&["AgentbusQueueStuck"]).await;
}

#[tokio::test]
async fn dead_letters_grow() {
    let book = Runbook::read("dead-letters-grow");
    let server = server().await;
    let (http, operator) = (server.http(), Operator::at(&server));
    let broken = server.data_dir().with_file_name("broken");
    std::fs::write(&broken, "").expect("written");
    let alerts = Alerts::of(&[&server]).await;
    alerts.know("job:agentbus_dead_letters:sum").await;
    for _ in 0..20 {
        exec::post(&http, "good").await;
    }
    eventually(exec::REDELIVERY, "there are dead letters", async || {
        let page = http.get("/v1/dead-letters").await.expect(200).json();
        (page["dead_letters"].as_array()?.len() == 20).then_some(())
    })
    .await;
    alerts.fire(&["AgentbusDeadLettersGrow"]).await;
    std::fs::remove_file(&broken).expect("removed");
    let output = operator.runs(&book, ACTION).await;
    assert!(output.contains("exit code 3") || output.contains("exit status"), "{output}");
    operator.runs(&book, OVER).await;
    alerts.resolve(&["AgentbusDeadLettersGrow"]).await;
}
