//! Streams that nobody writes to, that replay, that come back: memory, speed, patience.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::error::SuiteError;
use super::row::{Bound, Row};
use super::stage::Stage;
use crate::bare::postgres::BareDatabase;
use agentbus_bench::limits::SAMPLED_EVENTS;
use agentbus_bench::open_files;

/// Idle streams, and what each may take of the process's memory.
const IDLE: usize = 10_000;
const IDLE_BYTES: f64 = 8.0 * 1024.0;
/// How long memory is given to settle after the last was opened.
const SETTLE: Duration = Duration::from_secs(2);
/// Messages that are replayed.
const REPLAYED: usize = 1_000_000;
const REPLAY_SHARE: f64 = 0.7;
/// Rows that the bare read takes at once.
const READ_ROWS: i64 = 1_000;
/// Subscribers that come back at once, and in how many seconds all must have caught up.
const RESUMING: usize = 2_000;
const CAUGHT_UP_S: f64 = 5.0;
/// Connections made at once by them: as many as a listening socket of ours holds.
const RESUMING_AT_ONCE: usize = 1_000;
/// How far behind the two halves are: beyond the ring of 8,192, and within it.
const BEYOND: u64 = 20_000;
const WITHIN: u64 = 2_000;
/// Tasks they are subscribed to, each one of them.
const TASKS: usize = 100;
/// Longest that a replay or a resume is waited for.
const PATIENCE: Duration = Duration::from_secs(180);
/// Pause between looks.
const LOOK: Duration = Duration::from_millis(2);

pub(super) async fn idle(stage: &Stage) -> Result<Vec<Row>, SuiteError> {
    let (server, _database) = stage.on_nats(&stage.nats()?, &[]).await?;
    open_files::allow(IDLE)?;
    let listening = stage.listening(server.address());
    // What the first streams bring along is the server's, not theirs.
    let first = listening.open_each(queries(100, ""), SAMPLED_EVENTS, 100).await?;
    tokio::time::sleep(SETTLE).await;
    let before = server.resident();
    let all = listening.open_each(queries(IDLE - 100, ""), SAMPLED_EVENTS, 100).await?;
    tokio::time::sleep(SETTLE).await;
    let each = (server.resident() - before) / (IDLE - 100) as f64;
    let note = format!("{:.0} MiB resident with 10,000", server.resident() / 1_048_576.0);
    drop((first, all));
    server.stop().await;
    Ok(vec![
        Row::new("idle stream, at 10,000: resident memory each", "bytes", each)
            .reach(Bound::AtMost(IDLE_BYTES))
            .note(note),
    ])
}

pub(super) async fn replay(stage: &Stage) -> Result<Vec<Row>, SuiteError> {
    let (server, database) = stage.on_nats(&stage.nats()?, &[]).await?;
    let messages = stage.fill(server.address(), stage.count(REPLAYED), 0).await?;
    let bare = bare_read(&database, messages).await?;
    let listening = stage.listening(server.address());
    let heard = Arc::clone(&listening.heard);
    let begun = Instant::now();
    let reader = listening.open_each(queries(1, "?from=start"), SAMPLED_EVENTS, 1).await?;
    waited(|| heard.caught_up() == 1 && heard.events() >= messages, "the replay").await?;
    let rate = heard.events() as f64 / begun.elapsed().as_secs_f64();
    let note = format!("{} events, {} out of order", heard.events(), heard.disorder());
    drop(reader);
    server.stop().await;
    Ok(vec![
        Row::new("replay to one subscriber, from the store", "events/s", rate)
            .beside(bare)
            .share(Bound::AtLeast(REPLAY_SHARE))
            .note(note),
    ])
}

/// Reads the same rows by key and writes their bytes to a socket; rows a second.
async fn bare_read(database: &BareDatabase, messages: u64) -> Result<f64, SuiteError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let drained = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await?;
        let mut buffer = vec![0; 128 * 1024];
        while socket.read(&mut buffer).await? > 0 {}
        std::io::Result::Ok(())
    });
    let socket = tokio::sync::Mutex::new(TcpStream::connect(address).await?);
    let begun = Instant::now();
    let count = database
        .read(0, READ_ROWS, |rows| {
            let bytes: Vec<u8> = rows.into_iter().flat_map(|(_, body)| body).collect();
            let socket = &socket;
            async move { socket.lock().await.write_all(&bytes).await }
        })
        .await?;
    drop(socket);
    let _ = drained.await;
    if count < messages {
        return Err(SuiteError::Failed(format!("the store has {count} of {messages} rows")));
    }
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

pub(super) async fn resume(stage: &Stage) -> Result<Vec<Row>, SuiteError> {
    let (server, _database) = stage.on_nats(&stage.nats()?, &[]).await?;
    let head = stage.fill(server.address(), stage.count(REPLAYED) / 10, TASKS).await?;
    open_files::allow(RESUMING)?;
    let queries = |filtered: bool| -> Vec<(usize, String)> {
        let query = |number: usize| {
            let behind = if number.is_multiple_of(2) { BEYOND } else { WITHIN };
            let after = head.saturating_sub(behind);
            let task =
                if filtered { format!("&task=bench-{:05}", number % TASKS) } else { String::new() };
            (number, format!("?last_event_id={after}{task}"))
        };
        (0..RESUMING).map(query).collect()
    };
    let of_a_task = caught_up(stage, &server, queries(true)).await?;
    let of_all = caught_up(stage, &server, queries(false)).await?;
    server.stop().await;
    Ok(vec![
        Row::new("2,000 resuming at once, of a task each", "s", of_a_task.0)
            .reach(Bound::AtMost(CAUGHT_UP_S))
            .note(format!("half 20,000 behind, half 2,000; {} events", of_a_task.1)),
        Row::new("the same without a filter", "s", of_all.0).note(format!(
            "{} events: {:.0}/s",
            of_all.1,
            of_all.1 as f64 / of_all.0
        )),
    ])
}

/// Seconds until all had caught up, and the events they got.
async fn caught_up(
    stage: &Stage,
    server: &agentbus_bench::server::Server,
    queries: Vec<(usize, String)>,
) -> Result<(f64, u64), SuiteError> {
    let listening = stage.listening(server.address());
    let heard = Arc::clone(&listening.heard);
    let (begun, all) = (Instant::now(), queries.len());
    let readers = listening.open_each(queries, SAMPLED_EVENTS, RESUMING_AT_ONCE).await?;
    waited(|| heard.caught_up() == all || heard.ended() > 0, "resuming").await?;
    let took = begun.elapsed().as_secs_f64();
    drop(readers);
    match heard.why() {
        Some(why) => Err(SuiteError::Failed(format!("a stream ended: {why}"))),
        None => Ok((took, heard.events())),
    }
}

fn queries(count: usize, query: &str) -> Vec<(usize, String)> {
    (0..count).map(|number| (number, query.to_owned())).collect()
}

async fn waited(done: impl Fn() -> bool, what: &str) -> Result<(), SuiteError> {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > PATIENCE {
            return Err(SuiteError::Failed(format!("{what} was not over in {PATIENCE:?}")));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
