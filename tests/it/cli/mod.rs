//! The command line as people and pipes use it: `export`, `history` and `tail` print what `import` has read
//! as the same bytes, wrong usage has exit code 2, and `doctor` reports what is wrong.

mod keys;
mod schemas;
mod shells;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::support::{Agentbus, Deployment, eventually, for_each_mode, squad, within};
use serde_json::Value;
use sqlx::{Connection as _, Executor as _};

const LIMIT: Duration = Duration::from_secs(60);

/// The recorded traffic of a squad or, without it, made-up messages with odd texts and numbers that must
/// survive.
fn lines() -> String {
    let own = || {
        (0..150).map(|n| match n % 3 {
            0 => format!(r#"{{"kind":"status","type":"busy","sender_id":"a{}","content":"\u00e9 {n}\n"}}"#, n % 7),
            1 => format!(
                r#"{{"kind":"task","type":"progress","task_id":"t{}","sender_id":"b","metadata":{{"n": 1.{n}0e3, "z":[ 1,2 ]}}}}"#,
                n % 5
            ),
            _ => format!(r#"{{"kind":"message","type":"note","sender_id":"c","recipient_id":"d","content":"{}"}}"#, "x".repeat(n)),
        })
    };
    squad::text().unwrap_or_else(|| own().map(|line| line + "\n").collect())
}

fn command(args: &[&str], url: &str, dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentbus"));
    command.args(args).env_clear().env("AGENTBUS_URL", url).current_dir(dir);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end.
async fn run(args: &[&str], url: &str, dir: &Path, input: &str) -> Output {
    finish(command(args, url, dir), input).await
}

/// Runs a prepared command to its end, on other threads than the test's.
async fn finish(mut command: Command, input: &str) -> Output {
    let mut child = command.spawn().expect("the binary runs");
    let (mut stdin, input) = (child.stdin.take().expect("piped"), input.to_owned());
    let writer = tokio::task::spawn_blocking(move || {
        // This fails if the command refuses its arguments and reads nothing.
        let _ = stdin.write_all(input.as_bytes());
    });
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    let output =
        within(LIMIT, "the command ends", ended).await.expect("no panic").expect("an exit");
    writer.await.expect("no panic");
    output
}

async fn succeed(args: &[&str], url: &str, dir: &Path, input: &str) -> String {
    let output = run(args, url, dir, input).await;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?} ended with {}: {stderr}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn count(text: &str) -> usize {
    text.lines().filter(|line| !line.trim().is_empty()).count()
}

for_each_mode! {
    async fn what_is_imported_is_read_everywhere_as_the_same_bytes(deployment: &Deployment) {
        let (url, dir) = (deployment.bus(), deployment.agentbus().data_dir());
        let input = lines();
        std::fs::create_dir_all(&dir).expect("a folder");
        std::fs::write(dir.join("in.ndjson"), &input).expect("a file");
        let summary = succeed(&["import", "in.ndjson"], url, &dir, "").await;
        let summary: Value = serde_json::from_str(&summary).expect("a summary in JSON");
        assert!(summary.to_string().contains(&count(&input).to_string()), "{summary}");
        // A second import of the same lines adds no messages.
        succeed(&["import", "-"], url, &dir, &input).await;

        let tail = succeed(&["tail", "--from", "start", "--until-caught-up"], url, &dir, "").await;
        assert_eq!(count(&tail), count(&input));
        eventually(LIMIT, "the store has all of it", async || {
            let stats = deployment.http().get("/v1/stats").await.json();
            (stats["projector"]["lag"] == 0).then_some(())
        })
        .await;
        let history = succeed(&["history", "--all"], url, &dir, "").await;
        assert!(history == tail, "history and tail differ");
        succeed(&["export", "--output", "out.ndjson"], url, &dir, "").await;
        let exported = std::fs::read_to_string(dir.join("out.ndjson")).expect("a file");
        assert!(exported == tail, "export and tail differ");

        // On another server the messages are the same except for the members that the server sets.
        let other = Agentbus::builder().memory_sqlite().start().await;
        succeed(&["import", "out.ndjson"], other.url(), &dir, "").await;
        let again = succeed(&["export"], other.url(), &dir, "").await;
        let members = |text: &str| -> Vec<Value> {
            let parse = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
            let mut all: Vec<Value> = text.lines().map(parse).collect();
            for message in &mut all {
                message.as_object_mut().expect("an object").remove("created_at");
            }
            all
        };
        assert!(members(&again) == members(&exported), "the copy differs");
    }
}

#[tokio::test]
async fn one_message_is_sent_and_found() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let (url, dir) = (server.url(), server.data_dir());
    let sent = succeed(
        &["send", "--sender", "ann", "--to", "bob", "--ack", "committed", "-"],
        url,
        &dir,
        "good day\n",
    );
    let sent: Value = serde_json::from_str(&sent.await).expect("JSON in a pipe");
    assert_eq!((&sent["seq"], &sent["durability"]), (&1.into(), &"committed".into()));
    let found = succeed(&["history", "--recipient", "bob"], url, &dir, "").await;
    assert_eq!(serde_json::from_str::<Value>(&found).expect("a line")["content"], "good day");
    assert_eq!(succeed(&["history", "--recipient", "cy"], url, &dir, "").await, "");
}

#[tokio::test]
async fn wrong_usage_and_failures_have_their_exit_codes() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let (url, dir) = (server.url(), server.data_dir());
    for usage in [
        &["send", "--sender", "a b", "x"][..],
        &["tail", "--from", "yesterday"],
        &["history", "--kind", "letter"],
        &["nonsense"],
    ] {
        assert_eq!(run(usage, url, &dir, "").await.status.code(), Some(2), "{usage:?}");
    }
    let bad = run(&["import", "-"], url, &dir, "{\"kind\":\"task\"}\n").await;
    assert_eq!(bad.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("task_id"), "{bad:?}");
    let no_server = ["--url", "http://127.0.0.1:9", "--retry-for", "0"];
    let unreachable = run(&[&["history"][..], &no_server].concat(), url, &dir, "").await;
    assert_eq!(unreachable.status.code(), Some(1));
}

#[tokio::test]
async fn the_doctor_reports_what_is_good_and_what_is_bad() {
    let nats = Deployment::start(crate::support::Mode::Nats).await;
    let settings = [
        "MESSAGE_BUS=nats".to_owned(),
        format!("DATABASE_URL={}", nats.pg_url().expect("a database")),
        format!("NATS_URL={}", nats.nats().expect("a server").url()),
    ];
    let dir = nats.agentbus().data_dir();
    std::fs::create_dir_all(&dir).expect("a folder");
    let mut args = vec!["doctor"];
    settings.iter().for_each(|setting| args.extend(["--set", setting.as_str()]));
    let report = succeed(&args, nats.bus(), &dir, "").await;
    for part in ["store", "schema", "clock", "rights", "nats", "permission", "continuity"] {
        assert!(report.contains(&format!("\"part\":\"{part}\"")), "{part} is missing:\n{report}");
    }
    assert!(!report.contains("\"bad\""), "{report}");
    nats.nats().expect("a server").kill9();
    let report = run(&args, nats.bus(), &dir, "").await;
    assert_eq!(report.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&report.stdout).contains("\"bad\""), "{report:?}");
}

