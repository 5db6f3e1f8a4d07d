//! A tenth of all messages is erased, by several clients at once, while servers, NATS and PostgreSQL are killed with
//! SIGKILL: afterwards nothing of them can be read in any way, and everything else is byte for byte as it was.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use agentbus::store::Store;
use agentbus::store::postgres::PostgresStore;
use agentbus::store::sqlite::SqliteStore;
use agentbus::store::work::{DeadLetter, DeadLetterKind, Position, SetAside};
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::load::PATIENCE;
use crate::support::folder::Folder;
use crate::support::receiver::Receiver;
use crate::support::records::{Record, assert_same, history};
use crate::support::streams::{publish, replay};
use crate::support::wire::committed;
use crate::support::{Agentbus, Http, Nats, Postgres, eventually, times};

/// A consumer that no process runs.
const HERE: &str = "here";
/// What each message holds, and its number.
const SECRET: &str = "secret-";
const DIGITS: usize = 8;
const ERASERS: usize = 4;
const RETRY: Duration = Duration::from_millis(20);

/// How many messages there are, and how often something is killed.
fn size() -> (usize, usize) {
    (times(3_000, 100_000), times(6, 60))
}

/// Message number `n`; what else than content and metadata it holds does not name the secret.
fn message(n: usize) -> Value {
    let secret = format!("{SECRET}{n:0DIGITS$}");
    json!({"id": Uuid::now_v7(), "kind": "message", "type": "note", "sender_id": format!("s{}", n % 7),
        "task_id": format!("t{}", n % 11), "content": secret, "metadata": {"nested": [{"it": secret}]}})
}

fn is_erased(n: usize) -> bool {
    n % 10 == 3
}

/// The numbers of the secrets in these bytes.
fn secrets(bytes: &[u8]) -> BTreeSet<usize> {
    let found = bytes.windows(SECRET.len() + DIGITS).filter(|it| it.starts_with(SECRET.as_bytes()));
    let number = |it: &[u8]| std::str::from_utf8(&it[SECRET.len()..]).ok()?.parse().ok();
    found.filter_map(number).collect()
}

#[track_caller]
fn assert_none(what: &str, bytes: &[u8]) {
    let found: Vec<usize> = secrets(bytes).into_iter().filter(|n| is_erased(*n)).collect();
    assert!(found.is_empty(), "{what} still has {found:?}");
}

/// The erased form of a message, byte for byte.
fn erased(record: &Record) -> Record {
    let text = record.text();
    let (head, rest) = text.split_once("\"content\":").expect("content");
    let tail = &rest[rest.find(",\"created_at\"").expect("created_at")..];
    let text = format!("{head}\"content\":\"\",\"metadata\":{{\"erased\":true}}{tail}");
    Record { seq: record.seq, bytes: text.into() }
}

/// Messages of which every other erased one is set aside for a consumer, and the others are its dead letters.
async fn with_work(store: &dyn Store, rows: &[Record]) {
    let place = Position { floor: 0, feed: None, handled: true };
    store.create_consumer(HERE, "agent.>", &place).await.expect("a consumer");
    let body = |row: &Record| row.text().replacen(&format!("\"seq\":{},", row.seq), "", 1);
    let subject = || "agent.message.agent.note".to_owned();
    let of = |what: usize| {
        let numbered = rows.iter().enumerate();
        numbered.filter(move |(n, _)| n % 20 == what || n % 20 == what + 1).map(|(_, row)| row)
    };
    let aside = of(3).map(|row| SetAside {
        seq: row.seq,
        subject: subject(),
        body: body(row).into(),
        attempt: 0,
        attempts: Vec::new(),
        delay: Duration::ZERO,
    });
    store.set_aside(HERE, &aside.collect::<Vec<_>>()).await.expect("set aside");
    let letters = of(13).map(|row| DeadLetter {
        id: Uuid::now_v7(),
        kind: DeadLetterKind::Message,
        source: HERE.to_owned(),
        seq: row.seq,
        subject: subject(),
        body: body(row).into(),
        attempts: Vec::new(),
        reason: "rejected".to_owned(),
        died_at: chrono::DateTime::UNIX_EPOCH,
    });
    store.add_dead_letters(&letters.collect::<Vec<_>>()).await.expect("stored");
}

