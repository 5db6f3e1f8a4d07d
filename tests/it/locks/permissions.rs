//! agentbus with exactly the permissions of NATS and the rights of PostgreSQL that `docs/operations.md` lists, and with each of
//! them missing.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::doctor::{about, doctor, run};
use super::document::{self, Allowed, PASSWORD};
use crate::support::agentbus::Builder;
use crate::support::exec::{processed, ran};
use crate::support::receiver::Receiver;
use crate::support::worker::Worker;
use crate::support::{Agentbus, Http, Nats, Postgres, eventually, exec, jobs, records};

const LIMIT: Duration = Duration::from_secs(60);
/// A violation in the log of nats-server: `Publish Violation`, `Subscription Violation`.
const VIOLATION: &str = "Violation";

/// A PostgreSQL server with the document's database and roles.
struct Database {
    _postgres: Postgres,
    url: String,
}

impl Database {
    async fn start() -> Self {
        let postgres = Postgres::start().await;
        let any = postgres.database().await;
        let (server, _) = any.rsplit_once('/').expect("a database");
        let url = format!("{server}/agentbus");
        sql(&any, "CREATE DATABASE agentbus").await;
        sql(&url, &document::roles()[0]).await;
        Self { _postgres: postgres, url }
    }

    /// The address for this role.
    fn of(&self, role: &str) -> String {
        self.url.replace("postgres@", &format!("{role}:{PASSWORD}@"))
    }
}

async fn sql(url: &str, statements: &str) {
    let mut connection = PgConnection::connect(url).await.expect("connects");
    connection.execute(AssertSqlSafe(statements.to_owned())).await.expect("SQL runs");
}

/// A server as the document has it: of this user, with the inbox that its permissions name.
fn as_user(builder: Builder, user: &str) -> Builder {
    builder
        .env("NATS_USER", user)
        .env("NATS_PASSWORD", PASSWORD)
        .env("NATS_INBOX_PREFIX", "_INBOX.agentbus")
}

/// The document's users, and others.
fn with_users(others: &[String]) -> String {
    let block = document::authorization();
    let (users, end) = block.rsplit_once(']').expect("a list of users");
    format!("{users}{}\n]{end}", others.join("\n"))
}

fn note(text: &str) -> Value {
    json!({"kind": "message", "type": "note", "sender_id": "ann", "recipient_id": "bob", "content": text})
}

async fn use_messages(http: &Http, other: &Http) {
    let mut live = other.stream("", None).await;
    live.expect_ready().await;
    let first = exec::post_many(http, "good", 20).await;
    http.post_json("/v1/messages?ack=committed", &note("to bob")).await.expect(201);
    let frames = live.collect_messages(21, LIMIT).await;
    assert_eq!(frames.len(), 21);
    let mut replayed = other.stream("", Some(0)).await;
    assert_eq!(replayed.collect_messages(21, LIMIT).await.len(), 21);
    let inbox = other.get("/v1/agents/bob/inbox").await.expect(200).json();
    let through = inbox["messages"][0]["seq"].as_u64().expect("a message");
    assert!(through > first, "{inbox}");
    other.post_json("/v1/agents/bob/inbox/ack", &json!({"through": through})).await.expect(200);
    let status =
        json!({"kind": "status", "type": "busy", "sender_id": "bob", "metadata": {"ttl_s": 1}});
    http.post_json("/v1/messages", &status).await.expect(201);
    let task = json!({"kind": "task", "type": "started", "sender_id": "bob", "task_id": "t"});
    http.post_json("/v1/messages", &task).await.expect(201);
}

async fn use_queues(http: &Http, other: &Http) {
    jobs::configure(http, "builds", 30, 1).await;
    let mut later = jobs::job(1);
    later["delay_s"] = json!(1);
    for job in [jobs::job(0), later, jobs::job(2)] {
        jobs::enqueue(http, "builds", &job).await;
    }
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(jobs::one(other, "builds").await);
    }
    held[0] = jobs::end_bare(http, &held[0], "extend").await.expect(200).json();
    jobs::end_bare(http, &held[0], "ack").await.expect(200);
    jobs::end_bare(http, &held[1], "ack").await.expect(200);
    jobs::end_bare(http, &held[2], "nack").await.expect(200);
    let dead = jobs::dead_letter(http, "builds").await;
    let path = format!("/v1/dead-letters/{}/redrive", dead["id"].as_str().expect("an id"));
    http.post_json(&path, &json!({})).await.expect(200);
    jobs::counts(http, "builds", 1, 0, 0).await;
    http.delete("/v1/queues/builds?force=true").await.expect(204);
}