#[tokio::test]
async fn the_doctor_tells_what_an_upgrade_will_do() {
    let deployment = Deployment::start(crate::support::Mode::MemoryPostgres).await;
    let (url, dir) = (deployment.bus(), deployment.agentbus().data_dir());
    std::fs::create_dir_all(&dir).expect("a folder");
    let pg_url = deployment.pg_url().expect("a database");
    let setting = format!("DATABASE_URL={pg_url}");
    let args = ["doctor", "--set", &setting];
    let mut session = sqlx::PgConnection::connect(pg_url).await.expect("connects");
    let mut after = async |sql: &'static str| {
        session.execute(sql).await.expect("done");
        let report = run(&args, url, &dir, "").await;
        let told = String::from_utf8(report.stdout).expect("UTF-8");
        let schema = told.lines().filter(|line| line.contains(r#""part":"schema""#));
        (report.status.code(), schema.collect::<Vec<_>>().join("\n"))
    };
    let (code, told) = after("SELECT 1").await;
    assert!(code == Some(0) && told.contains("the tables are up to date"), "{told}");
    let (code, told) = after(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (999, 'more', true, '', 0)",
    )
    .await;
    assert!(code == Some(0) && told.contains("newer version"), "{told}");
    assert!(told.contains("0999_more") && told.contains(r#""note""#), "{told}");
    let (code, told) =
        after("UPDATE _sqlx_migrations SET description = 'breaking_more' WHERE version = 999")
            .await;
    assert!(code == Some(1) && told.contains("0999_breaking_more"), "{told}");
    for _ in 0..2 {
        // Twice: the doctor itself applies nothing.
        let (code, told) = after("DELETE FROM _sqlx_migrations WHERE version >= 9").await;
        assert!(code == Some(0) && told.contains("applies 0009_"), "{told}");
    }
    let (code, told) = after("DROP TABLE _sqlx_migrations").await;
    assert!(code == Some(0) && told.contains("the database is empty"), "{told}");
}
