//! Thousands of messages and a command that fails in every way, while workers (or the only server) are killed
//! and stopped at random: each message ends processed or as a dead letter.
//!
//! Each acknowledgement and each run of the command is recorded. At the end they are compared with the log,
//! the dead letters and each other: no message is lost, none runs more often than allowed, exactly the
//! expected ones are dead letters, and a redriven message runs again only at its source.
//!
//! A long run has twenty times as many messages, and at least five times as many kills.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::time::Duration;

use crate::support::handler::{Handler, dead_letters, idle, message, seq_of, uptime};
use crate::support::times;
use crate::support::wire::{self, BATCH};
use crate::support::worker::Worker;
use crate::support::{Agentbus, Deployment, Http, Mode, eventually, within};
use async_nats::jetstream::consumer::pull;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

const NAME: &str = "agent-processor";
/// The most deliveries of a message (contract, section 10).
const MAX_DELIVER: u64 = 3;
const WORKERS: usize = 3;
/// Messages in one post.
const CHUNK: usize = 500;
/// Content of a message whose run takes longer than the consumer's ack wait of 30 s.
const SLOW: &str = "slow 33";
/// How many bytes the record of runs grows for one message, at least on average: `run 123 123.45` and `done 123 123.45`, on
/// a machine that has just started.
const NOTED: u64 = 31;

/// Time limit for processing everything once the kills are over: the longest backoffs and the slow messages.
const REST: Duration = Duration::from_secs(180);
/// Time limit for the next messages to run after a kill: takeover, restart and recovery.
const PROGRESS: Duration = Duration::from_secs(120);
const KILLED: Duration = Duration::from_secs(30);

/// In a long run the tests run one at a time, since each keeps a small machine busy.
static TURN: Mutex<()> = Mutex::const_new(());

async fn turn() -> Option<MutexGuard<'static, ()>> {
    if times(0, 1) == 1 { Some(TURN.lock().await) } else { None }
}

struct Size {
    messages: usize,
    kills: u64,
}

/// The numbers of messages and kills: `short` usually, `long` in a long run.
fn size(short: (usize, usize), long: (usize, usize)) -> Size {
    let kills = u64::try_from(times(short.1, long.1)).expect("small");
    Size { messages: times(short.0, long.0), kills }
}

/// What the command is to do with message `n` of `count`.
fn content(n: usize, count: usize) -> &'static str {
    match n % 400 {
        // Some slow messages come early, to be killed with their workers, and some at the end, after
        // the last kill.
        _ if n == 150 || n == 650 || n + 2 > count => SLOW,
        13 | 213 | 313 => "retry",
        57 | 157 | 257 => "reject",
        91 | 291 => "crash",
        at if at % 50 == 22 => "once",
        _ => "ok",
    }
}