/// Erases messages one after the other, each again and again at the next server until that says that it is done.
async fn erase_all(
    servers: Vec<Http>,
    open: Arc<Mutex<Vec<(String, u64)>>>,
    done: Arc<watch::Sender<usize>>,
) -> usize {
    let (mut at, mut repeats) = (0, 0);
    loop {
        let Some((id, seq)) = open.lock().pop() else { return repeats };
        let (path, deadline) = (format!("/v1/messages/{id}/erase"), Instant::now() + PATIENCE);
        loop {
            assert!(Instant::now() < deadline, "{seq} is not erased in time");
            at += 1;
            let headers = [("content-type", "application/json")];
            let body = r#"{"reason":"asked to"}"#;
            let http = &servers[at % servers.len()];
            match http.request(Method::POST, &path, &headers, body).await {
                Ok(answer) if answer.status == 200 => {
                    assert_eq!(answer.json()["seq"], seq);
                    break;
                }
                Ok(answer) => assert!([409, 503].contains(&answer.status), "{answer:?}"),
                Err(_) => {}
            }
            repeats += 1;
            sleep(RETRY).await;
        }
        done.send_modify(|done| *done += 1);
    }
}

/// Publishes, erases under `harm`, which is called for each kill, and compares everything that can be read.
async fn run(
    what: &str,
    servers: &[&Agentbus],
    store: impl AsyncFn() -> Box<dyn Store>,
    harm: impl AsyncFn(usize),
) -> Vec<Record> {
    let ((count, kills), http) = (size(), servers[0].http());
    let seqs = publish(&http, &(0..count).map(message).collect::<Vec<_>>()).await;
    committed(&http, *seqs.last().expect("some")).await;
    let before = history(&http, "").await;
    let opened = store().await;
    with_work(&*opened, &before).await;
    opened.close().await;
    let chosen = before.iter().enumerate().filter(|(n, _)| is_erased(*n));
    let chosen: Vec<(String, u64)> = chosen
        .map(|(_, row)| (row.json()["id"].as_str().expect("an id").to_owned(), row.seq))
        .collect();
    let total = chosen.len();
    let (open, done) = (Arc::new(Mutex::new(chosen)), Arc::new(watch::Sender::new(0)));
    let urls: Vec<Http> = servers.iter().map(|server| Http::new(server.url())).collect();
    let begun = Instant::now();
    let erasers: Vec<_> = (0..ERASERS)
        .map(|_| tokio::spawn(erase_all(urls.clone(), Arc::clone(&open), Arc::clone(&done))))
        .collect();
    for n in 0..kills {
        let step = total / (kills + 1);
        let wanted = n * step + fastrand::usize(step / 2..step);
        done.subscribe().wait_for(|done| *done >= wanted).await.expect("erasers run");
        harm(n).await;
    }
    let mut repeats = 0;
    for eraser in erasers {
        repeats += eraser.await.expect("an eraser ends well");
    }
    let took = begun.elapsed();
    eprintln!(
        "{what}: {total} of {count} erased in {took:.1?}, {kills} kills, {repeats} requests repeated"
    );
    let mut expected = Vec::with_capacity(before.len());
    for (n, row) in before.iter().enumerate() {
        expected.push(if is_erased(n) { erased(row) } else { row.clone() });
    }
    for server in servers {
        server.wait_ready().await;
        read_everything(server, &expected).await;
    }
    let opened = store().await;
    leased(&*opened, count).await;
    opened.close().await;
    expected
}

