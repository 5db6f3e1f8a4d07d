//! The server's secrets reach neither the commands that it runs nor the API. Where they would cross a network
//! unencrypted, the server warns.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Agentbus, Http, eventually, for_each_mode};

const LIMIT: Duration = Duration::from_secs(60);
/// Writes its environment to a file, then fails with a secret on standard error.
const COMMAND: &str = "env > seen; cat > /dev/null; echo hunter2 >&2; exit 3";

/// Posts a message and waits until it is a dead letter.
async fn dead_letter(http: &Http) -> Value {
    let message = json!({"kind": "task", "type": "note", "sender_id": "ann", "task_id": "t1"});
    http.post_json("/v1/messages", &message).await.expect(201);
    eventually(LIMIT, "a dead letter", async || {
        let page = http.get("/v1/dead-letters").await.expect(200).json();
        page["dead_letters"].get(0).cloned()
    })
    .await
}

for_each_mode! {
    |builder| {
        builder
            .env("PROCESSOR_EXEC", super::COMMAND)
            .env("NATS_USER", "agentbus")
            .env("NATS_PASSWORD", "hunter3")
            .env("PGPASSWORD", "hunter3")
            .env("AGENTBUS_KEY", "hunter3")
            .env("OWN_SETTING", "kept")
    };

    async fn a_command_inherits_no_secret_and_its_output_stays_out_of_the_api(deployment: &Deployment) {
        let letter = dead_letter(deployment.http()).await;
        assert_eq!(letter["attempts"][0]["error"], "exit code 3");
        assert!(!letter.to_string().contains("hunter2"), "{letter}");
        let log = deployment.agentbus().log();
        assert!(log.contains("the command failed: exit code 3") && log.contains("hunter2"), "{log}");
        let path = deployment.agentbus().data_dir().with_file_name("seen");
        let seen = std::fs::read_to_string(path).expect("the command noted its environment");
        assert!(seen.lines().any(|line| line == "OWN_SETTING=kept"), "{seen}");
        assert!(seen.lines().any(|line| line.starts_with("AGENTBUS_SEQ=")), "{seen}");
        for secret in agentbus::config::SECRETS {
            assert!(!seen.lines().any(|line| line.starts_with(&format!("{secret}="))), "{seen}");
        }
        assert!(!seen.contains("hunter3"), "{seen}");
    }
}

#[tokio::test]
async fn the_output_of_a_command_is_in_the_api_where_that_is_configured() {
    let server = Agentbus::builder().memory_sqlite().env("PROCESSOR_EXEC", COMMAND);
    let server = server.env("PROCESSOR_EXEC_SHOW_STDERR", "true").start().await;
    let letter = dead_letter(&server.http()).await;
    assert_eq!(letter["attempts"][0]["error"], "exit code 3: hunter2");
}

/// An address at which there is no host (RFC 5737).
const NOBODY: &str = "192.0.2.1";

#[tokio::test]
async fn passwords_in_clear_and_unverified_databases_are_logged_once_at_start() {
    let server = Agentbus::builder()
        .nats(
            &format!("nats://bus:hunter2@{NOBODY}:4222"),
            &format!("postgres://bus:hunter2@{NOBODY}/bus"),
        )
        .start_listening()
        .await;
    let log = server.log();
    let warned = |what: &str| {
        log.lines().filter(|line| line.contains("WARN") && line.contains(what)).count()
    };
    assert_eq!((warned("NATS_URL"), warned("sslmode=prefer")), (1, 1), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn the_doctor_reports_them_too() {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_agentbus"))
        .args(["doctor", "--set", "message-bus=nats"])
        .env_clear()
        .env("NATS_URL", format!("nats://{NOBODY}:4222"))
        .env("NATS_TOKEN", "hunter2")
        .env("DATABASE_URL", format!("postgres://bus:hunter2@{NOBODY}/bus?sslmode=require"))
        .current_dir(std::env::temp_dir())
        .kill_on_drop(true)
        .output();
    let output = crate::support::within(LIMIT, "the doctor ends", output).await.expect("it runs");
    let output = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.contains("NATS_TLS_CA") && output.contains("sslmode=require"), "{output}");
    assert!(!output.contains("hunter2"), "{output}");
}