/// The acknowledged messages: content and sequence by id.
type Acked = BTreeMap<String, (&'static str, u64)>;

/// Posts all messages, repeats each chunk until all of it is acknowledged, and compares repeated
/// acknowledgements.
async fn post_all(servers: &[Http], count: usize) -> Acked {
    let mut acked = Acked::new();
    for (turn, start) in (0..count).step_by(CHUNK).enumerate() {
        let http = &servers[turn % servers.len()];
        let chunk = (start..count.min(start + CHUNK))
            .map(|n| (Uuid::now_v7().to_string(), content(n, count)));
        let chunk: BTreeMap<String, &str> = chunk.collect();
        let lines: Vec<String> = chunk
            .iter()
            .map(|(id, content)| {
                let mut message = message(content);
                message["id"] = json!(id);
                message.to_string()
            })
            .collect();
        let lines = lines.join("\n");
        eventually(PROGRESS, "a chunk is accepted", async || {
            let headers = [("content-type", wire::NDJSON)];
            let answer = http.request(Method::POST, BATCH, &headers, lines.clone()).await.ok()?;
            if answer.status != 200 {
                return None;
            }
            let answer = answer.json();
            for result in answer["results"].as_array().expect("results") {
                let (Some(id), Some(seq)) = (result["id"].as_str(), result["seq"].as_u64()) else {
                    continue;
                };
                let content = chunk.get(id).unwrap_or_else(|| panic!("{id} was never posted"));
                let before = acked.insert(id.to_owned(), (content, seq));
                assert!(before.is_none_or(|it| it.1 == seq), "{id}: {seq} after {before:?}");
            }
            (answer["rejected"] == 0).then_some(())
        })
        .await;
    }
    assert_eq!(acked.len(), count);
    acked
}

/// Waits until the handler's record of its runs has grown to `bytes`, its size being the measure of progress.
async fn noted(handler: &Handler, bytes: u64) {
    let what = format!("{bytes} bytes are noted");
    eventually(PROGRESS, &what, async || (handler.bytes() >= bytes).then_some(())).await;
}

/// The sizes of the record of runs at which to kill: random, and spread over the work.
fn moments(size: &Size) -> Vec<u64> {
    let whole = u64::try_from(size.messages).expect("a count") * NOTED;
    // The last tenth is left out, so that the last kill still hits something.
    let step = whole * 9 / 10 / size.kills;
    (0..size.kills).map(|n| n * step + fastrand::u64(step / 4..step)).collect()
}

async fn kill_alone(agentbus: &Agentbus) {
    let kill =
        std::process::Command::new("kill").args(["-KILL", &agentbus.pid().to_string()]).status();
    assert!(kill.is_ok_and(|it| it.success()), "kill");
    agentbus.wait_exit(KILLED).await;
    // A child that the server has forked still has the inherited listening socket until it reaches `exec`, so the
    // port may be free only a moment later.
    let address = agentbus.url().trim_start_matches("http://");
    eventually(KILLED, "the port is free", async || TcpListener::bind(address).ok().map(drop))
        .await;
}

/// Kills or stops the only server at random, and starts it again.
async fn harm_server(agentbus: &Agentbus, handler: &Handler, size: &Size) {
    for (n, moment) in moments(size).into_iter().enumerate() {
        noted(handler, moment).await;
        eprintln!("{} harm {n} to the server", uptime());
        match n % 4 {
            0 | 2 => agentbus.kill9(),
            1 => kill_alone(agentbus).await,
            _ => {
                let status = agentbus.terminate().await;
                assert!(status.success(), "stopped with {status}");
            }
        }
        agentbus.restart().await;
        eprintln!("{} it is back", uptime());
    }
}

/// Kills or stops workers at random, and replaces them. Returns those that run at the end.
async fn harm_workers(start: impl Fn() -> Worker, handler: &Handler, size: &Size) -> Vec<Worker> {
    let mut workers: Vec<Worker> = (0..WORKERS).map(|_| start()).collect();
    for (n, moment) in moments(size).into_iter().enumerate() {
        noted(handler, moment).await;
        workers.iter().for_each(Worker::assert_runs);
        eprintln!("{} harm {n} to a worker", uptime());
        let one = workers.swap_remove(fastrand::usize(..workers.len()));
        match n % 4 {
            0 | 2 => one.kill9(),
            1 => one.kill9_alone().await,
            _ => {
                let status = one.terminate().await;
                assert!(status.success(), "stopped with {status}");
            }
        }
        workers.push(start());
    }
    workers
}

/// Checks the outcome of each message: the runs of its command and its dead letter.
fn assert_outcome(acked: &Acked, handler: &Handler, dead: &[Value], stops: u64) {
    let runs = handler.runs();
    let mut died = BTreeMap::new();
    for dead in dead {
        assert_eq!((&dead["kind"], &dead["source"]), (&json!("message"), &json!(NAME)));
        assert!(died.insert(seq_of(dead), dead).is_none(), "dead twice: {dead}");
    }
    let mut wrong = Vec::new();
    for (content, seq) in acked.values() {
        let of_it = runs.get(seq).copied().unwrap_or_default();
        let dead = died.remove(seq);
        // The number of the last attempt: an attempt whose worker was killed may count without an
        // entry of its own.
        let attempted =
            dead.and_then(|it| it["attempts"].as_array()).map_or(&[][..], Vec::as_slice);
        let attempts = attempted.last().and_then(|it| it["attempt"].as_u64()).unwrap_or_default();
        let failed = attempted
            .iter()
            .filter(|it| it["error"].as_str().is_some_and(|it| it.contains("no luck")));
        let failed = failed.count();
        let count = |error: &str| {
            let with = attempted
                .iter()
                .filter(|it| it["error"].as_str().is_some_and(|it| it.contains(error)));
            u64::try_from(with.count()).expect("small")
        };
        let (killed, asked) = (count("its worker died"), count("asked for another attempt"));
        let right = match *content {
            "retry" => dead.is_some() && of_it.done == 0 && attempts == MAX_DELIVER,
            "reject" | "crash" => dead.is_some() && of_it.done == 0 && attempts >= 1,
            // A slow message is a dead letter only if its worker ended in every delivery, or in
            // all but the failing one.
            SLOW if dead.is_some() => attempts == MAX_DELIVER && of_it.begun >= 2 && failed == 0,
            // A kill may come after the command is done and before that is recorded. What meets kills in all of
            // its deliveries, or in all but the one that asks for another, is a dead letter.
            "once" if dead.is_some() => killed + asked == MAX_DELIVER && asked <= 1,
            "ok" if dead.is_some() => killed == MAX_DELIVER,
            _ => dead.is_none() && of_it.done >= 1,
        };
        // A worker that is stopped returns the messages that it has begun, which never counts as an
        // attempt.
        let most = if *content == SLOW { MAX_DELIVER + stops } else { MAX_DELIVER };
        if !right || of_it.begun == 0 || of_it.begun > most {
            let noted = handler.lines_of(*seq);
            wrong.push(format!(
                "{seq} {content}: {of_it:?} {noted:?}, {attempts} attempts: {dead:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), acked.len(), wrong.join("\n"));
    assert!(died.is_empty(), "dead letters of messages that were never posted: {died:?}");
    let posted: BTreeSet<u64> = acked.values().map(|it| it.1).collect();
    let ran: BTreeSet<u64> = runs.keys().copied().collect();
    assert_eq!((posted.len(), ran.difference(&posted).count()), (acked.len(), 0));
}

/// Fails the test unless the log has the acknowledged messages at their sequences, and no others.
async fn assert_log(http: &Http, acked: &Acked) {
    let log = wire::pages(http, "limit=1000").await;
    let found: BTreeMap<String, u64> = log
        .iter()
        .map(|body| {
            let message: Value = serde_json::from_str(body).expect("JSON");
            (message["id"].as_str().expect("an id").to_owned(), wire::seq_of(body))
        })
        .collect();
    assert_eq!(log.len(), acked.len());
    let expected: BTreeMap<String, u64> = acked.iter().map(|(id, it)| (id.clone(), it.1)).collect();
    assert!(found == expected, "the log is not what was acknowledged");
}

/// Redrives one dead letter, then all, and checks that exactly those messages run again.
async fn redrive(http: &Http, handler: &Handler, acked: &Acked, dead: Vec<Value>) {
    handler.mend();
    let (last, contents) = {
        let by_seq: BTreeMap<u64, &str> = acked.values().map(|it| (it.1, it.0)).collect();
        (*by_seq.keys().last().expect("some"), by_seq)
    };
    let before = handler.runs();
    let one = dead.iter().find(|it| contents[&seq_of(it)] == "reject").expect("one was rejected");
    let path = format!("/v1/dead-letters/{}/redrive", one["id"].as_str().expect("an id"));
    let answer = http.request(Method::POST, &path, &[], "").await.expect("an answer");
    assert_eq!(answer.expect(200).json(), json!({"redriven": 1}));
    let seq = seq_of(one);
    eventually(REST, "it runs again", async || (handler.of(seq).done == 1).then_some(())).await;
    idle(http, last, REST).await;
    let mut expected = before;
    let of_it = expected.entry(seq).or_default();
    (of_it.begun, of_it.done) = (of_it.begun + 1, 1);
    assert!(handler.runs() == expected, "more than the one has run");

    let path = format!("/v1/dead-letters/redrive?source={NAME}");
    let answer = http.request(Method::POST, &path, &[], "").await.expect("an answer");
    assert_eq!(answer.expect(200).json(), json!({"redriven": dead.len() - 1}));
    let hopeless = |seq: u64| ["retry", "crash"].contains(&contents[&seq]);
    let again: BTreeSet<u64> = dead.iter().map(seq_of).filter(|it| hopeless(*it)).collect();
    let dead_again = eventually(REST, "what always fails is a dead letter again", async || {
        let dead = dead_letters(http, "").await;
        (dead.len() == again.len()).then_some(dead)
    })
    .await;
    assert_eq!(dead_again.iter().map(seq_of).collect::<BTreeSet<_>>(), again);
    idle(http, last, REST).await;
    let (mut after, redriven) = (handler.runs(), dead.iter().map(seq_of).filter(|it| *it != seq));
    for seq in redriven {
        let (before, after) =
            (expected.remove(&seq).expect("it ran"), after.remove(&seq).expect("it runs"));
        let (begun, done) = (after.begun - before.begun, after.done - before.done);
        let right = if hopeless(seq) { done == 0 } else { done == 1 };
        assert!(right && (1..=MAX_DELIVER).contains(&begun), "{seq}: {before:?}, then {after:?}");
    }
    assert!(after == expected, "others than the redriven have run");
}

/// Waits until everything is processed, then checks the log, the runs and the dead letters. For either bus.
async fn settle(http: &Http, handler: &Handler, acked: &Acked, size: &Size) {
    let last = acked.values().map(|it| it.1).max().expect("some");
    wire::committed(http, last).await;
    assert_log(http, acked).await;
    // The consumer could be idle for a moment between two backoffs, so each message is checked, too.
    let now = idle(http, last, REST).await;
    let dead = dead_letters(http, "").await;
    assert_outcome(acked, handler, &dead, size.kills / 4);
    assert_eq!(now["dead_letters"], json!(dead.len()), "{now}");
    redrive(http, handler, acked, dead).await;
    assert_log(http, acked).await;
}

async fn kill_the_server(mode: Mode, size: Size) {
    let _turn = turn().await;
    let handler = Handler::new();
    let command = handler.command();
    let deployment = Deployment::tuned(mode, |it| {
        it.env("PROCESSOR_EXEC", &command).env("PROCESSOR_CONCURRENCY", "16").env("DRAIN_S", "2")
    })
    .await;
    let http = [deployment.http().clone()];
    let harm = harm_server(deployment.agentbus(), &handler, &size);
    let (acked, ()) = tokio::join!(post_all(&http, size.messages), harm);
    settle(deployment.http(), &handler, &acked, &size).await;
    let log = deployment.agentbus().log();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn memory_sqlite() {
    kill_the_server(Mode::MemorySqlite, size((2_500, 6), (50_000, 50))).await;
}

#[tokio::test]
async fn memory_postgres() {
    kill_the_server(Mode::MemoryPostgres, size((2_000, 4), (15_000, 20))).await;
}

#[tokio::test]
async fn nats() {
    let _turn = turn().await;
    let size = size((2_500, 6), (50_000, 60));
    let handler = Handler::new();
    let deployment = Deployment::start(Mode::Nats).await;
    let second = deployment.second_server().await;
    let (nats, pg_url) =
        (deployment.nats().expect("NATS"), deployment.pg_url().expect("PostgreSQL"));
    let (nats_url, command) = (nats.url(), handler.command());
    let start = || {
        let env = [
            ("MESSAGE_BUS", "nats"),
            ("NATS_URL", nats_url.as_str()),
            ("DATABASE_URL", pg_url),
            ("PROCESSOR_CONCURRENCY", "8"),
            ("DRAIN_S", "2"),
        ];
        Worker::start(&env, &["--exec", &command])
    };
    let servers = [deployment.http().clone(), second.http()];
    let harm = harm_workers(start, &handler, &size);
    let (acked, workers) = tokio::join!(post_all(&servers, size.messages), harm);
    settle(deployment.http(), &handler, &acked, &size).await;

    // The JetStream consumer has nothing pending either.
    let stream = nats.jetstream().await.get_stream("agent-messages").await.expect("the stream");
    let consumer = stream.get_consumer::<pull::Config>(NAME).await.expect("the consumer");
    let info = consumer.cached_info();
    assert_eq!((info.num_pending, info.num_ack_pending), (0, 0), "{info:?}");
    for worker in workers {
        assert!(!worker.log().contains("panicked"), "{}", worker.log());
        let status = within(KILLED, "a worker ends", worker.terminate()).await;
        assert!(status.success(), "stopped with {status}");
    }
}