async fn use_consumers(http: &Http, worker: &Worker) {
    let receiver = Receiver::start().await;
    let hook = json!({"url": receiver.url(), "filter": "agent.>"});
    let hook = http.post_json("/v1/webhooks", &hook).await.expect(201).json();
    let last = exec::post(http, "bad").await;
    receiver.take(1, LIMIT).await;
    processed(http, last).await;
    assert!(!ran(&worker.ran_at()).is_empty());
    let dead =
        eventually(LIMIT, "a dead letter", async || exec::dead_letters(http).await.pop()).await;
    let path = format!("/v1/dead-letters/{}/redrive", dead["id"].as_str().expect("an id"));
    http.post_json(&path, &json!({})).await.expect(200);
    let consumer = "/v1/consumers/agent-processor";
    for (verb, body) in [("pause", json!({})), ("resume", json!({})), ("reset", json!({"from": 1}))]
    {
        http.post_json(&format!("{consumer}/{verb}"), &body).await.expect(200);
    }
    processed(http, last).await;
    http.delete(&format!("/v1/webhooks/{}", hook["id"].as_str().expect("an id"))).await.expect(204);
}

#[tokio::test]
async fn the_documented_permissions_are_enough() {
    let mut rebuild = Allowed::of("agentbus");
    rebuild.publish.push("$JS.API.STREAM.DELETE.agent-messages".to_owned());
    let others = [
        format!("{{ user: operator, password: {PASSWORD} }}"),
        rebuild.user(&format!("user: rebuild, password: {PASSWORD}")),
    ];
    let trace = std::env::var("AGENTBUS_TRACE_NATS").map(|_| "trace: true\n").unwrap_or_default();
    let nats = Nats::builder().config(&(trace.to_owned() + &with_users(&others))).start().await;
    let database = Database::start().await;
    let builder = Agentbus::builder().nats(&nats.url(), &database.of("agentbus"));
    let builder = as_user(builder, "agentbus").env("WEBHOOK_ALLOW_PRIVATE", "true");
    let (one, two) = (builder.clone().start().await, builder.start().await);
    sql(&database.url, &document::roles()[1]).await;
    let (nats_url, database_url) = (nats.url(), database.of("agentbus_worker"));
    let worker = Worker::start(
        &[
            ("MESSAGE_BUS", "nats"),
            ("NATS_URL", &nats_url),
            ("DATABASE_URL", &database_url),
            ("NATS_USER", "agentbus-worker"),
            ("NATS_PASSWORD", PASSWORD),
            ("NATS_INBOX_PREFIX", "_INBOX.agentbus"),
            ("DRAIN_S", "1"),
        ],
        &["--exec", exec::COMMAND],
    );
    use_messages(&one.http(), &two.http()).await;
    use_queues(&one.http(), &two.http()).await;
    use_consumers(&one.http(), &worker).await;
    let findings = doctor(&one.env(), &["--fix"]).await;
    let bad: Vec<_> = findings.iter().filter(|finding| finding["grade"] == "bad").collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(worker.terminate().await.success());
    assert!(two.terminate().await.success());

    // The stream is lost: the next start writes it back.
    let before = records::history(&one.http(), "").await;
    assert!(one.terminate().await.success());
    let operator =
        async_nats::ConnectOptions::with_user_and_password("operator".into(), PASSWORD.into());
    let operator = operator.connect(nats.url()).await.expect("connects");
    let jetstream = async_nats::jetstream::new(operator);
    jetstream.delete_stream("agent-messages").await.expect("deleted");
    one.restart().await;
    exec::post(&one.http(), "good").await;
    assert!(one.terminate().await.success());
    let mut env = one.env();
    env.insert("NATS_USER".to_owned(), "rebuild".to_owned());
    let rebuilt = run(&env, &["rebuild", "--yes"]).await;
    assert!(rebuilt.status.success(), "{}", String::from_utf8_lossy(&rebuilt.stderr));
    one.restart().await;
    records::assert_same(
        "history",
        &before,
        &records::history(&one.http(), "").await[..before.len()],
    );

    for (who, log) in [("server", one.log()), ("server", two.log())] {
        assert!(!log.contains("does not permit") && !log.contains("may not"), "{who}: {log}");
    }
    let log = nats.log();
    assert!(!log.contains(VIOLATION), "{log}");
    if !trace.is_empty() {
        println!("{log}");
    }
}