/// Compares history, stream, export, dead letters, and what a webhook gets, with what is expected.
async fn read_everything(server: &Agentbus, expected: &[Record]) {
    let http = server.http();
    assert_same("history", &history(&http, "").await, expected);
    let (replayed, _) = replay(&mut http.stream("from=start", None).await).await;
    assert_same("stream", &replayed, expected);
    let exported = Command::new(env!("CARGO_BIN_EXE_agentbus"))
        .args(["export", "--url", server.url()])
        .output()
        .expect("it runs");
    assert!(exported.status.success(), "{exported:?}");
    assert_none("the export", &exported.stdout);
    assert_eq!(exported.stdout.split(|byte| *byte == b'\n').count(), expected.len() + 1);
    let letters = crate::support::handler::dead_letters(&http, &format!("source={HERE}")).await;
    assert_eq!(letters.len(), expected.len() / 10);
    let letters = Value::from(letters).to_string();
    assert_none("dead letters", letters.as_bytes());
    assert_eq!(secrets(letters.as_bytes()).len(), expected.len() / 20);
    delivered(&http, expected).await;
}

/// Delivers the whole log to a new webhook.
async fn delivered(http: &Http, expected: &[Record]) {
    let receiver = Receiver::start().await;
    let hook = json!({"url": receiver.url(), "filter": "agent.message.>"});
    let made = http.post_json("/v1/webhooks", &hook).await.expect(201).json();
    let id = made["id"].as_str().expect("an id");
    let reset = format!("/v1/consumers/webhook-{id}/reset");
    http.post_json(&reset, &json!({"from": 1})).await.expect(200);
    let others = expected.len() - expected.len() / 10;
    let numbers = || {
        let got = receiver.got();
        got.iter().flat_map(|it| secrets(&it.body)).collect::<BTreeSet<usize>>()
    };
    let got = eventually(PATIENCE * 4, "the webhook has the rest", async || {
        sleep(RETRY * 10).await;
        Some(numbers()).filter(|got| got.len() >= others)
    })
    .await;
    assert!(!got.iter().any(|n| is_erased(*n)), "the webhook got an erased message");
    http.delete(&format!("/v1/webhooks/{id}")).await.expect(204);
}

/// Leases what was set aside, and checks that nothing of it is erased and was kept.
async fn leased(store: &dyn Store, count: usize) {
    let mut bodies = Vec::new();
    loop {
        let leased = store.lease_due(HERE, 1_000, 3, Duration::from_secs(600)).await;
        let leased = leased.expect("the store answers");
        if leased.is_empty() {
            break;
        }
        leased.iter().for_each(|it| bodies.extend_from_slice(&it.body));
    }
    assert_none("what is set aside", &bodies);
    assert_eq!(secrets(&bodies).len(), count / 20, "the others are there");
}

/// Compares the stream with what is expected: nothing at the sequences of erased messages.
async fn assert_stream(nats: &Nats, expected: &[Record]) {
    let stream = nats.jetstream().await.get_stream("agent-messages").await.expect("the stream");
    assert_eq!(stream.cached_info().state.messages as usize, expected.len() - expected.len() / 10);
    for row in expected {
        let entry = stream.get_raw_message(row.seq).await.ok();
        if row.text().contains("\"metadata\":{\"erased\":true}") {
            assert!(entry.is_none(), "{} is in the stream", row.seq);
        } else {
            let payload = entry.unwrap_or_else(|| panic!("{} is lost", row.seq)).payload;
            let text = String::from_utf8(payload.to_vec()).expect("UTF-8");
            let text = text.replacen('{', &format!("{{\"seq\":{},", row.seq), 1);
            assert_eq!(row.text(), text);
        }
    }
}

fn assert_files(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            assert_none(&path.display().to_string(), &std::fs::read(&path).expect("a file"));
        }
    }
}

#[tokio::test]
async fn erased_while_everything_is_killed_on_nats() {
    let (nats, postgres) = (Nats::start().await, Postgres::start().await);
    let pg_url = postgres.database().await;
    let first = Agentbus::builder()
        .nats(&nats.url(), &pg_url)
        .env("WEBHOOK_ALLOW_PRIVATE", "true")
        .start()
        .await;
    let second = first.like().start().await;
    let store = async || {
        let opened = PostgresStore::connect(&pg_url).await.expect("PostgreSQL opens");
        Box::new(opened) as Box<dyn Store>
    };
    let harm = async |n: usize| match n % 4 {
        0 | 2 => {
            let server = [&first, &second][n / 2 % 2];
            server.kill9();
            server.restart_listening().await;
        }
        1 => {
            nats.kill9();
            nats.restart().await;
        }
        _ => {
            postgres.kill9();
            postgres.restart().await;
        }
    };
    let expected = run("on NATS, two servers", &[&first, &second], store, harm).await;
    assert_stream(&nats, &expected).await;
}

#[tokio::test]
async fn erased_while_the_server_is_killed_on_sqlite() {
    let agentbus =
        Agentbus::builder().memory_sqlite().env("WEBHOOK_ALLOW_PRIVATE", "true").start().await;
    let dir = agentbus.data_dir();
    let store = async || {
        let opened = SqliteStore::open(&dir).await.expect("SQLite opens");
        Box::new(opened) as Box<dyn Store>
    };
    let harm = async |_: usize| {
        agentbus.kill9();
        agentbus.restart_listening().await;
    };
    run("on SQLite", &[&agentbus], store, harm).await;
    agentbus.terminate().await;
    assert_files(&dir);
}

/// Waits until the stream has nothing at this sequence.
async fn gone(nats: &Nats, seq: u64) {
    eventually(PATIENCE, "the entry is gone", async || {
        let stream = nats.jetstream().await.get_stream("agent-messages").await.ok()?;
        stream.get_raw_message(seq).await.is_err().then_some(())
    })
    .await;
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(done.success());
}

#[tokio::test]
async fn a_restored_stream_is_erased_again_and_a_rebuilt_one_has_the_erased_form() {
    let folder = Folder::new("restored-stream");
    let nats = Nats::builder().store_dir(folder.path()).start().await;
    let pg_url = Postgres::shared().await.database().await;
    let agentbus = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let http = agentbus.http();
    let seqs = publish(&http, &(0..24).map(message).collect::<Vec<_>>()).await;
    // The last one is the one that the continuity check compares.
    let chosen = [seqs[3], seqs[13], seqs[23]];
    committed(&http, seqs[23]).await;
    let before = history(&http, "").await;
    nats.stop_gracefully().await;
    let old = Folder::new("older-stream");
    copy(&folder.join("jetstream"), &old.join("jetstream"));
    nats.restart().await;
    for seq in chosen {
        let id = before[usize::try_from(seq).expect("small") - 1].json()["id"].clone();
        let path = format!("/v1/messages/{}/erase", id.as_str().expect("an id"));
        eventually(PATIENCE, "it is erased", async || {
            let answer = http.post_json(&path, &json!({"reason": "asked to"})).await;
            (answer.status == 200).then_some(())
        })
        .await;
        gone(&nats, seq).await;
    }
    let expected: Vec<Record> = before
        .iter()
        .map(|row| if chosen.contains(&row.seq) { erased(row) } else { row.clone() })
        .collect();
    nats.stop_gracefully().await;
    std::fs::remove_dir_all(folder.join("jetstream")).expect("removed");
    copy(&old.join("jetstream"), &folder.join("jetstream"));
    nats.restart().await;
    for seq in chosen {
        gone(&nats, seq).await;
    }
    let again = json!({"kind": "status", "type": "up", "sender_id": "ann"});
    eventually(PATIENCE, "publishing goes on", async || {
        (http.post_json("/v1/messages", &again).await.status == 201).then_some(())
    })
    .await;
    assert_same("history", &history(&http, "kind=message").await, &expected);
    agentbus.terminate().await;
    let rebuilt = Command::new(env!("CARGO_BIN_EXE_agentbus"))
        .args(["rebuild", "--yes"])
        .env("MESSAGE_BUS", "nats")
        .env("NATS_URL", nats.url())
        .env("DATABASE_URL", &pg_url)
        .current_dir(old.path())
        .output()
        .expect("it runs");
    assert!(rebuilt.status.success(), "{rebuilt:?}");
    agentbus.restart().await;
    let stream = nats.jetstream().await.get_stream("agent-messages").await.expect("the stream");
    for row in &expected {
        let payload = stream.get_raw_message(row.seq).await.expect("it is there").payload;
        let text = String::from_utf8(payload.to_vec()).expect("UTF-8");
        assert_eq!(row.text(), text.replacen('{', &format!("{{\"seq\":{},", row.seq), 1));
    }
    assert_same("history", &history(&http, "kind=message").await, &expected);
}