/// A user for each permission of the document, without that one, and its name.
fn lacking() -> Vec<(String, &'static str, String)> {
    let all = Allowed::of("agentbus");
    let without = |list: &[String], at: usize| -> Vec<String> {
        let kept = list.iter().enumerate().filter(|(index, _)| *index != at);
        kept.map(|(_, subject)| subject.clone()).collect()
    };
    let mut users = Vec::new();
    for (at, subject) in all.publish.iter().enumerate() {
        let allowed = Allowed { publish: without(&all.publish, at), ..all.clone() };
        users.push((allowed, "publish on", subject.clone()));
    }
    for (at, subject) in all.subscribe.iter().enumerate() {
        let allowed = Allowed { subscribe: without(&all.subscribe, at), ..all.clone() };
        users.push((allowed, "subscribe to", subject.clone()));
    }
    let begin = |number| format!("user: lacks-{number}, password: {PASSWORD}");
    let named = users.into_iter().enumerate();
    named
        .map(|(number, (allowed, action, subject))| (allowed.user(&begin(number)), action, subject))
        .collect()
}

#[tokio::test]
async fn each_missing_permission_is_named_in_one_line() {
    let lacking = lacking();
    assert_eq!(lacking.len(), 36);
    let users: Vec<String> = lacking.iter().map(|(user, ..)| user.clone()).collect();
    let nats = Nats::builder().config(&with_users(&users)).start().await;
    let pg_url = Postgres::shared().await.database().await;
    let server = as_user(Agentbus::builder().nats(&nats.url(), &pg_url), "agentbus").start().await;
    exec::post(&server.http(), "good").await;
    let state = async || server.http().get("/v1/status").await.expect(200).json()["log"].clone();
    let before = state().await;
    let checks = lacking.iter().enumerate().map(|(number, (_, action, subject))| {
        let user = format!("lacks-{number}");
        let mut env = server.env();
        env.insert("NATS_USER".to_owned(), user.clone());
        let builder = as_user(Agentbus::builder().nats(&nats.url(), &pg_url), &user);
        async move {
            let line =
                format!("NATS does not permit this user to {action} {subject}, which is needed");
            is_reported(&env, &line).await;
            is_logged(builder, &line).await;
        }
    });
    stream::iter(checks).buffer_unordered(3).collect::<Vec<()>>().await;
    assert_eq!(state().await, before, "the checks changed something");
}

/// The doctor names it, and nothing else about permissions.
async fn is_reported(env: &BTreeMap<String, String>, line: &str) {
    let findings = doctor(env, &[]).await;
    let permission = about(&findings, "permission");
    assert_eq!(permission.len(), 1, "{line}\n{findings:#?}");
    let is_essential = line_is_essential(line);
    let grade = if is_essential { "bad " } else { "note " };
    assert!(permission[0].starts_with(&format!("{grade}{line}")), "{permission:?}\n{line}");
}

fn line_is_essential(line: &str) -> bool {
    let Some((_, subject)) = line.split_once(" to ") else { return false };
    let subject = subject.split([' ', ',']).nth(2).unwrap_or_default();
    [
        "agent.",
        "_INBOX.",
        "$JS.API.STREAM.INFO.agent-messages",
        "$JS.API.STREAM.MSG.GET.agent-messages",
    ]
    .iter()
    .any(|start| subject.starts_with(start))
        || [
            "$JS.API.CONSUMER.CREATE.agent-messages.*",
            "$JS.API.CONSUMER.MSG.NEXT.agent-messages.*",
        ]
        .contains(&subject)
}

/// A server names it at its start, unless it is for repairs: then it does not ask.
async fn is_logged(builder: Builder, line: &str) {
    let is_for_repairs = ["CREATE", "UPDATE", "PURGE", "MSG.DELETE"]
        .iter()
        .any(|verb| line.contains(&format!("STREAM.{verb}.agent-messages")))
        || line.contains("_agentbus_write_back");
    let server = builder.start_listening().await;
    let count = |log: &str| log.lines().filter(|logged| logged.contains("which is needed")).count();
    if line_is_essential(line) {
        eventually(LIMIT, line, async || server.log().contains(line).then_some(())).await;
        let readyz = server.http().get("/readyz").await;
        assert_eq!(readyz.status, 503);
        assert!(readyz.text().contains(line), "{}", readyz.text());
    } else {
        server.wait_ready().await;
        assert_eq!(server.log().contains(line), !is_for_repairs, "{line}\n{}", server.log());
    }
    let log = server.log();
    assert_eq!(count(&log), usize::from(!is_for_repairs), "{log}");
}
